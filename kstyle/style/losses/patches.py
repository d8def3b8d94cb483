"""Losses that give each place of the picture the most similar place of the style."""

import keras
import numpy as np

from kstyle.backend import Tensor
from kstyle.style.losses.content import mse
from kstyle.style.losses.moments import rows
from kstyle.style.losses.transport import directions

ops = keras.ops

PATCH = 3
# Numbers in one block of a similarity matrix: 64 MB.
LARGEST_BLOCK = 2**24


def nearest(queries, keys):
    """For each row of `queries` (n, D) the index of the most similar row of `keys` (m, D) by cosine: (n,) int32.

    Has no gradient. Computed in blocks of rows, so that memory does not grow with n · m.
    """
    queries, keys = directions(ops.stop_gradient(queries)), ops.transpose(directions(ops.stop_gradient(keys)))
    step = max(1, LARGEST_BLOCK // keys.shape[1])
    blocks = [ops.argmax(ops.matmul(queries[i : i + step], keys), axis=1) for i in range(0, queries.shape[0], step)]
    return ops.cast(ops.concatenate(blocks), "int32")


def patches(features: Tensor, positions: Tensor | None = None) -> Tensor:
    """The 3×3 patches whose upper left corners are `positions`.

    Args:
        features: (1, H, W, C), in any precision.
        positions: (n,) indices into the (H − 2) × (W − 2) corners, row by row; None: all.

    Returns:
        (n, 9 C) float32.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> tuple(losses.patches(ops.ones((1, 5, 5, 2))).shape)
    (9, 18)
    """
    height, width = (side - PATCH + 1 for side in features.shape[1:3])
    if positions is None:
        positions = ops.arange(height * width, dtype="int32")
    corner = positions // width * features.shape[2] + positions % width
    offsets = (np.arange(PATCH)[:, None] * features.shape[2] + np.arange(PATCH)).reshape(-1)
    flat = rows(features)
    parts = [ops.take(flat, corner + int(offset), axis=0) for offset in offsets]
    return ops.concatenate(parts, axis=1)


def mrf_loss(queries: Tensor, target: Tensor) -> Tensor:
    """Mean square difference of each patch from its most similar one: Li & Wand 2016 (arXiv 1601.04589), by normalised
    cross-correlation. Theirs is the sum.

    Args:
        queries, target: from `patches`.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> mine, target = losses.patches(ops.full((1, 5, 5, 2), 3.0)), losses.patches(ops.ones((1, 8, 8, 2)))
    >>> float(losses.mrf_loss(mine, target))
    4.0
    """
    match = nearest(queries, target)
    return mse(queries, ops.take(target, match, axis=0))


def centred(columns):
    """(n, D) less their mean."""
    return columns - ops.mean(columns, axis=0, keepdims=True)


def nearest_loss(queries, target):
    """Mean cosine distance of each activation from the most similar one: Kolkin et al. 2022, 'Neural Neighbor Style
    Transfer' (arXiv 2203.13215), whose last pass matches each layer anew at each step, as here.

    Args:
        queries, target: (n, C) and (m, C), activations less their mean.
    """
    return hypercolumn_loss(queries, ops.take(target, nearest(queries, target), axis=0))


def hypercolumns(features, layers, height, width):
    """The activations of all layers at the nodes of one grid, which has a node in each corner of the picture: (height ·
    width, D) float32, D the channels of all layers. The first passes of Neural Neighbor Style Transfer.

    Args:
        features: {layer: (1, H, W, C)}.
        layers: {layer: factor}, by what its channels are multiplied.
    """
    parts = [factor * rows(_on_grid(features[layer], height, width)) for layer, factor in layers.items()]
    return ops.concatenate(parts, axis=1)


def _on_grid(features, height, width):
    """(1, H, W, C) -> (1, height, width, C), bilinearly, corners on corners. Keras' resize puts edges on edges."""
    for axis, count in ((1, height), (2, width)):
        last = features.shape[axis] - 1
        place = np.linspace(0, last, count) if count > 1 else np.zeros(1)
        low = np.minimum(np.floor(place), max(last - 1, 0)).astype("int32")
        part = ops.reshape((place - low).astype("float32"), [-1 if i == axis else 1 for i in range(4)])
        below, above = (ops.take(features, i, axis=axis) for i in (low, np.minimum(low + 1, last)))
        features = ops.cast(below, "float32") * (1 - part) + ops.cast(above, "float32") * part
    return features


def replaced(queries, keys):
    """For each row of `queries` (n, D) the row of `keys` (m, D) that is nearest by cosine when each set is taken about
    its own mean: (n, D)."""
    return ops.take(keys, nearest(centred(queries), centred(keys)), axis=0)


def hypercolumn_loss(columns, target):
    """Mean cosine distance of each row of `columns` (n, D) from that of `target` (n, D) at the same place."""
    return 1.0 - ops.mean(ops.sum(directions(columns) * directions(target), axis=1))
