"""The seam: the same functions on every backend, and how one is chosen."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kstyle import backend, startup
from kstyle.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(17)


def tensor(array):
    return ops.convert_to_tensor(np.asarray(array, "float32"))


def array(value):
    return ops.convert_to_numpy(value)


def python(code, **environment):
    """A fresh interpreter; KERAS_BACKEND is only what `environment` says."""
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_value_and_grad():
    """Failure: every picture moves in the wrong direction, or the terms shown are not those that were minimised."""
    x, w = RNG.normal(0, 1, (4, 3)), RNG.normal(0, 1, (4, 3))

    def in_numpy(x):
        return np.sum(w * x**3) + 2 * np.sum(x[1:] * x[:-1])

    def loss(x):
        cubes = ops.sum(tensor(w) * x * x * x)
        return cubes + 2 * ops.sum(x[1:] * x[:-1]), {"cubes": cubes, "picture": x + 1}

    (value, aux), gradient = backend.value_and_grad(loss)(tensor(x))
    assert array(value) == pytest.approx(in_numpy(x), rel=1e-5)
    assert array(aux["cubes"]) == pytest.approx(np.sum(w * x**3), rel=1e-5)
    assert np.allclose(array(aux["picture"]), x + 1, rtol=1e-6)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        slope = (in_numpy(x + step) - in_numpy(x - step)) / 2e-5
        assert array(gradient)[index] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_value_and_grad_leaves_its_argument_alone():
    """Failure: on torch the picture's variable grows a graph with every step, until memory is full."""
    x = keras.Variable(np.ones(3, "float32"))
    fn = backend.value_and_grad(lambda x: (ops.sum(x * x), {"sum": ops.sum(x)}))
    for _ in range(2):
        (loss, aux), gradient = fn(x.value)
        assert np.allclose(array(gradient), 2)
        assert not any(getattr(t, "requires_grad", False) for t in (loss, aux["sum"], gradient))
    assert np.allclose(array(x.value), 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gram_and_its_gradient(dtype):
    """Failure: style is measured or followed wrongly. d Σ A·FᵀF / dF = F (A + Aᵀ), A not symmetric."""
    features = np.round(RNG.normal(0, 4, (1, 5, 7, 3)))  # whole numbers, which bfloat16 holds exactly
    weight = np.round(RNG.normal(0, 4, (3, 3)))
    rows = features.reshape(-1, 3)

    def loss(x):
        gram = backend.gram(ops.cast(x, dtype))
        return ops.sum(gram * tensor(weight)), {"gram": gram}

    (_, aux), gradient = backend.value_and_grad(loss)(tensor(features))
    exact = sum(np.outer(row, row) for row in rows)
    assert array(aux["gram"]).dtype == np.float32
    assert np.allclose(array(aux["gram"]), exact, rtol=1e-6 if dtype == "float32" else 4e-3)
    expected = (rows @ (weight + weight.T)).reshape(features.shape)
    tolerance = 1e-6 if dtype == "float32" else 8e-3
    assert np.abs(array(gradient) - expected).max() <= tolerance * np.abs(expected).max()


def test_gram_matrices_along_a_network():
    """Failure: the gradient of a Gram matrix, which is added where the way back comes to its layer, is lost, counted
    twice, or takes another layer's weights. Against the same loss written without `backend.gram`."""
    kernels = [tensor(RNG.normal(0, 0.3, shape)) for shape in ((3, 3, 3, 4), (3, 3, 4, 5))]
    pulls = [tensor(RNG.normal(0, 1, (n, n))) for n in (4, 4, 5)]
    roots = tensor(RNG.uniform(0.1, 1, (1, 9, 8, 1)))

    def plain(features, roots=None):
        rows = ops.reshape(features if roots is None else features * roots, (-1, features.shape[-1]))
        return ops.matmul(ops.transpose(rows), rows)

    def loss(x, gram):
        first = backend.conv2d(x, kernels[0], padding=1, activation="relu")
        second = backend.conv2d(first, kernels[1], padding=1, activation="relu")
        grams = gram(first), gram(first, roots), gram(second)  # two of the first; nothing follows the second
        return sum(ops.sum(pull * g) for pull, g in zip(pulls, grams)) + ops.sum(ops.square(first)), {}

    x = tensor(RNG.normal(0, 1, (1, 9, 8, 3)))
    (expected, _), gradient = backend.value_and_grad(lambda x: loss(x, plain))(x)
    found = backend.value_and_grad(lambda x: loss(x, backend.gram))
    for _ in range(2):
        (value, _), own = found(x)
        assert np.allclose(array(value), array(expected), rtol=1e-5)
        assert np.linalg.norm(array(own) - array(gradient)) <= 1e-5 * np.linalg.norm(array(gradient))


def test_scaled_gram():
    """Failure: a scaled Gram matrix, or its gradient, is that of another scale; not a number, where memory was one."""
    features = tensor(RNG.normal(0, 1, (1, 5, 7, 3)))
    roots = tensor(RNG.uniform(0.1, 1, (1, 5, 7, 1)))
    for own in (None, roots):
        pair = [
            backend.value_and_grad(lambda x, scale=scale, own=own: (ops.sum(backend.gram(x, own, scale)) / scale, {}))
            for scale in (1.0, 0.25)
        ]
        ((one, _), slope), ((other, _), its_slope) = (gradient(features) for gradient in pair)
        assert float(array(one)) == pytest.approx(float(array(other)), rel=1e-5)
        assert np.allclose(array(slope), array(its_slope), rtol=1e-4, atol=1e-5)


def test_hits_and_one_hot():
    """Failure: the accuracy of the history is not that of the pictures, or pictures are of other classes."""
    x, labels = np.array([[0, 2, 1], [3, 2, 1], [0, 1, 4]]), np.array([1, 2, 2], "int32")
    found = backend.one_hot(ops.convert_to_tensor(labels), 3)
    assert array(found).dtype == np.float32 and array(found).tolist() == np.eye(3)[labels].tolist()
    assert float(array(backend.hits(tensor(x), found))) == 2
    counts = array(backend.tally(ops.convert_to_tensor(labels), 4))
    assert counts.dtype == np.float32 and counts.tolist() == [0, 1, 2, 0]


def test_squared_error_and_affine():
    """Failure: losses or their gradients are not those of the difference; bytes become other pixels."""
    x, target = RNG.normal(0, 1, (2, 3, 4)), RNG.normal(0, 1, (2, 3, 4))
    (value, _), slope = backend.value_and_grad(lambda x: (3 * backend.squared_error(x, tensor(target)), {}))(tensor(x))
    assert float(array(value)) == pytest.approx(3 * np.sum((x - target) ** 2), rel=1e-5)
    assert np.allclose(array(slope), 6 * (x - target), rtol=1e-5, atol=1e-6)
    pixels = ops.convert_to_tensor(np.array([[0, 128, 255]], "uint8"))
    found = array(backend.affine(pixels, tensor([1, 0.5, 2]), tensor([-1, 0, 0.25])))
    assert found.dtype == np.float32 and np.allclose(found, [[-1, 64, 510.25]])


def test_as_numpy():
    """Failure: what is saved of a variable has other numbers, or a type that no file takes."""
    for kind, expected in (("float32", "float32"), ("bfloat16", "float32"), ("int32", "int32")):
        array = backend.as_numpy(keras.Variable(np.arange(6), dtype=kind, trainable=False).value)
        assert isinstance(array, np.ndarray) and array.dtype == expected and array.tolist() == [0, 1, 2, 3, 4, 5]


def test_put_row():
    """Failure: L-BFGS overwrites the wrong pair, or the wrong part of one."""
    matrix = RNG.normal(0, 1, (4, 6)).astype("float32")
    variable = keras.Variable(matrix)
    backend.put_row(variable, ops.convert_to_tensor(2, "int32"), tensor(np.arange(6)))
    matrix[2] = np.arange(6)
    assert np.array_equal(array(variable.value), matrix)
    backend.put_row(variable, ops.convert_to_tensor(1, "int32"), tensor([7, 8]), 3)
    backend.put(variable, 3, tensor(np.ones((1, 6))))
    matrix[1, 3:5], matrix[3] = (7, 8), 1
    assert np.array_equal(array(variable.value), matrix)


def test_put_where_a_condition_holds():
    """Failure: the best picture is not kept, a pair that L-BFGS refuses is stored, or the wrong part of either."""
    start = RNG.normal(0, 1, (4, 6)).astype("float32")
    matrix, number = keras.Variable(start), keras.Variable(np.float32(3))
    yes, no = (ops.convert_to_tensor(np.array(value)) for value in (True, False))
    row, six = ops.convert_to_tensor(2, "int32"), tensor(np.arange(6))
    backend.put_row(matrix, row, six, condition=no)
    backend.put_where(matrix, no, tensor(np.ones((2, 6))), slice(1, 3))
    backend.put_where(number, no, tensor(7))
    assert np.array_equal(array(matrix.value), start) and float(array(number.value)) == 3
    backend.put_row(matrix, row, tensor([7, 8]), 3, yes)
    backend.put_where(matrix, no, tensor(np.ones((1, 6))), slice(0, 1), six[None])
    backend.put_where(number, yes, tensor(7))
    start[2, 3:5], start[0] = (7, 8), np.arange(6)
    assert np.array_equal(array(matrix.value), start) and float(array(number.value)) == 7
    columns = np.arange(6) == 4
    backend.put_where(matrix, ops.convert_to_tensor(columns)[None], tensor(np.ones((4, 1))))
    start[:, 4] = 1
    assert np.array_equal(array(matrix.value), start)


def test_take_inner_and_lerp():
    """Failure: L-BFGS mixes up its pairs; a picture that is to move all the way does not arrive."""
    matrix, index = RNG.normal(0, 1, (4, 6)).astype("float32"), np.array([3, 0, 3], "int32")
    for axis in (0, 1):
        found = backend.take(tensor(matrix), ops.convert_to_tensor(index), axis)
        assert np.array_equal(array(found), matrix.take(index, axis))
    x, y = matrix[0], 1e6 * matrix[1]
    assert float(array(backend.inner(tensor(x), tensor(y)))) == pytest.approx(float(x.astype("float64") @ y), rel=1e-5)
    assert np.array_equal(array(backend.lerp(tensor(x), tensor(y), tensor(1))), y)
    assert np.allclose(array(backend.lerp(tensor(x), tensor(y), tensor(0.25))), 0.75 * x + 0.25 * y, rtol=1e-5)


def test_compiled_steps_keep_their_state():
    """Failure: on a backend that compiles, a step forgets what the one before it assigned."""
    counter, total = keras.Variable(0, dtype="int32", trainable=False), keras.Variable(np.zeros((2, 3), "float32"))

    def step():
        counter.assign(counter.value + 1)
        total.assign(total.value + ops.cast(counter.value, "float32"))
        backend.put_row(total, counter.value % 2, tensor([0, 0, 0]))
        return {"loss": ops.sum(total.value)}

    run = backend.compile(step, [counter, total])
    # Rows after each step: (1, 0), (0, 2), (3, 0).
    assert [float(array(run()["loss"])) for _ in range(3)] == [3, 6, 9]
    assert int(array(counter.value)) == 3
    assert np.array_equal(array(total.value), [[3, 3, 3], [0, 0, 0]])


@pytest.mark.parametrize("padding", [0, 1, (2, 0, 1, 3)])
def test_convolution(padding):
    """Failure: features are shifted or mirrored. Against loops over the window in float64."""
    x, kernel, bias = RNG.normal(0, 1, (1, 6, 5, 2)), RNG.normal(0, 1, (3, 2, 2, 4)), RNG.normal(0, 1, 4)
    top, bottom, left, right = padding if isinstance(padding, tuple) else (padding,) * 4
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))[0]
    height, width = (padded.shape[0] - 3) // 2 + 1, (padded.shape[1] - 2) // 2 + 1
    expected = np.array([
        [np.einsum("ijc,ijcf->f", padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 2], kernel) + bias for j in range(width)]
        for i in range(height)
    ])  # fmt: skip
    for activation, reference in ((None, expected), ("relu", np.maximum(expected, 0))):
        y = array(backend.conv2d(tensor(x), tensor(kernel), tensor(bias), 2, padding, activation))[0]
        assert np.allclose(y, reference, rtol=1e-5, atol=1e-5)


