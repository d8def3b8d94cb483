"""The networks against hand-written torch ones with the same weights, on a real picture."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image
from weight_files import resolve

import kstyle.backend
from kstyle.errors import DataError, UsageError
from kstyle.models import features, registry
from kstyle.models.networks import squeezenet
from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.nn import chain
from kstyle.nn.layers import Conv2D

ROOT = Path(__file__).resolve().parents[1]
SQUEEZENET = ROOT.parent / "shared/data/weights/squeezenet1.1_imagenet_full.npz"
# Of the largest activation. JAX's convolutions round differently from one processor to another: 4e-7 on most, but
# 1.7e-4 has been seen after the first L2 pool.
TOLERANCE = 5e-4 if kstyle.backend.NAME == "jax" else 1e-4
DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


@pytest.fixture(scope="module")
def picture():
    """(75, 113, 3) RGB in [0, 1]: odd sizes, so that every pooling drops a row or column."""
    image = Image.open(ROOT / "examples/chelsea.jpg").convert("RGB").resize((113, 75), Image.Resampling.LANCZOS)
    return np.asarray(image, "float32") / 255


@pytest.fixture(scope="module")
def vgg19():
    """The arrays of the real weights."""
    return resolve("vgg19", "caffe", offline=True).arrays


def convs(depths):
    """conv1_1, conv1_2, …"""
    return [f"{block}_{i}" for block, depth in enumerate(depths, 1) for i in range(1, depth + 1)]


def torch_conv(x, arrays, name, stride=1, padding=1):
    """Cross-correlation with an HWIO kernel, as torch wants it: OIHW."""
    torch = pytest.importorskip("torch", reason="the reference is written in torch")
    kernel = torch.from_numpy(arrays[f"{name}/kernel"]).permute(3, 2, 0, 1).contiguous()
    bias = torch.from_numpy(arrays[f"{name}/bias"])
    return torch.nn.functional.conv2d(x, kernel, bias, stride=stride, padding=padding)


def torch_vgg(picture, arrays, depths, pool=None, edge="constant"):
    """{conv4_2, relu4_2, pool4, …: (C, H, W)} of Simonyan's network: BGR bytes minus Caffe's mean, zero padding."""
    torch = pytest.importorskip("torch", reason="the reference is written in torch")
    functional = torch.nn.functional
    pool = pool or (lambda x: functional.max_pool2d(x, 2))
    pixels = 255.0 * picture.astype("float64")[:, :, ::-1] - [103.939, 116.779, 123.68]
    x = torch.from_numpy(pixels.astype("float32")).permute(2, 0, 1)[None]
    found = {}
    with torch.no_grad():
        for block, depth in enumerate(depths, 1):
            for i in range(1, depth + 1):
                x = functional.pad(x, (1, 1, 1, 1), mode=edge if (block, i) == (1, 1) else "constant")
                x = found[f"conv{block}_{i}"] = torch_conv(x, arrays, f"block{block}_conv{i}", padding=0)
                x = found[f"relu{block}_{i}"] = functional.relu(x)
            x = found[f"pool{block}"] = pool(x)
    return {name: value[0].numpy() for name, value in found.items()}


CONVOLUTIONS = {"one": "float32", "two": "float32", "cast": "mixed_bfloat16"}


def assert_features(extractor, picture, expected, tolerance=TOLERANCE):
    """Every tap equals the reference of that name, (C, H, W), relative to the largest activation."""
    found = extractor(ops.convert_to_tensor(picture))
    assert set(found) == set(expected)
    for name, reference in expected.items():
        mine = ops.convert_to_numpy(found[name])
        assert mine.shape == (1, *reference.shape[1:], reference.shape[0]), name
        error = np.abs(mine[0].transpose(2, 0, 1) - reference).max() / np.abs(reference).max()
        assert error <= tolerance, f"{name}: off by {error:.1e} of the largest activation"


def chosen(reference, names):
    return {name: reference[name] for name in names}


def test_vgg19_at_every_layer(picture, vgg19):
    """Failure: the features are not those that Gatys and every published weight are about."""
    reference = torch_vgg(picture, vgg19, DEPTHS["vgg19"])
    after = [f"relu{c}" for c in convs(DEPTHS["vgg19"])] + [f"pool{b}" for b in range(1, 6)]
    both = [name for c in convs(DEPTHS["vgg19"]) for name in (f"conv{c}", f"relu{c}")]
    for names in (after, both):  # with the ReLU fused into the convolution, and apart from it
        assert_features(features.load("vgg19", names), picture, chosen(reference, names))
    assert min(reference[f"conv{c}"].min() for c in convs(DEPTHS["vgg19"])) < 0  # else the two kinds could not differ


def ceil(name):
    """torch's pooling in windows of 2, the last one kept that the picture does not fill."""
    return lambda x: getattr(pytest.importorskip("torch").nn.functional, name)(x, 2, ceil_mode=True)


