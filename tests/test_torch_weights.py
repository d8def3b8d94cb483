"""PyTorch's weights in Keras' networks, against the same networks written in torch: logits, and one training step."""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import keras
import numpy as np
import pytest
from keras import ops

from kstyle.errors import DataError, UsageError
from kstyle.models import classifiers, torch_names

torch = pytest.importorskip("torch")
nn = torch.nn

RATE = 0.01


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )  # fmt: skip

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet18(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        for stage, (inputs, outputs) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
            blocks = [Block(inputs, outputs, 1 if stage == 1 else 2), Block(outputs, outputs, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


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


# {network: (torch's, size)}. AlexNet's map is 2×2 there, so that the order of the flattened rows shows; SqueezeNet's
# first pool meets an even side.
PAIRS = {
    "resnet18": (lambda: ResNet18(5), 64),
    "alexnet": (lambda: AlexNet(5, 256 * 2 * 2), 96),
    "squeezenet1.1": (lambda: SqueezeNet(5), 68),
}


def pair(name):
    torch.manual_seed(0)
    make, size = PAIRS[name]
    theirs = make()
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):  # else scale and statistics are 1 and 0, and could be swapped
                module.weight.uniform_(0.5, 1.5), module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2), module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):  # torch's own fade out in a network without normalisation
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
    options = {} if name == "resnet18" else {"dropout": 0.0}
    ours = classifiers.build(name, 5, size, **options)
    x = np.random.default_rng(1).normal(0, 1, (4, size, size, 3)).astype("float32")
    return theirs, ours, x


def state(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def logits_of(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


def own_logits(model, x):
    # Compiled, since JAX otherwise compiles each operation by itself.
    predict = backend.compile(lambda x: model(x, training=False), model.variables)
    return ops.convert_to_numpy(predict(ops.convert_to_tensor(x)))


def assert_near(mine, reference, tolerance):
    assert mine.shape == reference.shape
    assert np.abs(mine - reference).max() <= tolerance * np.abs(reference).max()


@pytest.mark.parametrize("name", PAIRS)
def test_same_logits_and_same_step(name):
    """Failure: torchvision's weights name other things here, or fine-tuning drifts from what PyTorch would do."""
    theirs, ours, x = pair(name)
    done = torch_names.convert(state(theirs), ours)
    assert not done.left_out
    expected = logits_of(theirs.eval(), x)
    assert np.ptp(expected, axis=0).max() > 0.1  # the pictures do tell apart
    assert_near(own_logits(ours, x), expected, 1e-4)

    labels = np.array([0, 3, 1, 4])
    optimizer = torch.optim.SGD(theirs.parameters(), RATE)
    logits = theirs.train()(torch.from_numpy(x).permute(0, 3, 1, 2))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    optimizer.step()

    def objective(x, labels):
        entropy = keras.losses.sparse_categorical_crossentropy(labels, ours(x, training=True), from_logits=True)
        return ops.mean(entropy), {}

    differentiate = backend.gradients(objective, ours.trainable_variables, ours.non_trainable_variables)

    def step(x, labels):
        loss, _, grads = differentiate(x, labels)
        backend.update(ours.trainable_variables, 1, grads, -RATE)
        return loss

    own = backend.compile(step, ours.variables)(ops.convert_to_tensor(x), ops.convert_to_tensor(labels))
    assert float(ops.convert_to_numpy(own)) == pytest.approx(loss.item(), rel=1e-4)

    # What torch's model became, brought into a second model, is what ours became, the statistics included.
    became = classifiers.build(name, 5, x.shape[1], **({} if name == "resnet18" else {"dropout": 0.0}))
    torch_names.convert(state(theirs), became)
    for mine, reference in zip(ours.weights, became.weights):
        mine, reference = ops.convert_to_numpy(mine), ops.convert_to_numpy(reference)
        assert np.abs(mine - reference).max() <= 1e-3 * max(1e-2, np.abs(reference).max()), reference.shape
    assert_near(own_logits(ours, x), logits_of(theirs.eval(), x), 1e-3)


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
    assert not classifiers.load_torch(model, path).left_out
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    features = module.conv2(module.conv1(torch.from_numpy(x).permute(0, 3, 1, 2)))
    expected = module.out(features.flatten(1)).detach().numpy()
    assert_near(own_logits(model, x), expected, 1e-5)


def test_networks_without_a_counterpart():
    """Failure: torchvision's VGG19 goes into a network with batch normalisation, whose activations it never saw."""
    model = classifiers.build("vgg19_cifar", 10, 16, head="gap")
    with pytest.raises(UsageError, match="vgg19_cifar has no counterpart in PyTorch"):
        classifiers.load_torch(model, "vgg19-dcbb9e9d.pth")
