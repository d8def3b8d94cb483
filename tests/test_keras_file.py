"""A run's `model.keras`, and files of `ModelCheckpoint`: they open in plain Keras, where there is no kstyle."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle import backend, data
from kstyle.backend import keras_private
from kstyle.io import runs
from kstyle.models import classifiers, registry
from kstyle.models.networks import convnext, resnet
from kstyle.models.networks.mobile import efficientnet_v2
from kstyle.models.networks.small import preact_resnet
from kstyle.nn import layers, plain
from kstyle.training.loop import steps
from kstyle.training.results import evaluate, keras_file
from kstyle.training.setup import own_model

QUICK = {"epochs": 1, "data.train_limit": 320, "data.test_limit": 100, "batch": 32}

# Networks that another is a longer or wider form of: the same code, the same kinds of layers.
LONGER = {
    *("vgg19", "resnet34", "resnet101", "resnet152", "densenet161", "densenet169", "densenet201"),
    *("efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "mobilenet_v3_large"),
    *("resnet32", "resnet56", "resnet110", "wrn_28_10", "resnext50_32x4d", "wide_resnet50_2"),
}
# What is smaller than published, so that it is quick: options, or (table, key, value there).
OPTIONS = {"vit_b_16": {"depth": 2, "width": 64, "heads": 4, "hidden": 128}}
SHORT = {
    "convnext_tiny": (vars(convnext), "TINY", ((1, 1, 1, 1), (16, 24, 32, 48))),
    "efficientnet_v2_s": (
        vars(efficientnet_v2), "STAGES", ((2, 1, 1, 24, True), (1, 2, 4, 32, True), (2, 2, 4, 48, False)),
    ),
    "resnext29_8x64d": (resnet.FORMS, "resnext29_8x64d", ((1, 1, 1), True, 8, 8)),
    "wrn_16_8": (preact_resnet.FORMS, "wrn_16_8", (1, 2)),
}  # fmt: skip
# The first of each family goes through a file; the others are of the same layers.
FIRST = {re.match("[a-z_]*", name)[0]: name for name in reversed(registry.names("classifier"))}.values()

# Opens files of Keras' where kstyle cannot be imported: argv is pairs of pictures.npy and model.keras; the results lie
# beside the models.
OPENED = """
import os, sys
sys.modules["kstyle"] = None
if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None  # seconds: Keras imports it to open a model wherever it is installed
import numpy as np, keras
for pictures, model in zip(sys.argv[1::2], sys.argv[2::2]):
    opened = keras.saving.load_model(model)
    np.save(model + ".npy", opened.predict(np.load(pictures), verbose=0))
"""


def elsewhere(folder, *pairs):
    """What plain Keras predicts, in a process without kstyle: a list of arrays.

    Args:
        pairs: (pictures, path of a model).
    """
    arguments = []
    for number, (pictures, path) in enumerate(pairs):
        np.save(folder / f"in{number}.npy", pictures)
        arguments += [str(folder / f"in{number}.npy"), str(path)]
    environment = {**os.environ, "KERAS_BACKEND": backend.NAME}
    command = [sys.executable, "-c", OPENED, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [np.load(f"{path}.npy") for _, path in pairs]


def randomise(model):
    """Weights of a usual size, statistics of normalisation among them."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        shape = variable.shape
        if variable.path.endswith(("gamma", "variance")):
            values = rng.uniform(0.8, 1.2, shape)
        else:
            values = rng.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))) if len(shape) > 1 else 0.1, shape)
        variable.assign(values.astype("float32"))


@pytest.mark.parametrize("name", [name for name in registry.names("classifier") if name not in LONGER])
def test_every_network_in_keras_own_layers(name, tmp_path, monkeypatch):
    """Failure: a network's `model.keras` needs kstyle, or gives other probabilities than the run."""
    if name in SHORT:
        monkeypatch.setitem(*SHORT[name])
    side = max(8, registry.get(name).smallest_side())
    model = classifiers.build(name, 7, side, **OPTIONS.get(name, {}))
    randomise(model)
    normalise, shape = steps.Normalise([0.4, 0.5, 0.3], [0.2, 0.25, 0.3]), (side, side, 3)
    if name in FIRST:
        keras_file.write(tmp_path, model, normalise, shape)
        with keras_private.without_tensorflow():
            whole = keras.saving.load_model(tmp_path / "model.keras")
    else:
        _, pictures, logits = keras_file.joined(model, normalise, shape)
        whole = keras.Model(pictures, ops.softmax(logits))
    assert not plain.has_ours(whole)
    images = np.random.default_rng(7).integers(0, 256, (2, side, side, 3), np.uint8)
    got, wanted = whole.predict(images, verbose=0), steps.Predictor(model, normalise)(images)
    assert np.ptp(wanted) > 0.01 and np.abs(got - wanted).max() < 1e-5