@pytest.mark.parametrize(
    ("options", "pool", "edge"),
    [
        ({"pool": "average"}, lambda x: 0.25 * sum_of_windows(x), "constant"),
        ({"pool": "average", "pool_factor": 2.0}, lambda x: 0.5 * sum_of_windows(x), "constant"),
        ({"pool": "l2", "pool_factor": 0.78}, lambda x: 0.78 * sum_of_windows(x * x).sqrt(), "constant"),
        ({"first_padding": "replicate"}, None, "replicate"),
        ({"pool_edge": "partial"}, ceil("max_pool2d"), "constant"),
        ({"pool": "average", "pool_edge": "partial"}, ceil("avg_pool2d"), "constant"),
    ],
    ids=["average", "average-factor", "l2-factor", "replicate", "partial", "average-partial"],
)
def test_vgg19_variants(picture, vgg19, options, pool, edge):
    """Failure: an option of the preset changes nothing, or not what it says."""
    reference = torch_vgg(picture, vgg19, DEPTHS["vgg19"], pool, edge)
    plain = torch_vgg(picture, vgg19, DEPTHS["vgg19"])
    names = ["relu1_1", "pool1", "relu2_1", "relu4_2"]
    if "pool_edge" not in options:
        assert np.abs(reference["relu4_2"] - plain["relu4_2"]).max() > 0.01 * np.abs(plain["relu4_2"]).max()
    elif "pool" not in options:
        assert reference["relu4_2"].shape != plain["relu4_2"].shape
    assert_features(features.load("vgg19", names, **options), picture, chosen(reference, names))


def test_the_short_way_through_a_network(picture):
    """Failure: layers that follow one another are looked through as slowly as Keras does it; another network, whose
    layers do not, or whose numbers Keras casts on the way, is cut short."""
    extractor = features.load("vgg19", ["relu1_1", "relu2_1"], first_padding="replicate")
    assert [layer.name for layer, _ in chain.of(extractor.model)] == [
        layer.name for layer in extractor.model.layers[1:]
    ]
    inputs = keras.Input((None, None, 3))
    one, two, cast = (Conv2D(4, 3, pad=1, name=name, dtype=kind) for name, kind in CONVOLUTIONS.items())
    beside, along = one(inputs), two(one(inputs))
    for outputs, names in (({"sum": beside + along}, ["sum"]), ({"cast": cast(inputs)}, ["cast"])):
        model = keras.Model(inputs, outputs)
        other = features.Extractor("own", model, {n: n for n in names}, "raw", "float32", "", "")
        assert not chain.of(model) and set(other(ops.convert_to_tensor(picture))) == set(names)


def sum_of_windows(x):
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]


def test_bfloat16_features(picture, vgg19):
    """Failure: half precision loses more than its seven bits, or is not used at all."""
    names = ["relu1_1", "relu4_2"]
    extractor = features.load("vgg19", names, precision="bfloat16")
    assert {v.dtype for v in extractor.model.weights} == {"bfloat16"}
    reference = chosen(torch_vgg(picture, vgg19, DEPTHS["vgg19"]), names)
    found = extractor(ops.convert_to_tensor(picture))
    for name in names:
        value = ops.convert_to_numpy(ops.cast(found[name], "float32"))[0].transpose(2, 0, 1)
        error = np.linalg.norm(value - reference[name]) / np.linalg.norm(reference[name])
        assert 1e-4 < error < 3e-2, name


def test_vgg16_from_a_file(tmp_path, picture):
    """Failure: VGG16 has another network's layers, or does not take the weights it is given."""
    rng, arrays, channels = np.random.default_rng(2), {}, 3
    for block, (depth, filters) in enumerate(zip(DEPTHS["vgg16"], (64, 128, 256, 512, 512)), 1):
        for i in range(1, depth + 1):
            kernel = rng.normal(0, np.sqrt(2 / (9 * channels)), (3, 3, channels, filters))
            arrays[f"block{block}_conv{i}/kernel"] = kernel.astype("float32")
            arrays[f"block{block}_conv{i}/bias"] = rng.normal(0, 0.1, filters).astype("float32")
            channels = filters
    np.savez(tmp_path / "vgg16.npz", **arrays)
    reference = torch_vgg(picture, arrays, DEPTHS["vgg16"])
    names = [f"relu{c}" for c in convs(DEPTHS["vgg16"])] + ["pool5"]
    extractor = features.load("vgg16", names, weights=tmp_path / "vgg16.npz")
    assert_features(extractor, picture, chosen(reference, names))
    with pytest.raises(UsageError, match="block3_conv4"):
        features.load("vgg16", ["block3_conv4"], weights=tmp_path / "vgg16.npz")


