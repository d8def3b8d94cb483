"""Pictures in and out: the only place where kstyle reads, resizes and writes them. numpy and Pillow, no framework.

Inside kstyle a picture is a `Picture`: sRGB as `(H, W, 3)` float32 in [0, 1], and its opacity apart. Sizes are always
`(height, width)`. Whatever is wrong with a file is a one-line `DataError` that names the file and the reason.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from kstyle.errors import DataError, UsageError, unknown
from kstyle.io import streams
from kstyle.io.files import expanded, one_line
from kstyle.pictures import bands, formats, pages, profiles, samples, spaces

SLACK = 1e-3  # how far outside [0, 1] a float may be (a filter's rounding) before it counts as another range

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},  # 0 is 4:4:4
    "WEBP": {"quality": 95, "method": 4},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
FILTERS = {"lanczos": "LANCZOS", "bicubic": "BICUBIC", "bilinear": "BILINEAR", "area": "BOX"}  # ours: Pillow's


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as kstyle computes with it.

    Attributes:
        values: `(H, W, 3)`, sRGB-encoded, straight (not multiplied by alpha): float32 in [0, 1], or uint8 where that
            says the same, which is a quarter of the memory.
        alpha: `(H, W)` float32 in [0, 1], 1 opaque; None when the picture is opaque everywhere.
        name: the file's name without its folder, or what stands for it (`"array"`, `"image"`).
        notes: what the user should hear about how it was read, e.g. `"12 frames, the first is used"`.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    name: str = "array"
    notes: tuple[str, ...] = ()

    @property
    def rgb(self) -> np.ndarray:
        """`(H, W, 3)` float32 in [0, 1]; where `values` are bytes, made anew each time it is asked for."""
        return bands.floats(self.values)

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` in pixels."""
        return self.values.shape[:2]


# What `read` takes.
Source: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray | Picture


