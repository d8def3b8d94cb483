"""Filter pictures: the spectrum they are made of, and whether they excite what they are for."""

import json

import keras
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
from click.testing import CliRunner
from keras import ops
from PIL import Image

import kstyle
from kstyle import backend
from kstyle.cli import cli
from kstyle.errors import UsageError
from kstyle.inspect.ascent import channel_pictures, spectrum
from kstyle.models import registry, weights

STRONG = 2.5  # activation of `one` that noise does not give
NAMES = ("astronaut", "chelsea", "coffee", "rocket", "wave", "night")


@pytest.fixture(scope="module")
def network():
    """Channels that answer to known forms: `one` to upright and to lying stripes, 4 pixels apart; `two` to upright
    ones, lying ones, any, and strong ones only. Then three classes: one for each of the first channels of `two`."""
    wave = np.cos(np.pi / 2 * np.arange(-3, 4)) * np.hanning(9)[1:-1]
    stripes = np.outer(np.hanning(9)[1:-1], wave - wave.mean())
    layers = [
        keras.layers.Conv2D(2, 7, activation="relu", padding="same", name="one"),
        keras.layers.Conv2D(4, 1, activation="relu", name="two"),
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.Dense(3, name="classes", activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers], name="small")
    kernels = np.stack([stripes, stripes.T], -1)[:, :, None] / (3 * 255)
    layers[0].set_weights([np.repeat(kernels, 3, axis=2), np.zeros(2)])
    layers[1].set_weights([np.array([[[[1, 0, 1, 1], [0, 1, 1, 1]]]]), np.array([0, 0, 0, -STRONG])])
    layers[3].set_weights([np.eye(4, 3), np.zeros(3)])
    return model


def pictures(side):
    """(6, side, side, 3): those of examples/."""
    shown = [Image.open(f"examples/{name}.jpg").convert("RGB").resize((side, side)) for name in NAMES]
    return np.stack(shown).astype("float32") / 255


def means(looked, layer, shown):
    """(B, C): the mean activation of each channel of a layer."""
    return backend.as_numpy(channel_pictures.mean_activation(looked, layer, ops.convert_to_tensor(shown)))


def test_a_spectrum_is_scipys():
    """Failure: what the optimiser changes are no cosine waves, or high ones weigh as much as low ones."""
    rng = np.random.default_rng(0)
    height, width = 18, 24
    values = rng.normal(size=(2, 3, height, width)).astype("float32")
    down, across = np.meshgrid(np.arange(height) / (2 * height), np.arange(width) / (2 * width), indexing="ij")
    amplitudes = spectrum.CONTRAST / np.maximum(np.sqrt(down**2 + across**2), 1 / width)
    planes = scipy.fft.idctn(values * amplitudes, axes=(2, 3), norm="ortho")
    light, red_blue, green = (planes[:, k] * spectrum.DEVIATIONS[k] / spectrum.DEVIATIONS[0] for k in range(3))
    red = light / 3**0.5 + red_blue / 2**0.5 + green / 6**0.5
    middle = light / 3**0.5 - 2 * green / 6**0.5
    blue = light / 3**0.5 - red_blue / 2**0.5 + green / 6**0.5
    wanted = 1 / (1 + np.exp(-np.stack([red, middle, blue], -1)))
    found = spectrum.Spectrum(height, width).picture(ops.convert_to_tensor(values))
    np.testing.assert_allclose(backend.as_numpy(found), wanted, atol=1e-5)


def test_a_blur_is_a_gaussian():
    """Failure: the blur is of another width than it says, and coarse forms are lost or fine noise stays."""
    made = spectrum.Spectrum(40, 48)
    values = made.start(1, 5) * 10

    def before_the_logistic(blur):
        rgb = backend.as_numpy(made.picture(ops.convert_to_tensor(values), blur)).astype("float64")
        return np.log(rgb / (1 - rgb))[0]

    wanted = scipy.ndimage.gaussian_filter(before_the_logistic(0.0), (2, 2, 0), mode="reflect", truncate=8)
    np.testing.assert_allclose(before_the_logistic(2.0), wanted, atol=2e-3 * np.abs(wanted).max())


def test_colours_do_not_go_together():
    """Failure: a step on one axis of the colours is half a step on another, and pictures are nearly grey."""
    np.testing.assert_allclose(spectrum.AXES @ spectrum.AXES.T, np.eye(3), atol=1e-12)
    pixels = pictures(32).reshape(-1, 3)
    along = pixels @ spectrum.AXES.T
    mixed = np.abs(np.corrcoef(pixels.T)[np.triu_indices(3, 1)])
    assert np.abs(np.corrcoef(along.T)[np.triu_indices(3, 1)]).mean() < 0.5 * mixed.mean()
    assert (np.diff(along.std(0)) < 0).all()  # most in light, least in green against red and blue


