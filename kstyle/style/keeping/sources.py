"""The pictures that a painting is made of: where each is, and what was in it when the painting began."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kstyle.errors import DataError
from kstyle.io import files, runs, streams
from kstyle.io.files import expanded, one_line, reason
from kstyle.pictures import images
from kstyle.style.passes import regions


class Sources:
    """The pictures of a painting that begins, as they were given.

    A file is known by its full path and the SHA-256 of its bytes. What is no file, an array or what came through a
    pipe, is to be kept as a file in the run's folder.

    Args:
        content, styles, masks, style_masks: as for `kstyle.stylize`.

    Attributes:
        content, styles, masks, style_masks: the same, with full paths, pictures where there is no file.
        entries: {name: what the record says of it}, JSON; a mask that is a word, or None, stands for itself.

    Raises:
        DataError: a picture that cannot be read.
    """

    def __init__(self, content: Any, styles: Any, masks: Any = None, style_masks: Any = None) -> None:
        self.entries: dict[str, Any] = {}
        self._pictures: dict[str, images.Picture] = {}
        self.content = self._noted("content", content)
        self.styles = self._all("style", styles)
        self.masks = None if masks is None else self._all("mask", masks)
        self.style_masks = None if style_masks is None else self._all("style_mask", style_masks)

    def _all(self, name, given):
        given = list(given) if isinstance(given, (list, tuple)) else [given]
        return [self._noted(f"{name}_{number}", each) for number, each in enumerate(given, 1)]

    def _noted(self, name, source):
        if source is None or (isinstance(source, str) and "mask" in name and source in (regions.ALPHA, regions.ALL)):
            self.entries[name] = source
        elif isinstance(source, (str, os.PathLike)) and not streams.is_stream(path := expanded(source)):
            source = os.path.abspath(path)
            self.entries[name] = {"path": source, "sha256": digest(source)}
        else:
            source = self._pictures[name] = images.read(source)
        return source

    def file(self, name: str, path: str) -> None:
        """Notes another file that the painting is made of."""
        self.entries[name] = {"path": path, "sha256": digest(path)}

    def keep(self, folder: str | os.PathLike[str]) -> None:
        """Writes the pictures that no file holds into a run's folder. DataError: it cannot be written."""
        for name, picture in self._pictures.items():
            path = Path(folder) / f"{name}.safetensors"
            alpha = {} if picture.alpha is None else {"alpha": picture.alpha}
            runs.save_arrays(path, {"rgb": picture.rgb, **alpha}, {"name": picture.name})
            self.entries[name] = {"kept": path.name, "sha256": digest(path)}


class Found:
    """The pictures of a painting that goes on, as `Sources` noted them.

    Args:
        entries: of the record.
        folder: of the run.

    Attributes:
        content, styles, masks, style_masks: for `kstyle.stylize`.

    Raises:
        DataError: one is gone, or another than when the painting began.
    """

    def __init__(self, entries: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
        self._entries, self._folder = entries, Path(folder)
        for name, entry in entries.items():
            if isinstance(entry, dict):
                self._check(name, entry)
        self.content = self._given("content")
        self.styles, self.masks, self.style_masks = map(self._all, ("style", "mask", "style_mask"))

    def _all(self, name):
        return [self._given(each) for each in numbered(self._entries, name)] or None

    def _given(self, name):
        entry = self._entries[name]
        if not isinstance(entry, dict):
            return entry
        if "path" in entry:
            return entry["path"]
        arrays, notes = runs.load_arrays(self._folder / entry["kept"])
        return images.Picture(arrays["rgb"], arrays.get("alpha"), notes["name"])

    def _check(self, name, entry):
        path = entry["path"] if "path" in entry else self._folder / entry["kept"]
        if digest(path) != entry["sha256"]:
            raise DataError(
                f"{one_line(path)} has changed since the painting in {one_line(self._folder)} began, of which it is "
                f"the {name.replace('_', ' ')}: put it back, or begin a new painting."
            )


def numbered(entries, name):
    """Which of a record's pictures are `style`s, say, or `mask`s: `["style_1", "style_2"]`, in their order."""
    return [each for number in range(1, len(entries) + 1) if (each := f"{name}_{number}") in entries]


def digest(path):
    """SHA-256 of a file's bytes, in hex. DataError: it cannot be read."""
    try:
        return files.sha256(path)
    except OSError as error:
        raise DataError(f"{one_line(path)}: {_gone(error)}.") from error


def _gone(error):
    return "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason(error)})"
