"""The course of a painting over all its passes: a row a step, and the callbacks that are told of each."""

import time

from kstyle.backend import distribute
from kstyle.nn import callbacks
from kstyle.style.engine import loop


class History:
    """Collects a row a step and calls the user's callbacks.

    Args:
        total: steps planned in all.
        told: what is called after each step, from `kstyle.nn.callbacks.step_functions`.

    Attributes:
        rows: one dict a step: `scale`, `step`, the losses, `seconds`.
        ended: whether one of the callbacks has ended the painting, by returning something true or as Keras' do.
    """

    def __init__(self, total, told=()):
        self._total, self._callbacks, self.ended = total, told, False
        self.rows, self._pending = [], []
        self._start = time.perf_counter()

    def resume(self, rows):
        """Goes on from the rows of steps that were taken before."""
        self.rows = list(rows)
        self._start = time.perf_counter() - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def begin(self, scale, picture, alpha, done=0):
        """A new pass: its long side in pixels, and functions that return the picture in work, and its opacity.

        `done`: so many of its steps were taken before.
        """
        self._scale, self._picture, self._alpha, self._done = scale, picture, alpha, done

    def on_step(self, losses):
        """Takes the losses of a step, tensors. Returns `ended`."""
        number, seconds = len(self.rows) + len(self._pending), time.perf_counter() - self._start
        self._pending.append((number, seconds, losses))
        if self._callbacks:
            step = loop.Step(self._scale, number, self._total, seconds, losses, self._picture, self._alpha)
            answers = [each(step) for each in self._callbacks]  # all are told, whatever the first says
            self.ended = self.ended or any(answers)
        if distribute.joined():  # ranks take the same steps, whichever's callback ends them
            (self.ended,) = distribute.any_of(self.ended)
        return self.ended

    def back(self):
        """Forgets the steps of the pass at hand."""
        self.rows, self._pending = self.rows[: len(self.rows) - self._done], []

    def complete(self, losses):
        """Takes the losses, floats, of all steps of this pass so far."""
        for (number, seconds, _), row in zip(self._pending, losses[self._done :]):
            self.rows.append({"scale": self._scale, "step": number, **row, "seconds": seconds})
        self._pending, self._done = [], len(losses)

    def close(self):
        """After the last step: Keras' callbacks close their files."""
        for each in self._callbacks:
            if isinstance(each, callbacks.StepCallback):
                each.close()

    def frame(self):
        """A `pandas.DataFrame` of the rows."""
        if self._pending:  # interrupted
            fetched = loop.fetch([losses for _, _, losses in self._pending])
            self.complete([None] * self._done + fetched)
        import pandas as pd  # here: a third of a second that the first step need not wait for

        return pd.DataFrame(self.rows)
