"""The folder of a painting: all that it takes to go on with it, or to add steps to it when it is done.

painting.json      what the painting is made of and with: pictures with their SHA-256, settings, weights, versions
state.safetensors  the painting between two steps, saved every minute; state-before.safetensors is the one before it
history.csv        a line a step
log.txt            what was said, with the time
picture.png        the picture, when it is done
size-256.webp      what there was at the end of the size of 256 pixels, for `kstyle report`
content.safetensors, style_1.safetensors, …   pictures that came through a pipe or from Python
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kstyle import config, plugins
from kstyle.errors import DataError, UsageError
from kstyle.io import files, runs
from kstyle.io.files import expanded, json_text, one_line, shown
from kstyle.pictures import images
from kstyle.style.keeping.checkpoint import SECONDS, Checkpoint, finish
from kstyle.style.keeping.sources import Found, Sources

log = logging.getLogger("kstyle")

RECORD, BEFORE, HISTORY, PICTURE = "painting.json", "state-before.safetensors", "history.csv", "picture.png"
SIZE, SHOWN = "size-{}.webp", 1024  # of the picture at the end of a size, and its own long side at most
VERSION = 1
KEYS = ("finished", "output", "size", "steps", "extended", "seed", "weights", "plugins", "pictures", "made_with")
LARGEST_RECORD = 1 << 24  # bytes
# What a painting may go on with that is not as it was: the log tells it.
MAY_CHANGE = ("device", "versions", "backend", "weights")


class Folder:
    """Keeps a painting in a folder.

    Args:
        path: of the folder.
        seconds: between two checkpoints.
        output: where the picture is written beside, noted for whoever goes on; None: nowhere.

    Attributes:
        path: a `Path`.
        fault: the `DataError` of what could not be written in the end; None: all was.

    Raises:
        UsageError: the seconds are no number, 0 or more.
    """

    def __init__(
        self, path: str | os.PathLike[str], seconds: float = SECONDS, output: str | os.PathLike[str] | None = None
    ) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise UsageError(f"save_seconds must be a number, 0 or more; got {shown(seconds)}.")
        self.path, self._seconds = Path(expanded(path)), seconds
        self._output = None if output is None else os.path.abspath(output) if str(output) != "-" else "-"
        self.fault: DataError | None = None

    def begin(self, sources: Sources, make: Callable[[], Any], *numbers: Any) -> Any:
        """A new painting.

        Args:
            sources: `kstyle.style.keeping.sources.Sources`.
            make: a function that gives their `Painter`.
            numbers: size, steps, seed and callback, as for `Painter.painting`.

        Returns, raises: as `Painter.paint`; UsageError where the folder holds a run, or the painting needs what no
        file can name; DataError where it cannot be written to.
        """
        with self._taken():
            painter = make()
            painter.check_named("The folder of a painting cannot name {}, which was given: paint without one")
            painter.locate()
            size, steps, seed, callback = numbers
            painting = painter.painting(sources.content, size, steps, seed, callback, masks=sources.masks)
            if os.path.isabs(painter.settings.init):
                sources.file("init", painter.settings.init)
            sources.keep(self.path)
            record = {
                "version": VERSION,
                "finished": False,
                "output": self._output,
                "size": size,
                "steps": steps,
                "extended": 0,
                "seed": seed,
                "weights": painter.weights,
                "max_memory": painter.max_memory,
                "plugins": plugins.loaded(),
                "pictures": sources.entries,
                "made_with": painter.record(),
            }
            self._write(record)
            return self._finish(painter, painting, record, _made_of(record, painting))

    def go_on(self, make: Callable[[dict, Found], Any], extend: int = 0, callback: Any = None) -> Any:
        """Takes the steps that are left, and `extend` more.

        Args:
            make: a function that gives the `Painter` of (record, `Found`).
            callback: as for `Painter.painting`.

        Returns, raises: as `Painter.paint`; DataError where the folder holds no painting, or something has changed
        since it began, or its checkpoint is damaged.
        """
        if isinstance(extend, bool) or not isinstance(extend, int) or not 0 <= extend <= 10**9:
            raise UsageError(f"extend must be a whole number of steps, 0 or more; got {shown(extend)}.")
        self.record()  # before the lock is taken
        with self._taken(resume=True):
            if not _silent():
                runs.clear(self.path)
            record = self.record()
            plugins.check(record["plugins"], self.path, one_line(self.path))
            found = Found(record["pictures"], self.path)
            try:
                painter = make(record, found)
            except UsageError as error:  # settings that another version of kstyle, or a plugin, knew
                raise DataError(f"{one_line(self.path / RECORD)}: {error}") from error
            self._same_weights(painter, record)
            self._differences(painter.record(), record["made_with"])
            if extend:
                record |= {"extended": record["extended"] + extend, "finished": False}
            painting = painter.painting(
                found.content, record["size"], record["steps"], record["seed"], callback, masks=found.masks,
                extend=record["extended"],
            )  # fmt: skip
            of = _made_of(record, painting)
            checkpoint = self._checkpoint(of)
            if state := checkpoint.load():
                arrays, facts, before = state
                self._same(of, before)
                if record["extended"] and not record["finished"]:  # even if it had stopped before its last step
                    facts["course"]["ended"] = facts["course"]["ended"] and facts["pass"] < len(painting.plan) - 1
                painting.resume(arrays, facts)
                log.info("going on after step %d of %d", len(facts["history"]), painting.steps)
            _barrier()  # all ranks have read what the first now changes
            if _silent():
                return painter.finish(painting)
            if extend:
                self._write(record)
            return self._finish(painter, painting, record, of, checkpoint)

    def record(self) -> dict[str, Any]:
        """painting.json, a dict. DataError: there is none that kstyle wrote."""
        path = self.path / RECORD
        try:
            found = json.loads(files.read_bytes(path, LARGEST_RECORD))
        except FileNotFoundError:
            what = f"it has no {RECORD}" if self.path.is_dir() else "there is no such folder"
            raise DataError(f"{one_line(self.path)} holds no painting to go on with: {what}.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{one_line(path)}: cannot be read, or is damaged ({one_line(error)}).") from error
        if not isinstance(found, dict) or found.get("version") != VERSION or not set(KEYS) <= set(found):
            raise DataError(f"{one_line(path)}: was not written by this version of kstyle.")
        return found

    def output(self) -> Any:
        """Where the picture goes beside: where it went when the painting began, or into the folder."""
        return self.record()["output"] or self.path / PICTURE

    def ready(self) -> Any:
        """The path of the picture where the painting is finished and it is there; else None."""
        return self.output() if self.record()["finished"] and os.path.isfile(self.output()) else None

    def inputs(self) -> list[str]:
        """The files that the painting is made of."""
        return [
            each["path"] for each in self.record()["pictures"].values() if isinstance(each, dict) and "path" in each
        ]

    @contextlib.contextmanager
    def _taken(self, resume=False):
        if _silent():
            yield
            return
        known = (RECORD, runs.STATE, BEFORE, runs.RESULT)
        with runs.taken(self.path, "painting", resume, "painting", known), runs.logged(self.path):
            yield

    def _checkpoint(self, of):
        return Checkpoint(self.path / runs.STATE, self.path / BEFORE, of, self._seconds)

    def _finish(self, painter, painting, record, of, checkpoint=None):
        keeper = checkpoint or self._checkpoint(of)

        def saved():
            self.fault = None
            self._try(lambda: runs.write_history(self.path, painting.history.rows))

        def passed():
            rgb = painting.seen()
            side = max(rgb.shape[:2])
            small = rgb if side <= SHOWN else np.clip(images.resize(rgb, images.fit(rgb.shape[:2], SHOWN)), 0, 1)
            self._try(lambda: images.write(self.path / SIZE.format(side), small))

        def then(result, done):
            self._try(lambda: result.write(self.path / PICTURE))
            if done:
                self._try(lambda: self._write({**record, "finished": True, "peak": _peak()}))
            self.fault = self.fault or keeper.fault
            if self.fault:
                log.warning("%s The picture is painted, but its folder does not have all of it.", self.fault)

        # Before the first step there is nothing that a stop would have to wait for.
        return finish(painter, painting, keeper, lambda: painting.canvas is not None, True, saved, then, passed)

    def _try(self, write):
        try:
            write()
        except DataError as error:
            self.fault = error

    def _write(self, record):
        with files.replacing(self.path / RECORD) as beside:
            beside.write_text(json_text(record, indent=1), "utf-8")

    def _same_weights(self, painter, record):
        weights, before = painter.load(), record["made_with"]["weights"]
        if weights.sha256 != before["sha256"]:
            raise DataError(
                f"The network's weights are not those that the painting in {one_line(self.path)} began with: they are "
                f"now from {weights.origin}, and were from {before['origin']}, SHA-256 {before['sha256'][:12]}."
            )

    def _differences(self, now, before):
        for name in ("backend", "device", "versions"):
            if now[name] != before[name]:
                log.warning(
                    "The painting in %s began with the %s %s, now %s: what follows may be rounded otherwise.",
                    one_line(self.path), name, shown(before[name]), shown(now[name]),
                )  # fmt: skip

    def _same(self, now, before):
        """DataError: what the painting is made with differs from what its checkpoint is of; the first is named."""
        now, before = config.flat(json.loads(json.dumps(now))), config.flat(before)
        for key in {**before, **now}:
            if now.get(key) != before.get(key):
                raise DataError(
                    f"'{key}' is {shown(now.get(key))} now, and was {shown(before.get(key))} when the painting in "
                    f"{one_line(self.path)} began: a painting goes on with its own settings, as {RECORD} had them."
                )


# What knows of ranks loads a framework, which a folder that cannot be used is to be told without.


def _silent():
    from kstyle.backend import distribute

    return distribute.silent()


def _peak():
    from kstyle import backend

    return backend.memory()["peak"]


def _barrier():
    from kstyle.backend import distribute

    distribute.barrier()


def _made_of(record, painting):
    """What a checkpoint is of: it fits another painting only if that has the same."""
    made = {key: value for key, value in record["made_with"].items() if key not in MAY_CHANGE}
    plan = [[*each.shape, each.margin, each.steps] for each in painting.plan]
    plan[-1][-1] -= record["extended"]
    return {**made, "size": record["size"], "seed": record["seed"], "plan": plan}
