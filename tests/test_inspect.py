"""`kstyle.inspect`: what is opened, what its layers are said to see, and what they say of pictures."""

import json

import keras
import numpy as np
import pytest
from keras import layers as kl
from PIL import Image

import kstyle
from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.inspect import fields, graph, maps, subject
from kstyle.models import classifiers
from kstyle.nn.layers import Conv2D, Pool2D
from kstyle.style.networks import shipped

ops = keras.ops


def branched():
    """Branches of other sizes, strides, dilation, padding of both kinds, pools of both kinds, a gate and a head."""
    x = inputs = keras.Input((64, 48, 3))
    x = kl.Conv2D(4, 5, strides=2, padding="same", name="first")(x)
    left = kl.Conv2D(4, 3, dilation_rate=3, padding="same", name="wide")(x)
    right = kl.DepthwiseConv2D((1, 3), padding="same", name="flat")(x)
    x = kl.Add(name="both")([left, right])
    x = Pool2D("average", 3, 2, pad=1, name="pool")(x)
    x = kl.ZeroPadding2D(((2, 0), (1, 1)), name="zeros")(x)
    x = Conv2D(4, 2, name="after")(x)
    x = kl.AveragePooling2D(2, name="halved")(x)
    gate = kl.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = kl.Multiply(name="gated")([x, gate])
    return keras.Model(inputs, kl.Dense(2, activation="softmax", name="told")(kl.Flatten(name="flatten")(x)))


def positive(model):
    """A model whose kernels are positive and whose pools are means, so that no path from a pixel comes to nothing."""
    for layer in model.layers:
        if isinstance(layer, Pool2D):
            layer.kind = "average"
        for weight in layer.weights:
            if "kernel" in weight.name:
                weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1]), "float32"))
    return model


def measured(model, name, place):
    """(first, last) row and column that a place of a layer sees, by its gradient."""
    inside = graph.of(model, "model")
    tensor = next(node.output for node in inside.nodes if node.name == name)

    def seen(x):
        return ops.sum(inside.run(x, [tensor])[0][:, place[0], place[1]]), {}

    x = ops.convert_to_tensor(np.ones((1, *model.input_shape[1:]), "float32"))
    _, gradient = backend.value_and_grad(seen)(x)
    there = np.abs(ops.convert_to_numpy(gradient))[0].sum(-1) > 0
    return [(side.min(), side.max() + 1) for side in (np.flatnonzero(there.any(axis)) for axis in (1, 0))]


