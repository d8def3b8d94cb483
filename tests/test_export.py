"""Files for other programs: that those programs get the run's own predictions from them."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kstyle import backend
from kstyle.backend.by_torch import exchange
from kstyle.errors import DataError, UsageError
from kstyle.io import checkpoints, runs
from kstyle.nn import layers
from kstyle.nn import state as checkpoint
from kstyle.training.loop import steps
from kstyle.training.results import export
from kstyle.training.setup import build, settings

TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
ONNX = pytest.mark.skipif(backend.NAME != "torch" or bool(MISSING), reason=f"needs torch as backend and {PACKAGES}")


def made(folder, shape, **changes):
    """A run folder whose weights, statistics of normalisation among them, are random."""
    recipe = settings.load("digits_cnn", changes)
    channels = shape[2]
    mean, std = [0.4, 0.5, 0.3][:channels], [0.2, 0.25, 0.3][:channels]
    classes = [f"class {k}" for k in range(10)]
    facts = {"classes": classes, "shape": shape, "mean": mean, "std": std, "backend": backend.NAME}
    folder.mkdir(exist_ok=True)
    runs.start(folder, settings.resolved(recipe), facts)
    model = build.network(recipe, 10, shape, "float32")
    randomise(model)
    runs.save_arrays(folder / runs.RESULT, checkpoint.named(model.weights, "model"))
    return folder


def randomise(model):
    rng = np.random.default_rng(1)
    for variable in model.weights:
        positive = variable.path.endswith(("gamma", "variance"))
        values = rng.uniform(0.5, 1.5, variable.shape) if positive else rng.normal(0, 0.3, variable.shape)
        variable.assign(values.astype("float32"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """mnist_cnn on 8×8 grey pictures."""
    return made(tmp_path_factory.mktemp("runs") / "digits", [8, 8, 1])


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """ResNet-18 with all its stem on 32×32 colour pictures, as a run in bfloat16."""
    folder = tmp_path_factory.mktemp("runs") / "resnet"
    return made(folder, [32, 32, 3], model={"name": "resnet18"}, precision="bfloat16")


@pytest.fixture(scope="module")
def networks(digits, resnet):
    return {run: export.load(run) for run in (digits, resnet)}


@pytest.fixture
def small(resnet, networks, monkeypatch):
    """`export.export(resnet, …)` takes this network: what is hard to export in ResNet, once each."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, pad=1, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(0.9, 1e-5, True, name="bn1")(x)
    y = x = keras.layers.Activation("relu", name="relu")(x)
    x = layers.Pool2D(size=3, strides=2, pad=1, name="pool1")(x)
    x = layers.Conv2D(8, 3, pad=1, activation="relu", name="conv2")(x)
    x = keras.layers.Add(name="add")([x, layers.Pool2D("average", name="pool2")(y)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="fc")(x), name="small")
    randomise(model)
    network = dataclasses.replace(networks[resnet], model=model)
    monkeypatch.setattr(export, "load", lambda folder: network)
    return network


def wanted(network, images):
    """What `kstyle predict` computes; in float32."""
    return steps.Predictor(network.model, network.normalise)(images)


def noise(shape, count=3):
    return np.random.default_rng(7).integers(0, 256, (count, *shape), np.uint8)


@ONNX
def test_onnx_gives_the_runs_probabilities(small, resnet, tmp_path):
    """Failure: the file in production says something else than the run, or only takes batches of one size."""
    import onnxruntime

    path = tmp_path / "m.onnx"
    done = export.export(resnet, path=path)
    assert done.format == "onnx" and done.check and done.bytes == path.stat().st_size
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = noise((32, 32, 3), count)
        logits, probabilities = session.run(None, {"images": images})
        assert np.abs(probabilities - wanted(small, images)).max() < 1e-4
        assert np.ptp(probabilities) > 0.1 and np.array_equal(logits.argmax(1), probabilities.argmax(1))
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["classes"])[3] == "class 3" and json.loads(notes["std"])[0] == pytest.approx(0.2)
    # Where the source lies on this machine is nobody's business.
    assert str(Path(export.__file__).parent).encode() not in path.read_bytes()


@TORCH
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_torch_computes_the_same(networks, digits, tmp_path, suffix):
    """Failure: the state dict loads, and the kernels are mirrored or the dense rows in Keras' order."""
    import torch
    from safetensors.torch import load_file

    class Reference(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = [torch.nn.Sequential(torch.nn.Conv2d(a, b, 5, padding=2)) for a, b in ((1, 16), (16, 32))]
            self.conv1, self.conv2 = layers
            self.out = torch.nn.Linear(128, 10)

        def forward(self, x):
            for conv in (self.conv1, self.conv2):
                x = torch.max_pool2d(torch.relu(conv(x)), 2)
            return self.out(x.flatten(1))

    path = tmp_path / f"m{suffix}"
    export.export(digits, path=path)
    model, images = Reference(), noise((8, 8, 1))
    model.load_state_dict(load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True))
    with torch.no_grad():
        x = (torch.tensor(images).permute(0, 3, 1, 2) / 255 - 0.4) / 0.2
        assert np.allclose(model(x).softmax(1).numpy(), wanted(networks[digits], images), atol=1e-5)


