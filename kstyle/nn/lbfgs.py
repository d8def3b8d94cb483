"""L-BFGS without a line search, on a picture of any size."""

import functools
import operator
from typing import Any, NamedTuple

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor, keras_private
from kstyle.nn.torch_rules import Rate

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
        started, one = state["started"].value > 0, backend.constant(1)
        self._write_direction(state, g, parts, *self._store(state, x, g, parts, started))
        # Without any curvature, stored here or carried over from a coarser picture, a step is a short one along the
        # gradient. torch takes only its first one so, and then the bare gradient, which can be of any size.
        cautious = state["length"].value == 0
        if self.first_step is None:
            short = ops.reciprocal(ops.maximum(_total(ops.sum(ops.abs(g[part])) for part in parts), one))
            cautious = ops.logical_and(cautious, ops.logical_not(started))
        else:
            short = self.first_step / (_root_mean_square(g, parts) + 1e-38)
        step = ops.where(cautious, short, one) * ops.cast(learning_rate, "float32")
        direction = state["moved"].value
        if self.max_step is not None:
            length = ops.abs(step) * _root_mean_square(direction, parts)
            step = step * ops.minimum(1.0, self.max_step / (length + 1e-38))
        # torch stops where the direction no longer descends; so do we, until the gradient changes.
        slope = _total(backend.inner(g[part], direction[part]) for part in parts)
        step = ops.where(slope < -1e-9, step, backend.constant(0))
        for part in parts:
            moved = step * direction[part]
            backend.put(state["position"], part.start, x[part] + moved)
            backend.put(state["moved"], part.start, moved)
            backend.put(state["gradient"], part.start, g[part])
        state["started"].assign(one)
        variable.assign(ops.cast(ops.reshape(state["position"].value, variable.shape), variable.dtype))

    def _store(self, state, x, g, parts, started):
        """Writes the last step and the change of the gradient over the oldest pair, if they have positive curvature,
        and the products with them. Returns S g and Y g, (m,)."""
        m = self.history

        def pair(part):
            # The displacement is the step, and what has changed the picture since: a clamp. The difference of the two
            # positions alone would lose a short step to rounding.
            s = state["moved"].value[part] + (x[part] - state["position"].value[part])
            return s, g[part] - state["gradient"].value[part]

        # Of a large picture they are made twice: kept, they would be as large as it.
        kept = [pair(part) for part in parts] if len(parts) == 1 else None
        sums = [(backend.inner(y, s), backend.inner(y, y)) for s, y in kept or map(pair, parts)]
        ys, squares = map(_total, zip(*sums))
        good = ops.logical_and(started, ys > 1e-10)
        row = state["length"].value % m
        with_s, with_y = [], []
        for part, (s, y) in zip(parts, kept or map(pair, parts)):
            backend.put_row(state["s"], row, s, part.start, good)
            backend.put_row(state["y"], row, y, part.start, good)
            # All that the history is multiplied by, at once: it is read once, and not for each.
            three = ops.stack([s, y, g[part]], axis=1)
            with_s.append(ops.matmul(state["s"].value[:, part], three))
            with_y.append(ops.matmul(state["y"].value[:, part], three))
        with_s, with_y = _total(with_s), _total(with_y)
        here = ops.logical_and(good, self._places() == row)
        # Column `row` and then row `row` of S Yᵀ, and of Y Yᵀ.
        for name, column, line in (("sy", with_s[:, 1], with_y[:, 0]), ("yy", with_y[:, 1], with_y[:, 1])):
            backend.put_where(state[name], here[None], column[:, None])
            backend.put_where(state[name], here[:, None], line[None])
        backend.put_where(state["scale"], good, ys / (squares + 1e-38))
        state["length"].assign(state["length"].value + ops.cast(good, "int32"))
        return with_s[:, 2], with_y[:, 2]

    def _places(self):
        return backend.constant(np.arange(self.history), "int32")

    def _write_direction(self, state, g, parts, u, w):
        """Assigns −H g to `moved`, from u = S g and w = Y g. H in the compact form:

        H g = γ g + [Sᵀ  γ Yᵀ] [[R⁻ᵀ (D + γ YYᵀ) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]] [S g; γ Y g].
        """
        m, gamma, places, length = self.history, state["scale"].value, self._places(), state["length"].value
        s, y = state["s"].value, state["y"].value
        age = (length + places) % m  # oldest first
        sy, yy = (backend.take(backend.take(state[name].value, age), age, 1) for name in ("sy", "yy"))
        diagonal = ops.diagonal(sy)
        # A row not filled yet is zero; a one in its place keeps R invertible and leaves the result as it is. What is
        # below the diagonal no solver reads.
        unit = backend.constant(np.eye(m), "bool")
        upper = ops.where(ops.logical_and(unit, sy <= 0), backend.constant(1), sy)
        u, w = backend.take(u, age)[:, None], backend.take(w, age)[:, None]
        p = ops.solve_triangular(upper, u, lower=False)
        inner = diagonal[:, None] * p + gamma * (ops.matmul(yy, p) - w)
        a = ops.solve_triangular(ops.transpose(upper), inner, lower=True)
        back = (places - length) % m  # of each row its place by age
        a, p = backend.take(a[:, 0], back), gamma * backend.take(p[:, 0], back)
        for part in parts:
            direction = ops.matmul(p, y[:, part]) - ops.matmul(a, s[:, part]) - gamma * g[part]
            backend.put(state["moved"], part.start, direction)

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


