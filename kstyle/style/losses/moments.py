"""Losses of what each channel does by itself: mean and deviation, histogram."""

import keras
import numpy as np

from kstyle.backend import Tensor
from kstyle.style.losses.content import mse

ops = keras.ops


def rows(features):
    """(1, H, W, C) in any precision -> (H·W, C) float32."""
    return ops.reshape(ops.cast(features, "float32"), (-1, features.shape[-1]))


def weighed_rows(features, weights):
    """`rows`, each times its weight: (1, H, W, 1) of mean 1, or None: 1."""
    return rows(features) if weights is None else rows(features) * rows(ops.convert_to_tensor(weights))


def mean_and_deviation(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel.

    Args:
        features: (1, H, W, C), in any precision.
        weights: of the positions, (1, H, W, 1) of mean 1; None: all 1.

    Returns:
        Two (C,), float32.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> mean, deviation = losses.mean_and_deviation(ops.ones((1, 4, 4, 2)))
    >>> float(mean[0])
    1.0
    """
    mean = ops.mean(weighed_rows(features, weights), axis=0)
    variance = ops.mean(weighed_rows(ops.square(rows(features)[None, None] - mean), weights), axis=0)
    # The small number keeps the root's gradient finite where a channel does not vary.
    return mean, ops.sqrt(variance + 1e-8)


def batch_norm_loss(features: Tensor, target: tuple[Tensor, Tensor], weights: Tensor | None = None) -> Tensor:
    """(Σ (µ − µs)² + Σ (σ − σs)²) / C of means and deviations by channel: Li et al. 2017, 'Demystifying Neural Style
    Transfer' (arXiv 1701.01036).

    Args:
        features: (1, H, W, C).
        target: from `mean_and_deviation`.
        weights: of the positions, as for the target.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> target = losses.mean_and_deviation(ops.ones((1, 4, 4, 2)))
    >>> float(losses.batch_norm_loss(ops.zeros((1, 4, 4, 2)), target))
    1.0
    """
    return sum(ops.mean(ops.square(a - b)) for a, b in zip(mean_and_deviation(features, weights), target))


def quantiles(features: Tensor) -> Tensor:
    """Each channel sorted.

    Args:
        features: (1, H, W, C), in any precision.

    Returns:
        (H·W, C) float32.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> tuple(losses.quantiles(ops.ones((1, 4, 4, 2))).shape)
    (16, 2)
    """
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


def histogram_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean square distance of each activation from what histogram matching would make of it: Risser, Wilmot & Barnes
    2017 (arXiv 1701.08893), whose sum over elements is here their mean.

    The activation of rank i in its channel is to be the target's quantile of that rank.

    Args:
        features: (1, H, W, C).
        target: (M, C) sorted, from `quantiles`; M need not be H·W.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> target = losses.quantiles(ops.ones((1, 8, 8, 2)))
    >>> float(losses.histogram_loss(ops.full((1, 4, 4, 2), 3.0), target))
    4.0
    """
    ordered = quantiles(features)
    return mse(ordered, at_ranks(target, ordered.shape[0]))