@pytest.mark.parametrize("name", ["first", "wide", "both", "pool", "zeros", "after", "halved"])
def test_fields_of_branches(name):
    """Failure: a field is larger or smaller than what changes an output, or lies elsewhere in the picture."""
    model = positive(branched())
    found, (_, height, width, _) = fields.of(graph.of(model, "model"))[name], model.get_layer(name).output.shape
    for place in ((height // 2, width // 2), (height // 2 - 1, width // 2 - 1)):
        top, left, bottom, right = found.box(*place)
        assert measured(model, name, place) == [(top, bottom), (left, right)]


def test_whole_pictures():
    """Failure: what a global mean was multiplied by is said to see a part of the picture."""
    found = fields.of(graph.of(branched(), "model"))
    assert [found[name] for name in ("mean", "gated", "flatten", "told")] == [None] * 4


@pytest.mark.parametrize(
    ("network", "layer", "side"),
    [
        ("vgg19", "block3_conv4", 160), ("vgg19", "block5_conv4", 400), ("resnet50", "layer2_3_relu", 320),
        ("resnet50", "layer4_2_relu", 640),
    ],
)  # fmt: skip
def test_fields_of_networks(network, layer, side):
    """Failure: of real networks a receptive field is not what one output's gradient covers."""
    model = classifiers.build(network, 10, (side, 32), **({"head": "gap"} if network == "vgg19" else {}))
    found = fields.of(graph.of(positive(model), network))[layer]
    middle = side // found.stride[0] // 2
    low, _, high, _ = found.box(middle, 0)
    assert low > 0 and high < side
    assert measured(model, layer, (middle, 0))[0] == (low, high)
    assert found.size[0] == {"block3_conv4": 48, "block5_conv4": 252, "layer2_3_relu": 91, "layer4_2_relu": 427}[layer]


def nested():
    """A classifier in a model in a model, which ends in probabilities."""
    body = keras.Sequential([keras.Input((16, 16, 3)), kl.Conv2D(4, 3, activation="relu", name="seen")], name="body")
    inputs = keras.Input((16, 16, 3))
    x = kl.GlobalAveragePooling2D(name="mean")(body(inputs * (1 / 255)))
    return keras.Model(inputs, kl.Dense(3, activation="softmax", name="told")(x), name="nested")


def test_models_inside_models():
    """Failure: of a network in a network no layer has its name, or logits are probabilities."""
    model = nested()
    found = subject.open(model)
    assert [name for name in found.outputs if name in ("seen", "mean", "told", "logits")] == [
        "seen", "mean", "told", "logits",
    ]  # fmt: skip
    picture = np.random.default_rng(0).random((1, 16, 16, 3), dtype="float32")
    logits = ops.convert_to_numpy(found.logits(found.prepare(ops.convert_to_tensor(picture))))
    told = np.exp(logits) / np.exp(logits).sum()
    assert np.abs(told - ops.convert_to_numpy(model(picture * 255))).max() < 1e-6
    assert np.abs(logits - np.log(told)).max() > 1e-3
    assert dict(found.top(picture[0], 3)) == pytest.approx(dict(enumerate(told[0])), abs=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on grey pictures."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    kstyle.train("digits_cnn", run=folder, overrides={"epochs": 1, "data.train_limit": 64, "data.test_limit": 16})
    return folder


@pytest.mark.parametrize("file", ["", "model.keras"])
def test_runs(run, file):
    """Failure: a run, or its model.keras, sees another picture than `kstyle predict`, or has other classes."""
    picture = np.random.default_rng(1).integers(0, 256, (40, 30, 3), "uint8")
    found = subject.open(run / file if file else run)
    (wanted,) = kstyle.predict(run, [picture], top=10)
    told = {found.classes[number]: p for number, p in found.top(found.picture(picture), 10)}
    assert told == pytest.approx({each["class"]: each["probability"] for each in wanted["predictions"]}, abs=1e-5)
    assert found.picture(picture).shape == (*found.shape[:2], 3)


@keras.saving.register_keras_serializable("tests")
class Strange(kl.Layer):
    def call(self, x):
        return x * 2


def test_refusals(tmp_path):
    """Failure: what cannot be looked into ends in a traceback, or in a line that does not say what to do."""
    model = keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(2, 3), Strange(name="strange")])
    model.save(tmp_path / "strange.keras")
    assert fields.of(graph.of(model, "model"))["strange"].size == (3, 3)  # found to leave places where they are
    keras.saving.get_custom_objects().pop("tests>Strange")
    with pytest.raises(DataError, match="registered by a --plugin") as error:
        subject.open(tmp_path / "strange.keras")
    assert "\n" not in str(error.value)
    keras.saving.get_custom_objects()["tests>Strange"] = Strange
    (tmp_path / "no.keras").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"is no \.keras file"):
        subject.open(tmp_path / "no.keras")
    with pytest.raises(UsageError, match="is a style network, which paints"):
        subject.open(shipped.located("style:night"))
    with pytest.raises(UsageError, match="Did you mean 'vgg19'"):
        subject.open("vgg91")
    with pytest.raises(UsageError, match="before it is trained"):
        subject.open("mnist_cnn")
    found = subject.open(nested())
    with pytest.raises(UsageError, match=r"no layer 'seem'.*Did you mean 'seen'"):
        found.watch(["seem"])
    with pytest.raises(UsageError, match=r"'told' gives .* no maps\. These have: .*seen"):
        kstyle.inspect.activations(found, np.zeros((16, 16, 3)), "told")
    two = keras.Model(ends := [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))], kl.Add()(ends))
    with pytest.raises(UsageError, match="2 inputs"):
        subject.open(two)
    with pytest.raises(UsageError, match="tells no classes apart"):
        subject.open("vgg19", values=False).logits(ops.zeros((1, 32, 32, 3)))


