"""Gram losses, with every scaling that published code gives them.

Style weights cannot be compared between tools because each scales its Gram matrices differently. Here a scaling has a
name, so that a published weight can be used as it was published. All losses are float32, whatever the precision of
the features.
"""

import keras

from kstyle import backend
from kstyle.backend import Tensor
from kstyle.style.losses.scalings import GRAM_SCALINGS

ops = keras.ops


def sum_of_products(features, weights, scale=1.0):
    """scale · Σ w f fᵀ over positions of (1, H, W, C), each with its weight: (1, H, W, 1), or None: 1."""
    roots = None if weights is None else ops.cast(ops.sqrt(weights), features.dtype)
    return backend.gram(features, roots, scale)


def scaled_gram(features: Tensor, scaling: str, shift: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """The Gram matrix of features, scaled as `GRAM_SCALINGS[scaling]` says.

    Args:
        features: (1, H, W, C), in any precision.
        scaling: a key of `GRAM_SCALINGS`, or `"relative"`: divided by positions.
        shift: added to the features first: Novak & Nikulin 2016 (arXiv 1605.04603) take −1.
        weights: of the positions, (1, H, W, 1) of mean 1; None: all 1.

    Returns:
        (C, C) float32.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> tuple(losses.scaled_gram(ops.ones((1, 4, 4, 2)), "positions").shape)
    (2, 2)
    """
    channels = features.shape[-1]
    positions = features.shape[1] * features.shape[2]
    if shift:
        features = features + shift
    return sum_of_products(features, weights, scale_of(scaling, channels, positions))


def gram_loss(
    features: Tensor, target: Tensor, scaling: str, pixels: int, shift: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """How far the Gram matrix of `features` is from a target.

    Args:
        features: (1, H, W, C).
        target: (C, C) float32, from `scaled_gram` with the same scaling.
        scaling: one of `GRAM_LOSSES`; `"relative"` divides by the target's own sum of squares, so that every layer
            counts the same and a weight means the same for any picture.
        pixels: height × width of the picture being made.
        shift: as for the target.
        weights: of the positions, as for the target.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> features = ops.ones((1, 4, 4, 2))
    >>> target = losses.scaled_gram(2 * features, "elements")
    >>> float(losses.gram_loss(features, target, "elements", pixels=64 * 64))
    2.25
    """
    distance = backend.squared_error(scaled_gram(features, scaling, shift, weights), target)
    square = ops.sum(ops.square(target)) if scaling == "relative" else None
    return distance * factor_of(scaling, features.shape[-1], features.shape[1] * features.shape[2], pixels, square)


def factor_of(scaling, channels, positions, pixels, square):
    """What the sum of squared differences of scaled Gram matrices is multiplied by; square: the target's own sum of
    squares, which `"relative"` alone looks at."""
    if scaling == "relative":
        return 1 / (square + 1e-12)
    return GRAM_SCALINGS[scaling].weight(channels, positions, pixels)


def scale_of(scaling, channels, positions):
    """What a Gram matrix of so many channels and positions is multiplied by."""
    return GRAM_SCALINGS["positions" if scaling == "relative" else scaling].scale(channels, positions)
