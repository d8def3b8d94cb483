"""The process that paints: it has a framework, and one network that stays warm. It is told what to paint line by line,
JSON on standard input, and answers so on standard output.

It ends when its input does, because the server has ended, however that was: what it paints is saved first.
"""

import _thread
import contextlib
import importlib
import json
import logging
import math
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from kstyle import plugins
from kstyle.errors import KStyleError
from kstyle.io import files, signals
from kstyle.io.files import one_line
from kstyle.serve.jobs import MOST_POINTS, PREVIEW, SMALL, STOPPED
from kstyle.style.keeping.checkpoint import SECONDS
from kstyle.style.keeping.folder import PICTURE, RECORD, Folder

TELL = 0.25  # seconds between two messages about steps
LOOK = 0.3  # and between two pictures, or more: SHARE is the part of the time that goes into them
SHARE = 0.03
LONG = 1024, 320  # pixels of the long side of the picture that is looked at, and of the small one
ANOTHER = 1.0  # seconds after which a folder is asked for again that the process of a server before still holds
_LARGER = (2, 1.5)


class Worker:
    """Paints what it is told to, one after the other.

    Args:
        say: called with each message, a dict for JSON.
        max_memory, save_seconds: as for `kstyle.stylize`.
    """

    def __init__(self, say, max_memory=None, save_seconds=SECONDS):
        self._say, self._max_memory, self._save_seconds = say, max_memory, save_seconds
        self._now = None  # key of the task that is painted and may be interrupted
        self._stopped = set()  # keys of tasks that are to stop, also of those that are not begun yet
        self._over = False
        self._lock = threading.Lock()
        self._warm = None, None  # what the network was loaded for, and the network
        signal.signal(signal.SIGINT, self._interrupted)

    def stop(self, key=None):
        """Stops a task, once; None: whatever is painted, and all that comes. For any thread."""
        with self._lock:
            self._over = self._over or key is None
            key = self._now if key is None else key
            if key not in self._stopped and key is not None:
                self._stopped.add(key)
                if key == self._now:
                    _thread.interrupt_main()

    def _interrupted(self, *_):
        if self._now is not None:  # what follows a painting is not to be interrupted
            self._now = None
            raise KeyboardInterrupt

    def _begin(self, key):
        with self._lock:
            if key in self._stopped or self._over:
                raise KeyboardInterrupt
            self._now = key

    def paint(self, task):
        """Paints, and tells how that ended: `finished`, `stopped` or `failed`. Returns whether this process is fit for
        the next."""
        from kstyle.style.result import Interrupted

        told, done, fit = {"end": "failed"}, False, True
        look = _Look(task, self._say)
        try:
            try:
                with signals.kept():
                    self._begin(task["key"])
                    result = self._painted(task, look.step)
                    told |= look.last(result)
                    done = True
            finally:
                self._now = None
            told["end"] = "finished"
        except Interrupted as stop:
            told |= {"end": "stopped", **look.last(stop.result, Path(task["folder"]) / STOPPED)}
        except KeyboardInterrupt:
            # After the last step; or before the first, in the middle of whatever that loads.
            told["end"], fit = ("finished", True) if done else ("stopped", False)
        except KStyleError as error:
            told["error"] = str(error)
        except MemoryError:
            told["error"] = "This takes more memory than there is: choose a smaller size."
        except Exception as error:
            traceback.print_exc()
            told["error"] = f"unexpected {type(error).__name__}: {one_line(error)[:300]} (log.txt has more)"
        with contextlib.suppress(KStyleError, MemoryError):
            if told["end"] != "failed" and fit and not self._over:
                told["larger"] = self._larger(task)
        self._say({**told, "fit": fit})
        return fit

    def _painted(self, task, callback):
        from kstyle.style import stylize
        from kstyle.style.keeping.sources import Sources

        asked, run = task["asked"], Path(task["folder"]) / "run"
        if task["network"]:
            result = stylize.stylize(
                task["content"], asked["styles"], size=asked["size"], blend=task["blend"],
                max_memory=self._max_memory, **task["overrides"],
            )  # fmt: skip
            run.mkdir(exist_ok=True)
            result.write(run / PICTURE)
            return result
        folder, result = Folder(run, self._save_seconds), None
        if not (run / RECORD).is_file():
            shutil.rmtree(run, ignore_errors=True)  # of a painting that was stopped before it began
            given = Sources(task["content"], task["styles"], task["masks"])
            result = folder.begin(
                given, lambda: self._painter(given.styles, task), asked["size"], asked["steps"], asked["seed"], callback
            )
        more = max(task["extended"] - folder.record()["extended"], 0)
        if result is None or more:
            result = self._alone(lambda: folder.go_on(self._going_on, more, callback))
        if folder.fault:  # of a checkpoint, or of the picture, which is then what fails here
            result.write(run / PICTURE)
        return result

    def _alone(self, work):
        """`work()`, as soon as no other process is in its folder: one of a server that was killed ends after its
        step."""
        from kstyle.io.locks import Held

        while True:
            try:
                return work()
            except Held:
                time.sleep(ANOTHER)

    def _painter(self, styles, task):
        from kstyle.style.transfer import Painter

        return self._warmed(
            Painter(
                styles, task["asked"]["preset"], blend=task["blend"], max_memory=self._max_memory, **task["overrides"]
            )
        )

    def _going_on(self, record, pictures):
        from kstyle.style import stylize

        return self._warmed(stylize.painter_of(record, pictures))

    def _warmed(self, painter):
        settings = painter.settings
        key = settings.network.model_dump_json(), sorted(settings.taps), painter.precision, painter.weights
        before, network = self._warm
        self._warm = key, painter.load(network if key == before else None)
        return painter

    def _larger(self, task):
        """The size that the picture can be painted in next: {"size"}, or {"error"} that says why in none."""
        from kstyle.style.passes.sizes import LARGEST_SIDE

        asked, line = task["asked"], f"No picture is painted larger than {LARGEST_SIDE:,} pixels."
        painter = None if task["network"] else self._painter(task["styles"], task)
        for factor in _LARGER:
            size = int(asked["size"] * factor)
            if size > LARGEST_SIDE:
                continue
            try:
                if painter is not None:
                    painter.planned(task["content"], size, asked["steps"])
            except KStyleError as error:
                line = str(error)
                continue
            return {"size": size}
        return {"error": line}


