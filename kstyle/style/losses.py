"""The losses of neural style transfer, each with every scaling that published code gives it.

Style weights cannot be compared between tools because each scales its Gram matrices differently. Here a scaling has a
name, so that a published weight can be used as it was published. All losses are float32, whatever the precision of
the features.
"""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import keras
import numpy as np

from kstyle.style.scalings import GRAM_SCALINGS

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


def weighed(features, weights):
    """(1, H, W, C) multiplied so that in the sum of f fᵀ each position has its weight: (1, H, W, 1), or None: 1."""
    if weights is None:
        return features
    return features * ops.cast(ops.sqrt(ops.convert_to_tensor(weights)), features.dtype)


def scaled_gram(features, scaling, shift=0.0, weights=None):
    """features: (1, H, W, C) -> (C, C) float32, scaled by `GRAM_SCALINGS[scaling]` ("relative": divided by
    positions). `shift` is added to the features first: Novak & Nikulin 2016 (arXiv 1605.04603) take −1. `weights`: of
    the positions, (1, H, W, 1) of mean 1."""
    channels = features.shape[-1]
    positions = features.shape[1] * features.shape[2]
    if shift:
        features = features + shift
    features = weighed(features, weights)
    scale = GRAM_SCALINGS["positions" if scaling == "relative" else scaling].scale
    return backend.gram(features) * scale(channels, positions)


def gram_loss(features, target, scaling, pixels, shift=0.0, weights=None):
    """How far the Gram matrix of `features` is from a target.

    Args:
        features: (1, H, W, C).
        target: (C, C) float32, from `scaled_gram` with the same scaling.
        scaling: one of `GRAM_LOSSES`; `"relative"` divides by the target's own sum of squares, so that every layer
            counts the same and a weight means the same for any picture.
        pixels: height × width of the picture being made.
        shift: as for the target.
        weights: of the positions, as for the target.
    """
    distance = ops.sum(ops.square(scaled_gram(features, scaling, shift, weights) - target))
    if scaling == "relative":
        return distance / (ops.sum(ops.square(target)) + 1e-12)
    return distance * GRAM_SCALINGS[scaling].weight(features.shape[-1], features.shape[1] * features.shape[2], pixels)


def rows(features):
    """(1, H, W, C) in any precision -> (H·W, C) float32."""
    return ops.reshape(ops.cast(features, "float32"), (-1, features.shape[-1]))


def weighed_rows(features, weights):
    """`rows`, each times its weight: (1, H, W, 1) of mean 1, or None: 1."""
    return rows(features) if weights is None else rows(features) * rows(ops.convert_to_tensor(weights))


def mean_and_deviation(features, weights=None):
    """(1, H, W, C) -> two (C,); `weights` of the positions, (1, H, W, 1) of mean 1."""
    mean = ops.mean(weighed_rows(features, weights), axis=0)
    variance = ops.mean(weighed_rows(ops.square(rows(features)[None, None] - mean), weights), axis=0)
    # The small number keeps the root's gradient finite where a channel does not vary.
    return mean, ops.sqrt(variance + 1e-8)


def batch_norm_loss(features, target, weights=None):
    """(Σ (µ − µs)² + Σ (σ − σs)²) / C of means and deviations by channel: Li et al. 2017, 'Demystifying Neural Style
    Transfer' (arXiv 1701.01036).

    Args:
        features: (1, H, W, C).
        target: from `mean_and_deviation`.
        weights: of the positions, as for the target.
    """
    return sum(ops.mean(ops.square(a - b)) for a, b in zip(mean_and_deviation(features, weights), target))


def quantiles(features):
    """(1, H, W, C) -> (H·W, C): each channel sorted."""
    return ops.sort(rows(features), axis=0)


def at_ranks(ordered, count):
    """(N, C) sorted -> (count, C): the quantiles at the middles of `count` equal parts, between neighbours linearly."""
    if ordered.shape[0] == count:
        return ordered
    place = np.clip((np.arange(count) + 0.5) * ordered.shape[0] / count - 0.5, 0, ordered.shape[0] - 1)
    low = np.floor(place).astype("int32")
    part = ops.convert_to_tensor((place - low).astype("float32")[:, None])
    below, above = (ops.take(ordered, i, axis=0) for i in (low, np.minimum(low + 1, ordered.shape[0] - 1)))
    return below + part * (above - below)


