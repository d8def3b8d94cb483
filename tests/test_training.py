"""Training: optimisers against torch's, what a step computes, and runs that are killed and go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.training.loop import optimizers, steps
from kstyle.training.setup import sections, settings

ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(3)
TORCH_ONLY = pytest.mark.skipif(backend.NAME != "torch", reason="torch's optimisers are the reference")
QUICK = {"epochs": 3, "data.train_limit": 320, "data.test_limit": 100, "batch": 32}


def trajectory(section, rates, l2=0.0):
    """Weights (5, 4) and bias (4,) after each step of a least-squares fit, by kstyle's optimiser."""
    x, y = (ops.convert_to_tensor(a) for a in data())
    wanted = sections.Optimizer(learning_rate=rates[0], **section)
    kernel = keras.Variable(start(), name="kernel")
    kernel.regularizer = keras.regularizers.L2(l2) if l2 else None
    bias = keras.Variable(np.ones(4, "float32"), name="bias")
    optimizer = optimizers.build(wanted, [kernel, bias])
    apply = optimizers.apply(optimizer, wanted, [kernel, bias])

    def loss():
        return ops.mean(ops.square(ops.matmul(x, kernel.value) + bias.value - y)), {}

    gradients = backend.gradients(loss, [kernel, bias], [])
    step = backend.compile(lambda: apply(gradients()[2]), [kernel, bias, *optimizer.variables])
    found = []
    for rate in rates:
        optimizer.learning_rate = rate
        step()
        found.append([ops.convert_to_numpy(v.value).copy() for v in (kernel, bias)])
    return found


def torch_trajectory(name, rates, **arguments):
    import torch

    x, y = (torch.tensor(a) for a in data())
    kernel, bias = torch.tensor(start(), requires_grad=True), torch.ones(4, requires_grad=True)
    groups = [
        {"params": [kernel]},
        {"params": [bias], **({"weight_decay": 0.0} if arguments.pop("spare_bias", 0) else {})},
    ]
    optimizer = getattr(torch.optim, name)(groups, lr=rates[0], **arguments)
    found = []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        (x @ kernel + bias - y).square().mean().backward()
        optimizer.step()
        found.append([v.detach().numpy().copy() for v in (kernel, bias)])
    return found


def data():
    rng = np.random.default_rng(5)
    return rng.normal(size=(16, 5)).astype("float32"), rng.normal(size=(16, 4)).astype("float32")


def start():
    return np.random.default_rng(6).normal(size=(5, 4)).astype("float32")


RATES = [0.1] * 6 + [0.01] * 6  # a drop, where Keras' momentum and torch's part


@TORCH_ONLY
@pytest.mark.parametrize(
    ("section", "l2", "name", "arguments"),
    [
        ({"name": "sgd"}, 0, "SGD", {}),
        ({"name": "sgd", "momentum": 0.9}, 0, "SGD", {"momentum": 0.9}),
        (
            {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            0,
            "SGD",
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ),
        (
            {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "decay_norms": False},
            0,
            "SGD",
            {"momentum": 0.9, "weight_decay": 0.1, "spare_bias": True},
        ),
        ({"name": "sgd"}, 0.05, "SGD", {"weight_decay": 0.1, "spare_bias": True}),  # L2 of λ is a decay of 2λ
        ({"name": "adam", "weight_decay": 0.1, "arguments": {"epsilon": 1e-8}}, 0, "Adam", {"weight_decay": 0.1}),
        ({"name": "adamw", "weight_decay": 0.1, "arguments": {"epsilon": 1e-8}}, 0, "AdamW", {"weight_decay": 0.1}),
        ({"name": "sgd", "weight_decay": 0.1, "decay": "decoupled"}, 0, "SGD", {"weight_decay": 0.1}),
    ],
)
def test_optimisers_take_torchs_path(section, l2, name, arguments):
    """Failure: a recipe published for torch ends somewhere else here."""
    ours, theirs = trajectory(section, RATES, l2), torch_trajectory(name, RATES, **arguments)
    for (kernel, bias), (wanted, wanted_bias) in zip(ours, theirs):
        assert np.allclose(kernel, wanted, rtol=1e-4, atol=1e-5)
        assert np.allclose(bias, wanted_bias, rtol=1e-4, atol=1e-5)


def test_clip_norm_cuts_the_common_norm():
    """Failure: one bad batch throws the weights away, or each variable is cut on its own and the direction changes."""
    (first,), (cut,) = trajectory({"name": "sgd"}, [0.1]), trajectory({"name": "sgd", "clip_norm": 0.5}, [0.1])
    moved = np.concatenate([(a - b).ravel() for a, b in zip(first, (start(), np.ones(4)))])
    shorter = np.concatenate([(a - b).ravel() for a, b in zip(cut, (start(), np.ones(4)))])
    assert np.linalg.norm(moved) > 0.05
    assert np.linalg.norm(shorter) == pytest.approx(0.05, rel=1e-3)
    assert np.dot(moved, shorter) == pytest.approx(np.linalg.norm(moved) * np.linalg.norm(shorter), rel=1e-5)


def one_step(**changes):
    """Weights after a step on 12 random pictures, and the sums that were counted."""
    recipe = settings.load("digits_cnn", {"augment": {}, **changes})
    backend.seed(0)
    network = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, name="head")]
    model = keras.Sequential(network)
    values = np.random.default_rng(1)
    model.set_weights([values.normal(0, 0.1, w.shape) for w in model.get_weights()])
    model.optimizer = optimizers.build(sections.Optimizer(learning_rate=0.5), model.trainable_variables)
    weights = None if recipe.loss.class_weights is None else np.asarray(recipe.loss.class_weights)
    step = steps.TrainStep(
        model, model.optimizer, recipe, recipe.optimizer, steps.Normalise([0.5], [0.25]), None, weights
    )
    images, labels = values.integers(0, 256, (12, 8, 8, 1), np.uint8), values.integers(0, 10, 12).astype("int32")
    before = model.get_weights()
    step(ops.convert_to_tensor(images), ops.convert_to_tensor(labels), 1)
    return before, model.get_weights(), ops.convert_to_numpy(step.totals.value), images, labels


