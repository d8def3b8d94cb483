"""Every loss against its published formula, written out in float64 NumPy, and against numbers worked out by hand."""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import typing

import numpy as np
import pytest
from keras import ops

from kstyle.style import losses, objective, settings
from kstyle.style.scalings import GRAM_SCALINGS, STYLE_LOSSES

RNG = np.random.default_rng(7)
FEATURES = RNG.normal(0.4, 1, (1, 7, 5, 4)).astype("float32")
# Another size, so that dividing both Gram matrices by the same number of positions shows.
STYLE = RNG.normal(0.1, 1.5, (1, 6, 9, 4)).astype("float32")
PIXELS = 28 * 20
PICTURE = RNG.normal(0.5, 0.3, (6, 5, 3)).astype("float32")

# What each source's code computes: a, b are the Gram sums of the two pictures, n and m their positions, c the channels.
PUBLISHED = {
    "elements": lambda a, b, n, m, c: np.mean((a / (c * n) - b / (c * m)) ** 2),
    "gatys": lambda a, b, n, m, c: np.mean((a / n - b / m) ** 2) / c**2,
    "positions": lambda a, b, n, m, c: np.mean((a / n - b / m) ** 2),
    "keras": lambda a, b, n, m, c: np.sum((a - b) ** 2) / (4 * 3**2 * PIXELS**2),
    "paper": lambda a, b, n, m, c: np.sum((a - b) ** 2) / (4 * c**2 * n**2),
    "none": lambda a, b, n, m, c: np.mean((a - b) ** 2),
    "root": lambda a, b, n, m, c: np.mean((a / np.sqrt(c * n) - b / np.sqrt(c * m)) ** 2),
    "cs231n": lambda a, b, n, m, c: np.linalg.norm(a / (c * n) - b / (c * m), "fro") ** 2,
    "post": lambda a, b, n, m, c: np.mean((a - b) ** 2) / (c * n),
    "relative": lambda a, b, n, m, c: np.sum((a / n - b / m) ** 2) / np.sum((b / m) ** 2),
}


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def outer_sum(features):
    """Σ over positions of f fᵀ, one position at a time."""
    rows = features.astype("float64").reshape(-1, features.shape[-1])
    return sum(np.outer(row, row) for row in rows)


def style_loss(features, style, scaling, pixels):
    target = losses.scaled_gram(ops.convert_to_tensor(style), scaling)
    return number(losses.gram_loss(ops.convert_to_tensor(features), target, scaling, pixels))


def test_every_style_loss_has_a_published_formula():
    """A scaling without a formula here is one that nothing checks."""
    assert set(PUBLISHED) == set(STYLE_LOSSES) == {*GRAM_SCALINGS, "relative"}


@pytest.mark.parametrize("scaling", STYLE_LOSSES)
def test_style_loss(scaling):
    """Failure: a published style weight would mean something else here than where it was published."""
    expected = PUBLISHED[scaling](outer_sum(FEATURES), outer_sum(STYLE), 7 * 5, 6 * 9, 4)
    assert style_loss(FEATURES, STYLE, scaling, PIXELS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    # One channel, features 1 2 3 (Gram 14) against 2 0 (Gram 4), in a picture of six pixels.
    [
        ("elements", (14 / 3 - 4 / 2) ** 2),
        ("keras", 100 / (36 * 36)),
        ("paper", 100 / (4 * 9)),
        ("none", 100),
        ("post", 100 / 3),
        ("relative", (8 / 3) ** 2 / 4),
    ],
)
def test_style_loss_by_hand(scaling, expected):
    """Failure: as above, in numbers that can be followed on paper."""
    features = np.array([1, 2, 3], "float32").reshape(1, 1, 3, 1)
    style = np.array([2, 0], "float32").reshape(1, 2, 1, 1)
    assert style_loss(features, style, scaling, 6) == pytest.approx(expected, rel=1e-5)


def test_content_losses():
    """Failure: a published content weight would mean something else here."""
    x, target = FEATURES.astype("float64"), STYLE[:, :, :5].astype("float64")
    target = np.concatenate([target, target[:, :1]], axis=1)
    distance = sum((a - b) ** 2 for a, b in zip(x.ravel(), target.ravel()))
    published = {
        "mse": distance / 140,
        "sum": distance,
        "half_sum": distance / 2,
        "relative": distance / sum(b**2 for b in target.ravel()),
    }
    assert set(published) == set(losses.CONTENT_LOSSES)
    for name, expected in published.items():
        loss = losses.CONTENT_LOSSES[name](ops.convert_to_tensor(FEATURES), ops.convert_to_tensor(target, "float32"))
        assert number(loss) == pytest.approx(expected, rel=1e-5), name


