"""Large pictures a few rows at a time, so that what is computed on the way to a result is never as large as a picture.

A photograph of 100 megapixels is 300 MB as a file's bytes and 1.2 GB as float32; each float64 copy would be 2.4 GB.
Functions of single pixels give the same bits in bands as of the whole.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

PIXELS = 1 << 16  # of a band: what is computed with them stays near the processor


def rows(height: int, width: int, pixels: int = PIXELS) -> Iterator[slice]:
    """Slices of rows that cover an array of `height` rows of `width`, with about `pixels` in each.

    >>> list(rows(5, 100, pixels=200))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, pixels // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def unit(values: np.ndarray) -> np.ndarray:
    """Bytes, of which 255 is 1, as float32; float32 as it is."""
    if values.dtype != np.uint8:
        return values
    found = values.astype(np.float32)
    found /= np.float32(255)
    return found


def floats(values: np.ndarray) -> np.ndarray:
    """`unit` of a whole picture (H, W, C): a new array of bytes, of float32 the same one."""
    return mapped(unit, values, channels=values.shape[2]) if values.dtype == np.uint8 else values


def levels(values: np.ndarray) -> np.ndarray:
    """The reverse: float values of any shape, clipped to [0, 1] and rounded to the 256 levels, as bytes."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def mapped(function, *arrays, channels=3):
    """`function` of arrays (H, W, …), a band of rows of each at a time: (H, W, `channels`) float32, or (H, W) for None.

    Args:
        function: takes a band of each array, gives the rows of the result; looks at each row by itself.
    """
    height, width = arrays[0].shape[:2]
    found = np.empty((height, width) if channels is None else (height, width, channels), np.float32)
    for band in rows(height, width):
        found[band] = function(*(array[band] for array in arrays))
    return found


def resample(take, shape, found, kind):
    """Resamples one channel, which Pillow has whole, four bytes a pixel; going in and coming out it goes in bands.

    Args:
        take: gives the rows in a slice of the channel, (rows, width), of any type that float32 holds.
        shape: (height, width) of the channel.
        found: (height, width) float32 to write the result to.
        kind: a `PIL.Image.Resampling`.
    """
    if shape == found.shape:
        for band in rows(*shape):
            found[band] = take(band)
        return
    plane = Image.new("F", shape[::-1])  # mode F: float32 in and out
    for band in rows(*shape):
        plane.paste(Image.fromarray(np.ascontiguousarray(take(band), np.float32)), (0, band.start))
    plane = plane.resize(found.shape[::-1], kind)
    for band in rows(*found.shape):
        found[band] = np.asarray(plane.crop((0, band.start, found.shape[1], band.stop)))


def digest(*arrays: np.ndarray | None) -> str:
    """The first digits of the SHA-256 of pictures' values and masks, (H, W, …) or None, bytes as the floats that they
    stand for."""
    found = hashlib.sha256()
    for array in arrays:
        if array is not None:
            found.update(repr(array.shape).encode())
            for band in rows(*array.shape[:2]):
                found.update(np.ascontiguousarray(unit(array[band])).tobytes())
    return found.hexdigest()[:16]
