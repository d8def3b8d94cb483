"""Optimisers for pictures by name: Keras' own, torch's where they differ, and L-BFGS."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import keras_private
from kstyle.errors import UsageError, unknown
from kstyle.io.files import one_line, shown
from kstyle.nn import lbfgs, schedules
from kstyle.nn.lbfgs import LBFGS
from kstyle.nn.torch_rules import TorchAdam, TorchRMSprop, TorchSGD
from kstyle.open_names import Names, called

ops = keras.ops


def _registry():
    found = {"lbfgs": LBFGS, "torch-adam": TorchAdam, "torch-rmsprop": TorchRMSprop, "torch-sgd": TorchSGD}
    for name, cls in vars(keras.optimizers).items():
        usable = inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer)
        if usable and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Ftrl"):
            found[name.lower()] = cls
    # In a recipe the bare names have another meaning, of old: kstyle.training.schedules.old_names.
    return {**found, "keras-sgd": found["sgd"], "keras-adamw": found["adamw"]}


OPTIMIZERS = _registry()
NAMES = Names("optimizer", OPTIMIZERS)  # and those that users add
FRACTIONS = ("momentum", "ema_momentum", "beta_1", "beta_2", "rho")


def register(name: str, optimizer: Callable[..., Any]) -> None:
    """Adds an optimiser: `optimizer: NAME` in a preset or a recipe.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's or Keras'.
        optimizer: a `keras.optimizers.Optimizer` class, or a function of arguments that makes one; it takes
            `learning_rate`.

    Raises:
        UsageError: a name of kstyle's own, or nothing that can be called.

    >>> import keras
    >>> from kstyle import optimizers
    >>> optimizers.register("heavy-ball", lambda learning_rate=0.01: keras.optimizers.SGD(learning_rate, momentum=0.9))
    >>> optimizers.get("heavy-ball").momentum
    0.9
    """
    NAMES.add(name, called("optimizer", optimizer))


def check(name, arguments):
    """Checks an optimiser's arguments without making one; what else their values may be, Keras says as it is made.

    Args:
        name: in `NAMES`.
        arguments: {argument: value}.

    Raises:
        UsageError: unknown name or argument, with the nearest match; a word where a number belongs.
    """
    if name not in NAMES:
        raise unknown("optimizer", name, sorted(NAMES))
    what, known = f"optimizer '{name}'", schedules.parameters(_maker(name))
    schedules.check(what, known, arguments)
    for key, value in arguments.items():
        default = known[key].default
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if number and isinstance(value, (str, list, bool)):
            raise UsageError(f"{what}: {key} is a number; got {shown(value)}.")
        if key in FRACTIONS and isinstance(value, (int, float)) and not 0 <= value <= 1:
            raise UsageError(f"{what}: {key} is a number from 0 to 1; got {shown(value)}.")
    rate = arguments.get("learning_rate")
    if isinstance(rate, Mapping):
        schedules.check_named(what, rate)


def make(name, /, **arguments):
    """An optimiser by name, for one picture.

    Args:
        name: key of `OPTIMIZERS`: `lbfgs`, `torch-adam`, `torch-rmsprop`, `torch-sgd`, or one of Keras' in lower case.
        arguments: passed on; `learning_rate` may be a mapping with a `name` from `kstyle.nn.schedules.SCHEDULES`.

    Raises:
        UsageError: as `check`; a value that Keras refuses.
    """
    check(name, arguments)
    rate = arguments.get("learning_rate")
    try:
        if isinstance(rate, Mapping):
            arguments = {**arguments, "learning_rate": schedules.made(rate)}
        elif isinstance(rate, int):
            arguments = {**arguments, "learning_rate": float(rate)}
        return _maker(name)(**arguments)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer '{name}': {one_line(error)}") from error


def _maker(name):
    return OPTIMIZERS.get(name) or NAMES.own[name]


def get(
    identifier: str | Mapping[str, Any] | Callable[[], Any] | keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """An optimiser from whatever says which, as `keras.optimizers.get` does, with kstyle's own among the names.

    Args:
        identifier: a name that `make` knows; a mapping of `name` and its arguments; an optimiser, which is returned as
            it is; or a class or function that gives one when it is called without arguments.

    Returns:
        The optimiser, not built unless it was.

    Raises:
        UsageError: an unknown name or argument, or something else than these.

    >>> get({"name": "lbfgs", "history": 20}).history
    20
    >>> get(TorchAdam).name
    'torch_adam'
    """
    if isinstance(identifier, keras.optimizers.Optimizer):
        return identifier
    if isinstance(identifier, str):
        return make(identifier)
    if isinstance(identifier, Mapping) and isinstance(identifier.get("name"), str):
        arguments = dict(identifier)
        return make(arguments.pop("name"), **arguments)
    if callable(identifier) and isinstance(made := identifier(), keras.optimizers.Optimizer):
        return made
    raise UsageError(
        "An optimizer is a name, a mapping with a 'name', a keras.optimizers.Optimizer or a function that gives one; "
        f"got {one_line(repr(identifier))[:100]}."
    )


def described(optimizer):
    """An optimiser as settings have it: `{"name": …, argument: value}` of one of Keras' or kstyle's, without what is at
    its default. A name, or a mapping, is returned as it is.

    Raises:
        UsageError: an optimiser of a class that has no name here.

    >>> described(keras.optimizers.Adam(0.5))
    {'name': 'adam', 'learning_rate': 0.5}
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    every, made = {**OPTIMIZERS, **NAMES.own}, type(optimizer)  # on torch Keras makes a class of the same name of it
    name = next((name for name, cls in every.items() if cls in made.__mro__ and cls.__name__ == made.__name__), None)
    if name is None:
        raise UsageError(
            f"The optimizer {type(optimizer).__name__} has no name here: give it one with kstyle.optimizers.register."
        )
    config, found = optimizer.get_config(), {}
    rate = config["learning_rate"]
    for key, parameter in schedules.parameters(every[name]).items():
        value = config.get(key, parameter.default)
        if key != "learning_rate" and value != parameter.default:
            found[key] = value
    if isinstance(rate, dict):  # a schedule's own description
        known = schedules.SCHEDULES
        kind = next((kind for kind, cls in known.items() if cls.__name__ == rate["class_name"]), None)
        if kind is None:
            raise UsageError(f"Of Keras' schedules {', '.join(known)} are known here, not {rate['class_name']}.")
        rate = {"name": kind, **{key: value for key, value in rate["config"].items() if key != "name"}}
    return {"name": name, "learning_rate": rate if isinstance(rate, dict) else float(str(np.float32(rate))), **found}


