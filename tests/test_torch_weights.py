"""PyTorch's weights in Keras' networks, against the same networks written in torch: logits, and one training step."""

import re

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.models import classifiers, torch_names
from kstyle.models.networks import feature_layers

torch = pytest.importorskip("torch")
nn = torch.nn
pairs = pytest.importorskip("torch_pairs")
assert_near, logits_of, own_logits, state = pairs.assert_near, pairs.logits_of, pairs.own_logits, pairs.state


class Block(nn.Module):
    def __init__(self, inputs, filters, stride, bottleneck):
        super().__init__()
        path = [(filters, 3, stride), (filters, 3, 1)]
        if bottleneck:
            path = [(filters, 1, 1), (filters, 3, stride), (4 * filters, 1, 1)]
        width = inputs
        for number, (outputs, kernel, step) in enumerate(path, 1):
            setattr(self, f"conv{number}", nn.Conv2d(width, outputs, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(outputs))
            width = outputs
        self.depth = len(path)
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y if number == 1 else torch.relu(y)))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, classes, blocks, bottleneck):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        width = 64
        for stage, (count, filters) in enumerate(zip(blocks, (64, 128, 256, 512)), 1):
            made = []
            for number in range(count):
                made.append(Block(width, filters, 2 if stage > 1 and number == 0 else 1, bottleneck))
                width = 4 * filters if bottleneck else filters
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, 1, 1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(self.norm1(x))))))], 1)


class DenseNet121(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(64))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        width = 64
        for number, count in enumerate((6, 12, 24, 16), 1):
            block = nn.Sequential()
            for layer in range(1, count + 1):
                block.add_module(f"denselayer{layer}", DenseLayer(width))
                width += 32
            self.features.add_module(f"denseblock{number}", block)
            if number < 4:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2, 2))
                self.features.add_module(f"transition{number}", transition)
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


# In place of the paper's 64 to 512, which take a gigabyte.
NARROW = (8, 8, 16, 16, 16)


class VGG16(nn.Module):
    def __init__(self, classes, side):
        super().__init__()
        layers, width = [], 3
        for count, filters in zip((2, 2, 3, 3, 3), NARROW):
            for _ in range(count):
                layers += [nn.Conv2d(width, filters, 3, 1, 1), nn.ReLU()]
                width = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width * side * side, 4096), nn.ReLU(), nn.Identity(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Identity(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class AlexNet(nn.Module):
    def __init__(self, classes, flat):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Identity(), nn.Linear(flat, 4096), nn.ReLU(),
            nn.Identity(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Fire(nn.Module):
    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    def __init__(self, classes):
        super().__init__()

        def pool():
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(),
            Fire(64, 16, 64), Fire(128, 16, 64), pool(),
            Fire(128, 32, 128), Fire(256, 32, 128), pool(),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Identity(), nn.Conv2d(512, classes, 1), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


class Same(nn.Conv2d):
    """TensorFlow's "same": as many outputs as strides fit, and the odd pixel of zeros below and on the right."""

    def forward(self, x):
        around = []
        for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1]):  # width, height
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            around += [missing // 2, missing - missing // 2]
        return super().forward(nn.functional.pad(x, around))


def lite_norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class LiteBlock(nn.Module):
    def __init__(self, inputs, widening, kernel, stride, outputs):
        super().__init__()
        wide = inputs * widening
        if widening != 1:
            self._expand_conv, self._bn0 = Same(inputs, wide, 1, bias=False), lite_norm(wide)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = lite_norm(wide)
        self._project_conv, self._bn2 = Same(wide, outputs, 1, bias=False), lite_norm(outputs)
        self.short = stride == 1 and inputs == outputs

    def forward(self, x):
        y = x
        if hasattr(self, "_expand_conv"):
            y = nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.short else y


# Lite0, and what Lite1 and Lite2 have of it: (blocks, kernel, stride, widening, channels).
LITE = {
    0: ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320)),
    1: ((1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 40), (4, 3, 2, 6, 80), (4, 5, 1, 6, 112), (5, 5, 2, 6, 192),
        (1, 3, 1, 6, 320)),
    2: ((1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120), (5, 5, 2, 6, 208),
        (1, 3, 1, 6, 352)),
}  # fmt: skip


