"""SAM and Lookahead around a recipe's optimiser: the path that a loop written by hand in torch takes."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

import kstyle
from kstyle.backend import gradients  # noqa: F401  # settles the backend before Keras is used
from kstyle.models import classifiers, finetune, registry
from kstyle.nn import layers
from kstyle.training.loop import optimizers, steps
from kstyle.training.setup import sections, settings

COUNT, SIDE, CLASSES = 12, 4, 5
DRAWN = np.random.default_rng(7)
IMAGES = DRAWN.integers(0, 256, (9, COUNT, SIDE, SIDE, 1), np.uint8)
LABELS = DRAWN.integers(0, CLASSES, (9, COUNT)).astype("int32")
KERNEL = DRAWN.normal(0, 0.3, (SIDE * SIDE, CLASSES))
OPTIMIZER = {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.01}


def ours(count, norm=False, **changes):
    """(step, model) after so many steps of a linear classifier."""
    recipe = settings.load("digits_cnn", {"augment": {}, "schedule": "constant", **changes})
    optimization = sections.Optimizer(**OPTIMIZER)
    inner = [layers.BatchNormalization(0.9, name="bn")] if norm else []
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), *inner, keras.layers.Dense(CLASSES, name="head")]
    )
    head = model.layers[-1]
    head.set_weights([KERNEL, np.zeros(CLASSES)])
    model.optimizer = optimizers.build(optimization, model.trainable_variables)
    step = steps.TrainStep(
        model, model.optimizer, recipe, optimization, steps.Normalise([0.5], [0.25]), classes=CLASSES
    )
    for number in range(count):
        step(ops.convert_to_tensor(IMAGES[number]), ops.convert_to_tensor(LABELS[number]), number)
    return step, model


def theirs(count, sam=None, k=None, alpha=None):
    """The same in float64, line by line after the two papers' algorithms."""
    kernel = torch.tensor(KERNEL, requires_grad=True)
    bias = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    weights = [kernel, bias]
    slow = [w.detach().clone() for w in weights]
    optimizer = torch.optim.SGD(weights, lr=0.2, momentum=0.9, weight_decay=0.01)

    def gradient(x, truth):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(x @ kernel + bias, truth).backward()

    for number in range(count):
        x = torch.tensor((IMAGES[number].reshape(COUNT, -1) / 255 - 0.5) / 0.25)
        truth = torch.tensor(LABELS[number]).long()
        gradient(x, truth)
        if sam:
            norm = torch.sqrt(sum((w.grad**2).sum() for w in weights))
            away = [sam * w.grad / norm for w in weights]
            with torch.no_grad():
                for w, e in zip(weights, away):
                    w.add_(e)
            gradient(x, truth)
            with torch.no_grad():
                for w, e in zip(weights, away):
                    w.sub_(e)
        optimizer.step()
        if k and (number + 1) % k == 0:
            with torch.no_grad():
                for w, s in zip(weights, slow):
                    s.add_(alpha * (w - s))
                    w.copy_(s)
    return [w.detach().numpy() for w in weights]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sam": {"rho": 0.5}}, {"sam": 0.5}),
        ({"sam": {"rho": 0.5}, "batch": COUNT, "accumulate": 3}, {"sam": 0.5}),
        ({"lookahead": {"k": 3, "alpha": 0.5}}, {"k": 3, "alpha": 0.5}),
        ({"lookahead": {"k": 2, "alpha": 0.8}, "sam": {"rho": 0.1}}, {"k": 2, "alpha": 0.8, "sam": 0.1}),
    ],
    ids=["sam", "sam in parts", "lookahead", "both"],
)
def test_the_path_is_torchs(changes, told):
    """Failure: a step goes elsewhere than the papers' algorithms, or weight decay is part of what SAM climbs."""
    plain, wanted = theirs(8), theirs(8, **told)
    assert np.abs(plain[0] - wanted[0]).max() > 1e-2  # another path than without
    found = ours(8, **changes)[1].get_weights()
    for mine, other in zip(found, wanted):
        np.testing.assert_allclose(mine, other, atol=2e-4)


def test_the_second_pass_leaves_no_trace():
    """Failure: SAM counts a batch twice, in the history's sums or in what normalisation remembers."""
    (plain, model), (step, other) = ours(1, norm=True), ours(1, norm=True, sam={"rho": 0.5})
    assert ops.convert_to_numpy(step.totals.value) == pytest.approx(ops.convert_to_numpy(plain.totals.value), rel=1e-5)
    for name in ("moving_mean", "moving_variance"):
        mine, theirs = (ops.convert_to_numpy(getattr(m.get_layer("bn"), name).value) for m in (other, model))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert not np.allclose(model.layers[-1].get_weights()[0], other.layers[-1].get_weights()[0], atol=1e-5)


def test_a_stopped_run_goes_on(tmp_path):
    """Failure: the slow weights, or how many steps there have been, are lost between two steps."""
    recipe = {
        "model": "mnist_cnn", "data": {"name": "digits", "train_limit": 160, "test_limit": 50}, "batch": 32,
        "optimizer": {"name": "torch-sgd", "learning_rate": 0.05}, "epochs": 3, "deterministic": True,
        "sam": {"rho": 0.05}, "lookahead": {"k": 4},
    }  # fmt: skip
    whole = kstyle.train(recipe, run=tmp_path / "whole")
    kstyle.train({**recipe, "epochs": 2}, run=tmp_path / "cut")  # ten steps: two after the slow weights moved
    on = kstyle.train(None, run=tmp_path / "cut", resume=True, overrides={"epochs": 3})
    for mine, other in zip(on.model.get_weights(), whole.model.get_weights()):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("tail", [False, True], ids=["whole", "after cached features"])
def test_rates_fall_with_depth(tail):
    """Failure: a part learns at another part's rate, or a network whose first half is cached counts its parts anew."""
    model = classifiers.build("resnet18", 3, 32, 3, stem="small")
    if tail:
        _, model = finetune.split(model, finetune.set_trainable(model, "layer3"))
    parts = registry.get("resnet18").parts
    factors = optimizers.by_depth(model, parts, 0.5)
    wanted = {"conv1": 5, "layer1_0_conv1": 4, "layer2_1_bn2": 3, "layer3_0_conv1": 2, "layer4_1_conv2": 1, "fc": 0}
    there = {layer.name: layer for layer in model.layers}
    checked = [name for name in wanted if name in there]
    assert checked == [*wanted][3 if tail else 0 :]
    for name in checked:
        for variable in there[name].variables:
            assert factors[id(variable)] == 0.5 ** wanted[name], name


def test_a_step_at_rates_of_its_parts():
    """Failure: `layer_decay` of a recipe changes nothing, or gradients in place of steps, which Adam would undo."""
    moved = []
    for decay in (1.0, 0.25):
        section = sections.Optimizer(name="adam", learning_rate=0.01, layer_decay=decay)
        early, late = keras.Variable(np.ones(3), name="early"), keras.Variable(np.ones(3), name="late")
        optimizer = optimizers.build(section, [early, late])
        step = optimizers.apply(optimizer, section, [early, late], {id(early): decay, id(late): 1.0})
        step([ops.ones((3,)), ops.ones((3,))])
        moved.append([1 - ops.convert_to_numpy(v.value) for v in (early, late)])
    np.testing.assert_allclose(moved[1][0], 0.25 * moved[0][0], rtol=1e-3)
    np.testing.assert_allclose(moved[1][1], moved[0][1], rtol=1e-5)