def published_tv(x):
    """{kind: value} by loops over pixels, as the sources define them; x: (H, W, C) float64."""
    height, width, _ = x.shape
    down = [x[i + 1, j] - x[i, j] for i in range(height - 1) for j in range(width)]
    right = [x[i, j + 1] - x[i, j] for i in range(height) for j in range(width - 1)]
    corner = [
        (x[i + 1, j] - x[i, j]) ** 2 + (x[i, j + 1] - x[i, j]) ** 2 for i in range(height - 1) for j in range(width - 1)
    ]
    squares = np.sum(np.square(down)) + np.sum(np.square(right))

    def at(i, j):  # replicate padding
        return x[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]

    inside = [(i, j) for i in range(height) for j in range(width)]
    # crowsonkb takes the diagonals over every 2×2 block of the padded picture, the rim's too.
    blocks = [(i, j) for i in range(-1, height) for j in range(-1, width)]
    means = [
        np.mean([(at(i, j + 1) - at(i, j)) ** 2 for i, j in inside]) / 3,
        np.mean([(at(i + 1, j) - at(i, j)) ** 2 for i, j in inside]) / 3,
        np.mean([(at(i + 1, j + 1) - at(i, j)) ** 2 for i, j in blocks]) / 12,
        np.mean([(at(i + 1, j) - at(i, j + 1)) ** 2 for i, j in blocks]) / 12,
    ]
    return {
        "squares": squares,
        "half_squares": squares / 2,
        "absolute": np.sum(np.abs(down)) + np.sum(np.abs(right)),
        "mean_squares": np.mean(np.square(down)) + np.mean(np.square(right)),
        "power": np.sum(np.array(corner) ** 1.25),
        "nine_point": 2 * sum(means),
    }


def test_total_variation():
    """Failure: a published total-variation weight would smooth more or less than where it was published."""
    published = published_tv(PICTURE.astype("float64"))
    assert set(published) == set(losses.TV_LOSSES)
    for kind, expected in published.items():
        value = number(losses.TV_LOSSES[kind](ops.convert_to_tensor(PICTURE)))
        assert value == pytest.approx(expected, rel=1e-5), kind


@pytest.mark.parametrize(
    ("kind", "expected"),
    # The picture 1 3 / 7 4: differences 2 and -3 to the right, 6 and 1 down.
    [
        ("squares", 50),
        ("half_squares", 25),
        ("absolute", 12),
        ("mean_squares", 13 / 2 + 37 / 2),
        ("power", 100.59469),  # (2² + 6²)^1.25: the first pixel only
        ("nine_point", 575 / 54),  # 2 (13/12 + 37/12 + 59/108 + 66/108)
    ],
)
def test_total_variation_by_hand(kind, expected):
    """Failure: as above, in numbers that can be followed on paper."""
    picture = np.array([[1, 3], [7, 4]], "float32")[:, :, None]
    assert number(losses.TV_LOSSES[kind](ops.convert_to_tensor(picture))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("section", "key", "registry"),
    [
        (settings.Content, "loss", losses.CONTENT_LOSSES),
        (settings.TotalVariation, "kind", losses.TV_LOSSES),
        (settings.StyleSettings, "space", objective.SPACES),
    ],
)
def test_settings_name_what_exists(section, key, registry):
    """Failure: a preset is accepted and then fails deep in the run, or a loss that exists cannot be asked for."""
    assert set(typing.get_args(section.model_fields[key].annotation)) == set(registry)


@pytest.mark.parametrize("space", objective.SPACES)
def test_spaces_invert(space):
    """Failure: the finished picture has other colours than the one the network saw. Values by hand for mid grey."""
    grey = {"unit": 0.5, "byte": 127.5, "byte-256": 128.0, "imagenet": [0.0655022, 0.1964286, 0.4177778]}
    values = objective.to_space(np.full((2, 2, 3), 0.5, "float32"), space)
    assert np.allclose(values, grey[space], rtol=1e-5, atol=1e-6)
    picture = objective.to_space(PICTURE, space)
    for back in (
        objective.from_space(picture, space),
        ops.convert_to_numpy(objective.from_space(ops.convert_to_tensor(picture), space)),
    ):
        assert np.allclose(back, PICTURE, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "limit"), [(113, 8, 2e-3), (625, 8, 2e-3), (2857, 7, 1e-3)])
def test_gram_of_bfloat16(height, width, limit):
    """Failure: half precision rounds the sum over positions (1.8e-3), or positions past the last chunk are lost."""
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(0.2, 1, (1, height, width, 64)), 0).astype("float32")
    half = ops.cast(ops.convert_to_tensor(features), "bfloat16")
    values = ops.convert_to_numpy(half).astype("float64").reshape(-1, 64)
    exact = values.T @ values
    gram = backend.gram(half)
    assert gram.shape == (64, 64)
    gram = ops.convert_to_numpy(gram)
    assert gram.dtype == np.float32
    assert np.linalg.norm(gram - exact) <= limit * np.linalg.norm(exact)
