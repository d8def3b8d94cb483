"""The state of a painting in a file, every so many seconds."""

import contextlib
import hashlib
import json
import logging
import math
import signal
import time
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.io import files, runs, signals
from kstyle.io.files import one_line

log = logging.getLogger("kstyle")

SECONDS = 60.0
# Of the time that a painting takes, what may go into saving it.
SHARE = 0.02
# Bytes a second that are saved, as long as none were: a tenth of a fast disk's, a slow one's.
RATE = 2e8


class Checkpoint:
    """The file that a painting's `state` is kept in, or two of them: the last and the one before.

    A checksum is in each, so that a damaged one is told from a good one.

    Args:
        path: of the file.
        before: of the one before it; None: it is not kept.
        of: what tells this painting from others, a dict for JSON. It is kept in the file.
        seconds: between two; more where saving takes so long that it would be over `SHARE` of the time.

    Attributes:
        of: as given, as JSON has it.
        fault: the `DataError` of the last `save`; None: it went well.
    """

    def __init__(self, path, before=None, of=None, seconds=SECONDS):
        self.path, self._before = Path(path), None if before is None else Path(before)
        self.of, self._seconds = json.loads(json.dumps(of)), seconds  # as it comes back: keys are text, tuples lists
        self._begun = self._last = time.monotonic()
        self._spent, self._rate = 0.0, RATE
        self._damaged = self._told = False
        self.fault = None

    @property
    def late(self):
        """The painting has taken longer than the time between two checkpoints: it is worth one."""
        return time.monotonic() - self._begun >= self._seconds

    def due(self, painting):
        """Whether it is time to save a painting."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        return self._spent + _bytes(painting) / self._rate <= SHARE * (now - self._begun)

    def save(self, painting):
        """Saves a `kstyle.style.engine.painting.Painting` between two steps. Returns whether that went well.

        A disk that is full for an hour is not to end the painting, so what went wrong is only told, and once.
        """
        begun = time.monotonic()
        try:
            self._write(*painting.state())
            self.fault = None
        except DataError as error:
            self.fault = error
            if not self._told:
                log.warning("%s The painting goes on; of checkpoints that fail only this one is told.", error)
            self._told = True
        self._last = time.monotonic()
        took = max(self._last - begun, 1e-6)
        self._spent, self._rate = self._spent + took, _bytes(painting) / took
        return self.fault is None

    def load(self):
        """`(arrays, facts, of)` of the last good checkpoint; None where none was saved.

        Raises:
            DataError: there is none that is not damaged.
        """
        faults = []
        for path in (self.path, self._before):
            if path is None or not path.is_file():
                continue
            try:
                found = _read(path)
            except DataError as error:
                faults.append(error)
                continue
            if faults:
                self._damaged = True
                log.warning("%s Going on from the checkpoint before it, %s.", faults[0], path.name)
            return found
        if faults:
            raise faults[0]
        return None

    def remove(self):
        """Removes the file: the painting is done."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _write(self, arrays, facts):
        text = json.dumps(facts)
        notes = {"facts": text, "of": self.of, "sha256": _digest(arrays, text, self.of)}
        # A damaged file must not take the place of the good one before it.
        runs.save_arrays(self.path, arrays, notes, before=None if self._damaged else self._before)
        self._damaged = False


def finish(
    painter, painting, checkpoint, ready, end=False, saved=lambda: None, then=lambda result, done: None,
    passed=lambda: None,
):  # fmt: skip
    """`painter.finish(painting)`, saved when that is due, and before a stop.

    A stop waits for the end of the step at hand, since only there all that the painting has belongs together; a second
    does not.

    Args:
        painter, painting: `kstyle.style.transfer.Painter` and a painting of it.
        checkpoint: `Checkpoint`.
        ready: tells whether a stop waits for a step to be saved after; None: it never does.
        end: whether the last step is saved too.
        saved: called after each time.
        then: called with the result, and whether no step is left, before a stop counts again.
        passed: called after the last step of each size but the last.

    Returns, raises: as `Painter.finish`.
    """
    done = False

    def between():
        nonlocal done
        whole, final = _pass_complete(painting), painting.number == len(painting.plan) - 1
        done = whole and final
        if whole and not final:
            passed()
        last = done or painting.history.ended
        if (came or checkpoint.due(painting) if not last else end) and checkpoint.save(painting):
            saved()
        if came and not last:
            raise KeyboardInterrupt

    with contextlib.nullcontext([]) if ready is None else signals.noted(ready) as came:
        result = painter.finish(painting, between)
        then(result, done or not painting.history.ended)  # by a callback, before its last step
    if came:  # during the last step: the painting is whole, and the stop is for whoever writes it
        signal.raise_signal(came[0])
    return result


def _bytes(painting):
    return sum(4 * math.prod(variable.shape) for variable in painting.canvas.variables)


def _pass_complete(painting):
    """All steps of the pass at hand are taken, or it has ended before."""
    return len(painting.course.rows) >= painting.course.steps or painting.course.ended


def _read(path):
    with files.parsing(one_line(path)):
        arrays = runs.Arrays(path)
        notes = arrays.notes
        if _digest(arrays, notes["facts"], notes["of"]) != notes["sha256"]:
            raise ValueError("its checksum is another")
        return arrays, json.loads(notes["facts"]), notes["of"]


def _digest(arrays, text, of):
    digest = hashlib.sha256(json.dumps([text, of], sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view("uint8"))  # without a copy: a state may have gigabytes
    return digest.hexdigest()
