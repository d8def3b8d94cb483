"""Every loss against its published formula, written out in float64 NumPy, and against numbers worked out by hand."""

import typing

import numpy as np
import pytest
from keras import ops

from kstyle import backend
from kstyle.style import settings
from kstyle.style.losses import content, patches, positions, terms, transport
from kstyle.style.losses.gram import gram_loss, scaled_gram
from kstyle.style.losses.positions import Features, Positions
from kstyle.style.losses.scalings import CONTENT, GRAM_LOSSES, GRAM_SCALINGS, STYLE_LOSSES
from kstyle.style.losses.summed import CONTENT_SUMMED
from kstyle.style.losses.total_variation import TV_LOSSES, out_of_range
from kstyle.style.passes import units

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


def covariance(rows):
    return np.cov(rows.T, bias=True)


def cosine_distance(a, b):
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


def published_wasserstein(x, s):
    """Of Gaussians with covariances A, B: |Δµ|² + tr(A + B − 2 (B^½ A B^½)^½), by eigenvalues; over channels."""
    a, b = (covariance(rows) + 1e-4 * np.eye(4) for rows in (x, s))
    trace = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    return (np.sum((x.mean(0) - s.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * trace) / 4


def published_batch_norm(x, s):
    return sum(np.sum((f(x, 0) - f(s, 0)) ** 2) for f in (np.mean, np.std)) / 4


def published_histogram(x, s):
    """Each activation to the style's quantile of its rank."""
    ranks = x.argsort(0).argsort(0)
    ours, theirs = (np.arange(len(rows)) / len(rows) + 0.5 / len(rows) for rows in (x, s))
    wanted = [np.interp(ours[ranks[:, c]], theirs, np.sort(s[:, c])) for c in range(4)]
    return np.mean((x - np.stack(wanted, 1)) ** 2)


def windows(rows, height, width):
    """Every 3×3 patch, as a row."""
    grid = rows.reshape(height, width, -1)
    return [grid[i : i + 3, j : j + 3].ravel() for i in range(height - 2) for j in range(width - 2)]


def published_mrf(x, s):
    """Li & Wand: by normalised cross-correlation; their sum of squares as a mean."""
    ours, theirs = windows(x, 7, 5), windows(s, 6, 9)
    best = [max(theirs, key=lambda t, p=p: p @ t / np.sqrt(t @ t)) for p in ours]
    return np.mean([(p - b) ** 2 for p, b in zip(ours, best)])


def published_nearest(x, s):
    return np.mean([min(cosine_distance(a, b) for b in s - s.mean(0)) for a in x - x.mean(0)])


def published_hypercolumns(x, s):
    """Kolkin et al. 2022, the guide being the picture itself: each is to become its nearest about the mean."""
    centred = s - s.mean(0)
    found = [min(range(len(s)), key=lambda i, a=a: cosine_distance(a, centred[i])) for a in x - x.mean(0)]
    return np.mean([cosine_distance(a, s[i]) for a, i in zip(x, found)])


def brute_force_remd(x, s, distance):
    there = np.mean([min(distance(a, b) for b in s) for a in x])
    return max(there, np.mean([min(distance(a, b) for a in x) for b in s]))


def published_remd(x, s):
    return brute_force_remd(x, s, cosine_distance)


def published_moments(x, s):
    return np.abs(x.mean(0) - s.mean(0)).mean() + np.abs(covariance(x) - covariance(s)).mean()


def published_palette(x, s):
    x, s = (rows[:, :3] @ transport.PALETTE.T.astype("float64") for rows in (x, s))
    return brute_force_remd(x, s, lambda a, b: cosine_distance(a, b) + np.sqrt(np.sum((a - b) ** 2) / 3))


# {loss: formula in float64 of rows (positions, channels) of the picture and of the style}
BEYOND_GRAM = {
    "wasserstein": published_wasserstein,
    "batch_norm": published_batch_norm,
    "histogram": published_histogram,
    "mrf": published_mrf,
    "nearest": published_nearest,
    "hypercolumns": published_hypercolumns,
    "remd": published_remd,
    "moments": published_moments,
    "palette": published_palette,
}


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def outer_sum(features):
    """Σ over positions of f fᵀ, one position at a time."""
    rows = features.astype("float64").reshape(-1, features.shape[-1])
    return sum(np.outer(row, row) for row in rows)


def style_loss(features, style, scaling, pixels):
    target = scaled_gram(ops.convert_to_tensor(style), scaling)
    return number(gram_loss(ops.convert_to_tensor(features), target, scaling, pixels))


def test_every_style_loss_has_a_published_formula():
    """A scaling without a formula here is one that nothing checks."""
    assert set(PUBLISHED) == set(GRAM_LOSSES) == {*GRAM_SCALINGS, "relative"}
    assert set(terms.KINDS) == set(STYLE_LOSSES) == {*GRAM_LOSSES, *BEYOND_GRAM}
    assert set(terms.SAMPLING) < set(BEYOND_GRAM)


@pytest.mark.parametrize("scaling", GRAM_LOSSES)
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


def term_of(loss, **options):
    return settings.FurtherTerm(loss=loss, layers={"pixels" if loss == "palette" else "relu1_1": 1}, **options)


def seen(features, loss):
    """Features of the one layer, as a term gets them, the picture of their size being they themselves."""
    features = ops.convert_to_tensor(features[..., : 3 if loss == "palette" else None])
    factor = terms.COARSER if loss == "hypercolumns" else 1  # so that it takes all of them
    return Features({"relu1_1": features, "pixels": features}, tuple(factor * side for side in features.shape[1:3]))


def term_loss(loss, features, styles, blend=(1.0,), views=1, **options):
    """`features`, and each of `styles`: (1, H, W, C) NumPy."""
    term, where = term_of(loss, **options), Positions(0)
    target = terms.target(term, [seen(style, loss) for style in styles], list(blend), where, views=views)
    target = terms.matched(term, seen(features, loss), target, where)
    found = terms.distances(term, seen(features, loss), target, where, PIXELS)
    return sum(factor * value for factor, value in found)


@pytest.mark.parametrize("loss", BEYOND_GRAM)
def test_losses_beyond_gram(loss):
    """Failure: a named style loss is not what its publication defines."""
    expected = BEYOND_GRAM[loss](*(f.astype("float64").reshape(-1, 4) for f in (FEATURES, STYLE)))
    assert number(term_loss(loss, FEATURES, [STYLE])) == pytest.approx(expected, rel=1e-5)


def test_self_similarity():
    """Failure: STROTSS' content loss is not what it published."""
    rows = [f.astype("float64").reshape(-1, 4)[:20] for f in (FEATURES, STYLE)]
    tables = [np.array([[cosine_distance(a, b) for b in x] for a in x]) for x in rows]
    expected = np.abs(np.subtract(*(table / table.sum(0) for table in tables))).sum(0).mean()
    found = transport.self_similarity(*(ops.convert_to_tensor(x.astype("float32")) for x in rows))
    assert number(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_gradients_are_finite(loss):
    """Failure: a picture that has arrived, or a flat one, turns into NaN."""
    flat = np.full_like(FEATURES, 0.3)
    for start, style in ((FEATURES, FEATURES), (flat, FEATURES), (FEATURES, flat), (flat, flat), (0 * flat, flat)):
        gradient = backend.value_and_grad(lambda x, style=style: (term_loss(loss, x, [style]), {}))
        (value, _), slope = gradient(ops.convert_to_tensor(start))
        assert np.isfinite(number(value)) and np.isfinite(ops.convert_to_numpy(slope)).all()


@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_blending_styles(loss):
    """Failure: two styles give one of them, or a style blended with itself gives another target."""
    one, other = number(term_loss(loss, FEATURES, [STYLE])), number(term_loss(loss, FEATURES, [FEATURES[:, ::-1] * 2]))
    same = number(term_loss(loss, FEATURES, [STYLE, STYLE], (0.3, 0.7)))
    both = number(term_loss(loss, FEATURES, [STYLE, FEATURES[:, ::-1] * 2], (0.25, 0.75)))
    assert same == pytest.approx(one, rel=1e-4)
    assert min(abs(both - one), abs(both - other)) > 1e-3 * both
    if not terms.KINDS[loss].blended:
        assert both == pytest.approx(0.25 * one + 0.75 * other, rel=1e-4)


@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_views_are_one_style(loss):
    """Failure: a style that is also shown turned counts four times, or is looked at from one side."""
    from_behind = STYLE[:, ::-1, ::-1] + 0.5  # 0.5, so that its mean is another
    once, both = (number(term_loss(loss, FEATURES, [STYLE, from_behind][:n], views=n)) for n in (1, 2))
    assert abs(both - once) > 1e-4 * once
    if loss in ("nearest", "hypercolumns", "remd", "palette"):  # what compares places, whatever is beside them
        beside = np.concatenate([STYLE, from_behind], axis=2)
        assert both == pytest.approx(number(term_loss(loss, FEATURES, [beside])), rel=1e-4)


def test_quantiles_of_styles_of_different_size():
    """Failure: two styles of different size cannot be blended by histogram. One channel, by hand."""
    short, long = (np.array(v, "float32").reshape(1, 1, -1, 1) for v in ([0, 4], [10, 20, 30, 40]))
    picture = np.array([0, 0, 0, 0], "float32").reshape(1, 1, 4, 1)
    # The short one's quantiles at 1/8, 3/8, 5/8 and 7/8 are 0, 1, 3 and 4; the mean with the long one's:
    wanted = np.array([5, 10.5, 16.5, 22])
    loss = number(term_loss("histogram", picture, [short, long], (0.5, 0.5)))
    assert loss == pytest.approx(np.mean(wanted**2), rel=1e-6)


def test_nearest_in_blocks(monkeypatch):
    """Failure: where a matrix of distances is cut into blocks, rows are lost or compared with the wrong ones."""
    rng = np.random.default_rng(3)
    x, s = (rng.normal(size=(n, 8)).astype("float32") for n in (37, 23))
    whole = ((x / np.linalg.norm(x, axis=1)[:, None]) @ (s / np.linalg.norm(s, axis=1)[:, None]).T).argmax(1)
    monkeypatch.setattr(patches, "LARGEST_BLOCK", 5 * 23)
    np.testing.assert_array_equal(ops.convert_to_numpy(patches.nearest(*map(ops.convert_to_tensor, (x, s)))), whole)


def test_positions():
    """Failure: sampled positions repeat, leave the picture, never move, or differ from run to run."""
    first, same, other = (ops.convert_to_numpy(Positions(seed).draw(25, 40, 64)) for seed in (7, 7, 8))
    assert len(set(first.tolist())) == 64 and first.min() >= 0 and first.max() < 1000
    np.testing.assert_array_equal(first, same)
    assert Positions(7).draw(8, 8, 64) is None and (first != other).any()
    moved = [Positions(7, ops.convert_to_tensor(step, "int32")) for step in (0, 1, positions.DRAWS)]
    zero, one, again = (ops.convert_to_numpy(at.draw(25, 40, 64)) for at in moved)
    np.testing.assert_array_equal(zero, first)
    np.testing.assert_array_equal(zero, again)
    assert (zero != one).any() and (ops.convert_to_numpy(moved[1].draw(25, 40, 64, redraw=False)) == first).all()


def test_columns():
    """Failure: a column reads another place of a coarse layer than of the picture. By hand, half the size."""
    fine = np.arange(12, dtype="float32").reshape(1, 3, 4, 1)
    coarse = np.array([10, 20], "float32").reshape(1, 1, 2, 1)
    found = Features({"pixels": ops.convert_to_tensor(fine), "relu2_1": ops.convert_to_tensor(coarse)}, (3, 4))
    columns = ops.convert_to_numpy(Positions().columns(found, {"pixels": 1, "relu2_1": 2}, 16))
    assert columns[:, 0].tolist() == list(range(12))
    assert columns[:4, 1].tolist() == [20, 30, 40, 40] and columns[8:, 1].tolist() == [20, 30, 40, 40]


def test_shifted_gram():
    """Failure: INetwork's activation shift is passed over on one side. One channel, 1 2 3 and 2 0, less 1: 5 and 2."""
    x, s = (np.array(v, "float32").reshape(1, 1, -1, 1) for v in ([1, 2, 3], [2, 0]))
    assert number(term_loss("none", x, [s], shift=-1)) == pytest.approx((5 - 2) ** 2)


def test_content_losses():
    """Failure: a published content weight would mean something else here."""
    x, target = FEATURES.astype("float64"), STYLE[:, :, :5].astype("float64")
    target = np.concatenate([target, target[:, :1]], axis=1)
    distance = sum((a - b) ** 2 for a, b in zip(x.ravel(), target.ravel()))
    published = {
        "mse": distance / 140,
        "sum": distance,
        "half_sum": distance / 2,
        "half_root": distance / (2 * 35**0.5 * 4**0.5),
        "relative": distance / sum(b**2 for b in target.ravel()),
    }
    called = {"sum": "sum_of_squares", "half_sum": "half_sum_of_squares"}
    assert set(published) == set(CONTENT_SUMMED)
    for name, expected in published.items():
        loss = getattr(content, called.get(name, name))
        found = loss(ops.convert_to_tensor(FEATURES), ops.convert_to_tensor(target, "float32"))
        assert number(found) == pytest.approx(expected, rel=1e-5), name
        assert CONTENT_SUMMED[name](distance, 140, np.mean(target**2)) == pytest.approx(expected, rel=1e-9), name


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

    def blurred(i, j):  # zero padding
        near = [(i + a, j + b, np.exp(-(a**2 + b**2) / 2)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        there = sum(w * x[p, q] for p, q, w in near if 0 <= p < height and 0 <= q < width)
        return there / sum(w for _, _, w in near)

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
        "blur": np.mean([max(np.abs(blurred(i, j) - x[i, j])) ** 2 for i, j in inside]),
        "nine_point": 2 * sum(means),
    }


def test_total_variation():
    """Failure: a published total-variation weight would smooth more or less than where it was published."""
    published = published_tv(PICTURE.astype("float64"))
    assert set(published) == set(TV_LOSSES)
    for kind, expected in published.items():
        value = number(TV_LOSSES[kind](ops.convert_to_tensor(PICTURE)))
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
    assert number(TV_LOSSES[kind](ops.convert_to_tensor(picture))) == pytest.approx(expected, rel=1e-6)


def test_out_of_range():
    """Failure: the penalty on what no picture can show is of another strength. Below by 0.5, above by 0.25 and 1."""
    rgb = ops.convert_to_tensor(np.array([-0.5, 1.25, 2, 0.3, 0, 1], "float32").reshape(1, 2, 3))
    assert number(out_of_range(rgb)) == pytest.approx(0.5 / 6 + 1.25 / 6)


@pytest.mark.parametrize(
    ("section", "key", "registry"),
    [
        (settings.TotalVariation, "kind", TV_LOSSES),
        (settings.StyleSettings, "space", units.SPACES),
    ],
)
def test_settings_name_what_exists(section, key, registry):
    """Failure: a preset is accepted and then fails deep in the run, or a loss that exists cannot be asked for."""
    assert set(typing.get_args(section.model_fields[key].annotation)) == set(registry)


def test_content_losses_that_settings_know():
    """Failure: as above."""
    assert {*CONTENT_SUMMED, "self_similarity"} == set(CONTENT) - set(CONTENT.own)


@pytest.mark.parametrize("space", units.SPACES)
def test_spaces_invert(space):
    """Failure: the finished picture has other colours than the one the network saw. Values by hand for mid grey."""
    grey = {"unit": 0.5, "byte": 127.5, "byte-256": 128.0, "imagenet": [0.0655022, 0.1964286, 0.4177778]}
    values = units.to_space(np.full((2, 2, 3), 0.5, "float32"), space)
    assert np.allclose(values, grey[space], rtol=1e-5, atol=1e-6)
    picture = units.to_space(PICTURE, space)
    for back in (
        units.from_space(picture, space),
        ops.convert_to_numpy(units.from_space(ops.convert_to_tensor(picture), space)),
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


def test_wasserstein_of_half_precision_features():
    """Failure: in bfloat16 a covariance has negative eigenvalues, and the loss of crowson is not a number."""
    rng = np.random.default_rng(0)
    x, s = (100 + 50 * rng.gamma(1, 1, (1, 24, 24, 8)) @ rng.normal(size=(8, 64)) for _ in "xs")  # of rank 8 in 64

    def loss(features, precision):
        features, style = (ops.cast(ops.convert_to_tensor(f.astype("float32")), precision) for f in (features, s))
        target = transport.gaussian(*transport.moments(style))
        (value, _), gradient = backend.value_and_grad(lambda f: (transport.wasserstein(f, target), {}))(features)
        return float(ops.convert_to_numpy(value)), ops.convert_to_numpy(ops.cast(gradient, "float32"))

    (half, gradient), (full, _) = (loss(x, precision) for precision in ("bfloat16", "float32"))
    assert half == pytest.approx(full, rel=0.02) and np.isfinite(gradient).all()
