"""Knowledge distillation: the loss, and a run that has another for its teacher."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.training import teaching
from kstyle.training.aims import distil
from kstyle.training.loop import optimizers, steps
from kstyle.training.setup import goals, sections, settings

RECIPE = {
    "model": "mnist_cnn", "data": {"name": "digits", "train_limit": 160, "test_limit": 50}, "batch": 32,
    "optimizer": {"name": "adam", "learning_rate": 0.003}, "epochs": 2, "deterministic": True,
}  # fmt: skip


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(classes, seed):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)])
    values = np.random.default_rng(seed)
    model.set_weights([values.normal(0, 0.2, w.shape) for w in model.get_weights()])
    return model


def test_a_step_is_the_closed_form():
    """Failure: temperature, weight, the teacher's own normalisation or its order of the classes do not count."""
    pupil, model = linear(5, 1), linear(7, 2)
    order, (t, w) = [6, 0, 3, 2, 1], (3.0, 0.8)
    settled = goals.Distil(teacher="run", temperature=t, weight=w)
    teacher = distil.teacher(model, [0.5], [0.25], [0.3], [0.4], order, settled)
    recipe = settings.load("digits_cnn", {"augment": {}, "loss.label_smoothing": 0.1, "distil": {"teacher": "run"}})
    pupil.optimizer = optimizers.build(sections.Optimizer(learning_rate=0.5), pupil.trainable_variables)
    step = steps.TrainStep(
        pupil, pupil.optimizer, recipe, recipe.optimizer, steps.Normalise([0.5], [0.25]), teacher=teacher
    )
    values = np.random.default_rng(3)
    images, labels = values.integers(0, 256, (12, 8, 8, 1), np.uint8), values.integers(0, 5, 12).astype("int32")
    (kernel, bias), (their_kernel, their_bias) = pupil.get_weights(), model.get_weights()
    step(ops.convert_to_tensor(images), ops.convert_to_tensor(labels), 1)
    pixels = images.reshape(12, 64) / 255
    x = (pixels - 0.5) / 0.25
    z, theirs = x @ kernel + bias, ((pixels - 0.3) / 0.4 @ their_kernel + their_bias)[:, order]
    aims, p, q = np.eye(5)[labels] * 0.9 + 0.02, softmax(z / t), softmax(theirs / t)
    losses = -(1 - w) * (aims * np.log(softmax(z))).sum(1) + w * t**2 * (q * np.log(q / p)).sum(1)
    slope = ((1 - w) * (softmax(z) - aims) + w * t * (p - q)) / 12
    assert ops.convert_to_numpy(step.totals.value)[0] == pytest.approx(losses.sum(), rel=1e-4)
    assert np.allclose(pupil.get_weights()[0], kernel - 0.5 * x.T @ slope, atol=2e-5)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), (their_kernel, their_bias)))


def test_a_run_with_a_teacher(tmp_path):
    """Failure: another teacher than that of the folder, also after a resume, or one that changes the first weights."""
    teacher = kstyle.train({**RECIPE, "seed": 4}, run=tmp_path / "teacher")
    recipe = {**RECIPE, "distil": {"teacher": str(tmp_path / "teacher"), "temperature": 2, "weight": 1.0}}
    alone = kstyle.train({**RECIPE, "epochs": 3}, run=tmp_path / "alone")
    whole = kstyle.train({**recipe, "epochs": 3}, run=tmp_path / "whole")
    kstyle.train(recipe, run=tmp_path / "cut")
    on = kstyle.train(None, run=tmp_path / "cut", resume=True, overrides={"epochs": 3})
    for mine, other in zip(on.model.get_weights(), whole.model.get_weights()):
        np.testing.assert_array_equal(mine, other)
    told = json.loads((whole.folder / "run.json").read_text("utf-8"))["distil"]
    assert told["teacher"] == str(tmp_path / "teacher") and len(told["sha256"]) == 64
    pictures = np.random.default_rng(0).random((50, 8, 8, 1)).astype("float32")
    said, with_teacher, without = (
        softmax(ops.convert_to_numpy(run.model(pictures))) for run in (teacher, whole, alone)
    )
    assert np.abs(said - with_teacher).mean() < np.abs(said - without).mean()
    shutil.copy(alone.folder / runs.RESULT, tmp_path / "teacher" / runs.RESULT)
    with pytest.raises(DataError, match="began with another teacher"):
        kstyle.train(None, run=tmp_path / "cut", resume=True, overrides={"epochs": 4})


def test_teachers_that_cannot_be(tmp_path):
    """Failure: a teacher of other classes or sizes teaches nonsense, or fails within the first step."""
    with pytest.raises(DataError, match="is no run folder"):
        kstyle.train({**RECIPE, "distil": {"teacher": str(tmp_path)}}, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    kstyle.train({**RECIPE, "epochs": 1}, run=tmp_path / "teacher")
    recipe = settings.load({**RECIPE, "distil": {"teacher": str(tmp_path / "teacher")}})

    class Parts:
        classes, shape = ("0", "1", "ten"), (8, 8, 1)

    with pytest.raises(UsageError, match="it does not know ten; it knows 0, 1, 2"):
        teaching.opened(recipe, Parts, steps.Normalise([0.0], [1.0]))
    Parts.shape = (16, 16, 1)
    with pytest.raises(UsageError, match=r"it takes pictures of shape \(8, 8, 1\), and these are \(16, 16, 1\)"):
        teaching.opened(recipe, Parts, steps.Normalise([0.0], [1.0]))
    stages = {"epochs": None, "stages": [{"train": "head", "epochs": 1, "views": 2}]}
    with pytest.raises(UsageError, match="leave views and cache_features out"):
        settings.load({**RECIPE, **stages, "distil": {"teacher": "run"}})
