"""What people write who come from Keras or PyTorch: each word gets one line that says what to write, and that works."""

import logging

import keras
import pytest

import kstyle
from kstyle.config import parse_override
from kstyle.errors import UsageError
from kstyle.training.setup import foreign, settings

LINES = {row[1] for table in (foreign.KEYS, *foreign.VALUES.values()) for row in table.values()} - {""}


@pytest.mark.parametrize("line", sorted(LINES))
def test_what_is_advised_is_a_recipe(line):
    """Failure: a newcomer writes what the message says, and is told that this is wrong too."""
    key, _, value = line.partition(": ")
    settings.load("folder", dict([parse_override(f"{key}={value}")]))


@pytest.mark.parametrize("place", ["", "data.", "data.photographs.", "augment.", "optimizer.", "model.", "loss."])
@pytest.mark.parametrize("key", ["rescale", "steps_per_epoch", "class_mode", "preprocessing_function", "batch_size"])
def test_keys(key, place):
    """Failure: a key of Keras' is called unknown, with a list of keys among which none is what is meant."""
    if (place, key) == ("augment.", "rescale"):
        return  # tests/test_augment.py
    with pytest.raises(UsageError) as caught:
        settings.load("digits_cnn", {f"{place}{key}": 7})
    said = str(caught.value)
    if place == "augment." and key == "preprocessing_function":
        assert "data.normalize: pretrained" in said, said
    assert said.startswith(f"'{key}' is no key of a recipe: ") and "\n" not in said and said.endswith("."), said
    assert foreign.KEYS[key][1] in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"stages": [{"train": "all", "epochs": 1, "steps_per_epoch": 9}], "epochs": None}, "data.train_limit: 2000"),
        ({"optimizer.decay": 1e-6}, "schedule: {name: inverse_time_decay"),
        ({"schedule": "ReduceLROnPlateau"}, "schedule: {name: plateau"),
        ({"schedule.name": "StepLR", "schedule.step_size": 7}, "schedule: {name: step, size: 7"),
        ({"callbacks": ["ReduceLROnPlateau"]}, "callbacks are given in Python"),
        ({"data.photographs.resize": [150, 150]}, "expected pixels of the short side, from 8 to 4096, or stretch"),
    ],
)
def test_values(overrides, said):
    """Failure: a value of Keras' or PyTorch's ends in a list of all there are."""
    with pytest.raises(UsageError) as caught:
        settings.load("digits_cnn", overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are():
    """Failure: a recipe with a word of Keras' in a place of its own hides what is really wrong with it."""
    mine = {"optimizer.arguments": {"decay": 1}, "optimizer.momentum": 3}
    with pytest.raises(UsageError, match=r"optimizer\.momentum"):
        settings.load("digits_cnn", mine)
    with pytest.raises(UsageError, match=r"'optimizer\.learning_rate': input should be greater than 0"):
        settings.load("digits_cnn", {"optimizer.learning_rate": -1})


def test_callbacks_beside_a_schedule(tmp_path, caplog):
    """Failure: two things set the learning rate, and nobody is told which of them holds."""
    caplog.set_level(logging.INFO, "kstyle")
    small = {"data.train_limit": 64, "data.test_limit": 32, "epochs": 1}
    plateau = keras.callbacks.ReduceLROnPlateau("loss")
    kstyle.train("digits_cnn", run=tmp_path / "a", overrides={**small, "schedule": "cosine"}, callbacks=[plateau])
    assert "ReduceLROnPlateau beside the schedule 'cosine'" in caplog.text
    caplog.clear()
    kstyle.train("digits_cnn", run=tmp_path / "b", overrides={**small, "schedule": "constant"}, callbacks=[plateau])
    assert "beside the schedule" not in caplog.text
