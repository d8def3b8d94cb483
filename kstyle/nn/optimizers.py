"""Optimisers for pictures: Keras' own by name, torch's where they differ, and L-BFGS without a line search."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor, keras_private
from kstyle.errors import UsageError, unknown
from kstyle.io.files import one_line, shown
from kstyle.nn import schedules
from kstyle.nn.torch_rules import Rate, TorchAdam, TorchRMSprop, TorchSGD
from kstyle.open_names import Names, called

ops = keras.ops

# Numbers of a picture that L-BFGS takes at a time: those of one of 2300 pixels a side.
PART = 2**24


@keras.saving.register_keras_serializable("kstyle")
class LBFGS(keras.optimizers.Optimizer):
    """Limited-memory BFGS (Nocedal 1980) with a fixed step: one gradient a step, no line search.

    It takes the steps of `torch.optim.LBFGS(lr, max_iter=1, history_size=history)`, which is what every style
    transfer on torch effectively runs. The two loops of the usual recursion are replaced by the compact form of Byrd,
    Nocedal & Schnabel (1994): with the stored displacements S and gradient changes Y, (m, n), and the (m, m) products
    SYᵀ and YYᵀ kept up to date, a direction is one pass over S and Y to multiply the gradient, two small triangular
    solves, and one pass to combine.

    Each variable has a curvature of its own; for a picture, which is one variable, that is plain L-BFGS.

    Args:
        learning_rate: length of a step in units of the quasi-Newton step.
        history: pairs kept, m. Memory: 8 · m bytes a number of the variable.
        first_step: root mean square of the first displacement, in the variable's units. None: torch's, at most 1 in the
            sum of absolute values, far below a grey level for each pixel of a picture.
        max_step: root mean square above which a displacement is shortened, in the variable's units; without a line
            search the first pairs can promise far too much. None: torch's, no limit.
        **kwargs: of every optimiser of Keras.

    >>> import keras
    >>> from kstyle import optimizers
    >>> x, optimizer = keras.Variable([3.0, -2.0]), optimizers.LBFGS()
    >>> for _ in range(8):  # of x₁² / 2 + 2 x₂² / 2
    ...     optimizer.apply([x * keras.ops.array([1.0, 2.0])], [x])
    >>> bool(keras.ops.max(keras.ops.abs(x)) < 1e-3)
    True
    """

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        history: int = 10,
        first_step: float | None = None,
        max_step: float | None = None,
        name: str = "lbfgs",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.history = history
        self.first_step = first_step
        self.max_step = max_step

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._state = []
        for variable in variables:
            n, m = int(np.prod(variable.shape)), self.history
            shapes = {
                "s": (m, n),  # displacements, a ring of rows
                "y": (m, n),  # gradient changes
                "sy": (m, m),  # S Yᵀ
                "yy": (m, m),  # Y Yᵀ
                "scale": (),  # γ, the curvature assumed outside the span of S and Y
                "moved": (n,),  # the step before
                "position": (n,),  # after it
                "gradient": (n,),  # before it
                "length": (),  # pairs stored so far, not wrapped
                "started": (),
            }
            self._state.append({k: self._number(k, shape) for k, shape in shapes.items()})

    def _number(self, name, shape):
        dtype = "int32" if name == "length" else "float32"
        # A hundred pairs of a picture of 512 pixels are half a gigabyte: they take memory as they come. What is there
        # at first is said here and not assigned later: `Model.fit` builds inside a graph, where TensorFlow would assign
        # it again at each step.
        first = {"s": backend.zeros_to_fill, "y": backend.zeros_to_fill, "scale": "ones"}.get(name, "zeros")
        return self.add_variable(shape, initializer=first, dtype=dtype, name=name)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        state = self._state[keras_private.place(self, variable)]
        g = ops.reshape(ops.cast(gradient, "float32"), (-1,))
        x = ops.reshape(ops.cast(variable, "float32"), (-1,))
        parts = parts_of(x.shape[0])
        started = state["started"].value > 0
        self._store(state, x, g, parts, started)
        # Without any curvature, stored here or carried over from a coarser picture, a step is a short one along the
        # gradient. torch takes only its first one so, and then the bare gradient, which can be of any size.
        cautious = state["length"].value == 0
        if self.first_step is None:
            short = ops.minimum(1.0, 1.0 / (_total(ops.sum(ops.abs(g[part])) for part in parts) + 1e-38))
            cautious = ops.logical_and(cautious, ops.logical_not(started))
        else:
            short = self.first_step / (_root_mean_square([g[part] for part in parts]) + 1e-38)
        step = ops.where(cautious, short, 1.0) * ops.cast(learning_rate, "float32")
        self._write_direction(state, g, parts)
        direction = state["moved"].value
        if self.max_step is not None:
            length = ops.abs(step) * _root_mean_square([direction[part] for part in parts])
            step = step * ops.minimum(1.0, self.max_step / (length + 1e-38))
        # torch stops where the direction no longer descends; so do we, until the gradient changes.
        slope = _total(ops.sum(g[part] * direction[part]) for part in parts)
        step = ops.where(slope < -1e-9, step, 0.0)
        for part in parts:
            moved = step * direction[part]
            backend.put(state["position"], part.start, x[part] + moved)
            backend.put(state["moved"], part.start, moved)
            backend.put(state["gradient"], part.start, g[part])
        state["started"].assign(ops.ones(()))
        variable.assign(ops.cast(ops.reshape(state["position"].value, variable.shape), variable.dtype))

    def _store(self, state, x, g, parts, started):
        """Writes the last step and the change of the gradient over the oldest pair, if they have positive curvature,
        and the products with them."""
        m = self.history

        def pair(part):
            # The displacement is the step, and what has changed the picture since: a clamp. The difference of the two
            # positions alone would lose a short step to rounding.
            s = state["moved"].value[part] + (x[part] - state["position"].value[part])
            return s, g[part] - state["gradient"].value[part]

        ys, squares = 0.0, 0.0
        for part in parts:
            s, y = pair(part)
            ys, squares = ys + ops.sum(y * s), squares + ops.sum(y * y)
        good = ops.logical_and(started, ys > 1e-10)
        row = state["length"].value % m
        s_y, y_s = 0.0, 0.0
        for part in parts:
            kept = [ops.take(state[name].value[:, part], row, axis=0) for name in ("s", "y")]
            s, y = (ops.where(good, new, old) for new, old in zip(pair(part), kept))
            backend.put_row(state["s"], row, s, part.start)
            backend.put_row(state["y"], row, y, part.start)
            s_y = s_y + ops.matmul(state["s"].value[:, part], y)  # column `row` of S Yᵀ
            # Row `row` of S Yᵀ, and of Y Yᵀ.
            y_s = y_s + ops.matmul(state["y"].value[:, part], ops.stack([s, y], axis=1))
        here = ops.one_hot(row, m, dtype="float32")
        sy, yy = state["sy"].value, state["yy"].value
        keep = (1 - here)[:, None] * (1 - here)[None]
        cross = here[:, None] * y_s[None, :, 0] + (s_y * (1 - here))[:, None] * here[None]
        square = here[:, None] * y_s[None, :, 1] + (y_s[:, 1] * (1 - here))[:, None] * here[None]
        state["sy"].assign(sy * keep + cross)
        state["yy"].assign(yy * keep + square)
        state["scale"].assign(ops.where(good, ys / (squares + 1e-38), state["scale"].value))
        state["length"].assign(state["length"].value + ops.cast(good, "int32"))

    def _write_direction(self, state, g, parts):
        """Assigns −H g to `moved`. H in the compact form:

        H g = γ g + [Sᵀ  γ Yᵀ] [[R⁻ᵀ (D + γ YYᵀ) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]] [S g; γ Y g].
        """
        m, gamma = self.history, state["scale"].value
        s, y = state["s"].value, state["y"].value
        age = (state["length"].value + ops.arange(m, dtype="int32")) % m  # oldest first

        def by_age(matrix):
            return ops.take(ops.take(matrix, age, axis=0), age, axis=1)

        sy, yy = by_age(state["sy"].value), by_age(state["yy"].value)
        diagonal = ops.diagonal(sy)
        # A row not filled yet is zero; a one in its place keeps R invertible and leaves the result as it is.
        upper = ops.triu(sy) + ops.diag(ops.cast(diagonal <= 0, "float32"))
        u = ops.take(_total(ops.matmul(s[:, part], g[part]) for part in parts), age)[:, None]
        w = ops.take(_total(ops.matmul(y[:, part], g[part]) for part in parts), age)[:, None]
        p = ops.solve_triangular(upper, u, lower=False)
        inner = diagonal[:, None] * p + gamma * ops.matmul(yy, p) - gamma * w
        a = ops.solve_triangular(ops.transpose(upper), inner, lower=True)
        back = ops.argsort(age)
        a, p = ops.take(a[:, 0], back), ops.take(p[:, 0], back)
        for part in parts:
            along = gamma * g[part] + ops.matmul(a, s[:, part]) - gamma * ops.matmul(p, y[:, part])
            backend.put(state["moved"], part.start, -along)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "history": self.history,
            "first_step": self.first_step,
            "max_step": self.max_step,
        }


def parts_of(n, size=1):
    """Slices of n rows of `size` numbers, together all of them: what is made of one for a moment is small beside a
    large picture.

    >>> parts_of(5, PART // 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    each = max(1, PART // size)
    return [slice(first, min(first + each, n)) for first in range(0, n, each)]


def _total(terms):
    first, *others = terms
    return sum(others, first)


def _root_mean_square(parts):
    if len(parts) == 1:
        return ops.sqrt(ops.mean(ops.square(parts[0])))
    return ops.sqrt(_total(ops.sum(ops.square(part)) for part in parts) / sum(part.shape[0] for part in parts))


def _registry():
    found = {"lbfgs": LBFGS, "torch-adam": TorchAdam, "torch-rmsprop": TorchRMSprop, "torch-sgd": TorchSGD}
    for name, cls in vars(keras.optimizers).items():
        usable = inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer)
        if usable and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Ftrl"):
            found[name.lower()] = cls
    # In a recipe the bare names have another meaning, of old: kstyle.training.loop.old_names.
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