def read(source: Source) -> Picture:
    """Read a picture, whatever it is, as float sRGB.

    A file is turned as its EXIF orientation says and converted to sRGB: by its ICC profile (`profiles.to_srgb`), or
    from the space that it names otherwise (`kstyle.pictures.spaces`). 8-bit values are divided by 255, grey ones of
    more bits by what is white in them (`kstyle.pictures.samples`); Pillow reads 16-bit colour as 8-bit, which is noted.
    Of an animation the first frame is used. A PNG's gAMA chunk is not looked at.

    Args:
        source: a path, `-` for standard input; or a `PIL.Image.Image` (its current frame); or an array `(H, W)`,
            `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`, last the alpha, of uint8, uint16, bool, or float in [0, 1]; or a
            `Picture`, returned as it is.

    Returns:
        A `Picture`; its arrays share no memory with `source`.

    Raises:
        DataError: the file is missing, unreadable, not a picture, damaged, or by its header, before anything is
            decoded, above `kstyle.pictures.formats.MAX_PIXELS`; the array has another shape, type or range.
        UsageError: `KSTYLE_MAX_PIXELS` is not a whole number above 0.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        label = one_line(getattr(source, "filename", "") or "image")
        with formats.one_line_errors(label):
            formats.check_format(source, label)
            return _from_pil(source, label, getattr(source, "fp", None))
    if isinstance(source, (str, os.PathLike)):
        label = one_line(path := expanded(source))
        with formats.one_line_errors(label), streams.reading(path) as stream:
            if not stream.read(1):
                raise DataError(f"{label}: the file is empty.")
            return _from_pil(samples.whole(formats.open_image(stream, label), label), label, stream)
    if hasattr(source, "__array__"):
        values = np.asarray(source)
        if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3 and values.size:
            return _picture(values.copy(), None, "array", [])
        rgb, alpha = from_values(values, "array")
        return _picture(rgb, alpha, "array", [])
    raise DataError(f"Expected a path, a PIL image or an array to read, got {type(source).__name__}.")


def _from_pil(image, label, stream):
    formats.check_pixels(image.size, label)
    tags = samples.tags(image)
    head, notes = _head(stream), []
    frames = pages.count(image)
    if frames != "1" and image.format != "PSD":  # a PSD's frames are its layers, and what is read is their sum
        number = image.tell()
        notes.append(f"{frames} frames, {'the first' if number == 0 else f'number {number + 1}'} is used")
    if image.mode[0] != "I" and re.search(";16[BLN]", str(getattr(image, "tile", ""))):
        notes.append("16 bits a channel, read as 8")
    formats.load(image)

    space, before, note = spaces.of_file(image, head)  # before it is turned, which loses its format
    notes += [note] if note else []
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            image = ImageOps.exif_transpose(image)
            notes.append("turned as its EXIF orientation says")
    except Exception:  # as in formats.one_line_errors; a picture is worth more than its metadata
        notes.append("its EXIF data is broken and was ignored")

    if image.mode.startswith(("I", "F")):
        values, more = samples.grey(image, tags, label)
        notes += more
        rgb, alpha = from_values(values, label)
        if isinstance(clear := image.info.get("transparency"), int):
            alpha = (np.asarray(image) != clear).astype(np.float32)
        if image.info.get("icc_profile"):
            notes.append("its ICC profile was ignored: only 8-bit pictures are converted")
    else:
        mode, alpha = image.mode, None
        if image.has_transparency_data:
            image = image if mode == "RGBA" else image.convert("RGBA")
            alpha = _levels_of(image.getchannel("A"))
            image = image.convert("RGB")
        if space != spaces.SRGB and (before or not image.info.get("icc_profile")):
            image = image if image.mode == "RGB" else image.convert("RGB")
            rgb = bands.mapped(lambda band: spaces.to_srgb(bands.unit(band), space), _levels_of(image))
            notes.append(f"converted from {space}")
        else:
            image, more = profiles.to_srgb(image, mode)
            notes += more
            rgb = _levels_of(image)
        del image  # Pillow's copy, of four bytes a pixel
        alpha = None if alpha is None or alpha.min() == 255 else bands.mapped(bands.unit, alpha, channels=None)
    return _picture(rgb, alpha, os.path.basename(label), notes)


def _levels_of(image):
    """A decoded picture of mode RGB or L as uint8. Asked for all at once, Pillow would make two copies on the way."""
    width, height = image.size
    found = np.empty((height, width, 3) if image.mode == "RGB" else (height, width), np.uint8)
    for band in bands.rows(height, width):
        found[band] = np.asarray(image.crop((0, band.start, width, band.stop)))
    return found


def _head(stream):
    """The first bytes of an open file, which is left where it was; none where there is no file any more."""
    try:
        place = stream.tell()
        stream.seek(0)
        head = stream.read(spaces.HEAD)
        stream.seek(place)
        return head
    except (AttributeError, OSError, ValueError):
        return b""


def from_values(values, label):
    """An array as `read` takes it -> rgb `(H, W, 3)` and alpha `(H, W)` or None, float32 in [0, 1]."""
    shape = values.shape
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise DataError(f"{label}: expected the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {shape}.")
    if values.dtype == np.bool_:
        values = values.astype(np.float32, order="C")
    elif values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        white, values = np.float32(np.iinfo(values.dtype).max), values.astype(np.float32, order="C")
        values /= white
    elif np.issubdtype(values.dtype, np.floating):
        check_unit(values, label)
        given, values = values, np.empty(shape, np.float32)
        for band in bands.rows(shape[0], given[0].size):
            values[band] = np.clip(given[band], 0, 1)
    else:
        raise DataError(f"{label}: expected uint8, uint16, bool or float in [0, 1], got {values.dtype}.")
    values = values.reshape(*shape[:2], -1)  # a copy in every case
    if values.shape[2] == 3:
        return values, None
    alpha = values[..., 3].copy() if values.shape[2] == 4 else None
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3].copy(), alpha


def check_unit(values, label):
    """DataError where floats are not in [0, 1]; of those to 255, as `keras.utils.img_to_array` gives, with the way."""
    low, high = values.min(), values.max()
    if not (low >= -SLACK and high <= 1 + SLACK):  # so that NaN, which compares as False, is refused too
        way = ": divide them by 255" if low >= -SLACK and 2 < high <= 255 + SLACK else ""
        raise DataError(f"{label}: expected floats in [0, 1], got values from {low:g} to {high:g}{way}.")


def _picture(rgb, alpha, name, notes):
    if alpha is not None and alpha.min() >= 1:
        alpha = None
    if alpha is not None and (hidden := alpha == 0).any() and not hidden.all():
        # No one ever sees the colour of a clear pixel, so it is often whatever the program that saved it left there,
        # yet a convolution sees it. The mean of the colours that are seen adds the least that is new.
        weight, rgb = alpha.sum(dtype=np.float64), bands.floats(rgb)
        rgb[hidden] = [(rgb[..., c] * alpha).sum(dtype=np.float64) / weight for c in range(3)]
    return Picture(rgb, alpha, name, tuple(one_line(note) for note in notes))


def resize(array, size, filter="lanczos"):
    """Resample an array in float, each channel by itself.

    Args:
        array: `(H, W)` or `(H, W, C)`, taken as float32 of any range.
        size: `(height, width)` wanted, each at least 1.
        filter: `"lanczos"`, `"bicubic"`, `"bilinear"` or `"area"` (Pillow's box: the mean of the pixels under the new
            one). Shrinking widens the filter, so nothing aliases.

    Returns:
        float32 of shape `size` and the same channels, always a copy. It is NOT clipped: Lanczos and bicubic overshoot
        at edges, so values from [0, 1] may come back slightly outside.

    Raises:
        UsageError: the filter is unknown or a side is not a whole number of at least 1.
        DataError: the array has another shape.
    """
    if filter not in FILTERS:
        raise unknown("filter", filter, FILTERS)
    height, width = _sides(size)
    array = np.asarray(array)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(f"Expected an array (H, W) or (H, W, C) to resize, got the shape {array.shape}.")
    found, kind = np.empty((height, width, *array.shape[2:]), np.float32), Image.Resampling[FILTERS[filter]]
    planes = [...] if array.ndim == 2 else [(..., channel) for channel in range(array.shape[2])]
    for plane in planes:
        bands.resample(lambda band, plane=plane: array[band][plane], array.shape[:2], found[plane], kind)
    return found


def _sides(size):
    sides = tuple(size)
    if len(sides) != 2 or any(int(side) != side or side < 1 for side in sides):
        raise UsageError(f"A size is (height, width), whole numbers of at least 1; got {sides}.")
    return int(sides[0]), int(sides[1])


def fit(size, long_side):
    """The `(height, width)` of the aspect of `size` whose long side is exactly `long_side` pixels.

    The short side is rounded to the nearest pixel, a half up, and is at least 1. Errors as for `resize`.
    """
    (height, width), (long_side, _) = _sides(size), _sides((long_side, 1))
    long, short = max(height, width), min(height, width)
    short_side = max(1, (2 * short * long_side + long) // (2 * long))
    return (long_side, short_side) if height >= width else (short_side, long_side)


def resize_picture(picture, size, filter="lanczos"):
    """`picture` at `size` (height, width), clipped to [0, 1]; name and notes stay. Errors as for `resize`.

    With alpha the colours are resampled multiplied by it, so what shows at an edge is mixed only from what showed.
    """
    if filter not in FILTERS:
        raise unknown("filter", filter, FILTERS)
    values, found = picture.values, np.empty((*_sides(size), 3), np.float32)
    kind = Image.Resampling[FILTERS[filter]]
    for c in range(3):
        bands.resample(lambda band, c=c: bands.unit(values[band, :, c]), picture.size, found[..., c], kind)
    if picture.alpha is None:
        return replace(picture, values=np.clip(found, 0, 1, out=found))
    alpha = resize(picture.alpha, size, filter)
    np.clip(alpha, 0, 1, out=alpha)
    mixed = np.empty(alpha.shape, np.float32)
    for c in range(3):

        def take(band, c=c):
            return bands.unit(values[band, :, c]) * picture.alpha[band]

        bands.resample(take, picture.size, mixed, kind)
        for band in bands.rows(*alpha.shape):
            opacity, plain = alpha[band], found[band, :, c]
            seen = opacity > 1 / 512  # under this it is written as 0, and dividing by it would only magnify overshoot
            found[band, :, c] = np.where(seen, mixed[band] / np.where(seen, opacity, 1), plain)
    return replace(picture, values=np.clip(found, 0, 1, out=found), alpha=alpha)


def to_pil(rgb, alpha=None):
    """An 8-bit Pillow image: mode RGB from `rgb`, `(H, W, 3)` sRGB; RGBA with `alpha`, `(H, W)`.

    Values are clipped to [0, 1] and rounded to the nearest of the 256 levels. DataError for another shape, or a value
    that is NaN or infinite.
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise DataError(f"Expected a picture of shape (H, W, 3), got {rgb.shape}.")
    if alpha is not None and np.shape(alpha) != rgb.shape[:2]:
        raise DataError(f"Expected an alpha of the picture's shape {rgb.shape[:2]}, got {np.shape(alpha)}.")
    image = _drawn("RGB", rgb)
    if alpha is not None:
        image.putalpha(_drawn("L", np.asarray(alpha)))
    return image


