"""Networks that take torchvision's weights, against torchvision's own code: names, logits and a training step."""

import functools
import importlib.util
import sys
import types

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.models import classifiers, registry, torch_names
from kstyle.models.networks import convnext, resnet
from kstyle.models.networks.mobile import efficientnet_v2
from kstyle.training.results import export

torch = pytest.importorskip("torch")
pairs = pytest.importorskip("torch_pairs")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)
if backend.NAME != "torch":
    pytest.skip("compiled for minutes, and shows nothing more", allow_module_level=True)
nn = torch.nn


@pytest.fixture(scope="module")
def models():
    """torchvision.models. What it adds to torch for detection is left out: built for CUDA, it fails beside torch for
    processors."""
    left_out = "torchvision._meta_registrations"
    sys.modules.setdefault(left_out, types.ModuleType(left_out))
    from torchvision import models

    return models


def vit(models):
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
    return models.VisionTransformer(48, 16, num_classes=5, **sizes)


def convnext_tiny(models):
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(16, 24, 1), block(24, 32, 1), block(32, 48, 2), block(48, None, 1)], num_classes=5)


def efficientnet(models):
    early, late = models.efficientnet.FusedMBConvConfig, models.efficientnet.MBConvConfig
    stages = [
        early(1, 3, 1, 24, 24, 2), early(4, 3, 2, 24, 32, 2), early(4, 3, 2, 32, 40, 1), late(4, 3, 2, 40, 48, 2),
        late(6, 3, 1, 48, 64, 1), late(6, 3, 2, 64, 80, 2),
    ]  # fmt: skip
    norm = functools.partial(nn.BatchNorm2d, eps=1e-3)
    return models.EfficientNet(stages, 0.0, 0.0, 5, norm, last_channel=1280)


def bottlenecks(models, **options):
    return models.ResNet(models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=5, **options)


