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
    """Saves and restores everything that the next step depends on."""

    def __init__(self, folder, recipe, model, average):
        self.path, self.folder, self.recipe, self.model = folder / runs.STATE, folder, recipe, model
        self.groups = {"model": model.variables}
        if average:
            self.groups["average"] = average.averages
        self.own = []
        self.saved, self.since = time.monotonic(), 0
        self.drawn = time.monotonic()

    def enter(self, own, step, restore):
        """A stage begins, with its callbacks and step; `restore`: it is the one that was saved."""
        self.own = own
        self.groups |= {"optimizer": self.model.optimizer.variables, "totals": [step.totals]}
        if restore:
            self._assign("optimizer", "totals")
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
        values = {}
        for name, variables in self.groups.items():
            values |= checkpoint.named(variables, name)
        runs.save_arrays(self.path, values, notes)
        if position.history and position.batch == 0:
            self.tell(position.history)
        self.saved, self.since = time.monotonic(), 0

    def tell(self, history, last=False):
        """history.csv after each epoch; curves.png, half a second's work, now and then and at the end."""
        if not history:  # `BackupAndRestore` has gone on with a training that was done
            return
        runs.write_history(self.folder, history)
        if last or time.monotonic() - self.drawn > CURVES_INTERVAL:
            plots.curves(pd.DataFrame(history), self.folder / "curves.png", title=self.folder.name)
            self.drawn = time.monotonic()

    def restore_model(self):
        """Assigns the weights that were saved and returns the `Position`."""
        self.found, self.notes = runs.load_arrays(self.path)
        self._assign(*self.groups)
        return Position(**self.notes["position"])

    def _assign(self, *groups):
        for name in groups:
            checkpoint.assign(self.groups[name], self.found, name, self.path)
