"""What the program that `crowson` is named after does beside its formulas: its root's gradient, its average."""

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.nn import optimizers
from kstyle.style import settings
from kstyle.style.engine import loop
from kstyle.style.losses import transport

ops = keras.ops


def rooted(matrix, iterations=12):
    """Root and, of its trace, the gradient as published, in float64."""
    norm, eye = np.linalg.norm(matrix), np.eye(len(matrix))
    y, z = matrix / norm, eye
    for _ in range(iterations):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    root = y * norm**0.5
    a, q = root / np.linalg.norm(root), eye / np.linalg.norm(root)
    for _ in range(iterations):
        rest = 3 * eye - a @ a
        a, q = a @ rest / 2, (q @ rest - a.T @ (a.T @ q - q @ a)) / 2
    return root, q / 2


@pytest.mark.parametrize("smallest", [0.1, 1e-7])
def test_the_gradient_of_a_root_is_the_lyapunov_equations(smallest):
    """Failure: the gradient is that of the iterations, which the published code never takes: some percent off where
    eigenvalues are small, and with Adam's first step a fiftieth of the pixels go the other way."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    matrix = turn * np.geomspace(smallest, 1, 8) @ turn.T
    root, gradient = rooted(matrix)
    exact = turn * np.geomspace(smallest, 1, 8) ** -0.5 @ turn.T / 2
    if smallest == 0.1:
        np.testing.assert_allclose(gradient, exact, rtol=1e-9, atol=1e-9)

    def trace(x):
        found = transport.root(x)
        return ops.trace(found), {"root": found}

    (_, aux), found = backend.value_and_grad(trace)(ops.convert_to_tensor(matrix.astype("float32")))
    np.testing.assert_allclose(ops.convert_to_numpy(aux["root"]), root, atol=1e-4)
    assert np.linalg.norm(ops.convert_to_numpy(found) - gradient) < 1e-3 * np.linalg.norm(gradient)


def test_the_average_begins_with_the_start():
    """Failure: the average leaves out the picture that the steps began with, and a short run is too far from it."""
    start = np.full((4, 4, 3), 0.5, "float32")
    canvas = loop.Canvas(start, settings.load("crowson", {"average": 0.9}), optimizers.make("sgd", learning_rate=1.0))
    np.testing.assert_allclose(canvas.result(), start)
    canvas.take(ops.convert_to_tensor(1.0), ops.convert_to_tensor(np.full((4, 4, 3), -0.25, "float32")))
    np.testing.assert_allclose(canvas.result(), (0.9 * 0.5 + 0.75) / 1.9, rtol=1e-6)


def test_there_is_no_average_where_none_is_asked_for():
    """Failure: an array as large as the picture is kept for nothing, or the result is where the steps began."""
    canvas = loop.Canvas(
        np.zeros((4, 4, 3), "float32"), settings.load("gatys"), optimizers.make("sgd", learning_rate=1.0)
    )
    canvas.take(ops.convert_to_tensor(1.0), ops.convert_to_tensor(np.full((4, 4, 3), -0.25, "float32")))
    np.testing.assert_allclose(canvas.result(), 0.25)
