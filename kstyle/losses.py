"""Losses of neural style transfer for code of your own, in `keras.ops` and so on every backend.

All give a float32 scalar that can be differentiated. Features are (1, H, W, C), of one picture at one layer, as
`kstyle.Extractor` gives them; pictures are (H, W, 3).

| | compares | the target is made by |
| --- | --- | --- |
| `mse` to `relative` | features, position by position | the features themselves |
| `gram_loss` | Gram matrices | `scaled_gram`, with the same scaling |
| `batch_norm_loss` | mean and deviation of each channel | `mean_and_deviation` |
| `histogram_loss` | sorted activations of each channel | `quantiles` |
| `wasserstein` | means and covariances | `gaussian(*moments(features))` |
| `mrf_loss` | each 3×3 patch with its nearest | `patches` |
| `tv_…` | each pixel with its neighbours | |

>>> import keras
>>> from kstyle import losses
>>> style, mine = (keras.random.uniform((1, 8, 8, 4), seed=seed) for seed in (0, 1))
>>> target = losses.scaled_gram(style, "elements")
>>> float(losses.gram_loss(style, target, "elements", pixels=64))
0.0
>>> float(losses.gram_loss(mine, target, "elements", pixels=64)) > 0
True
"""

from collections.abc import Callable
from typing import Any

from kstyle.open_names import called
from kstyle.style.losses.content import half_root, half_sum_of_squares, mse, relative, sum_of_squares
from kstyle.style.losses.gram import gram_loss, scaled_gram
from kstyle.style.losses.moments import batch_norm_loss, histogram_loss, mean_and_deviation, quantiles
from kstyle.style.losses.patches import mrf_loss, patches
from kstyle.style.losses.scalings import CONTENT, STYLE
from kstyle.style.losses.total_variation import (
    tv_absolute,
    tv_blur,
    tv_half_squares,
    tv_mean_squares,
    tv_nine_point,
    tv_power,
    tv_squares,
)
from kstyle.style.losses.transport import gaussian, moments, wasserstein

__all__ = [
    "batch_norm_loss",
    "gaussian",
    "gram_loss",
    "half_root",
    "half_sum_of_squares",
    "histogram_loss",
    "mean_and_deviation",
    "moments",
    "mrf_loss",
    "mse",
    "patches",
    "quantiles",
    "register",
    "register_content",
    "relative",
    "scaled_gram",
    "sum_of_squares",
    "tv_absolute",
    "tv_blur",
    "tv_half_squares",
    "tv_mean_squares",
    "tv_nine_point",
    "tv_power",
    "tv_squares",
    "wasserstein",
]


def register(name: str, distance: Callable[..., Any], statistics: Callable[..., Any] | None = None) -> None:
    """Adds a style loss: `loss: NAME` in a preset's `style` or `terms`.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's.
        distance: `distance(features, target)` -> a scalar, in `keras.ops`; features (1, H, W, C) float32 of the picture
            at one layer.
        statistics: `statistics(features)` -> target, of a style picture at the same layer, which may have another H and
            W. None: the features themselves.

    For one painting alone a function needs no name: `kstyle.stylize(…, terms=[distance])`.

    Several styles are blended by their weights, each with a loss of its own. Masks and `style.turned` are refused.

    Raises:
        UsageError: a name of kstyle's own, or no functions.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> def means(features):
    ...     return ops.mean(features, axis=(0, 1, 2))
    >>> losses.register("means", lambda features, target: ops.sum((means(features) - target) ** 2), means)
    """
    functions = (called("style loss", distance), None if statistics is None else called("style loss", statistics))
    STYLE.add(name, functions)


def register_content(name: str, distance: Callable[..., Any]) -> None:
    """Adds a content loss: `loss: NAME` in a preset's `content`.

    Args:
        name: as for `register`.
        distance: `distance(features, target)` -> a scalar; both (1, H, W, C) float32, of the picture and of the content
            at one layer.

    Raises: as `register`.

    >>> from keras import ops
    >>> from kstyle import losses
    >>> losses.register_content("absolute", lambda features, target: ops.mean(ops.abs(features - target)))
    """
    CONTENT.add(name, called("content loss", distance))