def histogram_loss(features, target):
    """Mean square distance of each activation from what histogram matching would make of it: Risser, Wilmot & Barnes
    2017 (arXiv 1701.08893), whose sum over elements is here their mean.

    The activation of rank i in its channel is to be the target's quantile of that rank.

    Args:
        features: (1, H, W, C).
        target: (M, C) sorted, from `quantiles`; M need not be H·W.
    """
    ordered = quantiles(features)
    return mse(ordered, at_ranks(target, ordered.shape[0]))


def _differences(image):
    """Vertical (H-1, W, C) and horizontal (H, W-1, C) differences of neighbours."""
    return image[1:] - image[:-1], image[:, 1:] - image[:, :-1]


def tv_squares(image):
    """Σ dx² + Σ dy²: CS231n."""
    dy, dx = _differences(image)
    return ops.sum(ops.square(dy)) + ops.sum(ops.square(dx))


def tv_half_squares(image):
    """½ (Σ dx² + Σ dy²): jcjohnson/neural-style, which computes only its gradient."""
    return 0.5 * tv_squares(image)


def tv_absolute(image):
    """Σ |dx| + Σ |dy|: `tf.image.total_variation`, neural-style-pt, gordicaleksa."""
    dy, dx = _differences(image)
    return ops.sum(ops.abs(dy)) + ops.sum(ops.abs(dx))


def tv_mean_squares(image):
    """mean dx² + mean dy²: anishathalye/neural-style."""
    dy, dx = _differences(image)
    return ops.mean(ops.square(dy)) + ops.mean(ops.square(dx))


def tv_power(image):
    """Σ (dx² + dy²)^1.25 over the (H-1, W-1) corner: keras.io, titu1994."""
    dy, dx = _differences(image)
    return ops.sum(ops.power(ops.square(dy[:, :-1]) + ops.square(dx[:-1]), 1.25))


def tv_nine_point(image):
    """Squares of all eight neighbours' differences, nearer to isotropic; means, edges repeated:
    crowsonkb/style-transfer-pytorch."""
    # One pixel of symmetric padding repeats the edge; on torch only arrays of four axes can be padded so.
    x = ops.pad(image[None], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")[0]
    right = ops.mean(ops.square(x[1:-1, 1:-1] - x[1:-1, 2:]))
    down = ops.mean(ops.square(x[1:-1, 1:-1] - x[2:, 1:-1]))
    falling = ops.mean(ops.square(x[1:, 1:] - x[:-1, :-1]))  # every block of 2×2, the rim's too
    rising = ops.mean(ops.square(x[1:, :-1] - x[:-1, 1:]))
    return 2 * (right / 3 + down / 3 + falling / 12 + rising / 12)


def tv_blur(image):
    """Mean over pixels of the square of what a Gaussian blur takes from the channel that it changes most: nst-vgg19.
    3×3, of deviation 1; outside of the picture there is 0."""
    row = np.exp(-np.square([-1.0, 0.0, 1.0]) / 2)
    row = row / row.sum()
    height, width, _ = image.shape
    around = ops.pad(image, ((1, 1), (1, 1), (0, 0)))
    blurred = sum(
        float(row[dy] * row[dx]) * around[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)
    )
    return ops.mean(ops.square(ops.max(ops.abs(blurred - image), axis=-1)))


def out_of_range(rgb):
    """mean max(−x, 0) + mean max(x − 1, 0): how far a picture in [0, 1] is outside of it; nst-vgg19."""
    return ops.mean(ops.relu(-rgb)) + ops.mean(ops.relu(rgb - 1))


# f(image), image (H, W, 3) in the pixel space that is optimised.
TV_LOSSES = {
    "squares": tv_squares,
    "half_squares": tv_half_squares,
    "absolute": tv_absolute,
    "mean_squares": tv_mean_squares,
    "power": tv_power,
    "nine_point": tv_nine_point,
    "blur": tv_blur,
}