class Lite(nn.Module):
    def __init__(self, classes, number):
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), lite_norm(32)
        blocks, width = [], 32
        for count, kernel, stride, widening, outputs in LITE[number]:
            for place in range(count):
                blocks.append(LiteBlock(width, widening, kernel, stride if place == 0 else 1, outputs))
                width = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Same(width, 1280, 1, bias=False), lite_norm(1280)
        self._fc = nn.Linear(1280, classes)

    def forward(self, x):
        x = self._blocks(nn.functional.relu6(self._bn0(self._conv_stem(x))))
        return self._fc(nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


# {network: (torch's, size, options of ours)}. The last maps are 2×2 there: of AlexNet and VGG, so that the order of the
# flattened rows shows. SqueezeNet's first pool meets an even side.
PAIRS = {
    "resnet18": (lambda: ResNet(5, (2, 2, 2, 2), False), 64, {}),
    "resnet50": (lambda: ResNet(5, (3, 4, 6, 3), True), 48, {}),
    "densenet121": (lambda: DenseNet121(5), 64, {}),
    "vgg16": (lambda: VGG16(5, 2), 64, {"dropout": 0.0}),
    "alexnet": (lambda: AlexNet(5, 256 * 2 * 2), 96, {"dropout": 0.0}),
    "squeezenet1.1": (lambda: SqueezeNet(5), 68, {"dropout": 0.0}),
    # Sides that its strides halve to odd ones, 35 and 9 and 5, and to even ones.
    "efficientnet_lite0": (lambda: Lite(5, 0), 70, {"dropout": 0.0}),
}
# Elsewhere compiling takes minutes, and shows nothing that ResNet-18 does not.
DEEP = ("resnet50", "densenet121")


def as_filed(state):
    return {re.sub(r"(denselayer\d+\.[a-z]+)([12])", r"\1.\2", key): value for key, value in state.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_same_logits_and_same_step(name, monkeypatch):
    """Failure: torchvision's weights name other things here, or fine-tuning drifts from what PyTorch would do."""
    if name in DEEP and backend.NAME != "torch":
        pytest.skip("compiled for minutes")
    monkeypatch.setattr(feature_layers, "FILTERS", NARROW)
    torch.manual_seed(0)
    make, size, options = PAIRS[name]
    theirs, ours = pairs.shaken(make()), classifiers.build(name, 5, size, **options)
    # torchvision's own DenseNet files are older than its names.
    assert ("features.denseblock1.denselayer2.norm.1.running_mean" in as_filed(state(theirs))) == (
        name == "densenet121"
    )
    rate = pairs.LOW_RATE if name == "efficientnet_lite0" else pairs.RATE
    pairs.assert_same(theirs, ours, pairs.pictures(size), rate, stored=as_filed)


def small():
    """The MNIST post's network in torch's names, whose flattened map is 2×2."""
    torch.manual_seed(0)
    module = nn.Module()
    module.conv1 = nn.Sequential(nn.Conv2d(1, 16, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
    module.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
    module.out = nn.Linear(32 * 2 * 2, 10)
    return module


def test_head_of_other_classes_is_left_out_and_said():
    """Failure: fine-tuning cannot start, or starts with a head that was silently left at random values."""
    model = classifiers.build("mnist_cnn", 4, 8, 1)
    before = model.get_layer("out").get_weights()
    done = torch_names.convert(state(small()), model, where="mnist.pth")
    assert done.left_out == ("out.weight", "out.bias") and done.tensors == 4
    assert "head (10 classes there, 4 here) was left out" in done.message
    for old, new in zip(before, model.get_layer("out").get_weights()):
        assert np.array_equal(old, new)
    with pytest.raises(DataError, match=r"out\.weight \(expected \(4, 128\)"):
        torch_names.convert(state(small()), model, skip_head=False)


def change(name, value):
    def changed(tensors):
        return {**tensors, name: value}

    return changed


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "conv2.0.bias"}, r"it lacks conv2\.0\.bias\."),
        (change("conv3.0.weight", np.zeros(3, "float32")), r"the model has no conv3\.0\.weight"),
        (
            change("conv1.0.weight", np.zeros((16, 1, 3, 3), "float32")),
            r"\(16, 1, 5, 5\), got float32 \(16, 1, 3, 3\)",
        ),
        (change("conv1.0.bias", np.zeros(16, "int64")), r"got int64 \(16,\)"),
        (change("conv1.0.bias", np.full(16, np.nan, "float32")), r"no numbers .* in conv1\.0\.bias"),
        (lambda t: {}, r"it lacks conv1\.0\.weight, conv1\.0\.bias, conv2\.0\.weight and 3 more"),
    ],
)
def test_what_does_not_fit_is_said_and_changes_nothing(spoil, says):
    """Failure: half of a wrong file is loaded, or the message does not say which tensor is at fault."""
    model = classifiers.build("mnist_cnn", 10, 8, 1)
    before = model.get_weights()
    with pytest.raises(DataError, match=says):
        torch_names.convert(spoil(state(small())), model)
    for old, new in zip(before, model.get_weights()):
        assert np.array_equal(old, new)


