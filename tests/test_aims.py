"""Losses and metrics by name: what they compute, and what a recipe that names them trains and measures."""

import json

import keras
import numpy as np
import pytest
import torch.nn.functional as F
from keras import ops
from sklearn.metrics import f1_score, roc_auc_score
from torch import tensor

import kstyle
from kstyle import aims
from kstyle.errors import UsageError
from kstyle.nn.aims import losses
from kstyle.training.setup import settings

RECIPE = {
    "model": "mnist_cnn", "data": {"name": "digits", "train_limit": 320, "test_limit": 100},
    "optimizer": {"name": "adam", "learning_rate": 0.003}, "epochs": 2, "batch": 32, "deterministic": True,
}  # fmt: skip
DRAWN = np.random.default_rng(5)
LOGITS = DRAWN.normal(0, 2, (6, 4)).astype("float32")
# A class, a smoothed one, and two mixed pictures.
TRUTH = np.eye(4, dtype="float32")[[0, 3, 1, 2, 2, 0]]
TRUTH[1] = [0.05, 0.05, 0.05, 0.85]
TRUTH[2:4] = [[0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5]]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def binary(z, t):
    return F.binary_cross_entropy_with_logits(tensor(z), tensor(t), reduction="none").numpy()


def focal_of_sigmoids(z, t, alpha=0.25, gamma=2.0):
    """Equation 5 of arXiv 1708.02002, with p_t and alpha_t as it defines them for y of 0 and 1, linear between."""
    p = sigmoid(z)
    right, weight = p * t + (1 - p) * (1 - t), alpha * t + (1 - alpha) * (1 - t)
    return (weight * (1 - right) ** gamma * binary(z, t)).sum(-1)


def soft_labels(t, power, scale=1.0):
    apart = np.abs(np.arange(4)[:, None] - np.arange(4)) ** power
    return t @ softmax(-scale * apart)


P = softmax(LOGITS.astype("float64"))
EXPECTED = {
    "binary": ({}, binary(LOGITS, TRUTH).mean(-1)),
    "binary, a threshold": (
        {"threshold": 0.4, "sum_classes": True}, binary(LOGITS, (TRUTH > 0.4).astype("float32")).sum(-1)
    ),
    "focal": ({}, -0.25 * (TRUTH * (1 - P) ** 2 * np.log(P)).sum(-1)),
    "focal, gamma 0": ({"gamma": 0, "alpha": 1.0}, -(TRUTH * np.log(P)).sum(-1)),
    "focal, sigmoid": ({"sigmoid": True, "gamma": 1.5}, focal_of_sigmoids(LOGITS, TRUTH, gamma=1.5)),
    "ordinal": ({}, -(soft_labels(TRUTH, 2) * np.log(P)).sum(-1)),
    "ordinal, absolute": ({"distance": "absolute", "scale": 2}, -(soft_labels(TRUTH, 1, 2) * np.log(P)).sum(-1)),
    "categorical_crossentropy": ({}, -(TRUTH * np.log(P)).sum(-1)),
    "BinaryCrossentropy": ({}, binary(LOGITS, TRUTH).mean(-1)),
    "mse": ({}, ((P - TRUTH) ** 2).mean(-1)),
    "mean_squared_error, sigmoid": ({"activation": "sigmoid"}, ((sigmoid(LOGITS) - TRUTH) ** 2).mean(-1)),
    "dice": ({}, 1 - 2 * (P * TRUTH).sum(-1) / (P.sum(-1) + TRUTH.sum(-1))),
    "categorical_generalized_cross_entropy": (
        {"q": 0.7}, (1 - P[np.arange(6), TRUTH.argmax(-1)] ** 0.7) / 0.7
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_are_their_formulas(name):
    """Failure: a named loss is another function, of mixed pictures or of single ones."""
    arguments, wanted = EXPECTED[name]
    loss = losses.make(name.partition(",")[0], **arguments)
    assert ops.convert_to_numpy(loss.call(ops.array(TRUTH), ops.array(LOGITS))) == pytest.approx(wanted, rel=2e-4)


def test_far_logits_cost_finite_numbers():
    """Failure: a picture that is known, or mistaken, beyond doubt makes the loss no number."""
    far, truth = ops.array([[200.0, -200.0], [-200.0, 200.0]]), ops.array([[1.0, 0.0], [1.0, 0.0]])
    for name, arguments in [("binary", {}), ("focal", {"gamma": 0.5}), ("focal", {"sigmoid": True}), ("ordinal", {})]:
        found = ops.convert_to_numpy(losses.make(name, **arguments).call(truth, far))
        assert np.isfinite(found).all() and found[0] < found[1], name


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"loss": "focl"}, "Unknown loss 'focl'. Did you mean 'focal'?"),
        ({"loss": {"name": "focal", "gama": 1}}, "loss 'focal' has no argument 'gama'. Did you mean 'gamma'?"),
        ({"loss": {"name": "focal", "alpha": 2}}, "alpha in (0, 1]"),
        ({"loss": {"label_smoothin": 0.1}}, "Unknown key of loss cross_entropy 'label_smoothin'. Did you mean"),
        ({"loss": {"name": "mse", "activation": "relu"}}, "Unknown activation of loss 'mean_squared_error' 'relu'"),
        ({"metrics": ["top4"]}, "Unknown metric 'top4'. Did you mean 'top5'?"),
        ({"metrics": [{"name": "top5", "k": 3}]}, "metric 'top5' has no argument 'k'"),
    ],
)  # fmt: skip
def test_names_that_are_none(changes, said):
    """Failure: a slip in a recipe trains something else, or is told without what to write."""
    with pytest.raises(UsageError) as told:
        settings.load({**RECIPE, **changes})
    assert said in str(told.value)


