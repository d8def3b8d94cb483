"""What the numbers in a file of more than 8 bits mean: which is white, which is black."""

import contextlib

import numpy as np
from PIL import TiffImagePlugin

from kstyle.errors import DataError

# TIFF's tags, and what they say where a file says nothing.
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
_SUBFILE, _SUB_IFDS, _DNG = 254, 330, 50706
SIGNED, WHITE_IS_ZERO, REDUCED = 2, 0, 1
MOST_PREVIEWS = 16  # pages among which the first that is no preview is looked for


def tags(image):
    """A TIFF's tags, {number: value}; of other formats none."""
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def grey(image, tags, label):
    """The values of a decoded picture of one channel and more than 8 bits, Pillow's modes I, I;16 and F.

    A TIFF may hold 9 to 16 bits, with or without a sign, and count from white; other formats hold 16 without.

    Args:
        image: a `PIL.Image.Image`.
        tags: from `tags` of the image as it was opened: one that was turned has lost them.
        label: the file's name for errors.

    Returns:
        `(values, notes)`: (H, W) float32, 0 black and 1 white, of floats what they are; what the user should hear.

    Raises:
        DataError: whole numbers beyond 16 bits.
    """
    values, notes = np.asarray(image), []
    if image.mode.startswith("F"):
        return values, notes
    bits, signed = _first(tags, _BITS, 16), _first(tags, _FORMAT, 1) == SIGNED
    white = 2 ** (bits - signed) - 1 if 8 < bits <= 16 else 65535
    low, high = int(values.min()), int(values.max())
    if high > white or (low < 0 and not signed):
        raise DataError(f"{label}: expected whole numbers from 0 to {white}, got {low} to {high}.")
    if low < 0:
        notes.append(f"numbers below 0, down to {low}, were read as black")
    values = values.astype(np.float32)
    values /= np.float32(white)
    np.clip(values, 0, 1, out=values)
    if _first(tags, _PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        np.subtract(1, values, out=values)
    return values, notes


def whole(image, label):
    """An opened picture at its first page that is no preview; one of another format than TIFF as it is.

    Raises:
        DataError: a camera's raw file, of which Pillow reads nothing but a preview of a few pixels.
    """
    found = tags(image)
    reduced = _is_preview(found)
    if _DNG in found or (reduced and _SUB_IFDS in found):
        width, height = image.size
        raise DataError(
            f"{label}: is a camera's raw file, of which only a preview of {width}×{height} can be read: "
            "develop it and save it as JPEG, PNG or TIFF first."
        )
    if reduced:
        page = image.tell()
        with contextlib.suppress(EOFError):
            for other in range(MOST_PREVIEWS):
                image.seek(other)
                if not _is_preview(tags(image)):
                    return image
        image.seek(page)
    return image


def _is_preview(tags):
    return bool(_first(tags, _SUBFILE, 0) & REDUCED)


def _first(tags, tag, default):
    value = tags.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