def _drawn(mode, values):
    image, bad = Image.new(mode, values.shape[1::-1]), 0
    for band in bands.rows(*values.shape[:2]):
        levels = values[band].astype(np.float32)  # integers and bool too; a copy
        bad += levels.size - np.count_nonzero(np.isfinite(levels))
        if bad:
            continue
        np.clip(levels, 0, 1, out=levels)
        levels *= 255
        image.paste(Image.fromarray(np.rint(levels, out=levels).astype(np.uint8)), (0, band.start))
    if bad:
        raise DataError(f"Expected a picture of finite values, got {bad:,} of {values.size:,} NaN or infinite.")
    return image


def check_target(path):
    """Check that a picture can be written at `path`, before hours of work are spent on it; returns it as a `Path`.

    `-` is standard output. UsageError where that cannot take it, or the extension is not one of `FORMATS`; DataError
    where the path is a folder, or its folder is missing or cannot be written to.
    """
    path = Path(expanded(path))
    if str(path) == streams.STANDARD:
        streams.output()
        return path
    label, folder = one_line(path), path.parent
    try:
        if path.is_dir():
            raise DataError(f"{label}: is a folder; give the name of a picture in it.")
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"{label}: pictures are written as {', '.join(FORMATS)}, not '{path.suffix}'.")
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist; make it first"
            raise DataError(f"{label}: the folder {one_line(folder)} {what}.")
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # a name too long is found out here
    except OSError as error:  # e.g. a name too long, a folder that may not be entered
        raise DataError(f"{label}: cannot be written ({error.strerror}).") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{label}: the folder {one_line(folder)} cannot be written to.")
    return path


