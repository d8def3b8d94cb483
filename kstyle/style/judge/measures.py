"""Measures of a painting: how much of the content and of the style is in it, and what is wrong with it. Plain NumPy.

Pictures are (H, W, 3) sRGB in [0, 1], both sides 32 pixels or more; features (H, W, C), of any number of positions.
Sums are float64. No measure is a judgement of taste: docs/comparing.md says what each cannot tell.
"""

import numpy as np

from kstyle.errors import DataError
from kstyle.style.colour import lab
from kstyle.style.colour.modes import luma

SMALLEST = 32  # pixels: the border figure looks at four bands of 8
BAND = 8
TILE = 16
NOTHING = 1e-12  # beside any square sum of features that are not all 0


def ssim(picture, content):
    """Structural similarity of the luminances: 1 the same, 0 unrelated, at least -1.

    Wang, Bovik, Sheikh and Simoncelli 2004, 'Image Quality Assessment: From Error Visibility to Structural Similarity',
    with its constants: a Gaussian window of 11 pixels and deviation 1.5, K1 0.01, K2 0.03, averaged over all places
    where the window fits.

    Raises:
        DataError: the sizes differ, or a picture is no picture or too small.
    """
    a, b = (luma(_checked(p)).astype(np.float64) for p in (picture, content))
    if a.shape != b.shape:
        raise DataError(f"SSIM needs pictures of one size, got {a.shape} and {b.shape}: resize one.")
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    both = _window(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(np.mean(light * (2 * both + c2) / (var_a + var_b + c2)))


def _window(x):
    """Gaussian means of (H, W), where 11×11 pixels fit: (H - 10, W - 10)."""
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights /= weights.sum()
    height, width = (side - 10 for side in x.shape)
    x = sum(w * x[i : i + height] for i, w in enumerate(weights))
    return sum(w * x[:, i : i + width] for i, w in enumerate(weights))


def colour_distance(picture, other):
    """How far the colours of one picture have to be moved to be those of another: 0 the same, about 100 at most.

    The mean over L*, a* and b* (CIELAB, D65) of the 1-Wasserstein distance of their distributions, wherever in the
    picture they are. In their units, of which about 2 side by side can just be seen. Unlike a chi-square it still grows
    when no bin is shared, and there are no bins to choose.
    """
    ours, theirs = (lab.to_lab(_checked(p)).reshape(-1, 3) for p in (picture, other))
    return float(np.mean([_wasserstein(ours[:, i], theirs[:, i]) for i in range(3)]))


def _wasserstein(a, b):
    """∫ |difference of the cumulative distributions| of two sets of numbers."""
    a, b = np.sort(a), np.sort(b)
    places = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(x, places[:-1], "right") / len(x) for x in (a, b)]
    return np.sum(np.abs(shares[0] - shares[1]) * np.diff(places))


def grain(picture):
    """Noise of single pixels, as the deviation of white noise in levels of 255: 0 none, 2 visible in flat areas.

    The answer to Immerkær's mask (1996, 'Fast Noise Variance Estimation': the difference of two Laplacians, blind to
    ramps), its deviation taken from the median (Donoho and Johnstone 1994, 'Ideal Spatial Adaptation by Wavelet
    Shrinkage') so that edges, which are few, do not count. Root mean square over the channels: coloured grain counts.
    """
    x = _checked(picture).astype(np.float64) * 255
    for axis in (0, 1):
        before, here, behind = (np.take(x, range(i, x.shape[axis] - 2 + i), axis) for i in range(3))
        x = before - 2 * here + behind
    # The mask's coefficients 1 -2 1, -2 4 -2, 1 -2 1 have the norm 6; 0.6745 is the quartile of a normal distribution.
    deviations = np.median(np.abs(x), axis=(0, 1)) / (6 * 0.6745)
    return float(np.sqrt(np.mean(deviations**2)))


def border(picture):
    """How much the outer 8 pixels differ from those behind them, over how much such bands differ inside: about 1 where
    there is no rim (0.8 to 1.5 was seen), no upper bound.

    Along each side blocks of 8×8 pixels, in four bands from the edge inwards. Of each band the average block's mean
    colour, deviation of luminance and fine detail; of each, the step from the outermost band to the next, divided by
    that of the other pairs. A rim that is darker, flatter or noisier than the picture makes it rise. Defined for this
    project.
    """
    picture = _checked(picture).astype(np.float64)
    steps = np.mean([_steps(np.rot90(picture, turns)) for turns in range(4)], axis=0)
    # Half a grey level is added above and below the fraction: in a flat picture there is nothing but rounding.
    return float(np.mean((steps[0] + 0.5 / 255) / (steps[1:].mean(axis=0) + 0.5 / 255)))


