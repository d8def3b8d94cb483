"""What a picture's colours are: mean and covariance of weighted pixels, and colours by their ranks.

In float64, of which a copy of a large picture would be eight times the file: pictures of more than `BAND` pixels are
looked at in parts, smaller ones at once.
"""

import numpy as np

from kstyle.errors import DataError
from kstyle.pictures import bands

BAND = 1 << 22  # pixels; 2048×2048


def mask_of(mask, picture):
    """A mask as (H, W) float32 in [0, 1]. DataError: it has another shape than the picture, or another range."""
    mask = np.asarray(mask, np.float32)
    if mask.shape != picture.shape[:2]:
        raise DataError(f"Expected a mask of the picture's shape {picture.shape[:2]}, got {mask.shape}.")
    if not (mask.min() >= 0 and mask.max() <= 1):  # so that NaN is refused too
        raise DataError(f"Expected a mask in [0, 1], got values from {mask.min():g} to {mask.max():g}.")
    return mask


def _parts(picture, mask):
    """Slices of rows and the weights of their pixels, (N,) float64; those of all parts together add up to 1."""
    height, width = picture.shape[:2]
    parts = list(bands.rows(height, width, BAND))
    if mask is not None:
        mask = mask_of(mask, picture)
        total = sum(mask[part].ravel().astype(np.float64).sum() for part in parts)
        if not total:
            message = "The mask is 0 everywhere: there is no colour to take. Leave it out, or mark the region in it."
            raise DataError(message)
    for part in parts:
        if mask is None:
            yield part, np.full((part.stop - part.start) * width, 1 / (height * width))
        else:
            weights = mask[part].ravel().astype(np.float64)
            weights /= total
            yield part, weights


def weights(picture, mask):
    """(H·W,) float64 that add up to 1."""
    return np.concatenate([share for _, share in _parts(picture, mask)])


def moments(picture, mask):
    """Mean (3,) and covariance (3, 3) of the weighted pixels, float64."""

    def pixels(part):
        return picture[part].reshape(-1, 3).astype(np.float64)

    mean = sum(share @ pixels(part) for part, share in _parts(picture, mask))
    covariance = np.zeros((3, 3))
    for part, share in _parts(picture, mask):
        apart = pixels(part)
        apart -= mean
        covariance += (apart * share[:, None]).T @ apart
    return mean, covariance


def mean_and_deviation(picture, convert):
    """Of each channel of what `convert` makes of the pixels: two (3,) float64."""
    height, width = picture.shape[:2]
    parts, count = list(bands.rows(height, width, BAND)), height * width

    def converted(part):
        found = np.empty(picture[part].shape)
        for band in bands.rows(*found.shape[:2]):
            found[band] = convert(picture[part][band])
        return found

    mean = sum(converted(part).sum((0, 1)) for part in parts) / count
    squares = 0
    for part in parts:
        apart = converted(part)
        apart -= mean
        squares = squares + np.square(apart, out=apart).sum((0, 1))
    return mean, np.sqrt(squares / count)


def along(picture, axis, axes):
    """(H·W,): the pixels along the axis of this number; axes: (3, 3) or None, where they are red, green and blue."""
    if axes is None:
        return picture[..., axis].ravel()
    found = np.empty(picture.shape[:2])
    for band in bands.rows(*found.shape):
        found[band] = (picture[band] @ axes)[..., axis]
    return found.ravel()


def match_ranks(values, weights, wanted, wanted_weights):
    """Each of `values` (N,) as the mean of `wanted` (M,) over its share of the ranks; weights add up to 1."""
    ranks, sums = np.zeros(len(wanted) + 1), np.zeros(len(wanted) + 1)
    order = np.argsort(wanted, kind="stable")
    share = wanted_weights[order]
    np.cumsum(share, out=ranks[1:])
    share *= wanted[order]
    np.cumsum(share, out=sums[1:])
    del order, share
    which = _places(values)
    share = np.bincount(which, weights)
    middle = np.cumsum(share) - share / 2
    # Pixels that a mask leaves out weigh nothing, yet have a place in the order: each takes the value there.
    half = np.maximum(share, 1e-9) / 2
    low, high = np.clip(middle - half, 0, ranks[-1]), np.clip(middle + half, 0, ranks[-1])
    return ((np.interp(high, ranks, sums) - np.interp(low, ranks, sums)) / (high - low))[which]


def _places(values):
    """(N,) -> of each its place among the values that differ, as `numpy.unique` says it with twice the memory."""
    order = np.argsort(values)
    changes = np.empty(len(values), np.int32)
    changes[0] = 0
    in_order = values[order]
    np.not_equal(in_order[1:], in_order[:-1], out=changes[1:], casting="unsafe")
    del in_order
    np.cumsum(changes, out=changes)
    found = np.empty_like(changes)
    found[order] = changes
    return found
