"""What a run keeps of a training under way: the state to go on from, the history, the curves."""

import dataclasses
import time

import pandas as pd

from kstyle.io import runs
from kstyle.nn import state as checkpoint
from kstyle.training.loop.fit import Position
from kstyle.training.results import plots

# Seconds between two drawings of the curves.
CURVES_INTERVAL = 60.0


class State:
    """Saves and restores everything that the next step depends on, and writes the weights that are kept.

    Args:
        folder: of the run.
        recipe: its `kstyle.training.setup.sections.TrainSettings`.
        model: the whole network.
        average: the `kstyle.training.loop.callbacks.WeightAverage` of it, which has its model, or None.
    """

    def __init__(self, folder, recipe, model, average):
        self.path, self.folder, self.recipe, self.model = folder / runs.STATE, folder, recipe, model
        self.average = average
        self.groups = {"model": model.variables}
        if average:
            self.groups["average"] = average.averages
        self.own = []
        self.saved, self.since = time.monotonic(), 0
        self.drawn = time.monotonic()

    def enter(self, own, step, restore):
        """A stage begins, with its callbacks and step; `restore`: it is the one that was saved."""
        self.own = own
        self.groups |= {"optimizer": self.model.optimizer.variables, **step.kept}
        if restore:
            self._give("optimizer", *step.kept)
            for callback in own:
                if hasattr(callback, "restore"):
                    callback.restore(self.notes["callbacks"][type(callback).__name__])
            self.found = None

    def save(self, position, now):
        self.since += 1
        often = self.recipe.checkpoint
        late = often.every_seconds is not None and time.monotonic() - self.saved > often.every_seconds
        if not (now or late or (often.every_steps and self.since >= often.every_steps)):
            return
        notes = {
            "position": dataclasses.asdict(position),
            "callbacks": {type(c).__name__: c.state() for c in self.own if hasattr(c, "state")},
        }
        self._write(self.path, self.groups, notes)
        if position.history and position.batch == 0:
            runs.write_history(self.folder, position.history)
            if time.monotonic() - self.drawn > CURVES_INTERVAL:  # half a second's work
                plots.curves(pd.DataFrame(position.history), self.folder / "curves.png")
                self.drawn = time.monotonic()
        self.saved, self.since = time.monotonic(), 0

    def write_weights(self, path):
        """Writes the model's weights, or their average where there is one."""
        if self.average:
            self.average.swap()
        try:
            self._write(path, {"model": self.model.weights})
        finally:
            if self.average:
                self.average.swap()

    def take_best(self):
        """Gives the model the weights of the best epoch, where they are kept. Returns whether they are."""
        path = self.folder / runs.BEST
        if self.recipe.checkpoint.keep != "best" or not path.is_file():
            return False
        self._assign({"model": self.model.weights}, runs.load_arrays(path)[0], path)
        return True

    def finish(self, history, write=True):
        """The training is done: the result, which the model has afterwards, and the curves, where they are written."""
        if not self.take_best() and self.average:
            self.average.swap()
        if not write:
            return
        self._write(self.folder / runs.RESULT, {"model": self.model.weights})
        if history:  # none where `BackupAndRestore` has gone on with a training that was done
            plots.curves(pd.DataFrame(history), self.folder / "curves.png")

    def restore_model(self):
        """Assigns the weights that were saved and returns the `Position`."""
        self.found, self.notes = runs.load_arrays(self.path)
        self._give(*self.groups)
        return Position(**self.notes["position"])

    def _give(self, *groups):
        """Gives the variables of some groups what the state that was found has for them."""
        self._assign({name: self.groups[name] for name in groups}, self.found, self.path)

    def _assign(self, groups, found, path):
        for name, variables in groups.items():
            checkpoint.assign(variables, found, name, path)

    def _write(self, path, groups, notes=None):
        arrays = {}
        for name, variables in groups.items():
            arrays |= checkpoint.named(variables, name)
        runs.save_arrays(path, arrays, notes)
