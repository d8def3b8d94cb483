"""Regions: which part of the picture is to have which style, and which part of a style is looked at."""

import functools
import logging
from typing import Any

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.pictures import bands, images

log = logging.getLogger("kstyle")

ALPHA, ALL = "alpha", "all"  # in place of a mask: the picture's own opacity, and no mask
# White is 1. A mask that is nowhere as bright as LABELS most likely holds labels, 0 and 1 of 255, and is refused; one
# that is nowhere as bright as FAINT is used, with a warning.
LABELS, FAINT = 0.1, 0.5


class Region:
    """A mask at the size of every layer.

    A pixel's weight in a mean, a Gram matrix or a covariance is the mask there, as in Gatys et al. 2017 (arXiv
    1611.07865). Losses that compare single positions take those where the mask is above a half.

    Args:
        mask: (H, W) float32 in [0, 1], not 0 everywhere.

    Attributes:
        share: mean of the mask, the part of the picture that it covers.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.share = float(mask.mean())
        # Each is computed once for a size of features. All terms then get the same array, by which they know that what
        # one has drawn from it is there for the others (`kstyle.style.losses.positions`).
        self.at = functools.lru_cache(maxsize=None)(self.at)
        self.inside = functools.lru_cache(maxsize=None)(self.inside)
        self.placed_at = functools.lru_cache(maxsize=None)(self.placed_at)
        self.placed_inside = functools.lru_cache(maxsize=None)(self.placed_inside)

    def turned(self, turns: int) -> "Region":
        """The region of the picture turned anticlockwise by so many quarters, as `numpy.rot90` does."""
        return Region(np.ascontiguousarray(np.rot90(self.mask, turns))) if turns else self

    def at(self, height: int, width: int) -> np.ndarray:
        """(height, width) float32, of mean 1: the weights at the positions of a layer of that size."""
        small = np.clip(images.resize(self.mask, (height, width), "area"), 0, 1)
        return small / max(float(small.mean()), 1e-12)

    def placed_at(self, height: int, width: int) -> Any:
        """`at` as (1, height, width, 1), by `backend.placed`."""
        from kstyle import backend  # here: the command line reads masks' names before a framework is loaded

        return backend.placed(self.at(height, width)[None, :, :, None])

    def placed_inside(self, height: int, width: int, rim: int = 0) -> Any:
        """`inside` by `backend.placed`."""
        from kstyle import backend

        return backend.placed(self.inside(height, width, rim))

    def weights(self, features: Any) -> Any:
        """(1, H, W, 1) float32 of mean 1 for features (1, H, W, C)."""
        return self.placed_at(*features.shape[1:3])

    def inside(self, height: int, width: int, rim: int = 0) -> np.ndarray:
        """Positions of an (height, width) layer without a rim of so many, counted row by row: those in the region; at
        least the one that is furthest in."""
        small = self.at(height, width)[rim : height - rim, rim : width - rim].ravel() * self.share
        return np.flatnonzero(small >= min(0.5, small.max())).astype("int32")


def read(masks, pictures, of):
    """Masks for pictures.

    Args:
        masks: None, or one for each picture: a path, `PIL.Image` or array as for `kstyle.pictures.images.read` (white
            is 1, what is black or clear 0), `"alpha"` for the picture's own opacity, None or `"all"` for all of it.
        pictures: the `Picture`s that they belong to; one may stand for several masks.
        of: what they are masks of, for messages.

    Returns:
        List of (H, W) float32 in [0, 1] or None.

    Raises:
        UsageError: another number of masks than pictures.
        DataError: a mask cannot be read, is black everywhere or nowhere bright, or has another shape than its picture.
    """
    masks = [None] * len(pictures) if masks is None else masks
    masks = list(masks) if isinstance(masks, (list, tuple)) else [masks]
    if len(masks) != len(pictures):
        raise UsageError(f"{len(masks)} {of} masks were given for {len(pictures)} style pictures: one for each.")
    return [_read(mask, picture) for mask, picture in zip(masks, pictures)]


def _read(mask, picture):
    if mask is None or (isinstance(mask, str) and mask == ALL):
        return None
    if isinstance(mask, str) and mask == ALPHA:
        if picture.alpha is None:
            raise DataError(f"{picture.name} is opaque: it has no transparency that could be a mask.")
        found, name = picture.alpha, f"the transparency of {picture.name}"
    else:
        read = images.read(mask)
        name = read.name
        found = bands.mapped(lambda band: bands.unit(band).mean(-1), read.values, channels=None)
        if read.alpha is not None:  # drawn in white on nothing, as programs that have layers save it
            found = found * read.alpha
    height, width = found.shape
    expected = picture.size
    # Sizes are rounded to pixels when pictures are scaled.
    if abs(width / height - expected[1] / expected[0]) > 0.02 * expected[1] / expected[0]:
        raise DataError(
            f"{name} is {width}×{height}, of another shape than {picture.name}, {expected[1]}×{expected[0]}: a mask "
            "may have another size, but not another shape."
        )
    if not found.any():
        raise DataError(f"{name} is black everywhere, or clear: as a mask it leaves nothing.")
    if found.max() < LABELS:
        raise DataError(
            f"{name} is nowhere brighter than {100 * found.max():.2g} % of white: in a mask white counts as 1, so one "
            f"of labels, such as 0 and 1, has to be multiplied by {round(1 / float(found.max()))}."
        )
    if found.max() < FAINT:
        brightest = round(255 * float(found.max()))
        log.warning("%s is nowhere brighter than %d of 255: as a mask it counts that much.", name, brightest)
    return found.astype("float32", copy=False)


def resize(mask, size):
    """A mask, or None, brought to (height, width), in [0, 1]."""
    if mask is None:
        return None
    mask = images.resize(mask, size, "area")
    return np.clip(mask, 0, 1, out=mask)


def all_at(masks, size):
    """A list of masks as by `resize`; None stays None."""
    return None if masks is None else [resize(mask, size) for mask in masks]


def region(mask):
    """`Region`, or None for None."""
    return None if mask is None else Region(mask)
