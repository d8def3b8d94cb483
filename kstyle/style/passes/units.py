"""The units of a picture that is optimised: value = factor · rgb + offset, rgb in [0, 1].

Adam's learning rate, L-BFGS' first step and total variation depend on them, so a published recipe needs its own.
"""

import numpy as np

from kstyle import backend
from kstyle.models.preprocessing import PREPROCESSINGS

_MEAN, _DEVIATION = (np.array(numbers, "float32") for numbers in PREPROCESSINGS["torch"].rgb)
SPACES = {
    "unit": (1.0, 0.0),
    "byte": (255.0, 0.0),
    "byte-256": (256.0, 0.0),
    # (rgb - mean) / deviation of ImageNet, as torchvision's transforms leave it.
    "imagenet": (1 / _DEVIATION, -_MEAN / _DEVIATION),
}


def to_space(rgb, space):
    """(..., 3) in [0, 1], a NumPy array or a tensor -> the values that are optimised."""
    factor, offset = SPACES[space]
    if isinstance(rgb, np.ndarray):
        values = rgb * np.float32(factor)
        values += np.float32(offset)
        return values.astype("float32", copy=False)
    if np.any(offset):
        return backend.affine(rgb, backend.constant(factor), backend.constant(offset))
    return rgb if factor == 1 else rgb * factor


def from_space(values, space):
    """The inverse of `to_space`, for NumPy arrays and tensors."""
    factor, offset = SPACES[space]
    if space == "unit":
        return values
    inverse = np.asarray(1 / factor, "float32")
    if isinstance(values, np.ndarray):
        return (values - np.float32(offset)) * inverse
    if np.any(offset):
        return backend.affine(values, backend.constant(inverse), backend.constant(-offset * inverse))
    return values * float(inverse)
