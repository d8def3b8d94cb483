"""What kstyle uses of Keras beside its public API, for want of a public way: each attribute here and nowhere else.

tests/test_keras_private.py looks for others, and fails where a new Keras lacks one of these.
"""

import contextlib
import importlib
import sys
import types
from typing import Any

import keras
import numpy as np

from kstyle.errors import KStyleError

SEEN = "3.15.1"  # the Keras that has them all


def _of(thing, name):
    try:
        return getattr(thing, name)
    except AttributeError as error:
        raise KStyleError(
            f"Keras {keras.__version__} has no {type(thing).__name__}.{name}, which kstyle needs and Keras {SEEN} has: "
            f"pip install keras=={SEEN}, or a newer kstyle."
        ) from error


def place(optimizer, variable):
    """Which one, from 0, of the variables that an optimiser was built on: the state of each is at the same place."""
    return _of(optimizer, "_get_variable_index")(variable)


def built_on(optimizer):
    """The variables that an optimiser was built on, a list; empty before."""
    return list(_of(optimizer, "_trainable_variables"))


def moments(adam):
    """The running means of gradients and of their squares that a built Adam has: two lists, a variable each for each
    variable that it was built on."""
    return _of(adam, "_momentums"), _of(adam, "_velocities")


def layers(model):
    """All layers of a model, those within layers and models in it too, itself first."""
    return list(_of(model, "_flatten_layers")())


def run_through(model, inputs, call):
    """What a functional model gives, with `call(operation, *args, **kwargs)` in place of each of its operations.

    Args:
        model: a functional `keras.Model`.
        inputs: a list of tensors, one for each of its inputs.
    """
    return _of(model, "_run_through_graph")(inputs, operation_fn=lambda operation: operation, call_fn=call)


def stored(variable):
    """The backend's own variable in one of Keras'. `value` may be a copy of it, in the precision of a layer."""
    return _of(variable, "_value")


def store(variable, tensor):
    """Gives a variable that is not trained another of torch's tensors, of its own shape and type, to hold."""
    variable._value = tensor


@contextlib.contextmanager
def without_tensorflow():
    """Within it, Keras takes TensorFlow for not installed, unless something has loaded it already.

    Keras asks of all that it writes or reads of a model whether it is one of TensorFlow's types, and loads TensorFlow
    to ask: that takes seconds and prints lines to stderr, on other backends for nothing. A Keras that asks in another
    way is left to do so: slow, and right.
    """
    module = _lazy_tensorflow()
    if module is None or "tensorflow" in sys.modules:
        yield
        return
    before, module._available = module._available, False
    try:
        yield
    finally:
        module._available = before


def _lazy_tensorflow():
    """Keras' stand-in for TensorFlow, which loads it where it is asked anything; None in a Keras that has no such."""
    module = getattr(sys.modules.get("keras.src.utils.module_utils"), "tensorflow", None)
    return module if hasattr(module, "_available") else None


def fill_numbers_on_device(torch):
    """Has Keras make its tensors of single numbers where they are used, on a GPU.

    Keras on torch copies each number there, four bytes, and the host waits until the GPU has done all that was asked
    of it before: some ten times a step. Its module gets a torch of its own, whose `as_tensor` fills them in place. A
    Keras that makes them in another way is left to do so: slow, and right.
    """
    core = sys.modules.get("keras.src.backend.torch.core")
    if getattr(core, "torch", None) is not torch:
        return

    def as_tensor(data, dtype=None, device=None):
        number = data.item() if isinstance(data, np.ndarray) and data.ndim == 0 else data
        if device is not None and dtype is not None and isinstance(number, (bool, int, float)):
            return torch.full((), number, dtype=dtype, device=device)
        return torch.as_tensor(data, dtype=dtype, device=device)

    own = types.ModuleType("torch", torch.__doc__)
    own.__dict__.update(torch.__dict__)
    own.__getattr__ = lambda name: getattr(torch, name)  # what torch loads when it is asked for
    own.as_tensor = as_tensor
    core.torch = own


def keep_rate_on_device(torch):
    """Has Keras' SGD on torch multiply the gradients by the rate where both are. Its own way, which gives the same,
    reads the rate as a number, and the host waits. A Keras with another SGD is left as it is."""
    module = _torch_optimizer("torch_sgd")
    step = getattr(getattr(module, "SGD", None), "_parallel_update_step", None)
    if step is None or step.__module__ == __name__:
        return

    def scaled(self, grads, variables, learning_rate):
        return step(self, torch._foreach_mul(grads, learning_rate), variables, 1.0)

    module.SGD._parallel_update_step = scaled


def _torch_optimizer(name):
    """Keras' module of one of its optimisers on torch, which it loads with the first optimiser; None in a Keras that
    has no such."""
    try:
        return importlib.import_module(f"keras.src.backend.torch.optimizers.{name}")
    except ImportError:
        return None


def adam_at_once(fits, update):
    """Has Keras' Adam on torch step by `update` where it `fits` (`kstyle.backend.base.adam`): by its own way, which
    gives the same, it takes 22 kernels. A Keras with another Adam is left as it is."""
    module = _torch_optimizer("torch_adam")
    step = getattr(getattr(module, "Adam", None), "_parallel_update_step", None)
    if step is None or step.__module__ == __name__:
        return

    def at_once(self, grads, variables, learning_rate):
        means, squares = ([each[place(self, v)].value for v in variables] for each in moments(self))
        state = [v.value for v in variables], list(grads), means, squares
        if self.amsgrad or not fits(*state):
            return step(self, grads, variables, learning_rate)
        return update(*state, self.iterations.value, learning_rate, self.beta_1, self.beta_2, self.epsilon)

    module.Adam._parallel_update_step = at_once


def count_in_place(torch):
    """Has Keras' variables on torch add a whole number where they are: each optimiser counts its steps so. Its own way
    makes the number a tensor, then the sum, then copies it. A Keras with other variables is left as it is."""
    core = sys.modules.get("keras.src.backend.torch.core")
    variable = getattr(core, "Variable", None)
    as_keras_does = getattr(variable, "assign_add", None)
    elsewhere = getattr(sys.modules.get("keras.src.backend.common.stateless_scope"), "in_stateless_scope", None)
    if None in (as_keras_does, elsewhere) or as_keras_does.__module__ == __name__:
        return

    def assign_add(self, value):
        if type(value) is not int or elsewhere():
            return as_keras_does(self, value)
        with torch.no_grad():
            return self.value.add_(value)

    variable.assign_add = assign_add


class AllAtOnce(keras.optimizers.Optimizer):
    """An optimiser whose `update_all(gradients, variables, learning_rate)` steps on all variables at once.

    The hook is Keras' own, for the fused updates of its torch optimisers. A Keras without it calls `update_step`.
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        self.update_all(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        self.update_all([gradient], [variable], learning_rate)
