"""Networks from keras.applications beside the same written in torch: logits and a training step. Sides are odd at every
size, where Keras pads strided layers on both sides, as torch does."""

import importlib.util
import itertools
import sys
import types

import pytest

from kstyle import backend
from kstyle.models import classifiers

torch = pytest.importorskip("torch")
pairs = pytest.importorskip("torch_pairs")
if backend.NAME != "torch":
    pytest.skip("compiled for minutes, and shows nothing more", allow_module_level=True)
nn = torch.nn


class KerasNorm(nn.BatchNorm2d):
    """torch's with Keras' defaults. Its moving variance is of the batch, not of a sample as torch has it: of the 36
    numbers that the last layers' are of here, 3 % less."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-3, momentum=0.01)

    def forward(self, x):
        kept = (1 - self.momentum) * self.running_var
        found, count = super().forward(x), x.numel() / x.shape[1]
        if self.training:
            with torch.no_grad():
                self.running_var = kept + (self.running_var - kept) * (count - 1) / count
        return found


norm = KerasNorm


def separable(before, after):
    """A filter for each channel, then a mix of the channels, then normalisation (Chollet 2016, arXiv 1610.02357)."""
    return [
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False), nn.Conv2d(before, after, 1, bias=False),
        norm(after),
    ]  # fmt: skip


class Block(nn.Module):
    """Separable convolutions, each after a ReLU, and a way around them."""

    def __init__(self, widths, strided=True, relu_first=True):
        super().__init__()
        found = [part for pair in itertools.pairwise(widths) for part in (nn.ReLU(), *separable(*pair))]
        self.body = nn.Sequential(*(found if relu_first else found[1:]))
        self.pool = nn.MaxPool2d(3, 2, 1) if strided else nn.Identity()
        ends = widths[0], widths[-1]
        self.around = nn.Sequential(nn.Conv2d(*ends, 1, 2, bias=False), norm(ends[1])) if strided else nn.Identity()

    def forward(self, x):
        return self.pool(self.body(x)) + self.around(x)


def xception():
    """Chollet 2016, figure 5. In Keras' code the ReLU before a block is the one before the way around it too, but in
    place of none: so each block here has its own, which is the same."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, bias=False), norm(32), nn.ReLU(), nn.Conv2d(32, 64, 3, bias=False), norm(64), nn.ReLU(),
        Block([64, 128, 128], relu_first=False), Block([128, 256, 256]), Block([256, 728, 728]),
        *[Block([728] * 4, strided=False) for _ in range(8)],
        Block([728, 728, 1024]),
        *separable(1024, 1536), nn.ReLU(), *separable(1536, 2048), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 5),
    )  # fmt: skip


def efficientnet_b4():
    """torchvision's."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    left_out = "torchvision._meta_registrations"  # see tests/test_torchvision.py
    sys.modules.setdefault(left_out, types.ModuleType(left_out))
    from torchvision import models

    return models.efficientnet_b4(num_classes=5, dropout=0.0, stochastic_depth_prob=0.0, norm_layer=norm)


def settled(module, x):
    """The module with the statistics that pictures have in it. Of so many layers with any others, each would make what
    it gets larger, and the logits of float32 would be noise."""
    layers = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    pairs.logits_of(module.train(), x)
    for layer in layers:
        layer.momentum = 0.01
    return module


@pytest.mark.parametrize(
    ("make", "size", "options"),
    [(xception, 71, {"dropout": 0.0}), (efficientnet_b4, 65, {"dropout": 0.0, "drop_path": 0.0})],
)
def test_same_logits_and_same_step(make, size, options):
    """Failure: Keras' weights mean something else here, or fine-tuning drifts from what PyTorch would do."""
    torch.manual_seed(0)
    theirs, ours = (
        settled(pairs.shaken(make()), pairs.pictures(size)),
        classifiers.build(make.__name__, 5, size, **options),
    )
    pairs.assert_same(theirs, ours, pairs.pictures(size), pairs.LOW_RATE, pairs.by_order)
