"""A picture as the levels of a Laplacian pyramid: a step of an optimiser then moves coarse and fine detail alike.

Burt & Adelson 1983; STROTSS and Neural Neighbor Style Transfer optimise its coefficients in place of pixels, so that
Adam's and RMSprop's rate, which is the same for every number, reaches a colour cast in as few steps as an edge.
"""

import itertools

import keras
import numpy as np

from kstyle.pictures import images

ops = keras.ops


def shapes(height, width, levels):
    """[(height, width)] of the levels, each half of the one before, rounded up; none has a side below 2."""
    found = [(height, width)]
    while len(found) < levels and min(found[-1]) >= 4:
        found.append(tuple(-(-side // 2) for side in found[-1]))
    return found


def split(image, levels):
    """(H, W, C) float32 NumPy -> (N,) float32: what each level adds to the enlarged sum of the coarser ones.

    Args:
        levels: how many; fewer where the picture is too small for them.
    """
    height, width, _ = image.shape
    means = [image] + [images.resize(image, shape, "area") for shape in shapes(height, width, levels)[1:]]
    details = [fine - ops.convert_to_numpy(_enlarge(coarse, fine.shape)) for fine, coarse in itertools.pairwise(means)]
    return np.concatenate([level.ravel() for level in [*details, means[-1]]]).astype("float32")


def detail(image):
    """The finest level alone: (H, W, C) float32 NumPy -> what half the size cannot show of it."""
    half = shapes(*image.shape[:2], 2)[-1]
    coarse = images.resize(image, half, "area")
    return image - ops.convert_to_numpy(_enlarge(coarse, image.shape))


def join(vector, shape, levels):
    """The inverse of `split`, in Keras ops: (N,) -> (H, W, C) = `shape`."""
    height, width, channels = shape
    parts, start = [], 0
    for h, w in shapes(height, width, levels):
        parts.append(ops.reshape(vector[start : start + h * w * channels], (h, w, channels)))
        start += h * w * channels
    total = parts.pop()
    while parts:
        fine = parts.pop()
        total = fine + _enlarge(total, fine.shape)
    return total


def _enlarge(image, shape):
    return ops.image.resize(image, tuple(shape[:2]), interpolation="bilinear", data_format="channels_last")