def carry(old, new, enlarge, ratio):
    """Copies the state of one optimiser to another whose picture has a different size.

    What lies along the picture is resized like it. A loss that is a mean over positions has gradients in
    proportion to 1/N, so first moments are multiplied by the ratio of positions, second ones by its square, and
    gradient changes of L-BFGS by the ratio: its curvature s·y, a sum over positions, then keeps its value.

    Args:
        old, new: built optimisers of the same class; Adam's relatives and L-BFGS have state to carry, others start
            anew.
        enlarge: `enlarge(array, filter)` takes what lies along the old picture, (H, W, 3), to the new one's shape.
        ratio: positions of the old picture over positions of the new one.
    """
    if isinstance(new, LBFGS):
        _carry_lbfgs(old, new, enlarge, ratio)
    elif isinstance(new, keras.optimizers.Adam):  # AdamW is one too
        ((old_mean,), (old_square,)), ((mean,), (square,)) = map(keras_private.moments, (old, new))
        mean.assign(enlarge(_numpy(old_mean), "bicubic") * ratio)
        square.assign(np.maximum(enlarge(_numpy(old_square), "bilinear"), 0) * ratio**2)
    else:
        return
    new.iterations.assign(old.iterations)


def _carry_lbfgs(old, new, enlarge, ratio):
    (picture,) = keras_private.built_on(old)
    shape = tuple(picture.shape)
    old, new = old._state[0], new._state[0]

    def resized(row, factor):
        return enlarge(row.reshape(shape), "bicubic").reshape(-1) * np.float32(factor)

    length, before, m = int(_numpy(old["length"])), old["s"].shape[0], new["s"].shape[0]
    places = {row: row for row in range(min(length, before))}
    if m != before:  # the newest, in their order
        newest = range(max(0, length - min(m, before)), length)
        places = {number % before: place for place, number in enumerate(newest)}
        length = len(places)
    # Each row goes to its place as it is made: a second copy of a large picture's history is gigabytes.
    for name, factor in (("s", 1), ("y", ratio)):
        for row, place in places.items():
            values = ops.convert_to_tensor(resized(_numpy(old[name])[row], factor))
            backend.put_row(new[name], ops.convert_to_tensor(place, "int32"), values)
    s, y = _numpy(new["s"]), _numpy(new["y"])
    curvature = np.array([(s_row * y_row).sum() for s_row, y_row in zip(s, y)])
    if (curvature[list(places.values())] <= 0).any():  # resizing broke a pair: better none than a wrong one
        for name in ("s", "y"):
            new[name].assign(ops.zeros_like(new[name]))
        return
    for name, value in (("sy", s @ y.T), ("yy", y @ y.T)):
        new[name].assign(value)
    new["length"].assign(length)
    latest = (length - 1) % m
    if curvature[latest] > 0:
        new["scale"].assign(curvature[latest] / (y[latest] @ y[latest]))


def _numpy(variable):
    return ops.convert_to_numpy(variable)
