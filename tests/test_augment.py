"""Augmentation against its definitions: distributions that are measured, and colours and places from other code."""

import colorsys

import numpy as np
import pytest
from augmentations import EVERYTHING
from keras import ops

from kstyle import backend, config
from kstyle.errors import UsageError
from kstyle.training.augment import geometry, mixing
from kstyle.training.augment import policy as augment

RNG = np.random.default_rng(5)


def settings(**values):
    return config.check(augment.AugmentSettings, values, "test")


def noise(batch=4, height=9, width=12, channels=3):
    return RNG.random((batch, height, width, channels), "float32")


def run(x, seed=0, strength=1.0, mix=1.0, boxes=None, targets=None, **values):
    """(images, targets, boxes) as NumPy."""
    targets = np.eye(len(x), dtype="float32") if targets is None else targets
    fn = augment.build(settings(**values))
    found = fn(
        ops.convert_to_tensor(x), ops.convert_to_tensor(targets), backend.Random(seed), strength, mix,
        None if boxes is None else ops.convert_to_tensor(boxes),
    )  # fmt: skip
    return tuple(None if v is None else ops.convert_to_numpy(v) for v in found)


ALONE = {key: {key: value} for key, value in EVERYTHING.items()}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*ALONE, "everything"])
def test_contract(name, channels):
    """Failure: a picture leaves [0, 1] or its type, labels do not sum to 1, a run cannot be repeated, or a schedule
    that starts at strength 0 starts with changed pictures."""
    values = ALONE.get(name, EVERYTHING)
    x, boxes = noise(channels=channels), np.array([[1, 2, 7.3, 8.1]] * 4, "float32")
    images, targets, moved = run(x, boxes=boxes, **values)
    assert images.shape == x.shape and images.dtype == targets.dtype == moved.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    assert np.abs(targets.sum(1) - 1).max() < 1e-6
    assert (moved >= 0).all() and (moved <= [12, 9, 12, 9]).all() and (moved[:, 2:] >= moved[:, :2]).all()
    again = run(x, boxes=boxes, **values)
    assert all(np.array_equal(a, b) for a, b in zip((images, targets, moved), again))
    still = run(x, boxes=boxes, strength=0.0, **values)
    assert all(np.array_equal(a, b) for a, b in zip(still, (x, np.eye(4), boxes)))


@pytest.mark.parametrize("name", ALONE)
def test_each_sample_has_its_own(name):
    """Failure: a whole batch gets the same change, or every run the same ones."""
    x = np.repeat(noise(1), 64, axis=0)
    if name in ("mixup", "cutmix"):
        x = noise(64)
        targets = run(x, targets=np.eye(64, dtype="float32"), **ALONE[name])[1]
        assert len(np.unique(targets.max(1).round(4))) > 5
    else:
        images = run(x, **ALONE[name])[0]
        assert len(np.unique(images.reshape(64, -1), axis=0)) >= 2
    assert not np.array_equal(run(x, seed=1, **ALONE[name])[0], run(x, seed=2, **ALONE[name])[0])


def test_off_is_none():
    """Failure: training without augmentation pays for it."""
    assert augment.build(settings()) is None
    assert augment.build(settings(rotation=0, horizontal_flip=False, zoom_range=0.0, brightness_range=None)) is None


