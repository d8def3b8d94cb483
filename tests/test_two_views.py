"""examples/two_views: its losses against NumPy, its views against pixels, and what is learnt without labels."""

from pathlib import Path

import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle import backend, plugins
from kstyle.nn.aims import losses
from kstyle.training.augment import policy

FOLDER = Path(__file__).parents[1] / "examples/two_views"
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def views():
    plugins.load(FOLDER / "views.py")


def numbers(name, labels, logits, **options):
    found = losses.make(name, **options)(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits))
    return ops.convert_to_numpy(found)


def attracted(alike, logits, temperature):
    """The mean over the positives of −log of their share among all others, for each row, by the papers' sums."""
    x = logits / np.linalg.norm(logits, axis=1, keepdims=True)
    near = np.exp(x @ x.T / temperature)
    found = []
    for i, row in enumerate(near):
        others = row.sum() - row[i]
        found.append(np.mean([-np.log(row[j] / others) for j in range(len(x)) if j != i and alike(i, j)]))
    return np.array(found)


def test_losses_are_those_of_the_papers():
    """Failure: a view attracts itself, or another picture's view, or the temperature is upside down."""
    logits, labels = RNG.normal(size=(8, 5)).astype("float32"), np.array([0, 1, 1, 2, 4, 4, 4, 4], "int32")
    wanted = attracted(lambda i, j: i % 4 == j % 4, logits.astype("float64"), 0.5)
    assert np.allclose(numbers("simclr", labels, logits, temperature=0.5), wanted, rtol=1e-4)
    wanted = attracted(lambda i, j: labels[i % 4] == labels[j % 4], logits.astype("float64"), 0.2)
    assert np.allclose(numbers("supcon", labels, logits, temperature=0.2), wanted, rtol=1e-4)
    p = np.exp(logits.astype("float64"))
    p /= p.sum(axis=1, keepdims=True)
    apart = (p[:4] * np.log(p[:4] / p[4:])).sum(axis=1)
    wanted = np.concatenate([-np.log(p[np.arange(4), labels[:4]]), 3 * apart])
    assert np.allclose(numbers("consistency", labels, logits, weight=3.0), wanted, rtol=1e-3, atol=1e-5)


def test_views_are_of_the_same_pictures():
    """Failure: the second half are other pictures, both views are one, or the plain one is changed."""
    images = np.zeros((6, 16, 16, 1), "float32")
    for number, image in enumerate(images):
        image[6:10, 6:10] = (number + 1) / 8
    for plain in (False, True):
        own = {"pairs": {"shift": 0.25, "noise": 0.0, "plain": plain}}
        augment = policy.build(policy.AugmentSettings(own=own))
        found, _, _ = augment(ops.convert_to_tensor(images), ops.ones((6, 2)), backend.Random(1))
        found = ops.convert_to_numpy(found)
        assert np.allclose(found.max(axis=(1, 2, 3)), [1 / 8, 2 / 8, 3 / 8] * 2)
        assert not np.array_equal(found[:3], found[3:])
        assert np.array_equal(found[:3], images[:3]) == plain
        assert np.allclose(found.sum(axis=(1, 2, 3)), images[:3].sum(axis=(1, 2, 3)).tolist() * 2)


def test_what_is_learnt_without_labels(tmp_path):
    """Failure: two views of a digit teach the encoder nothing that a classifier could use."""

    def trained(name, **overrides):
        return kstyle.train(
            FOLDER / f"{name}.yaml", run=tmp_path / f"{len(list(tmp_path.iterdir()))}", overrides=overrides
        )

    found = trained("simclr", epochs=15)
    assert found.history["loss"].iloc[-1] < found.history["loss"].iloc[0] - 0.5
    learnt, untrained = (trained("probe", **{"model.weights": weights}).scores.top1 for weights in (found.folder, None))
    assert learnt > untrained + 0.05
    assert trained("consistency", epochs=8).scores.top1 > 0.8