def test_a_run_opens_without_kstyle(tmp_path):
    """Failure: who gets `model.keras` or a file of `ModelCheckpoint` must have kstyle, and its means and deviations."""
    save = keras.callbacks.ModelCheckpoint(tmp_path / "saved.keras")
    run = kstyle.train("digits_cnn", run=tmp_path / "run", overrides=QUICK, callbacks=[save])
    images = data.load("digits").test.images
    facts = json.loads((run.folder / "run.json").read_text("utf-8"))
    normalised = (images / 255 - np.asarray(facts["mean"])) / np.asarray(facts["std"])
    _, _, model, normalise = evaluate.load(run.folder)
    wanted = steps.Predictor(model, normalise)(images)
    bytes_, floats, logits = elsewhere(
        tmp_path,
        (images, run.folder / "model.keras"),
        (images.astype("float32"), run.folder / "model.keras"),
        (normalised.astype("float32"), tmp_path / "saved.keras"),
    )
    for got in (bytes_, floats, ops.convert_to_numpy(ops.softmax(logits))):
        assert np.abs(got - wanted).max() < 1e-5


@pytest.mark.skipif(backend.NAME == "tensorflow", reason="it is the backend")
def test_nothing_loads_tensorflow(tmp_path, monkeypatch):
    """Failure: the end of each training takes seconds longer, and prints TensorFlow's lines to stderr."""
    keras_own, asked = keras_private._lazy_tensorflow(), []
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # where another test loaded it
    monkeypatch.setattr(keras_own, "_available", None)

    def load():
        asked.append("seconds")
        raise ImportError

    monkeypatch.setattr(keras_own, "initialize", load)
    shape = (8, 8, 3)
    model = keras.Sequential([keras.Input(shape), layers.Conv2D(2, 3, pad=1), keras.layers.Flatten()])
    keras_file.write(tmp_path, model, steps.Normalise([0.5] * 3, [0.2] * 3), shape)
    plain.saves_plainly(model, lambda copy, optimizer: None)
    model.save(tmp_path / "saved.keras")
    _, said = own_model.check(plain.plain(model), 8 * 8 * 2, shape)
    (tmp_path / runs.ARCHITECTURE).write_text(said)
    own_model.opened(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3 and not asked
    model.get_config()
    assert asked  # else Keras asks in another way, and this test sees nothing


def test_a_checkpoint_goes_on_as_it_was(tmp_path):
    """Failure: the file's optimiser lost its moments or rate, and training on in Keras takes other steps."""
    saved = tmp_path / "saved.keras"

    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                self.model.save(saved)

    sgd = {"optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}, "schedule": "constant"}
    run = kstyle.train("digits_cnn", run=tmp_path / "run", overrides={**QUICK, **sgd}, callbacks=[Save()])
    with keras_private.without_tensorflow():
        opened = keras.saving.load_model(saved)
    assert isinstance(opened.optimizer, keras.optimizers.SGD) and int(opened.optimizer.iterations) == 5
    moved = [ops.convert_to_numpy(v.value) for v in opened.optimizer.variables[2:]]
    assert len(moved) == len(run.model.trainable_variables) and all(np.abs(v).max() > 0 for v in moved)


def test_what_the_file_cannot_hold_is_said(tmp_path, caplog):
    """Failure: a file that gives other results than the run, or a training that ends in a traceback of Keras'."""
    x = keras.Input((8, 8, 3))
    y = layers.Pool2D(size=3, strides=2, pad=1)(x)  # of numbers below 0 too, where zeros are no padding
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(y)))
    (tmp_path / "model.keras").write_text("of the training before")
    keras_file.write(tmp_path, model, steps.Normalise([1] * 3, [0.1] * 3), (8, 8, 3))
    assert "its results are off by" in caplog.text and not list(tmp_path.iterdir())
