"""Losses of a picture that is seen in tiles: what each tile adds to sums over positions, and the loss of these sums.

A Gram matrix, a mean and a covariance are sums over positions, so nothing is lost by adding them up tile by tile. The
gradient is exact too: that of the loss in the sums is the same for every tile.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from kstyle import backend
from kstyle.style.losses import transport
from kstyle.style.losses.gram import factor_of, scale_of, sum_of_products
from kstyle.style.losses.moments import rows, weighed_rows
from kstyle.style.losses.scalings import GRAM_LOSSES

ops = keras.ops


@dataclass(frozen=True)
class Summed:
    """A style loss of one layer, by sums.

    Attributes:
        of_tile: (features (1, h, w, C), weights (1, h, w, 1) or None, term, about) -> tensors that add up over tiles.
        loss: (totals, target, term, positions, pixels, about) -> scalar, as `kstyle.style.losses.terms.Kind.distance`.
        kept: (totals, term, positions, about) -> the statistics of a style, as `kstyle.style.losses.terms.Kind.keep`.
        centre: target -> the mean that squares are taken about; None: they are not. A covariance as a difference of
            large numbers would be nothing but rounding.
    """

    of_tile: Callable
    loss: Callable
    kept: Callable
    centre: Callable | None = None


def _gram(scaling):
    def of_tile(features, weights, term, about):
        features = features + term.shift if term.shift else features
        return (sum_of_products(features, weights),)

    def scaled(total, positions):
        return total * scale_of(scaling, total.shape[0], positions)

    def loss(totals, target, term, positions, pixels, about):
        matrix, square = target
        factor = factor_of(scaling, matrix.shape[0], positions, pixels, square)
        return factor * backend.squared_error(scaled(totals[0], positions), matrix)

    def kept(totals, term, positions, about):
        return term.target_factor * scaled(totals[0], positions)

    return Summed(of_tile, loss, kept)


def _about(features, weights, about):
    """Σ w (f − about), and each (f − about) times the root of its weight, (h·w, C)."""
    away = rows(features) - about
    total = ops.sum(away if weights is None else away * rows(ops.convert_to_tensor(weights)), axis=0)
    return total, away if weights is None else away * ops.sqrt(rows(ops.convert_to_tensor(weights)))


def _covariances(features, weights, term, about):
    total, away = _about(features, weights, about)
    return total, backend.gram(away)


def _gaussian(totals, positions, about):
    """Mean and covariance from the sums of `_covariances`."""
    shift, second = (total / positions for total in totals)
    return about + shift, second - shift[:, None] * shift[None]


def _wasserstein(totals, target, term, positions, pixels, about):
    mean, covariance = _gaussian(totals, positions, about)
    return transport.gaussian_distance(mean, transport.ridged(covariance), target)


def _moments(totals, term, positions, about):
    mean, covariance = _gaussian(totals, positions, about)
    return mean, covariance + mean[:, None] * mean[None]


def _variances(features, weights, term, about):
    total, away = _about(features, weights, about)
    return total, ops.sum(ops.square(away), axis=0)


def _mean_and_deviation(totals, term, positions, about):
    shift, second = (total / positions for total in totals)
    return about + shift, ops.sqrt(ops.maximum(second - ops.square(shift), 0.0) + 1e-8)


def _batch_norm(totals, target, term, positions, pixels, about):
    own = _mean_and_deviation(totals, term, positions, about)
    return sum(ops.mean(ops.square(a - b)) for a, b in zip(own, target))


SUMMED = {
    **{name: _gram(name) for name in GRAM_LOSSES},
    "wasserstein": Summed(_covariances, _wasserstein, _moments, centre=lambda target: target[0]),
    "batch_norm": Summed(_variances, _batch_norm, _mean_and_deviation, centre=lambda target: target[0]),
}

# {loss: (Σ (x − target)², elements, mean square of the target) -> scalar}, see `kstyle.style.losses.content`.
CONTENT_SUMMED = {
    "mse": lambda total, elements, square: total / elements,
    "sum": lambda total, elements, square: total,
    "half_sum": lambda total, elements, square: 0.5 * total,
    "half_root": lambda total, elements, square: total / (2 * elements**0.5),
    "relative": lambda total, elements, square: total / elements / (square + 1e-12),
}


def sum_of_weights(features, weights):
    """Σ w f of a tile: the mean that the squares of a style are then taken about."""
    return ops.sum(weighed_rows(features, weights), axis=0)
