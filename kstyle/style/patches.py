"""Losses that give each place of the picture the most similar place of the style."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import keras
import numpy as np

from kstyle.style.losses import mse, rows
from kstyle.style.transport import directions

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


def patches(features, positions=None):
    """(1, H, W, C) -> (n, 9 C): the 3×3 patches whose upper left corners are `positions`.

    Args:
        positions: (n,) indices into the (H − 2) × (W − 2) corners, row by row; None: all.
    """
    height, width = (side - PATCH + 1 for side in features.shape[1:3])
    if positions is None:
        positions = ops.arange(height * width, dtype="int32")
    corner = positions // width * features.shape[2] + positions % width
    offsets = (np.arange(PATCH)[:, None] * features.shape[2] + np.arange(PATCH)).reshape(-1)
    flat = rows(features)
    parts = [ops.take(flat, corner + int(offset), axis=0) for offset in offsets]
    return ops.concatenate(parts, axis=1)


def mrf_loss(queries, target):
    """Mean square difference of each patch from its most similar one: Li & Wand 2016 (arXiv 1601.04589), by normalised
    cross-correlation. Theirs is the sum.

    Args:
        queries, target: from `patches`.
    """
    match = nearest(queries, target)
    return mse(queries, ops.take(target, match, axis=0))


def centred(features, positions=None):
    """(1, H, W, C) -> (n, C): activations at `positions` (row by row; None: all) less their mean."""
    flat = rows(features)
    if positions is not None:
        flat = ops.take(flat, positions, axis=0)
    return flat - ops.mean(flat, axis=0, keepdims=True)


def nearest_loss(queries, target):
    """Mean cosine distance of each activation from the most similar one: Kolkin et al. 2022, 'Neural Neighbor Style
    Transfer' (arXiv 2203.13215), whose last pass matches each layer anew at each step, as here.

    Args:
        queries, target: from `centred`.
    """
    found = ops.take(target, nearest(queries, target), axis=0)
    return 1.0 - ops.mean(ops.sum(directions(queries) * directions(found), axis=1))