def test_cut_after_the_deepest_tap():
    """Failure: layers that nothing needs are computed at every step, or weights are trained that must not be."""
    extractor = features.load("vgg19", ["relu2_1", "conv1_2"])
    by_hand = (27 * 64 + 64) + (576 * 64 + 64) + (576 * 128 + 128)
    assert extractor.model.count_params() == by_hand
    assert not extractor.model.trainable_variables
    deepest = [layer.name for layer in extractor.model.layers][-1]
    assert deepest == "block2_conv1"
    assert re.fullmatch("[0-9a-f]{64}", extractor.sha256)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("relu4_2", "block4_conv2"), ("conv4_2", "block4_conv2_pre"), ("pool4", "block4_pool"), ("block1_conv1",) * 2],
)
def test_tap_aliases(alias, name):
    """Failure: a recipe in another tool's names takes its features before instead of after the ReLU, or is refused."""
    assert features.tap_name(registry.get("vgg19"), alias) == name


@pytest.mark.parametrize(
    ("network", "name", "near"),
    [
        ("vgg19", "block4_con2", "block4_conv2"),
        ("vgg16", "relu4_4", "block4_conv3"),  # VGG19 has it, VGG16 has not
        ("vgg19", "block4_pool_pre", "block4_pool"),
        ("squeezenet1.1", "fire10", "fire1|fire2|fire3|fire4|fire5|fire6|fire7|fire8|fire9"),
    ],
)
def test_unknown_tap(network, name, near):
    """Failure: a typing mistake is answered with a traceback, or silently takes other features."""
    with pytest.raises(UsageError, match=f"'{name}'.*({near})"):
        features.tap_name(registry.get(network), name)


@pytest.mark.parametrize("options", [{"preprocessing": "caff"}, {"first_padding": "replicate"}, {"name": "vgg20"}])
def test_unknown_options(options):
    """Failure: an option that cannot be is ignored."""
    with pytest.raises(UsageError, match=r"caffe|VGGs|vgg19"):
        features.load(**{"name": "squeezenet1.1", "taps": ["fire2"], **options})


def test_preprocessing():
    """Failure: the network sees red as blue or another brightness than it was trained with. Values by hand."""
    colour = np.array([[[1.0, 0.5, 0.25]]], "float32")
    expected = {
        "caffe": [63.75 - 103.939, 127.5 - 116.779, 255 - 123.68],
        "caffe-256": [64 - 103.939, 128 - 116.779, 256 - 123.68],
        "torch": [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225],
        "tf": [1, 0, -0.5],
        "efficientnet-lite": [1, 0.5 / 128, (63.75 - 127) / 128],
        "raw": [255, 127.5, 63.75],
    }
    assert set(expected) == set(PREPROCESSINGS)
    for mode, values in expected.items():
        pixels = ops.convert_to_numpy(features.preprocess(ops.convert_to_tensor(colour), mode))
        assert pixels.shape == (1, 1, 3)
        assert np.allclose(pixels[0, 0], values, rtol=1e-5), mode


