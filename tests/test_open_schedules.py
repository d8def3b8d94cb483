"""Schedules and optimisers that users give a recipe: names that they add, functions, Keras' own."""

from pathlib import Path

import keras
import pytest
import yaml

import kstyle
from kstyle import optimizers, schedules
from kstyle.errors import UsageError
from kstyle.training.schedules.schedules import Schedule, rate
from kstyle.training.setup import sections

RECIPE = {
    "model": "mnist_cnn", "data": {"name": "digits", "normalize": "unit", "train_limit": 128, "test_limit": 40},
    "optimizer": {"name": "torch-sgd", "learning_rate": 0.05}, "epochs": 2, "batch": 64,
}  # fmt: skip


def linear(epoch):
    return 0.1 - 0.02 * epoch


def rates(section, steps=2, epochs=3):
    schedule = Schedule.model_validate(section)
    again = Schedule.model_validate(yaml.safe_load(yaml.safe_dump(schedule.model_dump(mode="json"))))
    found = [[rate(each, 7.0, step, steps, epochs) for step in range(steps * epochs)] for each in (schedule, again)]
    assert found[0] == found[1]  # what is written to a run's folder means the same
    return found[0]


def test_a_name_of_ones_own():
    """Failure: a registered function gets no epoch or argument, or warm-up and `by` do nothing for it."""
    schedules.register("falling", lambda epoch, first=1.0, by=0.25: first - by * epoch)
    assert rates("falling") == [1, 1, 0.75, 0.75, 0.5, 0.5]
    assert rates({"name": "falling", "first": 2, "by": "step"}) == [2, 1.875, 1.75, 1.625, 1.5, 1.375]
    warm = rates({"name": "falling", "warmup": 2, "warmup_start": 0.5})
    assert warm == [0.5, 0.5, 0.75 * 0.75, 0.75 * 0.75, 0.5, 0.5]
    with pytest.raises(ValueError, match="schedule 'falling' has no argument 'frist'"):
        Schedule(name="falling", frist=2)
    schedules.register("lost", lambda epoch: float("nan"))
    with pytest.raises(UsageError, match="schedule 'lost': expected a rate, 0 or more; got nan at epoch 0"):
        rates("lost")


def test_keras_own():
    """Failure: a schedule of Keras' counts epochs, or cannot be written to the run's folder."""
    decay = keras.optimizers.schedules.ExponentialDecay(0.8, 2, 0.5)
    expected = [0.8 * 0.5 ** (step / 2) for step in range(6)]
    named = {"name": "exponential_decay", "initial_learning_rate": 0.8, "decay_steps": 2, "decay_rate": 0.5}
    for section in (decay, {"name": decay}, named):
        assert rates(section) == pytest.approx(expected, rel=1e-6)
    schedules.register("mine", keras.optimizers.schedules.CosineDecay)
    assert rates({"name": "mine", "initial_learning_rate": 1, "decay_steps": 6})[3] == pytest.approx(0.5)
    schedules.register("made", decay)
    assert rates("made") == pytest.approx(expected, rel=1e-6)


def test_a_function_is_asked_for_again(tmp_path):
    """Failure: a run whose schedule was a function cannot be scored, or goes on at another rate."""
    run = kstyle.train(RECIPE, run=tmp_path / "run", overrides={"schedule": linear})
    assert run.history["learning_rate"].tolist() == pytest.approx([0.1, 0.08])
    said = yaml.safe_load(Path(tmp_path, "run/recipe.yaml").read_text())["schedule"]
    assert (said["name"], said["called"]) == ("function", "linear")
    assert kstyle.evaluate(tmp_path / "run").count == 40
    with pytest.raises(UsageError, match=r"was the function 'linear', given in Python: give it again with overrides="):
        kstyle.train(None, run=tmp_path / "run", resume=True, overrides={"epochs": 3})
    run = kstyle.train(None, run=tmp_path / "run", resume=True, overrides={"epochs": 3, "schedule": linear})
    assert run.history["learning_rate"].tolist() == pytest.approx([0.1, 0.08, 0.06])


def test_old_names_are_said(tmp_path, caplog):
    """Failure: a recipe of before trains otherwise, or nobody is told how to write it now."""
    kstyle.train(RECIPE, run=tmp_path / "run", overrides={"optimizer.name": "sgd", "schedule": "post_transfer"})
    log = Path(tmp_path, "run/log.txt").read_text()
    assert "optimizer: 'sgd' is now {name: torch-sgd}" in log
    assert "schedule: 'post_transfer' is now {name: step, size: 7, gamma: 0.1}" in log
    said = yaml.safe_load(Path(tmp_path, "run/recipe.yaml").read_text())
    assert (said["optimizer"]["name"], said["schedule"]["name"]) == ("torch-sgd", "step")
    # `adamw` was Adam with decoupled decay, whatever `decay` said beside it.
    old = sections.Optimizer(name="adamw", learning_rate=0.1, decay="coupled", weight_decay=0.2)
    assert (old.name, old.decoupled, old.weight_decay) == ("adam", True, 0.2)


def test_a_name_means_one_thing():
    """Failure: an optimiser is another in a recipe than in a preset."""
    from kstyle.training.loop import optimizers as training

    for given, made in (("torch-sgd", kstyle.optimizers.TorchSGD), ("keras-sgd", keras.optimizers.SGD)):
        section = sections.Optimizer(name=given, learning_rate=0.1, momentum=0.9)
        for optimizer in (training.build(section, []), optimizers.get({"name": given, "momentum": 0.9})):
            assert isinstance(optimizer, made) and optimizer.momentum == 0.9
    own = sections.Optimizer.model_validate(keras.optimizers.SGD(0.3, momentum=0.5))
    assert (own.name, own.learning_rate, own.arguments) == ("keras-sgd", 0.3, {"momentum": 0.5})
    assert isinstance(training.build(own, []), keras.optimizers.SGD)