def test_from_a_training_checkpoint(tmp_path):
    """Failure: what a PyTorch training script saved, wrapped and beside its optimiser's state, is refused."""
    module = small()
    wrapped = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    momenta = {"state": {0: {"momentum_buffer": torch.ones(16, 1, 5, 5)}}}
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 3, "state_dict": wrapped, "optimizer": momenta}, path)
    model = classifiers.build("mnist_cnn", 10, 8, 1)
    assert classifiers.load_file(model, path).head
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    features = module.conv2(module.conv1(torch.from_numpy(x).permute(0, 3, 1, 2)))
    expected = module.out(features.flatten(1)).detach().numpy()
    assert_near(own_logits(model, x), expected, 1e-5)


@pytest.mark.parametrize("name", ["vgg16", "squeezenet1.1"])
def test_a_lean_head_takes_the_body(name, monkeypatch):
    """Failure: torchvision's weights are refused by the networks that fine-tune best."""
    monkeypatch.setattr(feature_layers, "FILTERS", NARROW)
    make, size, _ = PAIRS[name]
    model = classifiers.build(name, 3, size, head="gap")
    before = model.layers[-1].get_weights()[0]
    theirs = make()
    done = torch_names.convert(state(theirs), model)
    assert done.left_out == ("classifier.weight", "classifier.bias") and "another there, 3 here" in done.message
    assert np.array_equal(model.layers[-1].get_weights()[0], before)
    x = np.random.default_rng(1).normal(0, 1, (2, size, size, 3)).astype("float32")
    pooled = keras.Model(model.input, model.get_layer("pool" if name == "vgg16" else "pool10").output)
    assert_near(own_logits(pooled, x), logits_of(theirs.features, x).mean((2, 3)), 1e-4)
    with pytest.raises(DataError, match=r"the model has no features\.99\.bias"):
        torch_names.convert({**state(theirs), "features.99.bias": np.zeros(1, "float32")}, model)


def test_networks_without_a_counterpart():
    """Failure: torchvision's VGG19 goes into a network with batch normalisation, whose activations it never saw."""
    with keras.device("meta" if backend.NAME == "torch" else "cpu:0"):  # no memory for its weights
        model = classifiers.build("vgg19_cifar", 10, 16, head="gap")
    with pytest.raises(UsageError, match="vgg19_cifar has no counterpart in PyTorch"):
        torch_names.convert({}, model)
