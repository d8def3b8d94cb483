"""Content losses: how far features are from those of the content picture, as published code measures it.

All are float32, whatever the precision of the features.
"""

import math

import keras

from kstyle import backend
from kstyle.backend import Tensor

ops = keras.ops


def mse(x: Tensor, target: Tensor) -> Tensor:
    """Mean square difference.

    Args:
        x, target: features, two tensors of one shape, (1, H, W, C) say.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> x, target = ops.full((1, 2, 2, 3), 3.0), ops.ones((1, 2, 2, 3))
    >>> float(losses.mse(x, target))
    4.0
    """
    return backend.squared_error(x, target) / math.prod(x.shape)


def sum_of_squares(x: Tensor, target: Tensor) -> Tensor:
    """Sum of square differences: keras.io, CS231n.

    Args:
        x, target: features, two tensors of one shape, (1, H, W, C) say.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> x, target = ops.full((1, 2, 2, 3), 3.0), ops.ones((1, 2, 2, 3))
    >>> float(losses.sum_of_squares(x, target))
    48.0
    """
    return backend.squared_error(x, target)


def half_sum_of_squares(x: Tensor, target: Tensor) -> Tensor:
    """½ Σ (x − target)²: equation 1 of Gatys et al., 'A Neural Algorithm of Artistic Style' (arXiv 1508.06576).

    Args:
        x, target: features, two tensors of one shape, (1, H, W, C) say.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> x, target = ops.full((1, 2, 2, 3), 3.0), ops.ones((1, 2, 2, 3))
    >>> float(losses.half_sum_of_squares(x, target))
    24.0
    """
    return 0.5 * sum_of_squares(x, target)


def half_root(x: Tensor, target: Tensor) -> Tensor:
    """Σ (x − target)² / (2 √C √N): neural-style-tf, and titu1994's content_loss_type 1.

    Args:
        x, target: features, both (1, H, W, C).

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> x, target = ops.full((1, 2, 2, 3), 3.0), ops.ones((1, 2, 2, 3))
    >>> round(float(losses.half_root(x, target)), 4)
    6.9282
    """
    return sum_of_squares(x, target) / (2 * (x.shape[-1] * x.shape[1] * x.shape[2]) ** 0.5)


def relative(x: Tensor, target: Tensor) -> Tensor:
    """Mean square difference divided by the target's mean square: 1 means as far from the target as zero is.

    Args:
        x, target: features, two tensors of one shape, (1, H, W, C) say.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> x, target = ops.full((1, 2, 2, 3), 3.0), ops.ones((1, 2, 2, 3))
    >>> float(losses.relative(x, target))
    4.0
    """
    return mse(x, target) / (ops.mean(ops.square(target)) + 1e-12)
