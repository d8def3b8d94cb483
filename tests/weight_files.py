"""Small weight files in every format, made on the fly for tests: two layers of VGG under each library's names."""

import dataclasses
import hashlib

import h5py
import numpy as np
import pytest

from kstyle.models import registry, weights
from kstyle.models.networks import feature_layers
from kstyle.net import download

LAYERS = ["block1_conv1", "block2_conv1"]  # enough of VGG to be wrong about, small enough to write often


def hide_weights(tmp_path, monkeypatch):
    """Empty caches, `keras` and `torch` in `tmp_path`; no package with weights, no proxy, no waiting."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("KSTYLE_WEIGHTS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(weights, "_packaged", lambda entry: iter(()))
    monkeypatch.setattr(download, "BACKOFF", 0.001)


def changed_source(monkeypatch, network, source, **changes):
    """Changes a `Source` of a network's row for one test; returns it."""
    sources = registry.get(network).weights
    monkeypatch.setitem(sources, source, dataclasses.replace(sources[source], **changes))
    return sources[source]


@dataclasses.dataclass(frozen=True)
class Weights(weights.File):
    """A file and its `arrays`, as `layer_arrays` gives them."""

    arrays: dict


def resolve(network, source, file=None, *, layers=None, **options):
    """The weights of some of a network's layers (None: all), found and read."""
    row = registry.get(network)
    found = weights.obtain(row, source, file, **options)
    wanted = {name: row.layers[name] for name in (row.layers if layers is None else layers)}
    return Weights(**vars(found), arrays=weights.layer_arrays(found.path, network, wanted))


def arrays():
    """Those layers' weights, values that float16 and bfloat16 hold exactly."""
    rng = np.random.default_rng(0)
    shapes = {name: feature_layers.LAYERS["vgg19"][name].shape for name in LAYERS}
    made = {f"{name}/kernel": rng.integers(-128, 128, shape) / 64 for name, shape in shapes.items()}
    made |= {f"{name}/bias": rng.integers(-128, 128, shape[-1]) / 64 for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in made.items()}


def torch_arrays():
    """The same by torchvision's names, (out, in, kh, kw)."""
    own = arrays()
    return {
        "features.0.weight": own["block1_conv1/kernel"].transpose(3, 2, 0, 1),
        "features.0.bias": own["block1_conv1/bias"],
        "features.5.weight": own["block2_conv1/kernel"].transpose(3, 2, 0, 1),
        "features.5.bias": own["block2_conv1/bias"],
        "classifier.6.weight": np.zeros((10, 4), np.float32),
    }


def write_h5(path, rename):
    with h5py.File(path, "w") as file:
        for name, value in arrays().items():
            file[rename(*name.split("/"))] = value
        file["predictions/predictions_W:0"] = np.zeros((4, 10), np.float32)
    return path


def keras1(layer, kind):
    return f"{layer}/{layer}_{ {'kernel': 'W', 'bias': 'b'}[kind] }_1:0"


def tensors():
    torch = pytest.importorskip("torch")
    return torch, {name: torch.from_numpy(np.array(value)) for name, value in torch_arrays().items()}


def same(got):
    for name, value in arrays().items():
        np.testing.assert_array_equal(got.arrays[name], value)
        assert got.arrays[name].dtype == np.float32 and got.arrays[name].flags.writeable
    assert len(got.arrays) == 4 and got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()