def test_a_step_is_the_closed_form():
    """Failure: the loss is not the cross-entropy of normalised pictures, smoothed and weighted as asked."""
    factors = [1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    changes = {"loss": {"label_smoothing": 0.1, "class_weights": factors}}
    (kernel, bias), after, totals, images, labels = one_step(**changes)
    x = (images.reshape(12, 64) / 255 - 0.5) / 0.25
    z = x @ kernel + bias
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    aims = np.eye(10)[labels] * 0.9 + 0.01
    weight = np.asarray(factors)[labels]
    losses = -(aims * np.log(p)).sum(1) * weight
    slope = (p - aims) * weight[:, None] / 12
    assert totals == pytest.approx([losses.sum(), (z.argmax(1) == labels).sum(), 12], rel=1e-4)
    assert np.allclose(after[0], kernel - 0.5 * x.T @ slope, atol=1e-5)
    assert np.allclose(after[1], bias - 0.5 * slope.sum(0), atol=1e-5)


def test_accumulating_changes_nothing_but_memory():
    """Failure: the same batch in parts gives other gradients, or an epoch's last, smaller one does."""
    whole = one_step()
    for changes in ({"batch": 12, "accumulate": 3}, {"batch": 20, "accumulate": 4}):  # the pictures are 12
        parts = one_step(**changes)
        assert np.allclose(whole[1][0], parts[1][0], atol=1e-6)
        assert whole[2] == pytest.approx(parts[2], rel=1e-5)


KILLED = """
import os, signal, sys
import kstyle.backend, keras, kstyle

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 6):
            os.kill(os.getpid(), signal.SIGKILL)

kstyle.train("digits_cnn", run=sys.argv[1], overrides=eval(sys.argv[2]), extra=[Kill()])
"""


STAGES = [
    {"train": "head", "epochs": 1, "views": 2},
    {"train": "all", "epochs": 2, "keep_optimizer": True, "learning_rate": 0.01},
]


@pytest.mark.parametrize("stages", [{}, {"epochs": None, "stages": STAGES}], ids=["one", "two"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, stages):
    """Failure: after a power cut the result is another one, or everything was lost."""
    changes = {
        **QUICK,
        **stages,
        "deterministic": True,
        "checkpoint": {"every_steps": 3, "keep": "best", "monitor": "val_loss"},
        "model.dropout": 0.3,
        "augment": {"shift": 0.1, "rotation": 10},
        "average": {"decay": 0.9},
        "schedule": {"name": "plateau", "monitor": "val_loss", "patience": 0},
        "optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True},
    }
    whole = kstyle.train("digits_cnn", run=tmp_path / "whole", overrides=changes)
    environment = {**os.environ, "KERAS_BACKEND": backend.NAME, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), repr(changes)]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL
    _, notes = runs.load_arrays(tmp_path / "killed" / runs.STATE)
    assert (notes["position"]["epoch"], notes["position"]["batch"]) == (1, 6)
    assert not (tmp_path / "killed" / runs.RESULT).exists()
    resumed = kstyle.train(None, run=tmp_path / "killed", resume=True)
    columns = [c for c in whole.history.columns if c not in ("seconds", "images_per_second")]
    assert len(whole.history) == 3
    assert whole.history[columns].equals(resumed.history[columns])
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights()):
        assert np.array_equal(a, b)