class _Look:
    """What is told and shown of a painting while it comes about."""

    def __init__(self, task, say):
        self._folder, self._say = Path(task["folder"]), say
        self._told = self._shown = 0.0
        self._version = task["version"]

    def step(self, step):
        """Called after each step; most of them are not worth a word."""
        now = time.monotonic()
        if now - self._told >= TELL or step.step + 1 == step.total:
            self._told = now
            losses = {name: value for name, value in step.losses.items() if math.isfinite(value)}
            self._say({
                "step": step.step + 1, "total": step.total, "seconds": step.seconds, "losses": losses,
                "clock": now,
            })  # fmt: skip
        if now >= self._shown:
            self._show(step.image(), step.alpha())
            took = time.monotonic() - now
            self._shown = now + max(LOOK, took / SHARE)

    def last(self, result, png=None):
        """The pictures of a painting that has ended; what is told of it. `png`: where it is written too."""
        self._show(result.rgb, result.alpha, small=True)
        if png:
            with contextlib.suppress(KStyleError):
                result.write(png)
        losses = [float(loss) for loss in result.history["loss"]]
        every = -(-max(len(losses), 1) // MOST_POINTS)
        picked = sorted({*range(0, len(losses), every), *range(len(losses))[-1:]})
        height, width = result.rgb.shape[:2]
        curve = [[number + 1, losses[number]] for number in picked if math.isfinite(losses[number])]
        told = {"history": curve, "losses": result.losses}
        if "painted_in" in result.settings:
            told["seconds"] = result.settings["painted_in"]
        elif len(losses):
            told["seconds"] = float(result.history["seconds"].iloc[-1])
        return {**told, "step": len(losses), "version": self._version, "width": width, "height": height}

    def _show(self, rgb, alpha, small=False):
        from kstyle.pictures import images

        picture = images.to_pil(rgb, alpha)
        try:
            for name, side in zip((PREVIEW, SMALL), LONG[: 1 + small]):
                picture.thumbnail((side, side))
                with files.replacing(self._folder / name) as beside:
                    picture.save(beside, format="WEBP", quality=85, method=0)
        except KStyleError as error:  # a full disk is not to end the painting
            logging.getLogger("kstyle").warning("%s", error)
            return
        self._version += 1
        self._say({"version": self._version})


def main():
    """The process: begun by `kstyle.serve.process`, which says first how."""
    # What libraries print goes to the log, and not between the messages.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    lock = threading.Lock()

    def say(message):
        with lock, contextlib.suppress(OSError):  # the server is gone: the input's end tells
            answers.write(files.json_text(message) + "\n")
            answers.flush()

    told = sys.stdin.buffer
    given = json.loads(told.readline())
    try:
        plugins.load(given["plugins"])
        importlib.import_module("kstyle.style.stylize")  # with the framework: seconds, in which nothing is painted yet
        if given["max_memory"] is not None:
            from kstyle.style.engine import memory

            memory.parsed(given["max_memory"])
    except KStyleError as error:
        say({"unfit": str(error)})
        os._exit(1)
    worker, tasks = Worker(say, given["max_memory"], given["save_seconds"]), queue.SimpleQueue()

    def listen():
        for line in told:
            task = json.loads(line)
            if "stop" in task:
                worker.stop(task["stop"])
            else:
                tasks.put(task)
        tasks.put(None)
        worker.stop()

    threading.Thread(target=listen, daemon=True, name="kstyle-listen").start()
    say({"ready": True})
    while (task := tasks.get()) is not None:
        if not worker.paint(task):
            break
    # At once: a thread may still wait for what is told, and Python would wait for it.
    sys.stderr.flush()
    os._exit(0)
