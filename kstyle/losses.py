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

from kstyle.style.losses.content import half_root, half_sum_of_squares, mse, relative, sum_of_squares
from kstyle.style.losses.gram import gram_loss, scaled_gram
from kstyle.style.losses.moments import batch_norm_loss, histogram_loss, mean_and_deviation, quantiles
from kstyle.style.losses.patches import mrf_loss, patches
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