def lay_out(optimizer, variables):
    """Lets what an optimiser, built on `variables`, keeps of each lie in memory in its order: only then does one kernel
    update all of them."""
    for variable in variables:
        own = f"{variable.path.replace('/', '_')}_"
        for kept in optimizer.variables:
            if kept.name.startswith(own) and tuple(kept.shape) == tuple(variable.shape):
                backend.lay_out_like(kept, variable)


def leave(old, new):
    """What one optimiser leaves to another for a picture of another size; None: nothing. The old one may then be
    dropped, and its memory given back, before the new one is built.

    Args:
        old: a built optimiser.
        new: one of the same class, built or not; Adam's relatives and L-BFGS have state to leave, others start anew.
    """
    if isinstance(new, LBFGS):
        return int(_numpy(old.iterations)), lbfgs.leave(old, new.history)
    if isinstance(new, keras.optimizers.Adam):  # AdamW is one too
        return int(_numpy(old.iterations)), [_numpy(variable) for (variable,) in keras_private.moments(old)]
    return None


def take_over(left, new, enlarge, ratio):
    """Gives an optimiser what one for a picture of another size has left.

    What lies along the picture is resized like it. A loss that is a mean over positions has gradients in
    proportion to 1/N, so first moments are multiplied by the ratio of positions, second ones by its square, and
    gradient changes of L-BFGS by the ratio: its curvature s·y, a sum over positions, then keeps its value.

    Args:
        left: from `leave`.
        new: built.
        enlarge: `enlarge(array, filter)` takes what lies along the old picture, (H, W, 3), to the new one's shape.
        ratio: positions of the old picture over positions of the new one.
    """
    if left is None:
        return
    iterations, kept = left
    if isinstance(new, LBFGS):
        lbfgs.take_over(kept, new, enlarge, ratio)
    else:
        (mean,), (square,) = keras_private.moments(new)
        mean.assign(enlarge(kept[0], "bicubic") * ratio)
        square.assign(np.maximum(enlarge(kept[1], "bilinear"), 0) * ratio**2)
    new.iterations.assign(iterations)


def _numpy(variable):
    return backend.as_numpy(variable.value)
