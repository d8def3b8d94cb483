"""A model, a loss and metrics of the caller's, trained by a recipe: `kstyle.train(model=…, loss=…, metrics=…)`."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops
from PIL import Image

import kstyle
from kstyle import data
from kstyle.backend import keras_private
from kstyle.errors import DataError, UsageError
from kstyle.training.train import Interrupted

RECIPE = {
    "data": {"name": "digits", "train_limit": 320, "test_limit": 100},
    "optimizer": {"name": "adam", "learning_rate": 0.003}, "epochs": 2, "batch": 32, "deterministic": True,
}  # fmt: skip


def network(classes=10, side=8, last=None):
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((side, side, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(x)
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(classes, activation=last, name="out")(x), name="mine")


def focal(labels, logits):
    """(1 - p)² of the cross-entropy (Lin et al. 2017), for integer labels."""
    logs = ops.take_along_axis(ops.log_softmax(logits), labels[:, None], axis=1)[:, 0]
    return -((1 - ops.exp(logs)) ** 2) * logs


def sure(labels, logits):
    """The probability of the class that is taken."""
    return ops.max(ops.softmax(logits), axis=-1)


def numbers(model):
    return [ops.convert_to_numpy(v.value) for v in model.weights]


def test_a_model_loss_and_metrics_of_ones_own(tmp_path, command):
    """Failure: the caller's model is not the one that is trained, or its run is closed to kstyle's other commands."""
    model, top3 = network(), keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")
    f1 = keras.metrics.F1Score("macro", name="f1")
    run = kstyle.train(RECIPE, run=tmp_path / "run", model=model, loss=focal, metrics=[sure, top3, f1])
    assert run.model is model
    for name in ("sure", "top3", "f1"):
        for column in (name, f"val_{name}"):
            assert run.history[column].between(0, 1).all() and run.history[column].nunique() == 2, column
    assert (run.history["top3"] >= run.history["accuracy"]).all() and (run.history["loss"] < 2).all()
    facts = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert facts["model"]["given"] is True and facts["model"]["name"] == "mine"
    assert facts["aim"] == {"loss": "focal", "metrics": ["sure", "top3", "f1"]}
    assert kstyle.evaluate(run.folder).top1 == run.scores.top1
    with keras_private.without_tensorflow():
        assert keras.saving.load_model(run.folder / "model.keras").output_shape == (None, 10)
    assert kstyle.export(run.folder, "keras").check
    code, _, said = command("train", "--resume", "--run", run.folder, "--epochs", 3)
    assert code == 2 and "began with the loss focal and the metrics sure, top3, f1" in said
    code, _, said = command("train", run.folder / "recipe.yaml", "--run", tmp_path / "other")
    assert code == 2 and "model was given in Python" in said and not (tmp_path / "other").exists()


def test_a_loss_of_keras_is_the_recipes(tmp_path):
    """Failure: a Loss is given other labels than Keras gives it, or its mean is over something else."""
    kinds = [None, "cross_entropy"]
    kinds += [getattr(keras.losses, f"{kind}CategoricalCrossentropy")(from_logits=True) for kind in ("Sparse", "")]
    rows = []
    for number, loss in enumerate(kinds):
        run = kstyle.train(RECIPE, run=tmp_path / str(number), model=network(), loss=loss)
        rows.append(run.history[["loss", "val_loss"]].to_numpy())
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], rtol=1e-3)
    mixed = {**RECIPE, "augment": {"mixup": 0.4}}
    assert kstyle.train(mixed, run=tmp_path / "mixed", model=network(), loss=kinds[3]).history["loss"].iloc[-1] > 0
    with pytest.raises(UsageError, match="mixes or smooths labels"):
        kstyle.train(mixed, run=tmp_path / "no", model=network(), loss=focal)


@pytest.mark.parametrize("again", ["the same model", "another of its kind", "none"])
def test_going_on(tmp_path, again):
    """Failure: a stopped training of a given model goes on to other weights than one at a stretch."""
    whole, cut = network(), network()
    stages = [{"train": "head", "epochs": 1}, {"train": "all", "epochs": 2}]
    recipe = {**{key: value for key, value in RECIPE.items() if key != "epochs"}, "stages": stages}
    metrics = [] if again == "none" else [sure]
    straight = kstyle.train(recipe, run=tmp_path / "whole", model=whole, metrics=metrics)

    def interrupt(batch, logs=None):
        if stop.model.optimizer.iterations == 4 and batch == 3:
            import signal

            signal.raise_signal(signal.SIGINT)

    stop = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(Interrupted):
        kstyle.train(recipe, run=tmp_path / "cut", model=cut, metrics=metrics, callbacks=[stop])
    assert all(layer.trainable for layer in cut.layers)
    model = {"the same model": cut, "another of its kind": network(), "none": None}[again]
    done = kstyle.train(None, run=tmp_path / "cut", resume=True, model=model, metrics=metrics)
    drop = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(done.history.drop(columns=drop), straight.history.drop(columns=drop))
    assert all(map(np.array_equal, numbers(done.model), numbers(whole)))


def test_what_the_caller_froze_stays_as_it_is(tmp_path):
    """Failure: a pretrained body that was to be kept is trained, since a recipe's only stage trains 'all'."""
    model = network()
    model.get_layer("conv").trainable = False
    before = numbers(model)
    kstyle.train(RECIPE, run=tmp_path / "run", model=model)
    moved = [not np.array_equal(a, b) for a, b in zip(before, numbers(model))]
    assert moved == [False, False, True, True] and not model.get_layer("conv").trainable