def spot(batch, height=33, width=41):
    """Pictures of a smooth blob in the middle, whose centre of mass can be measured."""
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((x - width // 2) ** 2 + (y - height // 2) ** 2) / 8)
    return np.repeat(blob[None, :, :, None].astype("float32"), batch, axis=0)


def moves(images):
    """How far each blob is from the middle: (x, y) in pixels."""
    _, height, width, _ = images.shape
    y, x = np.mgrid[:height, :width]
    mass = images[..., 0].sum((1, 2))
    at = [(images[..., 0] * grid).sum((1, 2)) / mass for grid in (x - width // 2, y - height // 2)]
    return np.stack(at, axis=1)


def assert_uniform(values, low, high):
    """Kolmogorov's distance to the uniform distribution, at a level of about 1e-4."""
    values = np.sort((values - low) / (high - low))
    distance = np.abs(values - (np.arange(len(values)) + 0.5) / len(values)).max()
    assert distance < 2.2 / np.sqrt(len(values))


@pytest.mark.parametrize(
    ("values", "x", "y"),
    [({"shift": 0.1}, 4.1, 3.3), ({"shift": [0, 0.2]}, 0, 6.6),
     ({"width_shift_range": 0.1, "height_shift_range": 3}, 4.1, 3)],
)  # fmt: skip
def test_shifts_are_uniform(values, x, y):
    """Failure: pictures move further, less far or less evenly than the recipe says."""
    found = moves(run(spot(1000), **values)[0])
    for axis, most in enumerate((x, y)):
        if most:
            assert_uniform(found[:, axis], -most, most)
        else:
            assert np.abs(found[:, axis]).max() < 1e-3


def test_pad_crop_moves_whole_pixels():
    """Failure: CIFAR's pictures are blurred, some offsets never come, or the flip rate is not a half."""
    x = np.repeat(noise(1, 8, 7), 600, axis=0)
    images = run(x, horizontal_flip=True, pad_crop=2)[0]
    padded = [np.pad(p, ((2, 2), (2, 2), (0, 0))) for p in (x[0], x[0][:, ::-1])]
    crops = {
        p[i : i + 8, j : j + 7].tobytes(): (k, i) for k, p in enumerate(padded) for i in range(5) for j in range(5)
    }
    found = [crops[image.tobytes()] for image in images]
    assert len({image.tobytes() for image in images}) == 50
    assert abs(np.mean([k for k, _ in found]) - 0.5) < 0.08
    counts = np.bincount([i for _, i in found], minlength=5)
    assert counts.min() > 80 and counts.max() < 165


@pytest.mark.parametrize(("mode", "name"), [("constant", "constant"), ("nearest", "edge"), ("reflect", "symmetric")])
def test_fill_modes(mode, name):
    """Failure: what appears at the edges is not what was asked for."""
    x = noise(1, 6, 7)
    wide = np.pad(x[0], ((3, 3), (3, 3), (0, 0)), name, **({"constant_values": 0.25} if mode == "constant" else {}))
    matrix = geometry.shift(3.0, -2.0)
    for fn in (geometry.move, geometry.sample):
        found = ops.convert_to_numpy(fn(ops.convert_to_tensor(x), matrix, mode, 0.25))
        assert np.allclose(found[0], wide[5:11, 0:7], atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 17.0, 90.0, -140.0])
def test_rotation_is_scipys(angle):
    """Failure: pictures turn the other way, about another point, or are interpolated otherwise."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x = noise(2, 11, 11, 1)
    matrix = geometry.rotation(ops.convert_to_tensor(np.full(2, angle, "float32")))
    found = ops.convert_to_numpy(geometry.sample(ops.convert_to_tensor(x), matrix))
    expected = ndimage.rotate(x[0, ..., 0].astype("float64"), angle, reshape=False, order=1, mode="grid-constant")
    assert np.abs(found[0, ..., 0] - expected).max() < 2e-5
    assert np.array_equal(found[0, ..., 0].shape, expected.shape)


def test_angles_zooms_and_leans_are_uniform():
    """Failure: degrees are radians, or a zoom of 0.2 is one of 20 %."""
    # The picture's x and y coordinates themselves: after an affine map they give the map back.
    y, x = np.mgrid[:21, :21]
    ramp = np.repeat(np.stack([x, y, x], -1)[None].astype("float32") / 20, 800, axis=0)

    def matrices(**values):
        images = run(ramp, fill_mode="constant", **values)[0] * 20
        middle = images[:, 10, 10]
        right, down = images[:, 10, 11] - middle, images[:, 11, 10] - middle
        return right[:, 0], down[:, 0], right[:, 1], down[:, 1]

    a, _, c, _ = matrices(rotation=30)
    assert_uniform(np.degrees(np.arctan2(c, a)), -30, 30)
    a, b, c, d = matrices(zoom=[0.8, 1.3])
    assert np.allclose(a, d, atol=1e-4) and np.allclose([b, c], 0, atol=1e-4)
    assert_uniform(1 / a, 0.8, 1.3)
    a, _, _, d = matrices(zoom_range=0.2)
    assert_uniform(a, 0.8, 1.2)
    assert abs(np.corrcoef(a, d)[0, 1]) < 0.15
    _, b, _, _ = matrices(shear=20)
    assert_uniform(np.degrees(np.arctan(b)), -20, 20)
    a, _, _, d = matrices(random_resized_crop={"scale": [0.3, 0.5], "ratio": [0.8, 1.25]})
    assert_uniform(a * d, 0.3, 0.5)
    assert_uniform(np.log(a / d), np.log(0.8), np.log(1.25))


def test_boxes_move_with_the_picture():
    """Failure: a detector learns from boxes beside their objects."""
    x, boxes = np.zeros((200, 40, 50, 1), "float32"), np.zeros((200, 4), "float32")
    x[:, 16:25, 18:30] = 1
    boxes[:] = [18, 16, 30, 25]
    values = {"rotation": 40, "shift": 0.1, "zoom": 0.2, "shear": 10, "horizontal_flip": True, "vertical_flip": True}
    images, _, moved = run(x, boxes=boxes, **values)
    for image, box in zip(images[..., 0], moved):
        rows, columns = np.nonzero(image.max(1) > 0.1)[0], np.nonzero(image.max(0) > 0.1)[0]
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(box - seen).max() < 2.0
    gone = run(x, boxes=boxes + np.float32(100), pad_crop=1)[2]
    assert (gone[:, 2] - gone[:, 0] == 0).all()


def published(name, x, f):
    """torchvision's formulas for one picture in float64."""
    x = x.astype("float64")
    grey = x @ [0.2989, 0.587, 0.114]
    other = {"brightness": 0.0, "contrast": grey.mean(), "saturation": grey[..., None]}[name]
    return np.clip(f * x + (1 - f) * other, 0, 1)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_factors(name):
    """Failure: a recipe's colour jitter is weaker or stronger than torchvision's of the same numbers."""
    x = np.repeat(noise(1), 8, axis=0)
    for factor in (0.3, 1.7):
        images = run(x, **{name: [factor, factor]})[0]
        assert np.abs(images - published(name, x[0], factor)).max() < 1e-6
    # A number is the range around 1; how far the pictures are from their own is in proportion to factor - 1.
    x = np.repeat(noise(1) * 0.1 + 0.4, 600, axis=0)
    images = run(x, **{name: 0.4})[0].astype("float64")
    step = published(name, x[0], 1.1) - x[0]
    assert_uniform(((images - x) * step).sum((1, 2, 3)) / (step**2).sum() * 0.1, -0.4, 0.4)


@pytest.mark.parametrize("turn", [0.1, -0.3, 0.5])
def test_hue_is_colorsys(turn):
    """Failure: colours turn the other way, or too far."""
    x = noise(2)
    x[0, 0, 0] = 0.5  # grey has no hue
    images = run(x, hue=[turn, turn])[0]
    for before, after in zip(x.reshape(-1, 3), images.reshape(-1, 3)):
        h, s, v = colorsys.rgb_to_hsv(*before.astype("float64"))
        assert np.abs(after - colorsys.hsv_to_rgb((h + turn) % 1, s, v)).max() < 2e-5


def test_grayscale_and_channel_shift():
    """Failure: another share of the pictures is grey, or ImageDataGenerator's 25.5 of 255 is not a tenth."""
    x = noise(600, 4, 4)
    images = run(x, grayscale=0.3)[0]
    grey = np.ptp(images, axis=-1).max((1, 2)) == 0
    assert abs(grey.mean() - 0.3) < 0.075
    x[:, 1:3, 1:3] = 0.5
    x[:, 0, 0], x[:, 0, 1] = 0, 1
    assert_uniform((run(x, channel_shift_range=25.5)[0] - x)[:, 1, 1, 0], -0.1, 0.1)


def test_erased_areas():
    """Failure: more is erased than was asked for, or it does not happen as often."""
    x = np.ones((800, 32, 32, 3), "float32")
    holes = (run(x, cutout=8)[0] == 0).all(-1)
    assert holes.sum((1, 2)).max() == 64 and holes.sum((1, 2)).min() >= 16
    holes = (run(x, erasing={"probability": 0.25, "area": [0.1, 0.3], "ratio": [0.5, 2], "fill": 0})[0] == 0).all(-1)
    share = holes.mean((1, 2))
    assert abs((share > 0).mean() - 0.25) < 0.06
    assert_uniform(share[share > 0], 0.1, 0.3)
    noisy = run(x, erasing={"probability": 1, "fill": "noise"})[0]
    assert 0.4 < noisy[noisy < 1].mean() < 0.6


def test_cutmix_labels_are_the_pasted_area():
    """Failure: labels say more or less of a picture is there than is. Each picture is one colour, its own."""
    count = 200
    x = np.tile((np.arange(count, dtype="float32") / count)[:, None, None, None], (1, 17, 23, 1))
    images, targets, _ = run(x, cutmix=1.0)
    held = np.stack([(np.abs(images - i / count) < 1e-6).mean((1, 2, 3)) for i in range(count)], axis=1)
    assert np.abs(targets - held).max() < 1e-6
    assert (targets.max(1) < 0.9).mean() > 0.2
    assert np.array_equal(run(x, cutmix=1.0, mix=0.0)[0], x)
    half = run(x, cutmix={"alpha": 1.0, "probability": 0.25})[1]
    assert (np.diag(half) < 1).mean() < 0.4


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_shares_are_beta(alpha):
    """Failure: mixup mixes harder or more gently than the recipe's alpha means."""
    stats = pytest.importorskip("scipy.stats")
    drawn = ops.convert_to_numpy(mixing.beta(backend.Random(3), alpha, (4000,)))
    assert stats.kstest(drawn, "beta", args=(alpha, alpha)).statistic < 2.2 / np.sqrt(4000)
    x = noise(50, 5, 5)
    images, targets, _ = run(x, mixup=alpha)
    assert np.abs(images - np.einsum("nk,khwc->nhwc", targets, x)).max() < 1e-5


def test_randaugment_operations():
    """Failure: an operation does not do what the paper says, or some are never drawn. PIL is the reference."""
    from PIL import Image, ImageEnhance, ImageOps

    from kstyle.training.augment import colour

    byte = RNG.integers(30, 200, (12, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(byte)
    x = ops.convert_to_tensor(byte[None].astype("float32") / 255)
    expected = {
        "brightness": ImageEnhance.Brightness(picture).enhance(1.45),
        "contrast": ImageEnhance.Contrast(picture).enhance(1.45),
        "colour": ImageEnhance.Color(picture).enhance(1.45),
        "sharpness": ImageEnhance.Sharpness(picture).enhance(1.45),
        "posterize": ImageOps.posterize(picture, 6),
        "solarize": ImageOps.solarize(picture, 128),
        "autocontrast": ImageOps.autocontrast(picture),
        "identity": picture,
        "rotate": picture,
    }
    for name, reference in expected.items():
        choice = ops.convert_to_tensor(np.array([colour.RANDAUGMENT.index(name)], "int32"))
        level, sign = ops.convert_to_tensor(np.float32(0.5)), ops.ones((1,))
        found = ops.convert_to_numpy(colour.randaugment(x, choice, level, sign))[0] * 255
        assert np.abs(found - np.asarray(reference, "float32")).max() <= 1.6, name
    drawn = colour.choose(backend.Random(0), 1, 2000, 9, ops.convert_to_tensor(np.float32(1)))[0][0]
    counts = np.bincount(ops.convert_to_numpy(drawn), minlength=13)
    assert counts.min() > 100 and counts.max() < 220


def test_compiled_steps_take_the_strength():
    """Failure: a ramp of the strength stays where it was when the step was compiled."""
    fn = augment.build(settings(**EVERYTHING))
    x, targets = noise(), np.eye(4, dtype="float32")
    step = backend.compile(lambda x, t, seed, strength: fn(x, t, backend.Random(seed), strength, strength)[0], [])
    inputs = ops.convert_to_tensor(x), ops.convert_to_tensor(targets)
    results = [ops.convert_to_numpy(step(*inputs, np.int32(1), np.float32(s))) for s in (0.0, 1.0)]
    assert np.array_equal(results[0], x)
    assert not np.array_equal(results[1], x)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"zoom": [0, 1]}, "zoom"), ({"zoom": 1}, "zoom"), ({"horizontal_flip": -0.1}, "horizontal_flip"),
        ({"cutmix": 0}, "cutmix.alpha"), ({"mixup": {"alpha": -1}}, "mixup.alpha"), ({"shift": 1.5}, "shift"),
        ({"shift": 0.1, "width_shift_range": 0.1}, "shift and width_shift_range"),
        ({"rescale": 1 / 255}, "data.normalize"),
        ({"featurewise_center": True}, "data.normalize"), ({"rotation": True}, "rotation"), ({"hue": 0.6}, "hue"),
        ({"cval": 255}, "cval"), ({"rotatoin": 3}, "rotation"), ({"erasing": {"fill": "blue"}}, "erasing.fill"),
        ({"random_resized_crop": {"scale": [0, 1]}}, "random_resized_crop.scale"), ({"pad_crop": -1}, "pad_crop"),
        ({"cutmix": {"alhpa": 1}}, "alpha"), ({"brightness": float("nan")}, "brightness"),
        ({"fill_mode": "wrap"}, "fill_mode"),
    ],
)  # fmt: skip
def test_impossible_settings(values, says):
    """Failure: a misspelt or impossible recipe trains something else, or stops with a traceback."""
    with pytest.raises(UsageError, match=says) as caught:
        settings(**values)
    assert "\n" not in str(caught.value)


def test_recipes_survive_being_saved():
    """Failure: a run cannot be resumed from the settings that it wrote down, or an old post's defaults are refused."""
    one = settings(**EVERYTHING, fill_mode="reflect")
    assert settings(**one.model_dump(mode="json", exclude_unset=True)) == one
    post = {
        "featurewise_center": False, "samplewise_std_normalization": False, "zca_whitening": False, "zca_epsilon": 1e-6,
        "rotation_range": 15, "width_shift_range": 0.1, "height_shift_range": 0.1, "shear_range": 0.0,
        "zoom_range": 0.0,
        "channel_shift_range": 0.0, "fill_mode": "nearest", "cval": 0.0, "horizontal_flip": True, "rescale": None,
        "preprocessing_function": None, "data_format": None, "validation_split": 0.0,
    }  # fmt: skip
    assert settings(**post).rotation_range == (-15, 15)
