"""Networks for CIFAR and digits against the same ones written in torch after their papers, and the published sizes."""

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.models import classifiers, registry
from kstyle.models.networks import densenet, resnet
from kstyle.models.networks.small import preact_resnet

torch = pytest.importorskip("torch")
pairs = pytest.importorskip("torch_pairs")
nn = torch.nn
relu = torch.relu


class PreAct(nn.Module):
    """A block of He et al. 2016, its shortcut as in Wide ResNets."""

    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(filters), nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        if stride != 1 or inputs != filters:
            self.downsample = nn.Conv2d(inputs, filters, 1, stride, bias=False)

    def forward(self, x):
        y = relu(self.bn1(x))
        short = self.downsample(y) if hasattr(self, "downsample") else x
        return short + self.conv2(relu(self.bn2(self.conv1(y))))


class PreActResNet(nn.Module):
    def __init__(self, blocks, widening):
        super().__init__()
        self.conv1, width = nn.Conv2d(3, 16, 3, 1, 1, bias=False), 16
        for stage, filters in enumerate((16, 32, 64), 1):
            made = []
            for number in range(blocks):
                made.append(PreAct(width, filters * widening, 2 if stage > 1 and number == 0 else 1))
                width = filters * widening
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.bn, self.fc = nn.BatchNorm2d(width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(relu(self.bn(x)).mean((2, 3)))


class Squeeze(nn.Module):
    def __init__(self, width, narrow):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, narrow, 1), nn.Conv2d(narrow, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Aggregated(nn.Module):
    """A block of Xie et al. 2016, in Hu et al.'s version where `squeeze` is not 0."""

    def __init__(self, inputs, filters, stride, groups, width, squeeze):
        super().__init__()
        inside, outputs = groups * width, 4 * filters
        self.conv1, self.bn1 = nn.Conv2d(inputs, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, 1, groups=groups, bias=False)
        self.bn2, self.conv3 = nn.BatchNorm2d(inside), nn.Conv2d(inside, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if squeeze:
            self.se = Squeeze(outputs, outputs // squeeze)
        if stride != 1 or inputs != outputs:
            short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        y = self.se(y) if hasattr(self, "se") else y
        return relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNeXt(nn.Module):
    def __init__(self, blocks, groups, width, squeeze=0):
        super().__init__()
        self.conv1, self.bn1, inputs = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), 64
        for stage, filters in enumerate((64, 128, 256), 1):
            made = []
            for number in range(blocks):
                stride = 2 if stage > 1 and number == 0 else 1
                made.append(Aggregated(inputs, filters, stride, groups, width * filters // 64, squeeze))
                inputs = 4 * filters
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth, bottleneck):
        super().__init__()
        inside = 4 * growth if bottleneck else inputs
        self.norm1 = nn.BatchNorm2d(inputs)
        if bottleneck:
            self.conv1, self.norm2 = nn.Conv2d(inputs, inside, 1, bias=False), nn.BatchNorm2d(inside)
            self.conv2 = nn.Conv2d(inside, growth, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        y = self.conv1(relu(self.norm1(x)))
        return torch.cat([x, self.conv2(relu(self.norm2(y))) if hasattr(self, "conv2") else y], 1)


class DenseNet(nn.Module):
    def __init__(self, growth, layers, stem, bottleneck):
        super().__init__()
        self.features, width = nn.Sequential(), stem
        self.features.add_module("conv0", nn.Conv2d(3, stem, 3, 1, 1, bias=False))
        for number in (1, 2, 3):
            block = nn.Sequential()
            for layer in range(1, layers + 1):
                block.add_module(f"denselayer{layer}", DenseLayer(width, growth, bottleneck))
                width += growth
            self.features.add_module(f"denseblock{number}", block)
            if number < 3:
                outputs = width // 2 if bottleneck else width
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(width, outputs, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{number}", transition)
                width = outputs
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, 5)

    def forward(self, x):
        return self.classifier(relu(self.features(x)).mean((2, 3)))


class NiN(nn.Module):
    def __init__(self):
        super().__init__()
        inputs, sizes = 3, {1: (5, 192, 160, 96), 2: (5, 192, 192, 192), 3: (3, 192, 192, 5)}
        for part, (side, *widths) in sizes.items():
            for number, (kernel, outputs) in enumerate(zip((side, 1, 1), widths), 1):
                setattr(self, f"conv{part}_{number}", nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
                inputs = outputs

    def forward(self, x):
        for part in (1, 2, 3):
            for number in (1, 2, 3):
                x = relu(getattr(self, f"conv{part}_{number}")(x))
            if part < 3:
                x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return x.mean((2, 3))


class LeNet(nn.Module):
    def __init__(self, activation, pool):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 5)
        self.act, self.pool = activation, pool

    def forward(self, x):
        x = self.pool(self.act(self.conv2(self.pool(self.act(self.conv1(x)), 2))), 2).flatten(1)
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


F = nn.functional
# {network: (torch's, options of ours, what is shortened: (table, its value there))}.
PAIRS = {
    "resnet20": (lambda: PreActResNet(3, 1), {}, None),
    "wrn_16_8": (lambda: PreActResNet(2, 2), {}, (preact_resnet.FORMS, "wrn_16_8", (2, 2))),
    "resnext29_8x64d": (
        lambda: ResNeXt(1, 4, 8), {}, (resnet.FORMS, "resnext29_8x64d", ((1, 1, 1), True, 4, 8)),
    ),
    "resnext29_8x64d squeeze": (
        lambda: ResNeXt(1, 4, 8, 16), {"squeeze": 16}, (resnet.FORMS, "resnext29_8x64d", ((1, 1, 1), True, 4, 8)),
    ),
    "densenet40": (lambda: DenseNet(12, 3, 16, False), {}, (densenet.DEPTHS, 40, (12, (3, 3, 3), 16))),
    "densenet100": (lambda: DenseNet(12, 3, 24, True), {}, (densenet.DEPTHS, 100, (12, (3, 3, 3), 24))),
    "nin": (NiN, {"dropout": 0.0}, None),
    "lenet5": (lambda: LeNet(relu, F.max_pool2d), {}, None),
    "lenet5 tanh": (lambda: LeNet(torch.tanh, F.avg_pool2d), {"activation": "tanh", "pool": "average"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_same_logits_and_same_step(name, monkeypatch):
    """Failure: a network is not its paper's, or trains to something else than in PyTorch."""
    make, options, shortened = PAIRS[name]
    if shortened:
        monkeypatch.setitem(*shortened)
    torch.manual_seed(0)
    size = 32 if name.startswith("lenet") else 16  # of noise, what is averaged of larger ones hardly differs
    theirs, ours = pairs.shaken(make()), classifiers.build(name.split()[0], 5, size, **options)
    pairs.assert_same(theirs, ours, pairs.pictures(size))


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("resnet20", {}, 272_282), ("resnet110", {}, 1_730_522), ("wrn_16_8", {}, 10_961_370),
        ("wrn_28_10", {}, 36_479_194), ("resnext29_8x64d", {}, 34_426_698), ("densenet40", {}, 1_019_722),
        ("densenet100", {}, 769_162), ("nin", {}, 966_986), ("lenet5", {}, 62_006),
    ],
)  # fmt: skip
def test_published_sizes(name, options, published):
    """Failure: a recipe trains a network of another depth or width than the one it is called after."""
    with keras.device("meta" if backend.NAME == "torch" else "cpu:0"):
        model = classifiers.build(name, 10, 32, **options)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == published


@pytest.mark.parametrize("name", ["lenet5", "nin", "resnet20", "densenet40", "densenet100", "resnext29_8x64d"])
def test_smallest_is_smallest(name):
    """Failure: a size that works is refused, or one that does not is let through to an error in a pooling layer."""
    least = registry.get(name).smallest_side()
    with keras.device("meta" if backend.NAME == "torch" else "cpu:0"):
        model = classifiers.build(name, 2, least)
    assert all(min(layer.output.shape[1:3], default=1) >= 1 for layer in model.layers)
