"""Content losses: how far features are from those of the content picture, as published code measures it.

All are float32, whatever the precision of the features.
"""

import keras

ops = keras.ops


def mse(x, target):
    """Mean square difference."""
    return ops.mean(ops.square(x - target))


def sum_of_squares(x, target):
    """Sum of square differences: keras.io, CS231n."""
    return ops.sum(ops.square(x - target))


def half_sum_of_squares(x, target):
    """½ Σ (x − target)²: equation 1 of Gatys et al., 'A Neural Algorithm of Artistic Style' (arXiv 1508.06576)."""
    return 0.5 * sum_of_squares(x, target)


def half_root(x, target):
    """Σ (x − target)² / (2 √C √N): neural-style-tf, and titu1994's content_loss_type 1."""
    return sum_of_squares(x, target) / (2 * (x.shape[-1] * x.shape[1] * x.shape[2]) ** 0.5)


def relative(x, target):
    """Mean square difference divided by the target's mean square: 1 means as far from the target as zero is."""
    return mse(x, target) / (ops.mean(ops.square(target)) + 1e-12)


# f(features, target features), both (1, H, W, C) float32.
CONTENT_LOSSES = {
    "mse": mse,
    "sum": sum_of_squares,
    "half_sum": half_sum_of_squares,
    "half_root": half_root,
    "relative": relative,
}