def test_mixed_pictures_are_right_or_refused(tmp_path):
    """Failure: a loss that knows right and wrong only is given shares of classes, and says nothing."""
    mixed = {**RECIPE, "augment": {"cutmix": 1.0}}
    for loss in (
        "categorical_hinge",
        "sparse_categorical_crossentropy",
        {"name": "categorical_generalized_cross_entropy", "q": 0.5},
    ):
        with pytest.raises(UsageError, match="mixes or smooths labels"):
            kstyle.train({**mixed, "loss": loss}, run=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_recipe_that_names_them(tmp_path, command):
    """Failure: history, best epoch, resume or `evaluate` leave out or change what the recipe asks for."""
    recipe = {
        **RECIPE, "loss": {"name": "focal", "gamma": 1}, "augment": {"mixup": 0.2},
        "metrics": ["auc", "f1", {"name": "recall", "class_id": 3, "called": "threes"}],
        "checkpoint": {"keep": "best", "monitor": "val_auc"}, "early_stop": 1,
        "schedule": {"name": "plateau", "monitor": "val_f1", "patience": 0, "factor": 0.5},
    }  # fmt: skip
    run = kstyle.train(recipe, run=tmp_path / "run")
    assert {"auc", "val_auc", "f1", "val_f1", "threes", "val_threes"} <= set(run.history.columns)
    code, out, _ = command("evaluate", run.folder, "--json")
    assert code == 0 and json.loads(out)["metrics"] == run.scores.metrics
    code, _, said = command("train", "--resume", "--run", run.folder, "--set", "loss.gamma=2")
    assert code == 2 and "'loss.gamma' is 2 now, and was 1" in said
    assert len(kstyle.train(None, run=run.folder, resume=True, overrides={"epochs": 3}).history) >= 2


def test_measured_as_scikit_learn_does():
    """Failure: a metric is of logits where it should be of probabilities, or its average is over something else."""
    from kstyle.training.aims import aim

    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 400)
    p = softmax(rng.normal(0, 1, (400, 4)) + np.eye(4)[labels]).astype("float32")
    recipe = settings.load({**RECIPE, "metrics": ["auc", "f1", "top3", "class_distance", "precision"]})
    found = aim.measured(recipe, p, labels)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, p, multi_class="ovr"), abs=5e-3)  # of 200 thresholds
    assert found["f1"] == pytest.approx(f1_score(labels, p.argmax(1), average="macro"), abs=1e-5)
    assert found["top3"] == pytest.approx(np.mean((p > p[np.arange(400), labels][:, None]).sum(1) < 3))
    assert found["class_distance"] == pytest.approx(np.abs(p.argmax(1) - labels).mean())
    sure = p > 0.5
    assert found["precision"] == pytest.approx(np.eye(4, dtype=bool)[labels][sure].mean(), abs=1e-5)


def test_a_column_that_is_not_there(tmp_path):
    """Failure: a misspelt monitor is found after the first epoch, as a KeyError."""
    with pytest.raises(UsageError, match=r"checkpoint\.monitor 'val_f2'\. Did you mean 'val_f1'"):
        kstyle.train({**RECIPE, "metrics": ["f1"], "checkpoint": {"monitor": "val_f2"}}, run=tmp_path / "run")
    with pytest.raises(UsageError, match=r"schedule\.monitor 'val_los'\. Did you mean 'val_loss'"):
        kstyle.train({**RECIPE, "schedule": {"name": "plateau", "monitor": "val_los"}}, run=tmp_path / "run")


def test_names_that_users_add(tmp_path):
    """Failure: a loss or metric of the user's has no name in recipes, or takes one of kstyle's."""

    def brier(labels, logits, power=2.0):
        return ops.sum(ops.abs(ops.softmax(logits) - ops.one_hot(labels, logits.shape[-1])) ** power, axis=-1)

    aims.register_loss("brier", brier)
    aims.register_metric("highest-logit", lambda labels, logits: ops.max(logits, axis=-1))
    recipe = {**RECIPE, "epochs": 1, "loss": {"name": "brier", "power": 1.0}, "metrics": ["highest-logit"]}
    history = kstyle.train(recipe, run=tmp_path / "run", metrics=["top3"]).history
    assert 0 < history["val_loss"][0] < 2 and history["val_highest-logit"][0] > 0 and history["val_top3"][0] > 0.3
    for name in ("focal", "mean_squared_error"):
        with pytest.raises(UsageError, match="There is a loss called"):
            aims.register_loss(name, brier)
    assert keras.losses.deserialize(keras.losses.serialize(aims.Focal(3.0, 0.5))).gamma == 3.0