def write(path, rgb, alpha=None, *, text=None):
    """Write a picture, whole or not at all, in the format of the extension of `path`; returns it as a `Path`.

    PNG; JPEG at quality 95 with full-resolution colour (4:4:4); WebP at quality 95 with lossless alpha; TIFF with
    deflate. Always 8 bits a channel with an sRGB profile. JPEG has no alpha: the picture is laid on white. The same
    arguments give the same bytes.

    Args:
        path: `-` is standard output, as PNG. An existing file is replaced once the new one is complete, which takes
            over its permissions.
        rgb, alpha: float in [0, 1], sRGB, straight, as for `to_pil`; no alpha is opaque.
        text: `{key: value}` of strings to keep in the file. A PNG takes each as a text chunk; the others take the
            whole as one line of JSON in the EXIF description, which is left out where it passes JPEG's 64 KB.

    Raises:
        UsageError, DataError: as for `check_target` and `to_pil`; DataError also when writing fails (disk full), with
            nothing new left in the folder and an existing file as it was.
    """
    path = check_target(path)
    kind = FORMATS[path.suffix.lower() or ".png"]
    image = to_pil(rgb, alpha)
    if kind == "JPEG" and alpha is not None:
        seen, image = image, Image.new("RGB", image.size, "white")
        image.paste(seen, mask=seen.getchannel("A"))
    options = dict(OPTIONS[kind])
    if text and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for key, value in text.items():
            options["pnginfo"].add_text(key, value)  # Latin-1, or UTF-8 (iTXt) where that does not hold it
    elif text and len(line := json.dumps(text)) < 65_000:
        options["exif"] = Image.Exif()
        options["exif"][ExifTags.Base.ImageDescription] = line
    with streams.writing(path) as stream:
        try:
            image.save(stream, format=kind, icc_profile=profiles.srgb(), **options)
        except ValueError as error:  # what the format cannot hold, such as 70,000 pixels
            raise DataError(f"{one_line(path)}: cannot be written ({one_line(error)}).") from error
    return path
