"""Fine-tuning in stages: what moves, what does not, and features that are computed once."""

import keras
import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle import backend
from kstyle.data.batches import arrays
from kstyle.errors import UsageError
from kstyle.training.loop import optimizers, steps
from kstyle.training.setup import build, sections, settings, stages

SMALL = {
    "data.train_limit": 200, "data.test_limit": 60, "batch": 40, "epochs": None, "precision": "float32",
    "schedule": "constant", "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
}  # fmt: skip
RESNET = {**SMALL, "model": {"name": "resnet18", "stem": "small"}, "augment": {}}


def weights(model, part):
    """The arrays of the layers whose name starts with `part`, copied."""
    return [w.copy() for layer in model.layers if layer.name.startswith(part) for w in layer.get_weights()]


def same(first, second):
    return [bool(np.array_equal(a, b)) for a, b in zip(first, second)]


class Before(keras.callbacks.Callback):
    """Keeps a network's weights as they were before the first step."""

    def on_train_begin(self, logs=None):
        self.weights = {
            part: weights(self.model, part) for part in ("", "bn1", "conv1", "layer3", "layer4", "fc", "out")
        }


def test_frozen_layers_and_their_statistics_stay_as_they_were(tmp_path):
    """Failure: BatchNorm's statistics drift under a frozen network, as in the posts, or frozen weights move."""
    before = Before()
    changes = {**RESNET, "stages": [{"train": "layer4", "epochs": 1, "cache_features": False}]}
    done = kstyle.train("digits_cnn", run=tmp_path / "run", overrides=changes, extra=[before])
    for part in ("conv1", "bn1", "layer3"):
        assert all(same(before.weights[part], weights(done.model, part))), part
    for part in ("layer4", "fc"):
        assert not any(same(before.weights[part], weights(done.model, part))), part


def test_cached_features_train_the_same_head(tmp_path):
    """Failure: the quick way of training a head is another training."""
    runs = [
        kstyle.train(
            "digits_cnn", run=tmp_path / name, overrides={
                **RESNET, "deterministic": True,
                "stages": [{"train": "head", "epochs": 2, "augment": False, "cache_features": cached}],
            },
        )
        for name, cached in (("cached", "auto"), ("whole", False))
    ]  # fmt: skip
    cached, whole = (weights(run.model, "fc") for run in runs)
    assert all(np.allclose(a, b, atol=2e-5) for a, b in zip(cached, whole))
    assert runs[0].history["val_loss"].tolist() == pytest.approx(runs[1].history["val_loss"].tolist(), rel=1e-4)
    assert "computed once" in (tmp_path / "cached" / "log.txt").read_text()
    assert "computed once" not in (tmp_path / "whole" / "log.txt").read_text()


def prepared(**stage):
    """The `Work` of one stage on the digits, and the recipe's parts."""
    recipe = settings.load("digits_cnn", {**SMALL, "augment": {"shift": 0.2}, "stages": [{"epochs": 1, **stage}]})
    parts = build.data(recipe)
    model = build.network(recipe, 10, parts.shape, "float32")
    normalise = steps.Normalise(*build.normalisation(recipe, parts))
    return stages.prepare(recipe.plan[0], recipe, model, parts, normalise), parts


def test_views_are_taken_in_turn():
    """Failure: all epochs see the same crop, or a picture is missing from one."""
    work, parts = prepared(train="head", views=2)
    epochs = [[ops.convert_to_numpy(ops.concatenate(side)) for side in zip(*work.batches(e))] for e in range(3)]
    for found, labels in epochs:
        assert found.shape == (200, work.model.input_shape[-1])
        assert sorted(labels) == sorted(parts.training.labels)
    lines = [{row.tobytes() for row in found} for found, _ in epochs]
    assert lines[0] == lines[2] and len(lines[0] & lines[1]) < 20


def test_too_many_features_are_not_cached(monkeypatch):
    """Failure: a large set fills the memory."""
    assert prepared(train="head", augment=False)[0].model.input_shape != (None, 8, 8, 1)
    monkeypatch.setattr(stages, "FEATURES_LIMIT", 1000)
    assert prepared(train="head", augment=False)[0].model.input_shape == (None, 8, 8, 1)


def test_the_best_weights_are_carried_into_the_next_stage(tmp_path):
    """Failure: the second stage goes on from an epoch that had made things worse."""
    changes = {
        **SMALL, "model": {"name": "mnist_cnn"}, "checkpoint": {"keep": "best", "monitor": "val_loss"},
        "stages": [
            {"train": "all", "epochs": 3, "schedule": {"name": "values", "values": {0: 0.05, 2: 3.0}}},
            {"train": "all", "epochs": 1, "learning_rate": 1e-9},
        ],
    }  # fmt: skip
    history = kstyle.train("digits_cnn", run=tmp_path / "run", overrides=changes).history
    assert history["val_loss"][2] > 1.2 * history["val_loss"][1]  # the rate of 3 did its work
    assert history["val_loss"][3] == pytest.approx(history["val_loss"][:2].min(), rel=1e-4)
    assert history["epoch"].tolist() == [1, 2, 3, 4]


def test_multipliers_scale_the_step_of_any_optimiser():
    """Failure: `multipliers: {conv*: 0.1}` trains everything alike, or Adam undoes it."""
    for name in ("sgd", "adam"):
        moved = []
        for multipliers in ({}, {"con*": 0.1, "*": 1.0}, {"conv": 0.0}):
            wanted = sections.Optimizer(name=name, learning_rate=0.1, multipliers=multipliers)
            layers = [keras.layers.Dense(1, kernel_initializer="ones", name=layer) for layer in ("conv", "head")]
            for layer in layers:
                layer.build((None, 2))
            variables = [layer.kernel for layer in layers]
            optimizer = optimizers.build(wanted, variables)
            apply = optimizers.apply(optimizer, wanted, variables)
            gradients = [ops.ones((2, 1)), ops.ones((2, 1))]
            step = backend.compile(lambda apply=apply, g=gradients: apply(g), [*variables, *optimizer.variables])
            for _ in range(3):
                step()
            moved.append([1 - float(ops.convert_to_numpy(v.value)[0, 0]) for v in variables])
        whole, tenth, none = moved
        assert tenth == pytest.approx([whole[0] * 0.1, whole[1]], rel=1e-4), name
        assert none == pytest.approx([0, whole[1]], rel=1e-4), name


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ({"train": "layer7"}, "layer4"),
        ({"train": "head", "views": 2, "augment": False}, "views are of augmented pictures"),
        ({"train": "head", "cache_features": True}, "need views: N, or augment: false"),
        ({"train": "head", "epochs": 0}, "stages.0.epochs"),
        ({"trian": "head"}, "Did you mean 'train'?"),
    ],
)
def test_broken_stages_are_one_clear_line(stage, line):
    """Failure: a wrong stage fails after the first one has trained for an hour."""
    with pytest.raises(UsageError) as caught:
        settings.load("digits_cnn", {**RESNET, "stages": [{"epochs": 1, **stage}]})
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_epochs_or_stages():
    """Failure: nobody knows which of the two holds."""
    for changes in ({"epochs": 3, "stages": [{"epochs": 1}]}, {"epochs": None}):
        with pytest.raises(UsageError, match="epochs, or stages"):
            settings.load("digits_cnn", changes)
    assert isinstance(build.data(settings.load("digits_cnn", SMALL | {"epochs": 1})).training, arrays.Split)