SHALLOW = (1, 2, 1, 1)
# {network: (torchvision's, size, options of ours, what is shortened here: (table, its key or name, value), rate)}.
PAIRS = {
    "vit_b_16": (vit, 48, {"depth": 2, "heads": 4, "width": 64, "hidden": 128}, None, pairs.RATE),
    "convnext_tiny": (
        convnext_tiny, 70, {"drop_path": 0.0}, (convnext, "TINY", ((1, 1, 2, 1), (16, 24, 32, 48))), pairs.RATE,
    ),
    "efficientnet_v2_s": (
        efficientnet, 69, {"dropout": 0.0, "drop_path": 0.0},
        (efficientnet_v2, "STAGES", (
            (2, 1, 1, 24, True), (2, 2, 4, 32, True), (1, 2, 4, 40, True), (2, 2, 4, 48, False), (1, 1, 6, 64, False),
            (2, 2, 6, 80, False),
        )), pairs.LOW_RATE,
    ),
    "mobilenet_v3_small": (
        lambda models: models.mobilenet_v3_small(num_classes=5, dropout=0.0), 70, {"dropout": 0.0}, None,
        pairs.LOW_RATE,
    ),
    "mobilenet_v3_large": (
        lambda models: models.mobilenet_v3_large(num_classes=5, dropout=0.0), 69, {"dropout": 0.0}, None,
        pairs.LOW_RATE,
    ),
    "resnext50_32x4d": (
        lambda models: bottlenecks(models, groups=32, width_per_group=4), 64, {},
        (resnet.FORMS, "resnext50_32x4d", (SHALLOW, True, 32, 4)), pairs.RATE,
    ),
    "wide_resnet50_2": (
        lambda models: bottlenecks(models, width_per_group=128), 64, {},
        (resnet.FORMS, "wide_resnet50_2", (SHALLOW, True, 1, 128)), pairs.RATE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_same_logits_and_same_step(name, models, monkeypatch):
    """Failure: torchvision's weights mean something else here, or fine-tuning drifts from what PyTorch would do."""
    make, size, options, shortened, rate = PAIRS[name]
    if shortened:
        table, key, value = shortened
        (monkeypatch.setitem if isinstance(table, dict) else monkeypatch.setattr)(table, key, value)
    torch.manual_seed(0)
    theirs, ours = pairs.shaken(make(models)), classifiers.build(name, 5, size, **options)
    pairs.assert_same(theirs, ours, pairs.pictures(size), rate)


@pytest.mark.parametrize("name", PAIRS)
def test_the_published_file_fits(name, models):
    """Failure: the whole network has other names or shapes than torchvision's file of it, or is fetched elsewhere."""
    row = registry.get(name)
    published = models.get_weight(f"{models.get_model_weights(name).__name__}.IMAGENET1K_V1")
    assert published.url == row.weights["torchvision"].url
    crop = published.transforms()
    assert (crop.crop_size, crop.resize_size) == ([row.size], [row.resize])
    assert crop.interpolation.value == row.resample == "bilinear"
    with torch.device("meta"):
        theirs = {key: tuple(each.shape) for key, each in getattr(models, name)().state_dict().items()}
    with keras.device("meta"):
        ours = classifiers.build(name, 1000, 224)
    counted = {key for key in theirs if key.endswith("num_batches_tracked")}
    assert {key: entry[1] for key, entry in torch_names.entries(ours).items()} == {
        key: shape for key, shape in theirs.items() if key not in counted
    }


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny"])
def test_a_state_dict_for_torchvision(name, models, monkeypatch):
    """Failure: `kstyle export` writes a transformer's file that torchvision's model does not take."""
    monkeypatch.setattr(convnext, "TINY", PAIRS["convnext_tiny"][3][2])
    make, size, options, *_ = PAIRS[name]
    ours = classifiers.build(name, 5, size, **options)
    torch_names.convert(pairs.state(pairs.shaken(make(models))), ours)
    theirs = make(models)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in export.state_dict(ours).items()})
    x = pairs.pictures(size)
    pairs.assert_near(pairs.own_logits(ours, x), pairs.logits_of(theirs.eval(), x), 1e-4)


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("vit_b_16", 224, {"depth": 1, "heads": 2, "width": 32, "hidden": 64}), ("mobilenet_v3_small", 32, {}),
        ("efficientnet_v2_s", 32, {}),
    ],
)  # fmt: skip
def test_fine_tuning_starts_from_a_file(name, size, options, tmp_path, monkeypatch):
    """Failure: `model.weights: imagenet` does not find torchvision's file, or refuses it for other classes."""
    monkeypatch.setattr(efficientnet_v2, "STAGES", PAIRS["efficientnet_v2_s"][3][2])
    trained = classifiers.build(name, 7, size, **options)
    state = {key: torch.from_numpy(value) for key, value in export.state_dict(trained).items()}
    torch.save(state, tmp_path / registry.get(name).weights["torchvision"].file)
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(tmp_path))
    for classes in (7, 3):
        model = classifiers.build(name, classes, size, **options)
        loaded = classifiers.load_imagenet(model)
        assert (loaded.head, loaded.preprocessing) == (classes == 7, "torch")
        taken = [w for w in model.weights if w.path.split("/")[0] != model.layers[-1].name]
        assert len(taken) == len(model.weights) - 2
        for mine, theirs in zip(model.weights, trained.weights):
            if classes == 7 or any(mine is each for each in taken):
                assert np.array_equal(*(keras.ops.convert_to_numpy(each) for each in (mine, theirs)))


def test_the_older_names_of_a_transformer(models):
    """Failure: the file that torchvision has of ViT-B/16, older than its code, is refused."""
    theirs = pairs.state(pairs.shaken(vit(models)))
    old = {
        key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): value for key, value in theirs.items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in old
    model = classifiers.build("vit_b_16", 7, 48, **PAIRS["vit_b_16"][2])
    done = torch_names.convert(old, model)
    assert done.left_out == ("heads.head.weight", "heads.head.bias") and done.tensors == len(theirs) - 2