def _steps(picture):
    """(3, 3): from band to band along the top, the steps of colour, deviation and detail."""
    across = picture.shape[1] // BAND
    bands = picture[: 4 * BAND, : across * BAND].reshape(4, BAND, across, BAND, 3).swapaxes(1, 2)
    grey = luma(bands)
    detail = np.diff(np.diff(grey, axis=2), axis=3)
    # Differences keep their sign until they are averaged along the side: those of the picture itself cancel, a rim's do
    # not.
    colour = np.abs(np.diff(bands.mean(axis=(1, 2, 3)), axis=0)).mean(axis=1)
    rest = [np.abs(np.diff(x)) for x in (grey.std(axis=(2, 3)).mean(axis=1), np.abs(detail).mean(axis=(1, 2, 3)))]
    return np.stack([colour, *rest], axis=1)


def haze(picture):
    """Lack of contrast and colour, area by area: 0 every area has the full range, 1 all is flat grey.

    1 minus the mean, over tiles of 16×16, of the range of the values of all three channels (their 5th to 95th
    percentile, so that grain is not contrast). The low end is the dark channel of He, Sun and Tang 2009, 'Single Image
    Haze Removal Using Dark Channel Prior', the high end its mirror image. Mixed with a share t of any grey, 1 - haze
    becomes (1 - t) times what it was.
    """
    picture = _checked(picture).astype(np.float64)
    down, across = (side // TILE for side in picture.shape[:2])
    tiles = picture[: down * TILE, : across * TILE].reshape(down, TILE, across, TILE, 3)
    low, high = np.percentile(tiles, [5, 95], axis=(1, 3, 4))
    return float(1 - np.mean(high - low))


def gram_distance(features, style):
    """Square distance of the Gram matrices over that of the style's from 0: 0 the style's, 1 as far away as features
    that are all 0.

    Gatys, Ecker and Bethge 2015 (arXiv 1508.06576), each matrix divided by its own number of positions; the loss
    `relative` of kstyle.
    """
    ours, theirs = ((f.T @ f) / len(f) for f in map(_positions, (features, style)))
    return float(np.sum((ours - theirs) ** 2) / (np.sum(theirs**2) + NOTHING))


def w2_distance(features, style):
    """Square 2-Wasserstein distance of normal distributions with the features' means and covariances, over that of the
    style's from 0: 0 the style's, 1 as far away as features that are all 0.

    |μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½), the Fréchet distance of Dowson and Landau 1982 that FID is (Heusel et al.
    2017, arXiv 1706.08500), here within one picture. Gram matrices mix means and covariances, and let the largest
    features count most; this counts each by what it would cost to move.
    """
    ours, theirs = (_positions(f) for f in (features, style))
    means = [f.mean(axis=0) for f in (ours, theirs)]
    roots = []
    for f, mean in zip((ours, theirs), means):
        values, vectors = np.linalg.eigh((f - mean).T @ (f - mean) / len(f))
        roots.append((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
    # tr (B A² B)^½ is the sum of the singular values of A B, which rounding harms less.
    overlap = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    spread = sum(np.sum(root**2) for root in roots)
    distance = np.sum((means[0] - means[1]) ** 2) + spread - 2 * overlap
    return float(max(distance, 0) / (np.sum(means[1] ** 2) + np.sum(roots[1] ** 2) + NOTHING))


def feature_distance(features, content):
    """Mean square difference, position by position, over the content's mean square: 0 the same, 1 as far away as
    features that are all 0.

    Equation 1 of Gatys, Ecker and Bethge 2015 (arXiv 1508.06576), relative.

    Raises:
        DataError: the features are of pictures of different sizes.
    """
    if np.shape(features) != np.shape(content):
        raise DataError(f"Expected features of one shape, got {np.shape(features)} and {np.shape(content)}.")
    ours, theirs = (_positions(f) for f in (features, content))
    return float(np.sum((ours - theirs) ** 2) / (np.sum(theirs**2) + NOTHING))


def _positions(features):
    return np.asarray(features, np.float64).reshape(-1, np.shape(features)[-1])


def _checked(picture):
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < SMALLEST:
        raise DataError(f"Expected a picture (H, W, 3) of {SMALLEST} pixels or more a side, got {picture.shape}.")
    return picture