def test_pooling_with_padding():
    """Failure: ResNet's first pooling differs at the rim. Max ignores the padding, the average counts its zeros."""
    x = -1 - np.arange(9).reshape(1, 3, 3, 1)
    assert array(backend.max_pool(tensor(x), 3, 2, 1)).ravel().tolist() == [-1, -2, -4, -5]
    assert np.allclose(array(backend.avg_pool(tensor(x), 3, 2, 1)).ravel(), [-12 / 9, -16 / 9, -24 / 9, -28 / 9])


def test_precision():
    """Failure: a number format that nothing has measured, or a typing mistake that runs in float32."""
    fast = backend.fast_bfloat16()
    assert backend.precision("auto") == ("bfloat16" if fast else "float32")
    assert [backend.precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    with pytest.raises(UsageError, match=r"Unknown precision 'bfloat'\. Did you mean 'bfloat16'"):
        backend.precision("bfloat")


def test_import_is_light():
    """Failure: `kstyle --help` waits seconds for a framework that it does not need."""
    code = (
        "import kstyle, kstyle.config, kstyle.style.settings, sys;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'keras', 'torch', 'jax', 'tensorflow'}))"
    )
    done = python(code)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-1000:]


@pytest.mark.parametrize("use", ["from kstyle import backend", "import kstyle; kstyle.stylize"])
@pytest.mark.parametrize(
    ("name", "near"), [("pytorch", "torch"), ("tensorflo", "tensorflow"), ("nonsense", None)], ids=lambda x: str(x)
)
def test_unknown_backend(use, name, near):
    """Failure: a typing mistake in KERAS_BACKEND ends in Keras' traceback, in place of a line that helps."""
    done = python(use, KERAS_BACKEND=name)
    last = done.stderr.strip().splitlines()[-1]
    hint = f" Did you mean '{near}'?" if near else ""
    assert last == (
        f"kstyle.errors.UsageError: Unknown KERAS_BACKEND '{name}'.{hint} Known: torch, jax, tensorflow."
    ), done.stderr[-1000:]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch, the first choice, is not installed")
