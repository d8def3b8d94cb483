"""What --set does to a recipe's sections that are named, and what is said of keys that no section has."""

import pytest

from kstyle import config
from kstyle.errors import UsageError
from kstyle.training.setup.sections import TrainSettings

RECIPE = """
model: {name: resnet18, stem: small}
data: mnist
optimizer: {name: sgd, learning_rate: 0.1}
schedule: {name: cosine, final: 0.01, warmup: 5}
epochs: 20
"""


@pytest.fixture
def load(tmp_path):
    """`load({key: value})`: the recipe above with these changes."""

    def load(overrides):
        (tmp_path / "r.yaml").write_text(RECIPE)
        return config.load("train", TrainSettings, tmp_path / "r.yaml", overrides)[0]

    return load


@pytest.mark.parametrize(
    "overrides",
    [
        {"schedule.name": "step", "schedule.size": 3},
        {"schedule.size": 3, "schedule.name": "step"},
        {"schedule": {"name": "step", "size": 3}},
        {"schedule": "step", "schedule.size": 3},
    ],
)
def test_another_schedule_does_not_get_this_ones_arguments(load, overrides):
    """Failure: to try another schedule the user has to write a file, as a recipe's cosine leaves its `final` behind."""
    schedule = load(overrides).schedule
    assert (schedule.name, schedule.arguments.size, schedule.warmup) == ("step", 3, 5)


def test_what_was_not_changed_stays(load):
    """Failure: one changed argument costs the recipe's others."""
    for overrides in ({"schedule.warmup": 1}, {"schedule.name": "cosine"}, {"schedule": {"by": "epoch"}}):
        assert load(overrides).schedule.arguments.final == 0.01, overrides
    assert load({"optimizer.name": "adam"}).optimizer.learning_rate == 0.1
    assert load({"model.name": "mnist_cnn"}).model.options == {}
    assert load({"model.weights": "w.h5"}).model.options == {"stem": "small"}


def test_a_name_that_stands_for_its_section(load):
    """Failure: `data: mnist` in a recipe takes no --set data.train_limit=100."""
    data = load({"data.train_limit": 100}).data
    assert (data.name, data.train_limit) == ("mnist", 100)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"schedule.name": "step", "schedule.sise": 3}, "argument of schedule step 'sise'. Did you mean 'size'?"),
        ({"data": {"name": "digits", "tran_limit": 9}}, "'data.tran_limit'. Did you mean 'train_limit'?"),
        ({"average.decy": 0.9}, "unknown key 'average.decy'. Did you mean 'decay'?"),
        ({"data.normalize": {"mean": [0], "sdt": [1]}}, "Did you mean 'std'? Known here: mean, std."),
    ],
)
def test_misspelt_keys(load, overrides, line):
    """Failure: a misspelt key of a section that may be left out ends in a traceback, or is dropped with the old name's
    arguments."""
    with pytest.raises(UsageError) as caught:
        load(overrides)
    assert line in str(caught.value) and "\n" not in str(caught.value)