def _total(tensors):
    return functools.reduce(operator.add, tensors)


def _root_mean_square(vector, parts):
    return ops.sqrt(_total(backend.inner(vector[part], vector[part]) for part in parts) / vector.shape[0])


class Left(NamedTuple):
    """What an `LBFGS` leaves to the one after it.

    Attributes:
        shape: of the picture.
        s, y: its pairs, (m, N) each, in the rows that they go to; views of what it has where all of them are left.
        length: as it counts its pairs.
    """

    shape: tuple
    s: np.ndarray
    y: np.ndarray
    length: int


def leave(old, history):
    """The `Left` of a built `LBFGS`, for one that has room for `history` pairs. Where that is fewer, what is left is
    small, and the memory of the others can be given back before that of the new one is taken."""
    (picture,) = keras_private.built_on(old)
    shape, old = tuple(picture.shape), old._state[0]
    s, y, length = _numpy(old["s"]), _numpy(old["y"]), int(_numpy(old["length"]))
    before = len(s)
    if history == before:
        return Left(shape, s, y, length)
    newest = [number % before for number in range(max(0, length - min(history, before)), length)]
    return Left(shape, s[newest], y[newest], len(newest))


def take_over(left, new, enlarge, ratio):
    """What `kstyle.nn.optimizers.take_over` does, of a `Left` and a built `LBFGS`."""
    new, length = new._state[0], left.length
    m = new["s"].shape[0]
    count = min(length, m)

    def resized(row, factor):
        return enlarge(row.reshape(left.shape), "bicubic").reshape(-1) * np.float32(factor)

    # Each row goes to its place as it is made: a second copy of a large picture's history is gigabytes.
    for name, rows, factor in (("s", left.s, 1), ("y", left.y, ratio)):
        for row in range(count):
            values = ops.convert_to_tensor(resized(rows[row], factor))
            backend.put_row(new[name], ops.convert_to_tensor(row, "int32"), values)
    s, y = _numpy(new["s"]), _numpy(new["y"])
    curvature = np.array([(s_row * y_row).sum() for s_row, y_row in zip(s, y)])
    if (curvature[:count] <= 0).any():  # resizing broke a pair: better none than a wrong one
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
    # A view where that exists: Keras' own copies, and a large picture's history has gigabytes.
    return backend.as_numpy(variable.value)
