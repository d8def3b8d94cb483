"""What kstyle uses of Keras beside its public API: in one file, and there in the Keras that is installed."""

import ast
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.backend import keras_private
from kstyle.errors import KStyleError
from kstyle.nn.torch_rules import TorchSGD
from kstyle.training.loop import optimizers
from kstyle.training.setup.sections import Optimizer

KSTYLE = Path(keras_private.__file__).parents[1]
BASES = (
    *(keras.optimizers.Adam, keras.layers.Conv2D, keras.layers.BatchNormalization, keras.Model, keras.Variable),
    *(keras.callbacks.Callback, keras.optimizers.schedules.LearningRateSchedule, keras.metrics.Mean),
)


def private_names():
    """The names with an underscore that Keras' classes have, or give their instances."""
    names = {name for base in BASES for name in dir(base)}
    for cls in {cls for base in BASES for cls in base.__mro__ if cls.__module__.startswith("keras.")}:
        names |= set(re.findall(r"\bself\.(_\w+)", inspect.getsource(cls)))
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def used(path, names):
    """Lines of a file that use one of `names`; its own attributes, those that it assigns or defines, may be called
    alike."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    fields = (node.target for node in nodes if isinstance(node, ast.AnnAssign))
    own |= {target.id for target in fields if isinstance(target, ast.Name)}
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and (node.attr in names - own or ast.unparse(node) == "keras.src"):
            yield f"{path.relative_to(KSTYLE)}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ClassDef) and any("keras" in ast.unparse(base) for base in node.bases):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name in names:
                    yield f"{path.relative_to(KSTYLE)}:{member.lineno}: {member.name}"


def test_private_attributes_are_in_one_file():
    """Failure: a new Keras breaks kstyle in a place that nobody thinks of."""
    names = private_names()
    assert {"_get_variable_index", "_flatten_layers", "_value", "_momentums"} <= names
    assert list(used(Path(keras_private.__file__), names))
    others = [path for path in KSTYLE.rglob("*.py") if path.name != "keras_private.py"]
    assert not [line for path in others for line in used(path, names)]


def test_keras_has_them():
    """Failure: a Keras without one of them is found out by users. Seen on Keras 3.15.1."""
    one, two = (keras.Variable(np.full((2,), value, "float32")) for value in (1, 2))
    adam = keras.optimizers.Adam(0.1)
    adam.build([one, two])
    assert [keras_private.place(adam, variable) for variable in (one, two)] == [0, 1]
    assert [variable is mine for variable, mine in zip(keras_private.built_on(adam), (one, two))] == [True, True]
    adam.apply([keras.ops.ones((2,)), keras.ops.full((2,), 3.0)], [one, two])
    means, squares = keras_private.moments(adam)
    found = [float(keras.ops.convert_to_numpy(each.value)[0]) for each in (*means, *squares)]
    assert found == pytest.approx([0.1, 0.3, 0.001, 0.009])
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="deep")])
    model = keras.Sequential([keras.Input((2,)), inner])
    first, *others = keras_private.layers(model)
    assert first is model and "deep" in [layer.name for layer in others]
    assert tuple(keras_private.stored(one).shape) == (2,)
    assert keras_private._lazy_tensorflow() is not None


def test_all_at_once(monkeypatch):
    """Failure: Keras no longer calls its hook, and each step takes as many launches as there are variables; or without
    the hook nothing moves."""
    steps = []
    monkeypatch.setattr(TorchSGD, "update_all", lambda self, grads, variables, rate: steps.append(len(variables)))
    weights = [keras.Variable(np.ones(2, "float32")) for _ in range(3)]
    TorchSGD(0.1).apply([keras.ops.ones((2,))] * 3, weights)
    assert steps == [3]
    TorchSGD(0.1).update_step(keras.ops.ones((2,)), weights[0], 0.1)
    assert steps == [3, 1]


@pytest.mark.skipif(backend.NAME != "torch", reason="others compile Keras' own")
def test_adam_in_one_kernel(monkeypatch):
    """Failure: on torch Adam goes elsewhere than Keras' (here in float64), or no longer in one kernel; or a kernel that
    lies in memory in another order is updated with other numbers' moments."""
    torch = pytest.importorskip("torch")
    fused, calls = torch._fused_adam_, []
    monkeypatch.setattr(torch, "_fused_adam_", lambda *a, **options: calls.append(1) or fused(*a, **options))
    backend.configure(deterministic=False)
    rng = np.random.default_rng(0)
    start = [rng.normal(0, 1, shape) for shape in ((3, 3, 2, 4), (5,))]
    variables = [keras.Variable(values.astype("float32")) for values in start]
    backend.lay_out_kernel(variables[0])
    optimizer = optimizers.build(Optimizer(name="adam", learning_rate=0.01), variables)
    means, squares = ([np.zeros(values.shape) for values in start] for _ in range(2))
    for step in range(1, 8):
        grads = [1e-6 * rng.normal(0, 1, values.shape) for values in start]
        found = [keras.ops.convert_to_tensor(grad.astype("float32")) for grad in grads]
        if step > 1:  # in the order in which a convolution gives it
            found[0] = torch.empty_like(variables[0].value.detach()).copy_(found[0])
        optimizer.apply(found, variables)
        for i, grad in enumerate(grads):
            means[i] = 0.9 * means[i] + 0.1 * grad
            squares[i] = 0.999 * squares[i] + 0.001 * grad**2
            rate = 0.01 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
            start[i] = start[i] - rate * means[i] / (np.sqrt(squares[i]) + 1e-7)
            assert np.allclose(keras.ops.convert_to_numpy(variables[i].value), start[i], rtol=1e-5, atol=2e-6)
    assert len(calls) == 6 and int(keras.ops.convert_to_numpy(optimizer.iterations.value)) == 7


def test_a_keras_without_one_says_so():
    """Failure: an AttributeError from deep inside."""
    with pytest.raises(KStyleError, match=r"has no SGD\._momentums, which kstyle needs and Keras 3\.15\.1 has"):
        keras_private.moments(keras.optimizers.SGD())
