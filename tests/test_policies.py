"""AutoAugment and TrivialAugment: what is drawn how often, and operations that RandAugment has not."""

import numpy as np
import pytest
from keras import ops
from PIL import Image, ImageOps

from kstyle import backend, config
from kstyle.errors import UsageError
from kstyle.training.augment import colour, policies, policy

RNG = np.random.default_rng(8)


def settings(**values):
    return config.check(policy.AugmentSettings, values, "augment")


def drawn(count=20000, strength=1.0, **values):
    """What is drawn for so many samples: a list of (choice, level, sign, reach) in NumPy."""
    found = policies.choosing(settings(**values))(backend.Random(3), count, ops.convert_to_tensor(np.float32(strength)))
    return [(*(ops.convert_to_numpy(each) for each in some), reach) for *some, reach in found]


def test_trivialaugment_draws_evenly():
    """Failure: an operation or a level of TrivialAugment's space is never drawn, or more often than others."""
    ((choice, level, sign, reach),) = drawn(trivialaugment=True)
    counts = np.bincount(choice, minlength=15)
    assert counts[14] == 0 and np.abs(counts[:14] - 20000 / 14).max() < 200  # five deviations; never invert
    steps = np.bincount(np.rint(level * 30).astype(int), minlength=31)
    assert len(steps) == 31 and np.abs(steps - 20000 / 31).max() < 130
    assert abs(sign.mean()) < 0.04 and reach.degrees == 135


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_draws_its_pairs(name):
    """Failure: operations of a pair are drawn with other probabilities or magnitudes, or of different pairs."""
    table = policies.AUTOAUGMENT[name]
    assert table.shape == (25, 2, 3) and table[..., 1].max() <= 10 and table[..., 2].max() <= 9
    first, second = drawn(autoaugment=name)
    for number, (choice, level, _, _) in enumerate((first, second)):
        for operation in np.unique(table[:, number, 0]):
            rows = table[table[:, number, 0] == operation, number]
            expected = rows[:, 1].sum() / 250
            assert np.mean(choice == operation) == pytest.approx(expected, abs=0.02), colour.OPERATIONS[operation]
            levels = {int(m) for _, tenths, m in rows if tenths}
            assert {*np.rint(9 * level[choice == operation]).astype(int)} == levels
    pairs = {(a, b) for (a, _, _), (b, _, _) in table}
    both = (first[0] > 0) & (second[0] > 0)
    assert {*zip(first[0][both].tolist(), second[0][both].tolist())} <= pairs


def test_equalize_and_invert_are_pillows():
    """Failure: a histogram is flattened by another rule, or that of another picture or channel."""
    pictures = RNG.integers(0, 256, (4, 17, 13, 3), np.uint8)
    pictures[1] = RNG.integers(90, 120, (17, 13, 3), np.uint8)
    pictures[2, ..., 1] = 77  # one value: there is nothing to flatten
    x = ops.convert_to_tensor(pictures.astype("float32") / 255)
    for name, reference in (("equalize", ImageOps.equalize), ("invert", ImageOps.invert)):
        choice = ops.convert_to_tensor(np.full(4, colour.OPERATIONS.index(name), "int32"))
        found = colour.randaugment(x, choice, ops.zeros((4,)), ops.ones((4,)), others=True)
        wanted = np.stack([np.asarray(reference(Image.fromarray(p))) for p in pictures])
        assert np.abs(ops.convert_to_numpy(found) * 255 - wanted).max() < 1e-3, name


@pytest.mark.parametrize("values", [{"trivialaugment": True}, {"autoaugment": "svhn"}], ids=["trivial", "auto"])
def test_at_strength_0_nothing_changes(values):
    """Failure: a ramp of the strength begins with pictures that are changed already."""
    x = RNG.integers(0, 256, (16, 9, 9, 3), np.uint8).astype("float32") / 255
    run = policy.build(settings(**values))
    found = [
        ops.convert_to_numpy(run(ops.convert_to_tensor(x), ops.ones((16, 1)), backend.Random(1), strength)[0])
        for strength in (0.0, 1.0)
    ]
    assert np.array_equal(found[0], x) and not np.array_equal(found[1], x)
    assert found[1].min() >= 0 and found[1].max() <= 1


def test_one_policy_at_a_time():
    """Failure: two policies in a recipe, of which one is passed over in silence."""
    with pytest.raises(UsageError, match="exclude each other"):
        settings(randaugment=2, autoaugment="cifar10")
