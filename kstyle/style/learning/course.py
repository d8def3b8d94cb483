"""A network as it learns, from the first step to the last: the loop, what is saved, what is looked at and told."""

import logging
import math
import signal
import time
from dataclasses import dataclass

from kstyle import backend
from kstyle.errors import DataError
from kstyle.io import runs, signals
from kstyle.io.files import one_line
from kstyle.pictures import bands, sheet

log = logging.getLogger("kstyle")

NETWORK, SHEET = "network.keras", "sheet.png"
ON_SHEET = 8  # pictures held out, each beside what becomes of it
SAID_EVERY = 10  # steps; on a GPU to fetch losses is to wait for it


@dataclass(frozen=True)
class Look:
    """What a callback is told now and then.

    Attributes:
        step: steps taken; `steps`: in all, None where minutes decide.
        progress: how much of the learning is done, 0 to 1.
        seconds: of learning, those before a stop counted.
        losses: {"loss": total, each weighted term}, of the last step's parts of photographs; `held_out`: the same of
            the photographs held out, None before the first time.
    """

    step: int
    steps: int | None
    progress: float
    seconds: float
    losses: dict[str, float]
    held_out: dict[str, float] | None


class Course:
    """The steps of one run.

    Args:
        folder: of the run, taken.
        record: what run.json says of it.
        learner: what takes a step, as `kstyle.style.learning.learner.Learner` does.
        pictures: what it learns from, as `kstyle.style.learning.photographs.Photographs`.
        save_seconds, extend: as for `kstyle.learn`.

    Attributes:
        rows: of the history, as `kstyle.style.learning.learn.Learned` has it.
    """

    def __init__(self, folder, record, learner, pictures, save_seconds, extend):
        self.folder, self.record, self.learner, self.pictures = folder, record, learner, pictures
        self._save_seconds, self._extend = save_seconds, extend
        self.rows, self.seconds, self.held_out = [], 0.0, None

    def go(self, callback, resumed):
        """Takes the steps. Returns `(network, interrupted)`, the network as `learner.file` gives it."""
        self._shown = self.pictures.shown()
        self._begin(resumed)
        stopped = False
        with signals.noted() as came:
            begun = time.monotonic() - self.seconds
            saved = time.monotonic()
            for batch in self.pictures(self.learner.step_number):
                if self._progress() >= 1 or stopped or came:
                    break
                losses = self.learner.take(batch, self._rate_progress())
                self.seconds = time.monotonic() - begun
                number = self.learner.step_number
                looked = number % self.learner.learning.look == 0
                if looked:
                    self._look()
                if looked or number % SAID_EVERY == 0:
                    stopped = bool(self._said(losses, callback))
                if time.monotonic() - saved >= self._save_seconds:
                    self._save()
                    saved = time.monotonic()
            if not (came or stopped):
                self._look()
            self._save()
        if came and callback is None:
            signal.raise_signal(came[0])
        return self._network(), bool(came)

    def _begin(self, resumed):
        if resumed:
            arrays = runs.Arrays(self.folder / runs.STATE)
            notes = arrays.notes
            self.learner.restore(arrays, notes["step"], one_line(self.folder / runs.STATE))
            self.rows, self.seconds, self.held_out = notes["rows"], notes["seconds"], notes["held_out"]
            if self._extend:
                self.record["steps"] = (self.record["steps"] or notes["step"]) + self._extend
                self.record["extended"] += self._extend
            runs.write_facts(self.folder, self.record)
        else:
            runs.start(self.folder, self.record["recipe"], {**self.record, "versions": backend.versions()})
            found = " and ".join(f"{count} {name}" for name, count in self.pictures.counts.items())
            log.info("%s: learns from %s, %s held out", self.folder, found, len(self._shown))

    def _progress(self):
        """How much of the learning is done."""
        if self.record["steps"] is None:
            return self.seconds / 60 / self.record["minutes"]
        return self.learner.step_number / self.record["steps"]

    def _rate_progress(self):
        """What the rate falls by: what is added to a run begins in the middle of the fall."""
        added = self.record["extended"]
        if not added:
            return self._progress()
        return 0.5 + 0.5 * (self.learner.step_number - self.record["steps"] + added) / added

    def _look(self):
        """Scores the network on what was held out, and draws the sheet."""
        self.held_out = self.learner.score([shown for _, shown in self._shown])
        network, entries = self._network(), []
        for name, shown in self._shown[:ON_SHEET]:
            entries.append((bands.levels(self.learner.beside(network, shown)), [name], None))
        said = f"{self.learner.step_number} steps, loss {self.held_out['loss']:.4g} on {len(self._shown)} held out"
        sheet.sheet(entries, self.folder / SHEET, size=320, title=said)

    def _said(self, losses, callback):
        found = {name: float(backend.as_numpy(value)) for name, value in losses.items()}
        if not math.isfinite(found["loss"]):
            raise DataError(
                f"{one_line(self.folder)}: the loss is {found['loss']} at step {self.learner.step_number}: try a "
                "lesser learning_rate. The last state that was saved is whole."
            )
        row = {"step": self.learner.step_number, "seconds": round(self.seconds, 2), **found}
        if self.held_out is not None:
            row["held_out"] = self.held_out["loss"]
        self.rows.append(row)
        if callback is None:
            return False
        done, steps = self.learner.step_number, self.record["steps"]
        return callback(Look(done, steps, self._progress(), self.seconds, found, self.held_out))

    def _network(self):
        learned = {
            "recipe": self.record["recipe"], "steps": self.learner.step_number, "seconds": round(self.seconds),
            **self.pictures.counts, "held_out": self.held_out, "seed": self.record["seed"],
            "versions": backend.versions(), "device": backend.device(),
        }  # fmt: skip
        return self.learner.file({"learned": learned})

    def _save(self):
        notes = {
            "step": self.learner.step_number, "seconds": self.seconds, "rows": self.rows, "held_out": self.held_out,
        }  # fmt: skip
        runs.save_arrays(self.folder / runs.STATE, self.learner.state(), notes)
        runs.write_history(self.folder, self.rows)
        self._network().write(self.folder / NETWORK)