def any_size():
    """A network that takes any size, with a pool, a stride and a channel that is excited by red alone."""
    x = inputs = keras.Input((None, None, 3))
    x = Conv2D(4, 3, pad=1, activation="relu", name="one")(x)
    x = Pool2D("max", 2, 2, name="pool")(x)
    model = keras.Model(inputs, Conv2D(6, 5, pad=2, strides=2, name="two")(x), name="any")
    kernel = np.zeros((3, 3, 3, 4), "float32")
    kernel[..., 0, 0], kernel[..., 1:, 0] = 1, -1
    kernel[..., 1:] = np.random.default_rng(0).normal(size=(3, 3, 3, 3))
    model.get_layer("one").set_weights([kernel, np.zeros(4, "float32")])
    return model


@pytest.mark.parametrize("side", [None, 7])
def test_bands(monkeypatch, side):
    """Failure: of a large picture, which is computed in bands, maps or figures are not those of the whole."""
    model, rgb = any_size(), np.random.default_rng(0).random((101, 37, 3), dtype="float32")
    whole = kstyle.inspect.activations(model, rgb, ["one", "pool", "two"], side=side)
    monkeypatch.setattr(maps, "AT_ONCE", 300)
    seen = []
    parts = kstyle.inspect.activations(
        model, rgb, ["one", "pool", "two"], side=side, progress=lambda *state: seen.append(state)
    )
    assert seen[-1] == (13, 13, "bands")
    for name, there in whole.items():
        assert there.maps.shape == parts[name].maps.shape
        assert np.abs(there.maps - parts[name].maps).max() < 1e-3 * np.abs(there.maps).max()
        assert np.allclose(there.channels, parts[name].channels.loc[there.channels.index], rtol=1e-4)
        assert there.channels["strength"].is_monotonic_decreasing
    if side is None:
        plain = ops.convert_to_numpy(model(rgb[None] * 255))[0]
        assert np.allclose(whole["two"].maps, plain, rtol=1e-3, atol=1e-2)
        y, x = whole["two"].channels.loc[3, ["y", "x"]].astype(int)
        assert plain[y, x, 3] == plain[..., 3].max()


def test_patches(tmp_path):
    """Failure: what excites a channel is looked for in the wrong photograph, or shown from the wrong place."""
    for number in range(4):
        rgb = np.random.default_rng(number).integers(100, 110, (48, 64, 3), "uint8")
        if number == 2:
            rgb[30:34, 50:54] = (255, 0, 0)
        Image.fromarray(rgb).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    found = kstyle.inspect.patches(any_size(), tmp_path, "one", [0, 2], 3)
    best = found[0][0]
    assert best.path.endswith("2.png") and len(found[2]) == 3
    top, left, bottom, right = best.box
    assert (bottom - top, right - left) == (3, 3) and top >= 30 and bottom <= 34 and left >= 50 and right <= 54
    assert (best.picture == (255, 0, 0)).all() and best.value == pytest.approx(9 * 255)
    with pytest.raises(UsageError, match="channels 0 to 3; got 4"):
        kstyle.inspect.patches(any_size(), tmp_path, "one", 4)


def test_commands(command, tmp_path):
    """Failure: the commands print or write something else than the functions give."""
    any_size().save(tmp_path / "any.keras")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), "uint8")).save(tmp_path / "a.png")
    code, out, _ = command("inspect", "layers", tmp_path / "any.keras", "--json")
    rows = {row["name"]: row for row in json.loads(out)["layers"]}
    assert code == 0 and rows["two"]["field"] == [12, 12] and rows["two"]["stride"] == [4, 4]
    assert rows["one"]["parameters"] == 3 * 3 * 3 * 4 + 4
    given = ["inspect", "activations", tmp_path / "any.keras", tmp_path / "a.png", "--layer", "one", "--layer", "two"]
    code, out, error = command(*given, "-o", tmp_path / "sheet.png", "--photos", tmp_path, "--patches", 2, "--most", 3)
    assert code == 0, error
    with Image.open(tmp_path / "sheet-two.png") as sheet:
        assert out.count("one  channel") == 3 and sheet.width > 300
    code, _, error = command(*given[:4], "-o", tmp_path / "sheet.png", "--layer", "one", "--channel", 9)
    assert code == 2 and "channels 0 to 3; got 9" in error
    code, _, error = command(*given, "-o", tmp_path / "a.png", "--photos", tmp_path)
    assert code == 2 and "would be replaced" in error
