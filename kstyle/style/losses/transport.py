"""Distances between distributions of features: Gaussian optimal transport, and the terms of STROTSS.

STROTSS: Kolkin, Salavon & Shakhnarovich 2019, 'Style Transfer by Relaxed Optimal Transport and Self-Similarity' (arXiv
1904.12785). Its features are columns, (n, D): at each of n sampled positions the activations of all layers.
"""

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor
from kstyle.style.losses.moments import rows, weighed_rows

ops = keras.ops

# Added to the diagonal of every covariance, without which its root has no gradient.
RIDGE = 1e-4
NEWTON_SCHULZ = 12
# Length of a column below which its direction is noise.
SHORTEST = 1e-6
# Axes along which the colours of photographs are nearly uncorrelated, brightness first: STROTSS' 'YUV'.
PALETTE = np.array(
    [[0.577350, 0.577350, 0.577350], [-0.577350, 0.788675, -0.211325], [-0.577350, -0.211325, 0.788675]], "float32"
)


def moments(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean of the features, and mean of f fᵀ.

    Args:
        features: (1, H, W, C), in any precision.
        weights: of the positions, (1, H, W, 1) of mean 1; None: all 1.

    Returns:
        Mean (C,) and mean of f fᵀ (C, C), float32. Both may be averaged over styles.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> mean, second = losses.moments(ops.ones((1, 4, 4, 2)))
    >>> tuple(mean.shape), tuple(second.shape)
    ((2,), (2, 2))
    """
    mean = ops.mean(weighed_rows(features, weights), axis=0)
    # In float32 and about the mean, whatever the features are: a covariance with a negative eigenvalue has no root.
    centred = rows(features) - mean
    if weights is not None:
        centred = centred * ops.sqrt(rows(ops.convert_to_tensor(weights)))
    return mean, backend.gram(centred) / centred.shape[0] + mean[:, None] * mean[None]


def ridged(covariance):
    """A covariance (C, C) with `RIDGE` on its diagonal."""
    return covariance + RIDGE * ops.eye(covariance.shape[0], dtype="float32")


def root(matrix, iterations=NEWTON_SCHULZ):
    """The square root of a symmetric positive matrix (C, C) by the coupled iteration of Newton and Schulz.

    An eigenvalue a share s of the largest is exact after about log(1/s) / log(2.25) iterations, and too small, never
    too large, before. The gradient is not that of these iterations: as many others solve the root's Lyapunov equation,
    as in Lin & Maji 2017, 'Improved Bilinear Pooling with CNNs' (arXiv 1707.06772), and in what uses this distance,
    crowsonkb/style-transfer-pytorch. Where small eigenvalues are not exact yet, the two differ by some percent.
    """

    @ops.custom_gradient
    def rooted(matrix):
        norm = ops.sqrt(ops.sum(ops.square(matrix))) + 1e-38
        identity = ops.eye(matrix.shape[0], dtype="float32")
        y, z = matrix / norm, identity
        for _ in range(iterations):
            t = 1.5 * identity - 0.5 * ops.matmul(z, y)
            y, z = ops.matmul(y, t), ops.matmul(t, z)
        found_norm = ops.sqrt(norm * ops.sum(ops.square(y))) + 1e-38
        # The gradient is given this and not the result: they would keep each other in memory for good.
        share = y * (ops.sqrt(norm) / found_norm)

        def gradient(*args, upstream=None):
            # torch's Keras gives the matrix, and the gradient by name; the others the gradient alone.
            return _lyapunov(share, (args[0] if upstream is None else upstream) / found_norm, iterations)

        return y * ops.sqrt(norm), gradient

    return rooted(matrix)


def _lyapunov(a, q, iterations):
    """X of B X + X B = Q, by the iterations that take B / |B| to the identity: a is B / |B|, q is Q / |B|."""
    identity = ops.eye(a.shape[0], dtype="float32")
    for _ in range(iterations):
        rest = 3.0 * identity - ops.matmul(a, a)
        turned = ops.transpose(a)
        change = ops.matmul(turned, ops.matmul(turned, q) - ops.matmul(q, a))
        q, a = 0.5 * (ops.matmul(q, rest) - change), 0.5 * ops.matmul(a, rest)
    return 0.5 * q


def gaussian(mean: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The target of `wasserstein`.

    Args:
        mean, second: from `moments`.

    Returns:
        Mean (C,), covariance (C, C) and its root, float32.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> mean, covariance, root = losses.gaussian(*losses.moments(ops.ones((1, 4, 4, 2))))
    >>> tuple(root.shape)
    (2, 2)
    """
    covariance = ridged(second - mean[:, None] * mean[None])
    return mean, covariance, root(covariance)


def wasserstein(features: Tensor, target: tuple[Tensor, Tensor, Tensor], weights: Tensor | None = None) -> Tensor:
    """Squared Wasserstein-2 distance of Gaussians, a mean over channels: crowsonkb/style-transfer-pytorch.

    mean (µ − µs)² + mean of the diagonal of Σs + Σ − 2 (√Σs Σ √Σs)^½, with 1e-4 added to the covariances' diagonals.

    Args:
        features: (1, H, W, C).
        target: from `gaussian`.
        weights: of the positions, as for `moments`.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> target = losses.gaussian(*losses.moments(ops.ones((1, 4, 4, 2))))
    >>> round(float(losses.wasserstein(ops.full((1, 4, 4, 2), 3.0), target)), 3)
    4.0
    """
    own_mean, second = moments(features, weights)
    return gaussian_distance(own_mean, ridged(second - own_mean[:, None] * own_mean[None]), target)


def gaussian_distance(own_mean, own, target):
    """`wasserstein` of a mean (C,) and a covariance (C, C), with its ridge, that are computed already."""
    mean, covariance, its_root = target
    both = root(ops.matmul(ops.matmul(its_root, own), its_root))
    spread = ops.mean(ops.diagonal(covariance) + ops.diagonal(own) - 2 * ops.diagonal(both))
    return ops.mean(ops.square(own_mean - mean)) + spread


def directions(columns):
    """(n, D) -> the same of length 1; what has no length stays near 0."""
    return columns / ops.sqrt(ops.sum(ops.square(columns), axis=1, keepdims=True) + SHORTEST**2)


def cosine_distances(x, y):
    """(n, D), (m, D) -> (n, m): 1 − cosine."""
    return 1.0 - ops.matmul(directions(x), ops.transpose(directions(y)))


def relaxed(distances):
    """The relaxed earth mover's distance of (n, m) distances: the larger of the mean distance of each row's nearest and
    of each column's."""
    return ops.maximum(ops.mean(ops.min(distances, axis=1)), ops.mean(ops.min(distances, axis=0)))


def remd(columns, target):
    """Relaxed earth mover's distance of columns (n, D) and (m, D) under the cosine distance."""
    return relaxed(cosine_distances(columns, target))


def palette(colours, target):
    """The same of colours, RGB (n, 3) and (m, 3), on decorrelated axes, under the sum of cosine and Euclidean
    distance / √3."""
    turn = backend.constant(PALETTE.T)
    x, y = ops.matmul(colours, turn), ops.matmul(target, turn)
    square = (
        ops.sum(ops.square(x), axis=1)[:, None]
        + ops.sum(ops.square(y), axis=1)[None]
        - 2 * ops.matmul(x, ops.transpose(y))
    )
    # The bound is the publication's; it also keeps the root's gradient finite.
    return relaxed(cosine_distances(x, y) + ops.sqrt(ops.maximum(square, 1e-5) / 3))


def column_moments(columns):
    """(n, D) -> mean (D,) and mean of f fᵀ (D, D). Both may be averaged over styles."""
    return ops.mean(columns, axis=0), ops.matmul(ops.transpose(columns), columns) / columns.shape[0]


def moment_loss(columns, target):
    """mean |µ − µs| + mean |Σ − Σs| over all elements: STROTSS' moments.

    Args:
        columns: (n, D).
        target: from `column_moments`.
    """
    (mean, second), (its_mean, its_second) = column_moments(columns), target
    covariances = [b - a[:, None] * a[None] for a, b in ((mean, second), (its_mean, its_second))]
    return ops.mean(ops.abs(mean - its_mean)) + ops.mean(ops.abs(covariances[0] - covariances[1]))


def self_similarity(columns, target):
    """How far the pattern of distances within a picture is from that within the content: STROTSS' content loss.

    Cosine distances among columns (n, D), each column of the matrix divided by its sum; n times the mean absolute
    difference, so 2 at most.

    Args:
        columns, target: (n, D), at the same positions of both pictures.
    """
    shares = []
    for x in (columns, target):
        distances = ops.maximum(cosine_distances(x, x), 0.0)
        shares.append(distances / (ops.sum(distances, axis=0, keepdims=True) + 1e-6))
    return ops.mean(ops.abs(shares[0] - shares[1])) * columns.shape[0]
