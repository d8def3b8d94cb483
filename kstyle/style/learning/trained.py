"""Weights as they are trained: the optimiser with its rate, a running average, and the state between two steps."""

import math

from kstyle import backend
from kstyle.nn import optimizers
from kstyle.nn.state import assign, named


class Trained:
    """A network, another with the running average of its weights, and Adam.

    Args:
        learning: `kstyle.style.learning.settings.Learning`.
        build: makes the network, a `keras.Model`; called twice.

    Attributes:
        model: the network as it learns; `average`: the other, for use.
        variables: those of `model` that are trained; `averaged`: of `average`.
        step_number: steps taken.
    """

    def __init__(self, learning, build):
        self.learning, self.step_number = learning, 0
        self.model, self.average = build(), build()
        self.average.set_weights(self.model.get_weights())
        self.variables, self.averaged = self.model.trainable_variables, self.average.trainable_variables
        self._optimizer = optimizers.make("adam", learning_rate=learning.learning_rate)
        self._optimizer.build(self.variables)
        optimizers.lay_out(self._optimizer, self.variables)

    @property
    def changed(self):
        """All variables that `apply` assigns."""
        return [*self.variables, *self.averaged, *self._optimizer.variables]

    def apply(self, gradients, keep):
        """A step down `gradients`; the average keeps the share `keep` of itself. It may be compiled."""
        self._optimizer.apply(gradients, self.variables)
        backend.update(self.averaged, keep, [v.value for v in self.variables], 1 - keep)

    def begin(self, progress):
        """Before a step: sets the rate. progress: how much of the learning is done, 0 to 1. Returns `keep`."""
        learning, number = self.learning, self.step_number
        risen = min(1.0, (number + 1) / learning.warmup) if learning.warmup else 1.0
        rate = learning.learning_rate * risen * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        self._optimizer.learning_rate = rate
        # At first the average is of few steps, lest the weights that it began with stay in it.
        return min(learning.average, (1 + number) / (10 + number))

    def _groups(self):
        return {"weights": self.variables, "average": self.averaged, "optimizer": list(self._optimizer.variables)}

    def state(self):
        """{name: array} of all that the next step depends on, beside its number."""
        return {name: array for group, held in self._groups().items() for name, array in named(held, group).items()}

    def restore(self, arrays, step_number, path):
        """Goes on from `state`, of so many steps. DataError: it is of another network."""
        for group, held in self._groups().items():
            assign(held, arrays, group, path)
        self.step_number = step_number
