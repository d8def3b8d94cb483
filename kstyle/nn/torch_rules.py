"""Optimisers as torch has them, where Keras' own of the same name take other steps."""

from typing import Any, TypeAlias

import keras

from kstyle import backend
from kstyle.backend import Tensor, keras_private

ops = keras.ops

Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kstyle")
class TorchSGD(keras_private.AllAtOnce):
    """Stochastic gradient descent as torch has it: `v ← m·v + g`, `w ← w − rate·v`.

    Keras' own keeps the rate inside the velocity, `v ← m·v − rate·g`: after a drop of the rate it goes on for some
    steps at the old one, and a recipe published for torch takes another path.

    Args:
        learning_rate: per step.
        momentum: m, in [0, 1).
        nesterov: `w ← w − rate·(g + m·v)`.
        **kwargs: of every optimiser of Keras, `clipnorm` say.

    >>> import keras
    >>> from kstyle import optimizers
    >>> weight = keras.Variable([1.0])
    >>> optimizer = optimizers.TorchSGD(0.1, momentum=0.9)
    >>> optimizer.apply([keras.ops.ones((1,))], [weight])
    >>> optimizer.apply([keras.ops.ones((1,))], [weight])  # 0.1 · 1, then 0.1 · 1.9
    >>> print(keras.ops.convert_to_numpy(weight).round(3))
    [0.71]
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        name: str = "sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.nesterov = momentum, nesterov

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.velocities = [self.add_variable_from_reference(v, "velocity") for v in variables] if self.momentum else []

    def update_all(self, grads: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor) -> None:
        if self.momentum:
            velocities = [self.velocities[keras_private.place(self, v)] for v in variables]
            backend.update(velocities, self.momentum, grads, 1.0)
            moved = [v.value for v in velocities]
            grads = backend.add_scaled(list(grads), self.momentum, moved) if self.nesterov else moved
        backend.update(variables, 1.0, grads, -ops.convert_to_tensor(learning_rate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


@keras.saving.register_keras_serializable("kstyle")
class TorchAdam(keras.optimizers.Adam):
    """Adam by algorithm 1 of Kingma & Ba 2014 (arXiv 1412.6980), as torch has it: `x ← x − rate·m̂ / (√v̂ + epsilon)`.

    Keras' own adds epsilon before the correction of bias, the paper's shorter form. In the first step it counts thirty
    times as much there (beta_2 0.999), and a picture's gradients are small.

    Args:
        learning_rate: about the length of a step, in the variable's units.
        beta_1, beta_2: decay of the mean and of the mean square, in [0, 1).
        epsilon: in units of the gradient.
        **kwargs: of every optimiser of Keras, `clipnorm` say.

    >>> import keras
    >>> from kstyle import optimizers
    >>> weight = keras.Variable([1.0])
    >>> optimizers.TorchAdam(0.1).apply([keras.ops.full((1,), 1e-6)], [weight])
    >>> print(keras.ops.convert_to_numpy(weight).round(3))  # Keras' own, with its epsilon of 1e-7, moves it by 0.024
    [0.901]
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "torch_adam",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        index = keras_private.place(self, variable)
        m, v = (each[index] for each in keras_private.moments(self))
        step = ops.cast(self.iterations.value + 1, variable.dtype)
        m.assign(self.beta_1 * m.value + (1 - self.beta_1) * gradient)
        v.assign(self.beta_2 * v.value + (1 - self.beta_2) * ops.square(gradient))
        mean = m.value / (1 - ops.power(self.beta_1, step))
        square = v.value / (1 - ops.power(self.beta_2, step))
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * mean / (ops.sqrt(square) + self.epsilon))


@keras.saving.register_keras_serializable("kstyle")
class TorchRMSprop(keras.optimizers.Optimizer):
    """RMSprop (Hinton 2012) as torch has it: `v ← rho·v + (1 − rho)·g²`, `x ← x − rate·g / (√v + epsilon)`.

    Keras' own adds epsilon under the root. Where a gradient is as small as epsilon, as it is far from the places that a
    sampling loss looks at, the two take other steps.

    Args:
        learning_rate: about the length of a step, in the variable's units.
        rho: decay of the mean square, in [0, 1).
        momentum: of the steps, in [0, 1); 0: none.
        epsilon: in units of the gradient.
        **kwargs: of every optimiser of Keras, `clipnorm` say.

    >>> import keras
    >>> from kstyle import optimizers
    >>> weight = keras.Variable([1.0])
    >>> optimizers.TorchRMSprop(0.1).apply([keras.ops.ones((1,))], [weight])  # 0.1 / √(1 − 0.99)
    >>> print(keras.ops.convert_to_numpy(weight).round(3))
    [0.]
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        rho: float = 0.99,
        momentum: float = 0.0,
        epsilon: float = 1e-8,
        name: str = "torch_rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._squares = [self.add_variable_from_reference(v, "square") for v in variables]
        self._steps = [self.add_variable_from_reference(v, "step") for v in variables] if self.momentum else []

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        index = keras_private.place(self, variable)
        square = self._squares[index]
        square.assign(self.rho * square.value + (1 - self.rho) * ops.square(gradient))
        step = gradient / (ops.sqrt(square.value) + self.epsilon)
        if self.momentum:
            self._steps[index].assign(self.momentum * self._steps[index].value + step)
            step = self._steps[index].value
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}