@pytest.mark.parametrize("use", ["kstyle.stylize", "import kstyle.models.networks.vgg", "pass"])
def test_torch_is_the_default(use, tmp_path):
    """Failure: with KERAS_BACKEND unset, Keras chooses TensorFlow, or fails because that is not installed."""
    code = f"import kstyle; {use}; import keras; print(keras.backend.backend())"
    done = python(code, KERAS_HOME=str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "torch"), done.stderr[-1000:]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"backend": "jax"}, "jax"),
        ({"backend": "tensorflow", "floatx": "float16"}, "tensorflow"),
        (startup._KERAS_DEFAULT, startup.KNOWN[0]),  # nobody said that
        ({"backend": "theano"}, startup.KNOWN[0]),
        (["jax"], startup.KNOWN[0]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_backend_of_keras_own_settings(said, expected, tmp_path, monkeypatch):
    """Failure: a user whose keras.json names a backend gets another, or every user gets the one that Keras writes there
    by itself."""
    (tmp_path / "keras.json").write_text(json.dumps(said))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(startup.importlib.util, "find_spec", lambda name: name)
    monkeypatch.delitem(sys.modules, "keras")
    assert startup.choose()[0] == expected


def test_a_backend_named_after_kstyle_was_imported():
    """Failure: in a notebook KERAS_BACKEND is set a line too late, and kstyle and Keras run on two backends."""
    known = [name for name in startup.KNOWN if importlib.util.find_spec(name)]
    if len(known) < 2:
        pytest.skip("one backend is installed")
    later = f"import kstyle, os; os.environ['KERAS_BACKEND'] = '{known[1]}'; kstyle.stylize"
    done = python(f"{later}; import keras; print(keras.backend.backend())")
    assert (done.returncode, done.stdout.strip()) == (0, known[1]), done.stderr[-1000:]


def test_only_the_seam_names_a_framework():
    """Failure: a file runs on one backend only."""
    pattern = re.compile(r"^\s*(import|from)\s+(torch|torchvision|tensorflow|jax)\b", re.MULTILINE)
    files = [p for p in (ROOT / "kstyle").rglob("*.py") if (ROOT / "kstyle/backend") not in p.parents]
    assert len(files) > 10
    assert not [str(p) for p in files if pattern.search(p.read_text("utf-8"))]
    assert all(pattern.search((ROOT / f"kstyle/backend/{name}.py").read_text("utf-8")) for name in startup.KNOWN)


@pytest.mark.skipif(backend.NAME != "torch" or sys.platform != "linux", reason="GNU's OpenMP, in torch for Linux")
def test_waiting_threads_give_their_core_up():
    """Failure: two paintings on one machine take ten times as long, as each one's threads spin while they wait."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", *startup.WAITING)}
    done = subprocess.run(
        [sys.executable, "-c", "import kstyle.backend"],
        env={**inherited, "OMP_DISPLAY_ENV": "VERBOSE"}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # What each copy of the library says it has read as it was loaded: set later, it would be without effect.
    assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) == {startup.WAITING["GOMP_SPINCOUNT"]}


def test_what_the_user_says_of_waiting_threads_holds(monkeypatch):
    """Failure: OMP_WAIT_POLICY=ACTIVE, on a machine that does nothing else, is overridden."""
    for name in ("OMP_WAIT_POLICY", *startup.WAITING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    startup.share_cores()
    assert not set(startup.WAITING) & os.environ.keys()
