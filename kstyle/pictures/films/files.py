"""Films as files: how one is taken apart into pictures, and made of pictures. Animations here, videos in `video`."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kstyle.errors import DataError, UsageError
from kstyle.io import files
from kstyle.io.files import expanded, one_line
from kstyle.pictures import formats, images
from kstyle.pictures.films import video

# Films that Pillow reads and writes. See `is_film`: a WebP or PNG is taken for a picture unless a film is asked for.
ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
# Frames, spread over the whole, whose colours make a GIF's palette.
GIF_PALETTE_FRAMES = 16


@dataclass(frozen=True)
class Film:
    """A film taken apart.

    Attributes:
        path: of its file.
        frames: paths of its frames, pictures, in order.
        rate: frames a second as ffmpeg says it, "30000/1001"; None for an animation.
        durations: seconds of each frame of a video whose rate varies, empty for others; milliseconds of an animation's.
        loop: how often an animation is repeated, 0 for ever; None: not said.
    """

    path: Path
    frames: list
    rate: str | None = None
    durations: tuple = ()
    loop: int | None = None

    @property
    def suffix(self):
        """Of the result."""
        suffix = self.path.suffix.lower()
        return suffix if self.rate is None else video.FILMS[suffix][0]


def is_film(path, animations=False):
    """Whether a file is a film: a video, a GIF of several frames, or, with `animations`, a WebP or PNG of several. Only
    its name and header are looked at."""
    suffix = Path(path).suffix.lower()
    if suffix in video.FILMS:
        return True
    if suffix not in ANIMATIONS or (suffix != ".gif" and not animations):
        return False
    try:
        with _opened(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except DataError:  # whoever opens it as a picture will say why
        return False


def take_apart(path, folder, size):
    """A film's frames as PNG files in a folder, no larger than they will be painted.

    Args:
        path: of a film, see `is_film`.
        folder: an empty one.
        size: long side in pixels of what will be painted.

    Returns:
        A `Film`.

    Raises:
        UsageError: it takes ffmpeg, which is not installed.
        DataError: the film cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() in video.FILMS:
        return Film(path, *video.take_apart(path, folder, size))
    return _take_animation_apart(path, folder)


def join(film, pictures, target):
    """Writes painted frames as a film, at the rate of the one they were painted from and with its sound.

    Args:
        film: the `Film`.
        pictures: a path for each of its frames.
        target: ends in `film.suffix`; replaced once the new one is complete.

    Raises:
        DataError: it cannot be written.
    """
    if film.rate is None:
        _write_animation(film, pictures, Path(target))
    else:
        video.join(film, pictures, Path(target))


def check_target(path):
    """Check that a film can be made at `path`; returns it as a `Path`.

    Raises:
        UsageError: its name ends otherwise than a film's, or it takes ffmpeg, which is not installed. DataError: its
            folder is missing or cannot be written to.
    """
    path, suffix = Path(expanded(path)), Path(path).suffix.lower()
    if suffix not in (*ANIMATIONS, *video.WRITTEN):
        known = ", ".join((*ANIMATIONS, *video.WRITTEN))
        raise UsageError(f"{one_line(path)}: films are written as {known}, not '{path.suffix}'.")
    video.need_ffmpeg(path, "give a name that ends in .gif or .webp")
    if path.is_dir():
        raise DataError(f"{one_line(path)}: is a folder; give the name of a film in it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataError(f"{one_line(path)}: the folder {one_line(path.parent)} is not there or cannot be written to.")
    return path


def make(pictures, target, rate):
    """Writes a film of pictures, without sound; an animation is repeated for ever.

    Args:
        pictures: paths, all of one size, in order.
        target: as `check_target` takes it; replaced once the new one is complete.
        rate: pictures a second. An animation counts milliseconds, a GIF hundredths of a second.

    Raises:
        DataError: it cannot be written.
    """
    if Path(target).suffix.lower() in video.FILMS:
        video.make(pictures, target, rate)
    else:
        film = Film(Path(target), [], durations=(round(1000 / rate),) * len(pictures), loop=0)
        _write_animation(film, pictures, Path(target))


@contextlib.contextmanager
def _opened(path):
    label = one_line(path)
    with formats.one_line_errors(label), open(path, "rb") as stream:
        yield formats.open_image(stream, label)


def _take_animation_apart(path, folder):
    frames, durations = [], []
    with _opened(path) as image:
        loop = image.info.get("loop")
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            durations.append(round(image.info.get("duration", 100)))
            frame = image.convert("RGBA" if image.has_transparency_data else "RGB")
            frames.append(Path(folder, f"{number + 1:06d}.png"))
            frame.save(frames[-1], compress_level=1)
    return Film(path, frames, durations=tuple(durations), loop=loop)


def _write_animation(film, pictures, target):
    kind = ANIMATIONS[film.suffix]
    shown = [_eight_bits(path) for path in pictures]
    clear = any(frame.mode == "RGBA" for frame in shown)
    options = {"WEBP": {"quality": 90}, "PNG": {}, "GIF": {"disposal": 2} if clear else {}}[kind]
    if film.loop is not None:
        options["loop"] = film.loop
    if kind == "GIF" and not clear:
        # One palette for all frames, and no dithering: its dots would change from frame to frame and so flicker.
        palette = _palette(shown)
        shown = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    with files.replacing(target) as beside, open(beside, "w+b") as stream:
        shown[0].save(
            stream, format=kind, save_all=True, append_images=shown[1:], duration=list(film.durations), **options
        )


def _eight_bits(path):
    picture = images.read(path)
    return images.to_pil(picture.rgb, picture.alpha)


def _palette(shown):
    picked = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, GIF_PALETTE_FRAMES).round().astype(int))]
    width, height = picked[0].size
    sheet = Image.new("RGB", (width, height * len(picked)))
    for number, frame in enumerate(picked):
        sheet.paste(frame, (0, number * height))
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
