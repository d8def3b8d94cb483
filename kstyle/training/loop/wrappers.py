"""What is put around a recipe's optimiser: sharpness-aware minimisation and Lookahead."""

import contextlib

import keras

from kstyle import backend

ops = keras.ops


@contextlib.contextmanager
def uphill(rho, grads, variables, rest):
    """Within it the weights are moved by rho along their gradient, to where the loss near by is about the worst:
    w + rho · g / ‖g‖, the norm over all weights together. Gradients found there, applied at w, are a step of SAM (Foret
    et al. 2020, arXiv 2010.01412), which ends in flatter minima and takes twice the time.

    Afterwards the weights, and the moving statistics of normalisation, are to the bit what they were.

    Args:
        rho: a length in the space of the weights.
        grads: of the loss alone, weight decay apart, as in the paper.
        variables: what is trained, in the order of the gradients.
        rest: the model's other variables.
    """
    kept = [*variables, *(v for v in rest if keras.backend.is_float_dtype(v.dtype))]
    before = [ops.copy(v.value) for v in kept]
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in grads))
    backend.update(variables, 1.0, grads, rho / (norm + 1e-12))
    yield
    for variable, value in zip(kept, before):
        variable.assign(value)


class Lookahead:
    """Callable after each step: at every k-th the slow weights go alpha of the way to the weights, which go back there
    (Zhang et al. 2019, arXiv 1907.08610). The optimiser's own moments stay as they are.

    What is validated and kept are the weights as they are after an epoch, and not the slow ones, as in TensorFlow
    Addons.

    Args:
        settings: a `kstyle.training.setup.goals.Lookahead`.
        optimizer: the recipe's, which counts the steps.
        variables: what it trains.

    Attributes:
        slow: the slow weights, variables.
    """

    def __init__(self, settings, optimizer, variables):
        self.settings, self._optimizer, self._fast = settings, optimizer, variables
        # A copy: Keras on JAX gives the memory of a weight to its next value.
        self.slow = [
            keras.Variable(ops.copy(v.value), trainable=False, name=f"slow_{i}") for i, v in enumerate(variables)
        ]
        self._meet = backend.compile(self._met, [*variables, *self.slow])
        self._steps = None

    def __call__(self):
        if self._steps is None:  # to ask is to wait for the device: once, after a resume too
            self._steps = int(ops.convert_to_numpy(self._optimizer.iterations.value)) - 1
        self._steps += 1
        if self._steps % self.settings.k == 0:
            self._meet()

    def _met(self):
        alpha = self.settings.alpha
        backend.update(self.slow, 1 - alpha, [v.value for v in self._fast], alpha)
        for fast, slow in zip(self._fast, self.slow):
            fast.assign(slow.value)