def test_a_channel_is_excited(network):
    """Failure: the pictures excite another channel, or none more than any picture does."""
    looked = kstyle.inspect.open(network)
    found = kstyle.inspect.filters(looked, "two", [0, 1], size=32, steps=64)
    assert found.pictures.shape == (2, 1, 32, 32, 3) and found.pictures.min() >= 0 and found.pictures.max() <= 1
    now, best = means(looked, "two", found.pictures[:, 0]), means(looked, "two", pictures(32)).max(0)
    np.testing.assert_allclose(found.table["activation"], [now[0, 0], now[1, 1]], rtol=1e-2)
    assert now[0, 0] > 2 * best[0] and now[1, 1] > 2 * best[1], (now, best)
    assert now[0, 0] > 2.5 * now[0, 1] and now[1, 1] > 2.5 * now[1, 0], now


@pytest.mark.parametrize("layer, channel", [("relu3_1", 7), ("relu4_1", 100), ("relu5_1", 300)])
def test_vgg19_is_excited(vgg19, layer, channel):
    """Failure: pictures for a real network's channels excite them little more than photographs do."""
    found = kstyle.inspect.filters(vgg19, layer, channel, size=64, steps=24)
    best = means(vgg19, vgg19.layer(layer), pictures(64)).max(0)[channel]
    assert found.table["activation"][0] > 5 * best


@pytest.fixture(scope="module")
def vgg19():
    if weights.locate(registry.get("vgg19"), "caffe").startswith("a download"):
        pytest.skip("VGG19's weights are not here")
    return kstyle.inspect.open("vgg19")


def test_several_pictures_differ(network):
    """Failure: `diversity` gives the same picture several times."""
    looked = kstyle.inspect.open(network)

    def common(spread):
        found = kstyle.inspect.filters(looked, "two", 2, size=32, steps=64, diversity=2, spread=spread)
        features = looked.watch(["two"])(looked.prepare(ops.convert_to_tensor(found.pictures[0])))["two"]
        return float(backend.as_numpy(channel_pictures.likeness(features, 2))[0])

    assert common(4) < common(0) - 0.1


def test_likeness_is_a_cosine():
    """Failure: what pictures have in common is measured across groups, or with themselves."""
    features = np.random.default_rng(1).normal(size=(4, 3, 5, 6)).astype("float32")
    grams = np.einsum("bhwc,bhwd->bcd", features, features).reshape(4, -1)
    first, second, third, fourth = grams / np.linalg.norm(grams, axis=1, keepdims=True)
    found = backend.as_numpy(channel_pictures.likeness(ops.convert_to_tensor(features), 2))
    np.testing.assert_allclose(found, [first @ second] * 2 + [third @ fourth] * 2, rtol=1e-4)


def test_a_silent_channel_begins_to_speak(network):
    """Failure: a channel that noise does not move has no gradient, and its picture stays noise."""
    found = kstyle.inspect.filters(network, "two", 3, size=32, steps=64)
    assert found.table["before"][0] == 0 < found.table["activation"][0]


def test_a_silent_channel_is_begun_again():
    """Failure: a channel that one noise never reaches has a picture of nothing, or another's, or all are made again."""
    asked = []

    def made(channels, again=0):
        asked.append(channels)
        spoken = np.array([float(channel != 5 or again == 2) * channel for channel in channels])
        found = np.full((len(channels), 1), again), spoken, np.zeros(len(channels))
        for each in found:
            each.flags.writeable = False  # as JAX's are
        return found

    tries, after, _ = channel_pictures._spoken(made, [4, 5, 6], 1)
    assert asked == [[4, 5, 6], [5], [5]] and after.tolist() == [4, 5, 6] and tries[:, 0].tolist() == [0, 2, 0]


def test_classes_have_pictures(network):
    """Failure: a classifier's classes cannot be looked at, or the softmax flattens their gradient."""
    found = kstyle.inspect.filters(network, "logits", [2], size=32, steps=20)
    assert found.table.columns.tolist() == ["channel", "class", "number", "activation", "before"]
    assert found.table["activation"][0] > found.table["before"][0]


@pytest.mark.parametrize(
    "given, said",
    [
        ({"layer": "tow"}, "Did you mean 'two'"),
        ({"channels": [8]}, "has the channels 0 to 3; there is no 8"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"size": 8}, "size must be a whole number from 16"),
        ({"diversity": 9}, "diversity must be"),
    ],
)
def test_mistakes(network, given, said):
    """Failure: a mistake ends in a traceback from the middle of a framework."""
    with pytest.raises(UsageError, match=said):
        kstyle.inspect.filters(network, **{"layer": "two", **given})


def test_a_sheet(network, tmp_path):
    """Failure: the command writes no sheet, or other channels than it was asked for."""
    network.save(tmp_path / "small.keras")
    command = f"inspect filters {tmp_path}/small.keras --layer two --channel 0,2-3 -o {tmp_path}/sheet.png --json"
    done = CliRunner().invoke(cli, f"{command} --size 16 --steps 2".split(), catch_exceptions=False)
    assert [row["channel"] for row in json.loads(done.output)["pictures"]] == [0, 2, 3]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 16