class Unknown(keras.layers.Layer):
    """A layer that nobody else knows."""

    def call(self, inputs):
        return inputs * 2


def test_a_sequential_model_with_a_layer_of_ones_own(tmp_path):
    """Failure: a training of an hour ends in a traceback, because Keras cannot write the model down."""
    layers = [keras.Input((8, 8, 1)), Unknown(), keras.layers.Flatten(), keras.layers.Dense(10)]
    run = kstyle.train(RECIPE, run=tmp_path / "run", model=keras.Sequential(layers))
    assert run.scores.count == 100
    with pytest.raises(DataError, match="Keras cannot make it again"):
        kstyle.evaluate(run.folder)


def test_pictures_as_keras_loads_them(tmp_path):
    """Failure: floats from 0 to 255, what `keras.utils.img_to_array` gives, are taken for a white picture."""
    run = kstyle.train(RECIPE, run=tmp_path / "run", model=network())
    images = data.load("digits").test.images[:3]
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "0.png")
    as_keras = keras.utils.img_to_array(keras.utils.load_img(tmp_path / "0.png", color_mode="grayscale"))
    with keras_private.without_tensorflow():
        whole = keras.saving.load_model(run.folder / "model.keras").predict(as_keras[None], verbose=0)[0]
    given = [tmp_path / "0.png", images[0], as_keras / 255, as_keras]
    file, byte, unit, raw = kstyle.predict(run.folder, given, top=10)
    assert np.array_equal(file["picture"], byte["picture"]) and np.array_equal(byte["picture"], unit["picture"])
    assert [byte["path"], raw["path"]] == ["array 2", "array 4"]
    assert raw["error"].startswith("array 4: expected floats in [0, 1]") and "divide them by 255" in raw["error"]
    said = {guess["class"]: guess["probability"] for guess in byte["predictions"]}
    assert [said[str(k)] for k in range(10)] == pytest.approx(whole.tolist(), abs=1e-5)
    assert len(kstyle.predict(run.folder, images)) == 3  # (N, H, W, 1)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model": keras.layers.Dense}, "model: expected a keras.Model; got <class"),
        ({"model": keras.Sequential([keras.layers.Dense(10)])}, "model: it has no weights yet"),
        ({"model": network(side=28)}, r"model: does not take the data's pictures, \(N, 8, 8, 1\); it takes \(None, 28"),
        ({"model": network(classes=3)}, r"expected logits of the data's 10 classes, \(N, 10\); it gives \(None, 3\)"),
        ({"model": network(last="softmax")}, "its last layer, 'out', gives probabilities"),
        ({"model": network(), "overrides": {"model.dropout": 0.1}}, "model.dropout: the model is given"),
        ({"model": network(), "loss": "cross_entropi"}, "Did you mean 'cross_entropy'"),
        ({"model": network(), "loss": 3}, "loss: expected a keras Loss or a function"),
        ({"model": network(), "loss": keras.losses.CategoricalCrossentropy()}, "from_logits=True"),
        ({"model": network(), "loss": lambda labels, logits: ops.mean(logits)}, "loss: .*a number for each picture"),
        ({"model": network(), "metrics": [keras.metrics.F1Score()]}, "metric f1_score: .*expected one number"),
        ({"model": network(), "metrics": [sure, sure]}, "the name 'sure' is there already"),
        ({"model": network(), "metrics": [3]}, "metrics: expected a keras Metric or a function"),
        ({"model": network(), "metrics": ["accuracy"]}, "metric 'accuracy': it is measured in any case: leave it out"),
    ],
)
def test_what_cannot_be(tmp_path, given, line):
    """Failure: a traceback of Keras', an hour later, where one line says what was expected."""
    with pytest.raises(UsageError, match=line):
        kstyle.train(RECIPE, run=tmp_path / "run", **given)
    assert not (tmp_path / "run/recipe.yaml").exists()