def torch_squeezenet(x, arrays):
    """{layer: (C, H, W)} of SqueezeNet 1.1 as torchvision has it; x: (H, W, 3)."""
    torch = pytest.importorskip("torch", reason="the reference is written in torch")
    functional, found = torch.nn.functional, {}
    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]
        x = found["conv1"] = torch_conv(x, arrays, "conv1", stride=2, padding=0).relu()
        x = found["pool1"] = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for n in range(2, 10):
            x = torch_conv(x, arrays, f"fire{n}/squeeze1x1", padding=0).relu()
            one = torch_conv(x, arrays, f"fire{n}/expand1x1", padding=0).relu()
            x = found[f"fire{n}"] = torch.cat([one, torch_conv(x, arrays, f"fire{n}/expand3x3").relu()], 1)
            if n in (3, 5):
                x = found[f"pool{n}"] = functional.max_pool2d(x, 3, 2, ceil_mode=True)
    return {name: value[0].numpy() for name, value in found.items()}


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_squeezenet_at_every_layer(picture):
    """Failure: CS231n's features are others than SqueezeNet's."""
    found = resolve("squeezenet1.1", "caffe", SQUEEZENET)
    extractor = features.load("squeezenet1.1", list(squeezenet.LAYERS), weights=SQUEEZENET, pool_edge="partial")
    pixels = 255 * picture[:, :, ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    assert_features(extractor, picture, torch_squeezenet(pixels, found.arrays))


def small_model():
    """A classifier of 24 × 24 pixels from -1 to 1, with layers that behave otherwise in training."""
    return keras.Sequential([
        keras.Input((24, 24, 3)),
        keras.layers.Conv2D(6, 3, padding="same", name="first"),
        keras.layers.BatchNormalization(momentum=0.5, name="norm"),
        keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="second"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(2, name="top"),
    ], name="small")  # fmt: skip


def test_a_model_of_ones_own(picture):
    """Failure: an extractor made of a Keras model looks with other pixels, weights or statistics than plain Keras, or
    the user's model is frozen or held to its size by it."""
    model = small_model()
    model.compile("sgd", "mse")
    model.fit(np.random.default_rng(0).random((8, 24, 24, 3)), np.zeros((8, 2)), verbose=0)  # statistics that are not 0
    by_name = kstyle.Extractor.from_model(model, ["second", "norm"], "tf")
    by_function = kstyle.Extractor.from_model(model, ["second", "norm"], lambda rgb: 2 * rgb - 1, name="mine")
    x = ops.convert_to_tensor(2 * picture[None] - 1)
    expected = {}
    for layer in model.layers[:3]:
        expected[layer.name] = x = ops.stop_gradient(layer(x, training=False) if layer.name == "norm" else layer(x))
    for extractor in (by_name, by_function):
        found = extractor(ops.convert_to_tensor(picture))
        assert list(found) == ["second", "norm"] and extractor.sha256 == by_name.sha256
        for name, features_found in found.items():
            one, two = (ops.convert_to_numpy(each) for each in (features_found, expected[name]))
            np.testing.assert_allclose(one, two, atol=1e-4)
    assert model.trainable and len(model.trainable_weights) == 8 and by_function.name == "mine"
    for taps, preprocessing, said in [
        (
            ["secnod"],
            "tf",
            r"small: unknown layer 'secnod'. Did you mean 'second'\? It has first, norm, second, flat, top",
        ),
        ([], "tf", "small: no layer is named. It has first"),
        (["flat"], "tf", r"small: 'flat' gives"),
        (["first"], "ft", "Unknown preprocessing 'ft'"),
    ]:
        with pytest.raises(UsageError, match=said):
            kstyle.Extractor.from_model(model, taps, preprocessing)
    with pytest.raises(UsageError, match="functional or sequential"):
        kstyle.Extractor.from_model("vgg19", ["first"], "tf")


def test_values_to_255_are_refused():
    """Failure: a picture as Keras loads it is taken for a white one, and its features say nothing."""
    x = keras.Input((8, 8, 3))
    look = features.Extractor.from_model(keras.Model(x, keras.layers.Conv2D(2, 3, name="a")(x)), ["a"], "torch")
    picture = np.full((8, 8, 3), 128, "float32")
    assert look(picture / 255)["a"].shape == (1, 6, 6, 2)
    for given in (picture, picture.astype("uint8")):
        with pytest.raises(DataError, match="divide them by 255"):
            look(given)


def test_painting_with_a_model_of_ones_own(picture, tmp_path):
    """Failure: a painting looks through another network than the one it was given, says nothing of it, a batch takes
    the results of one for those of another, or a preset's layers end in an error of Keras'."""
    look = kstyle.Extractor.from_model(small_model(), ["first", "second"], "tf")
    layers = {"content.layers": {"second": 1}, "style.layers": {"first": 1}}
    result = kstyle.stylize(picture, picture[::-1], "gatys", 64, 1, extractor=look, init="content", **layers)
    assert result.settings["network"] == {"extractor": "small", "preprocessing": "tf"}
    assert result.settings["weights"] == {"origin": "given by the caller", "sha256": look.sha256}
    assert result.losses["content"] < 1e-6 and result.losses["style"] > 0  # the content is what it starts from
    states = []
    for each in (look, look, kstyle.Extractor.from_model(small_model(), ["first", "second"], "tf")):
        painter = kstyle.Painter(picture, "gatys", extractor=each, **layers)
        done = kstyle.batch(painter, ROOT / "examples/chelsea.jpg", tmp_path / "out", size=32, steps=1)
        states += [outcome.state for _, outcome in done]
    assert states == ["done", "skipped", "done"]  # the third has other weights
    for asked, said in [
        ({}, r"The extractor small has no layer 'relu4_2'.* It has first, second: name those in content.layers"),
        ({**layers, "network.pool": "average"}, "network.pool: the extractor small was given ready made"),
        ({**layers, "weights": "w.h5"}, "weights: the extractor small was given ready made"),
        ({**layers, "precision": "bfloat16"}, "the extractor small is float32; got bfloat16"),
    ]:
        with pytest.raises(UsageError, match=said):
            kstyle.Painter(picture, "gatys", extractor=look, **asked)