def test_seeds(tmp_path):
    """Failure: two runs of one seed differ, or two seeds do not."""
    changes = {**QUICK, "epochs": 1, "deterministic": True}
    first, again, other = (
        kstyle.train("digits_cnn", run=tmp_path / name, overrides={**changes, "seed": seed}).model.get_weights()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.allclose(first[0], other[0])


def test_a_run_can_be_scored_and_asked(tmp_path):
    """Failure: a finished run cannot be used, or its scores are not those of its weights."""
    done = kstyle.train("digits_cnn", run=tmp_path / "run", overrides={**QUICK, "epochs": 6})
    scores = kstyle.evaluate(tmp_path / "run")
    assert scores.top1 == done.scores.top1 == pytest.approx(done.history["val_accuracy"].iloc[-1])
    assert scores.top1 > 0.7
    for name in ("recipe.yaml", "run.json", "history.csv", "curves.png", "confusion.csv", "confusion.png", "log.txt"):
        assert (tmp_path / "run" / name).stat().st_size > 0, name
    assert not list((tmp_path / "run").glob(".*.part"))
    with pytest.raises(UsageError, match="holds a run"):
        kstyle.train("digits_cnn", run=tmp_path / "run", overrides=QUICK)


def test_a_diverging_run_says_what_to_do(tmp_path):
    """Failure: NaN is trained on for hours."""
    # Weights that are infinite after one step and no numbers after two. (Large ones alone need not end so: processors
    # differ in whether a ReLU passes on what is no number.)
    changes = {**QUICK, "optimizer": {"name": "sgd", "learning_rate": 1e30, "weight_decay": 1e30}}
    with pytest.raises(DataError, match=r"epoch \d.*learning_rate"):
        kstyle.train("digits_cnn", run=tmp_path / "run", overrides=changes)


@pytest.mark.parametrize(
    ("recipe", "changes", "line"),
    [
        ("mnist_cn", {}, "Unknown recipe 'mnist_cn'. Did you mean 'mnist_cnn'?"),
        ("mnist_cnn", {"epoch": 3}, "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("mnist_cnn", {"optimizer.momentun": 0.9}, "Did you mean 'momentum'?"),
        ("mnist_cnn", {"optimizer.momentum": 0.9}, "momentum and nesterov are torch-sgd and keras-sgd's"),
        ("mnist_cnn", {"epochs": 0}, "'epochs': input should be greater than or equal to 1; got 0"),
        ("mnist_cnn", {"epochs": "many"}, "'epochs': input should be a valid integer"),
        ("mnist_cnn", {"optimizer.learning_rate": -1}, "'optimizer.learning_rate'"),
        ("mnist_cnn", {"model": "mnist_cn"}, "Unknown model 'mnist_cn'. Did you mean 'mnist_cnn'?"),
        ("mnist_cnn", {"model.drop": 0.5}, "Unknown option of model mnist_cnn 'drop'. Did you mean 'dropout'?"),
        ("mnist_cnn", {"model.dtype": "float16"}, "'model.dtype' is settled by 'precision'"),
        ("mnist_cnn", {"data.name": "mnits"}, "Unknown data set 'mnits'. Did you mean 'mnist'?"),
        ("mnist_cnn", {"schedule": {"name": "cosin"}}, "Unknown schedule 'cosin'. Did you mean 'cosine'?"),
        ("mnist_cnn", {"schedule.gamma": 0.1}, "gamma"),
        ("mnist_cnn", {"batch": 64, "accumulate": 5}, "batch 64 cannot be run in 5 equal parts"),
        ("mnist_cnn", {"augment.horizontal_flip": 2}, "augment.horizontal_flip"),
        ("mnist_cnn", {"augment.flip": True}, "unknown key 'augment.flip'"),
        ("mnist_cnn", {"augment.rescale": 0.004}, "data.normalize"),
        ("mnist_cnn", {"loss.label_smoothing": 1}, "'loss.label_smoothing': input should be less than 1"),
    ],
)
def test_broken_recipes_are_one_clear_line(recipe, changes, line):
    """Failure: a typing error costs an hour, or is passed over in silence."""
    with pytest.raises(UsageError) as caught:
        settings.load(recipe, changes)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
