"""Pictures that are sent to the server: looked at before they are taken, kept by what is in them, never by a name that
a stranger chose."""

import contextlib
import json
import os
import re
import secrets
import threading
import time
from pathlib import Path

from PIL import Image

from kstyle import config
from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import one_line, plain
from kstyle.pictures import formats, images

MOST_BYTES = 64_000_000  # of a picture that is sent
THUMBNAIL = 320  # pixels of the long side
KEPT = 7 * 24 * 3600  # seconds that a picture is kept which no painting is made of
# Of pictures that come with kstyle: these are to paint after.
PAINTINGS = ("glass", "night", "wave")
_ID = re.compile(r"[0-9a-f]{32}")
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


class Pictures:
    """The folder of pictures, and those that come with kstyle.

    A picture's id is the first half of its SHA-256, in hex, so that one which is sent twice is kept once.

    Args:
        folder: where they are kept; it is made.

    Raises:
        DataError: it cannot be made.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{one_line(folder)}: cannot be made ({files.reason(error)}).") from error
        for left in self.folder.glob(".*.part"):  # of a server that was killed
            left.unlink(missing_ok=True)
        self._decoding = threading.Lock()  # one picture at a time: each may take hundreds of MB
        self._own = {files.sha256(path)[:32]: path for path in sorted(config.shipped("examples").glob("*.jpg"))}
        self._known = {number: _of_own(number, path) for number, path in self._own.items()}

    def examples(self):
        """Those that come with kstyle, as `about` has them, with `kind`: `"photograph"` or `"painting"`."""
        kinds = {number: "painting" if path.stem in PAINTINGS else "photograph" for number, path in self._own.items()}
        return [{**self.about(number), "kind": kind} for number, kind in kinds.items()]

    def about(self, number):
        """{"id", "name", "width", "height"} of a picture, upright; None: there is none of this id."""
        found = self._found(number)
        return found and {key: found[key] for key in ("id", "name", "width", "height")}

    def path(self, number):
        """Of a picture's file, a full path."""
        return Path(os.path.abspath(self._own.get(number) or self.folder / self._found(number)["file"]))

    def media_type(self, number):
        """`"image/png"`: what is in a picture's file, whatever it was called."""
        return self._found(number)["type"]

    def thumbnail(self, number):
        """The path of a small WebP of a picture, made when it is first asked for."""
        small = self.folder / f"{number}-small.webp"
        if not small.is_file():
            with self._decoding:
                self._shrink(images.read(self.path(number)), small)
        return small

    def part(self):
        """A path for what comes in, beside the pictures."""
        return self.folder / f".{secrets.token_hex(8)}.part"

    def take(self, part, name):
        """Takes the file that came in: `about` of the picture in it.

        Its header is read first, and a picture of too many pixels refused; then it is decoded whole, so that damage is
        told now and not by the painting.

        Raises:
            DataError: it is no picture that kstyle reads; the message has `name`.
        """
        name = plain(re.split(r"[/\\]", name or "")[-1]) or "picture"
        try:
            with self._decoding:
                picture = images.read(part)
                with open(part, "rb") as stream:
                    kind = formats.open_image(stream, name).format
                number = files.sha256(part)[:32]
                if number in self._own:
                    return self.about(number)
                self._shrink(picture, self.folder / f"{number}-small.webp")
        except DataError as error:
            raise DataError(str(error).replace(one_line(part), name)) from error
        height, width = picture.size
        suffix = _SUFFIXES.get(kind, f".{kind.lower()}")
        found = {
            "id": number, "name": name, "width": width, "height": height, "file": f"{number}{suffix}",
            "type": Image.MIME.get(kind, "application/octet-stream"),
        }  # fmt: skip
        with files.replacing(self.folder / found["file"]) as beside:
            os.replace(part, beside)
        with files.replacing(self.folder / f"{number}.json") as beside:
            beside.write_text(files.json_text(found), "utf-8")
        self._known[number] = found
        return self.about(number)

    def forget(self, used):
        """Removes the pictures that came a week ago or longer and are not among the ids in `used`."""
        for path in self.folder.glob("*"):
            with contextlib.suppress(OSError):
                if path.name[:32] not in used and time.time() - path.stat().st_mtime > KEPT and _ID.match(path.name):
                    path.unlink()

    def _found(self, number):
        if not isinstance(number, str) or not _ID.fullmatch(number):
            return None
        if number not in self._known:
            try:
                found = json.loads(files.read_bytes(self.folder / f"{number}.json", 10_000))
                there = re.fullmatch(rf"{number}\.\w+", found["file"]) and (self.folder / found["file"]).is_file()
            except (OSError, ValueError, KeyError, TypeError, DataError):
                return None
            if not there:
                return None
            self._known[number] = found
        return self._known[number]

    def _shrink(self, picture, path):
        if max(picture.size) > THUMBNAIL:
            picture = images.resize_picture(picture, images.fit(picture.size, THUMBNAIL), "area")
        with files.replacing(path, ".webp") as beside:
            images.write(beside, picture.rgb, picture.alpha)


def _of_own(number, path):
    with Image.open(path, formats=("JPEG",)) as image:
        width, height = image.size
    return {"id": number, "name": path.name, "width": width, "height": height, "type": "image/jpeg"}
