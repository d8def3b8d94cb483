"""Why this class: each method against captum on the same weights, and what is said of networks that it does not fit."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from kstyle.backend import keras_private
from kstyle.errors import UsageError
from kstyle.inspect import subject as subjects
from kstyle.inspect.why import attribution as why
from kstyle.inspect.why import grad_cam, gradients, occlusion

SIDE, CLASS = 24, 2
MEAN, DEVIATION = 0.4, 0.3


def network():
    """Two convolutions with a way around the second, and five classes; weights are drawn from one seed."""
    layers = keras.layers
    x = start = keras.Input((SIDE, SIDE, 3))
    x = layers.MaxPooling2D(name="pool")(layers.Conv2D(6, 3, padding="same", activation="relu", name="one")(x))
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="two")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Add(name="sum")([x, y]))
    x = layers.Dense(5, activation="softmax", name="told")(layers.Dense(8, activation="tanh", name="dense")(x))
    model = keras.Model(start, x, name="small")
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def subject():
    return subjects.open(network(), preprocessing=lambda x: (x - MEAN) / DEVIATION)


@pytest.fixture(scope="module")
def picture():
    """Waves with noise, in [0, 1]."""
    waves = np.sin(np.arange(SIDE) / 3)[:, None, None] * np.cos(np.arange(SIDE) / 5)[None, :, None]
    noise = np.random.default_rng(1).normal(0, 0.15, (SIDE, SIDE, 3))
    return np.clip(0.5 + 0.3 * waves + noise, 0, 1).astype("float32")


@pytest.fixture(scope="module")
def theirs():
    """(torch's module of the same network and weights, to logits; captum.attr)."""
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    nn = torch.nn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.relu, self.dense, self.told = nn.ReLU(), nn.Linear(6, 8), nn.Linear(8, 5)

        def forward(self, x):
            x = nn.functional.max_pool2d(self.one((x - MEAN) / DEVIATION).relu(), 2)
            x = x + self.relu(self.two(x))
            return self.told(self.dense(x.mean((2, 3))).tanh())

    module, weights = Small().eval(), iter(network().get_weights())
    with torch.no_grad():
        for layer in (module.one, module.two, module.dense, module.told):
            kernel, bias = next(weights), next(weights)
            layer.weight.copy_(torch.from_numpy(kernel.transpose((3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)).copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    return module, attr


def tensor(picture):
    import torch

    return torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())


def array(found):
    """(1, C, H, W) of torch as (H, W, C), or (H, W) of one channel."""
    found = found.detach().numpy()[0].transpose(1, 2, 0)
    return found[..., 0] if found.shape[-1] == 1 else found


def assert_equal(mine, reference):
    """To 1e-4 of the largest."""
    assert mine.shape == reference.shape
    assert np.abs(mine - reference).max() <= 1e-4 * np.abs(reference).max()


@pytest.mark.parametrize(("layer", "there"), [("two", "relu"), ("one", None)])
def test_grad_cam(subject, picture, theirs, layer, there):
    """Failure: Grad-CAM weights maps otherwise than captum, of a layer with a way around it too."""
    import torch

    module, attr = theirs
    mine = grad_cam.GradCam(subject, layer)(picture, CLASS)
    if there is None:  # torch's ReLU after it is a function: its gradient by hand
        maps = module.one((tensor(picture) - MEAN) / DEVIATION).relu()
        x = torch.nn.functional.max_pool2d(maps, 2)
        score = module.told(module.dense((x + module.relu(module.two(x))).mean((2, 3))).tanh())[0, CLASS]
        (gradient,) = torch.autograd.grad(score, maps)
        expected = array((maps * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu())
    else:
        way = attr.LayerGradCam(module, getattr(module, there))
        found = way.attribute(tensor(picture), CLASS, relu_attributions=True)
        expected = array(found)
        larger = array(attr.LayerAttribution.interpolate(found, (SIDE, SIDE), "bilinear"))
        assert_equal(grad_cam.over(mine, picture), larger)
    assert expected.max() > 0
    assert_equal(mine, expected)


def test_integrated_gradients(subject, picture, theirs):
    """Failure: they are not captum's, or their sum is not the difference of the two outputs."""
    module, attr = theirs
    gradient = gradients.Gradient(subject)
    values, _ = gradients.integrated(gradient, picture, CLASS, baseline=0.2, steps=20)
    way = attr.IntegratedGradients(module)
    expected = way.attribute(tensor(picture), 0.2, CLASS, n_steps=20, method="gausslegendre")
    assert_equal(values, array(expected))
    values, facts = gradients.integrated(gradient, picture, CLASS)
    change = module(tensor(picture))[0, CLASS].item() - module(0 * tensor(picture))[0, CLASS].item()
    assert facts["gap"] <= 0.01
    assert values.sum() == pytest.approx(change, rel=0.01)


def test_smoothgrad(subject, picture, theirs, monkeypatch):
    """Failure: of the same noise the mean gradient is not captum's, or several parts of it are not added up."""
    import torch

    module, attr = theirs
    noise = np.random.default_rng(5).normal(0, 0.1, (7, SIDE, SIDE, 3)).astype("float32")
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: torch.from_numpy(noise).permute(0, 3, 1, 2))
    way = attr.NoiseTunnel(attr.Saliency(module))
    expected = way.attribute(tensor(picture), nt_type="smoothgrad", nt_samples=7, stdevs=0.1, target=CLASS, abs=False)
    monkeypatch.setattr(gradients, "PIXELS", 3 * SIDE**2)
    values, facts = gradients.smooth(gradients.Gradient(subject), picture, CLASS, noise)
    assert_equal(values, array(expected))
    assert facts == {"samples": 7}


@pytest.mark.parametrize(("window", "stride"), [((6, 6), (6, 6)), ((7, 5), (3, 2)), ((24, 9), (1, 4))])
def test_occlusion(subject, picture, theirs, monkeypatch, window, stride):
    """Failure: windows lie elsewhere than captum's, count otherwise where they overlap, or the last one is lost."""
    module, attr = theirs
    monkeypatch.setattr(gradients, "PIXELS", 5 * SIDE**2)
    mine = occlusion.Occlusion(subject)(picture, CLASS, window, stride, 0.5)
    expected = attr.Occlusion(module).attribute(tensor(picture), (3, *window), (3, *stride), 0.5, CLASS)
    assert_equal(np.repeat(mine[..., None], 3, axis=2), array(expected))


def test_what_is_found(subject, picture):
    """Failure: another class or probability is said than the network gives, or the heat is no picture."""
    seen = subject.picture(picture)
    expected = keras.ops.convert_to_numpy(network()((seen[None] - MEAN) / DEVIATION))[0]
    found = why.attribution(subject, picture, why.METHODS, samples=3, steps=3)
    assert [each.method for each in found] == list(why.METHODS)
    assert found[0].number == expected.argmax()
    assert found[0].probability == pytest.approx(float(expected.max()), rel=1e-4)
    for each in found:
        assert each.shown().shape == (SIDE, SIDE, 3)
        assert each.heat.min() >= 0 and each.heat.max() == pytest.approx(1)
    assert found[0].facts == {"layer": "sum"}
    (other,) = why.attribution(subject, picture, classes="4")
    assert (other.label, other.number) == ("4", 4) and other.probability < found[0].probability


def test_what_cannot_be(subject, picture):
    """Failure: a layer without channels, a class that is not there or a window too large ends in a traceback."""
    for options, said in (
        ({"layer": "tow"}, "Did you mean 'two'"),
        ({"layer": "dense"}, "it has no maps"),
        ({"layer": "two", "method": "occlusion"}, "layer: it is for grad-cam"),
        ({"classes": "cat"}, "no class is called 'cat'"),
        ({"method": "grad-kam"}, "Did you mean 'grad-cam'"),
        ({"method": "occlusion", "window": 25}, "window: expected 1 × 1 to 24 × 24"),
        ({"method": "occlusion", "window": 4, "stride": 5}, "stride: expected 1 × 1 to 4 × 4"),
    ):
        with pytest.raises(UsageError, match=said):
            why.attribution(subject, picture, **options)
    whole = network()
    with pytest.raises(UsageError, match="tells no classes apart"):
        why.attribution(keras.Model(whole.input, whole.get_layer("two").output), picture)


def test_the_command(tmp_path, command):
    """Failure: `kstyle inspect attribution` says other figures than the function, or writes no sheet."""
    file, sheet = tmp_path / "small.keras", tmp_path / "heat.png"
    with keras_private.without_tensorflow():
        network().save(file)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), "uint8")).save(tmp_path / "a.png")
    options = ["--method", "grad-cam", "--method", "occlusion", "--class", 0, "--class", 3]
    code, out, _ = command("inspect", "attribution", file, tmp_path / "a.png", *options, "-o", sheet, "--json")
    found = json.loads(out)["found"]
    assert code == 0 and [each["class"] for each in found] == ["0", "0", "3", "3"]
    (alone,) = why.attribution(file, tmp_path / "a.png", classes=3)
    assert found[2]["score"] == pytest.approx(alone.score, rel=1e-4)
    with Image.open(sheet) as seen:
        assert seen.width > seen.height  # a row for each class: the picture and two heats
    code, _, error = command("inspect", "attribution", file, tmp_path / "a.png", "-o", tmp_path / "a.png")
    assert code == 2 and "it is read too" in error