def test_a_state_dict_has_torchvisions_names(resnet, tmp_path):
    """Failure: torchvision's `load_state_dict` refuses the file."""
    path = tmp_path / "m.safetensors"
    assert "102 tensors are equal" in export.export(resnet, "torch", path).check
    found = checkpoints.read(path)
    assert len(found) == 102 + 20  # the batches that each of 20 normalisations has seen
    assert found["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert found["layer1.1.bn2.num_batches_tracked"].dtype == np.int64
    assert {"conv1.weight", "bn1.running_var", "fc.bias"} <= set(found)


OPENED = """
import os, sys
if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None  # seconds: Keras imports it to open a model wherever it is installed
import numpy as np, keras
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0)["probabilities"])
assert "kstyle" not in sys.modules
"""


def test_keras_opens_the_file_without_kstyle(small, resnet, tmp_path):
    """Failure: whoever gets the file must have kstyle, or switch Keras' safety off."""
    images = noise((32, 32, 3))
    np.save(tmp_path / "in.npy", images)
    assert not export.export(resnet, path=tmp_path / "m.keras").needs_kstyle
    command = [sys.executable, "-c", OPENED, *(str(tmp_path / name) for name in ("m.keras", "out.npy", "in.npy"))]
    environment = {**os.environ, "KERAS_BACKEND": backend.NAME}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(tmp_path / "out.npy"), wanted(small, images), atol=1e-4)


@pytest.mark.parametrize("format", ["torch", "keras"])
def test_a_file_that_is_wrong_is_not_kept(digits, tmp_path, monkeypatch, format):
    """Failure: a broken export takes the place of the last good file, or is found out in production."""
    write = export.WRITERS[format]

    def broken(network, path):
        changed = network.fresh()
        changed.set_weights([w * 1.5 for w in network.model.get_weights()])
        return write(export.Network(changed, network.normalise, network.facts, network.fresh), path)

    path = tmp_path / f"m{export.SUFFIXES[format][0]}"
    path.write_text("the last good one")
    monkeypatch.setitem(export.WRITERS, format, broken)
    with pytest.raises(DataError, match="is not the network"):
        export.export(digits, path=path)
    assert path.read_text() == "the last good one" and len(list(tmp_path.iterdir())) == 1
    assert export.export(digits, path=path, check=False).check is None
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("format", "name", "error", "message"),
    [
        ("onxx", None, UsageError, "Unknown format 'onxx'. Did you mean 'onnx'?"),
        ("torch", "m.onnx", UsageError, r"ends in \.safetensors or \.pth"),
        (None, "m.h5", UsageError, r"ends in \.onnx or .* or \.keras"),
        ("keras", "nowhere/m.keras", DataError, "there is no folder"),
        ("torch", runs.RESULT, UsageError, "belongs to the run"),
    ],
)
def test_impossible_targets(digits, format, name, error, message):
    """Failure: a typing error overwrites the run's weights, or is told after minutes of work."""
    with pytest.raises(error, match=message):
        export.target(digits, format, name and digits / name)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_the_runs_weights_by_another_name(digits, tmp_path, link):
    """Failure: the run's own weights are replaced through a link to them."""
    other = tmp_path / "mine.safetensors"
    link(digits / runs.RESULT, other)
    with pytest.raises(UsageError, match="belongs to the run"):
        export.target(digits, path=other)


def test_what_cannot_be_exported_says_what_can(digits, monkeypatch):
    """Failure: a traceback of an exporter's, where a package or another format was meant."""
    with pytest.raises(UsageError, match="no counterpart in PyTorch"):
        export.state_dict(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="mine"))
    monkeypatch.setattr(backend, "NAME", "jax")
    with pytest.raises(UsageError, match="KERAS_BACKEND=torch"):
        export.export(digits, "onnx")
    monkeypatch.setattr(backend, "NAME", "torch")
    monkeypatch.setattr(exchange.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx and onnxscript: pip install 'kstyle\[onnx\]'"):
        export.export(digits, "onnx")
    assert not list(digits.glob("model.*"))


def test_a_run_in_bfloat16_is_exported_in_float32(networks, resnet):
    """Failure: the file carries the rounding of the training's number format, or loses weights on the way."""
    model = networks[resnet].model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    kept = runs.load_arrays(resnet / runs.RESULT)[0]
    assert all(
        np.array_equal(ops.convert_to_numpy(v.value), a) for v, (_, a) in zip(model.weights, sorted(kept.items()))
    )
