"""The same style transfer on every backend, one process each.

What is compared is what must be equal: features, the terms and their gradient at one picture, where the optimiser goes
from given pictures and gradients, and a few steps that do not multiply an error. Whole paintings with L-BFGS are not:
without a line search rounding grows about tenfold every other step, so that after ten steps two processors, let alone
two backends, have two pictures, each as good as the other.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("run_backend.py")
ROOT = SCRIPT.parents[2]
OTHERS = ["tensorflow", "jax"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(backend, *names)` -> {"part/key": array} of run_backend.py, once a backend and names."""
    found = {}

    def once(backend, *names):
        for framework in {"torch", backend}:
            if importlib.util.find_spec(framework) is None:
                pytest.skip(f"{framework} is not installed")
        key = (backend, names)
        if key not in found:  # one that failed is not run again for every test
            found[key] = process(backend, names, tmp_path_factory.mktemp(backend) / "found.npz")
        assert isinstance(found[key], dict), found[key]
        return found[key]

    return once


def process(backend, names, path):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path), *names],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        return done.stderr[-3000:]
    with np.load(path) as arrays:
        return dict(arrays)


def part(found, name):
    return {key.partition("/")[2]: value for key, value in found.items() if key.startswith(name + "/")}


@pytest.mark.parametrize("name", ["kstyle", "gatys"])
@pytest.mark.parametrize("backend", OTHERS)
def test_terms_and_gradient_agree_with_torch(run, backend, name):
    """Failure: a preset minimises something else on this backend.

    A float32 sum of a million products is good to some 1e-6 in any order, and the layers add up; a gradient has kinks
    besides, where the two largest numbers of a pooling or ReLU's zero are a rounding away: see test_presets.py.
    """
    expected, found = part(run("torch"), name), part(run(backend), name)
    assert set(found) == set(expected)
    ours, slope = (each.pop("gradient").astype("float64") for each in (found, expected))
    for term, value in expected.items():
        assert value > 0 and found[term] == pytest.approx(value, rel=1e-4), term
    assert np.linalg.norm(ours - slope) < 5e-2 * np.linalg.norm(slope)
    assert (ours * slope).sum() == pytest.approx((slope**2).sum(), rel=1e-2)


@pytest.mark.parametrize("backend", OTHERS)
def test_lbfgs_agrees_with_torch(run, backend):
    """Failure: from the same pictures and gradients L-BFGS goes elsewhere on this backend."""
    expected, found = part(run("torch"), "rule")["moved"], part(run(backend), "rule")["moved"]
    for step, (theirs, ours) in enumerate(zip(expected, found)):
        moved = np.linalg.norm(theirs)
        # The picture is rounded after the step, to 2^-24 of numbers near 1; the sums over pairs cost some digits more.
        assert moved > 0 and np.linalg.norm(ours - theirs) < 1e-4 * moved + 2**-23 * np.sqrt(theirs.size), step


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("backend", OTHERS)
def test_a_few_steps_agree_with_torch(run, backend, name):
    """Failure: a loop of the whole program, from pictures to the result, does something else on this backend.

    With average pooling and a light style no step is long enough to multiply an error.
    """
    expected, found = part(run("torch"), name), part(run(backend), name)
    assert set(found) == set(expected)
    for term, values in expected.items():
        assert found[term] == pytest.approx(values, rel=1e-4, abs=1e-4 * expected["loss"][-1]), term
    assert expected["loss"][-1] < 0.9 * expected["loss"][0]  # else they agree because neither moves


@pytest.mark.parametrize("backend", OTHERS)
def test_features_agree_with_torch(run, backend):
    """Failure: the network computes something else on this backend."""
    expected, found = part(run("torch"), "taps"), part(run(backend), "taps")
    assert len(found) == 10
    for tap, numbers in expected.items():
        assert found[tap] == pytest.approx(numbers, rel=1e-4), tap


@pytest.mark.parametrize("backend", OTHERS)
def test_style_networks_learn_alike(run, backend):
    """Failure: a network does not learn on this backend, or something else than on torch.

    Rounding leads to other weights, as good as these: the loss is what must be the same, of the running average.
    """
    expected, found = part(run("torch"), "learned")["loss"], part(run(backend), "learned")["loss"]
    assert expected[2] < 0.6 * expected[0]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0.03)


def test_deterministic_runs_repeat(run):
    """Failure: `deterministic=True` does not give the same bits twice."""
    first, second = part(run("torch"), "repeat"), part(run("torch", "repeat"), "repeat")
    assert first["loss"][-1] < first["loss"][0]
    for key, values in first.items():
        np.testing.assert_array_equal(second[key], values)
