"""`kstyle.learn`: a network that paints in one style, or several, from photographs; kept in a folder as it learns."""

import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import runs, signals
from kstyle.io.files import expanded, one_line, sha256, shown
from kstyle.models import features
from kstyle.pictures import images, sheet
from kstyle.style.learning import settings as network_settings
from kstyle.style.learning.learner import Learner
from kstyle.style.learning.photographs import Photographs
from kstyle.style.networks.style_file import StyleFile
from kstyle.style.passes.styles import Styles

log = logging.getLogger("kstyle")

NETWORK, SHEET = "network.keras", "sheet.png"
ON_SHEET = 8  # photographs, each beside what becomes of it
SECONDS = 60.0  # between two states that are saved
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


@dataclass(frozen=True)
class Learned:
    """What `learn` gives.

    Attributes:
        network: a `kstyle.style.networks.style_file.StyleFile`; `network.write("night.keras")` keeps it.
        history: list of {"step", "seconds", "loss", each term; "held_out" where it was looked at}.
        folder: of the run, which holds network.keras too.
        interrupted: whether it was stopped; `learn(resume=folder)` goes on.
    """

    network: StyleFile
    history: list[dict[str, float]]
    folder: Path
    interrupted: bool


def learn(
    styles: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    photographs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    recipe: str | os.PathLike[str] | dict[str, Any] = "half",
    *,
    minutes: float | None = None,
    seed: int = 0,
    precision: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    deterministic: bool = False,
    run: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    extend: int = 0,
    save_seconds: float = SECONDS,
    workers: int | None = None,
    callback: Callable[[Look], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **overrides: Any,
) -> Learned:
    """Learns a network that paints any photograph in the style of a picture at once (Johnson et al. 2016, arXiv
    1603.08155), by the losses of a preset.

    Args:
        styles: a picture, or several: a network then paints in each, and in blends.
        photographs: folders of photographs to learn from, a few hundred at least, and files.
        recipe: a name in `configs/networks`, the path of a YAML file or a mapping of what one says.
        minutes: how long it may take, in place of the recipe's steps. What is learned then depends on the machine.
        seed: of the first weights, of the order of photographs and of their parts.
        precision: of the features and of products: `"auto"`, `"float32"` or `"bfloat16"`.
        weights: a file to take the extractor's weights from.
        deterministic: the same bits every time on the same machine, at the cost of speed.
        run: folder that keeps it, for `resume`; None: `runs/STYLE-date-time`.
        resume: a folder to go on in, as it was begun; styles, photographs and settings are then those it has.
        extend: with `resume`: so many steps more, the rate beginning again where half of its fall is done.
        save_seconds: between two states that are saved.
        workers: processes that decode; None: as many as there are cores to spare, 0: none.
        callback: called every tenth step with a `Look`; what it returns, if true, ends the learning there.
        progress: `progress(done_bytes, total_bytes)` while weights are downloaded.
        **overrides: keys of the recipe: `steps=1000`, `losses={"style": {"weight": 80}}`, `width=1.0`.

    Returns:
        `Learned`.

    Raises:
        UsageError: an argument that cannot be; losses that no network can learn by.
        DataError: pictures that cannot be read, fewer than two photographs, a folder that cannot be written to, or a
            run whose styles or photographs have changed.

    >>> import kstyle
    >>> learned = kstyle.learn("night.jpg", "photographs", minutes=30)  # doctest: +SKIP
    >>> learned.network.write("night.keras")  # doctest: +SKIP
    """
    if resume is not None:
        given = {"styles": styles, "photographs": photographs, "run": run, "minutes": minutes, **overrides}
        if any(value not in ((), None) for value in given.values()):
            raise UsageError("resume goes on with what the run says: give nothing but extend beside it.")
        record = runs.facts(expanded(resume))
        if record.get("kind") != "style network":
            raise DataError(f"{one_line(resume)}: is no run of `kstyle learn`.")
    else:
        learning, _ = network_settings.load(recipe, overrides)
        record = _record(learning, styles, photographs, minutes, seed, precision, weights, deterministic)
    if isinstance(extend, bool) or not isinstance(extend, int) or extend < 0 or (extend and resume is None):
        raise UsageError(f"extend is a number of steps for a run that goes on, 0 or more; got {shown(extend)}.")
    learning, losses = network_settings.load(record["recipe"])
    folder = resume if resume is not None else run
    name = Path(record["styles"][0]["path"]).stem
    with (
        runs.taken(folder and expanded(folder), name, resume is not None, "learning", (runs.STATE,)) as folder,
        runs.logged(folder),
        contextlib.ExitStack() as opened,
    ):
        going = _Run(folder, record, learning, losses, save_seconds, extend, opened, workers, progress)
        return going.go(callback, resume is not None)


def _record(learning, styles, photographs, minutes, seed, precision, weights, deterministic):
    """What a run is made of, for run.json."""
    one = (str, os.PathLike)
    styles, photographs = ([each] if isinstance(each, one) else list(each) for each in (styles, photographs))
    if not styles or not photographs:
        raise UsageError(f"learn: no {'photographs' if styles else 'style picture'} to learn from.")
    if minutes is not None and not (isinstance(minutes, (int, float)) and 0 < minutes < math.inf):
        raise UsageError(f"minutes must be a number above 0; got {shown(minutes)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise UsageError(f"seed must be a whole number from 0 to 2³¹ − 1; got {shown(seed)}.")
    backend.precision(precision)
    for each in (*styles, *photographs):
        if not Path(expanded(each)).exists():
            raise DataError(f"{one_line(each)}: there is no such file or folder.")
    return {
        "kind": "style network",
        "recipe": learning.model_dump(mode="json"),
        "styles": [{"path": os.path.abspath(expanded(s)), "sha256": sha256(expanded(s))} for s in styles],
        "photographs": [os.path.abspath(expanded(p)) for p in photographs],
        "minutes": minutes,
        "steps": None if minutes is not None else learning.steps,  # in all; of minutes it is known once some are added
        "seed": seed,
        "precision": precision,
        "weights": None if weights is None else os.path.abspath(expanded(weights)),
        "deterministic": deterministic,
        "extended": 0,
    }


class _Run:
    def __init__(self, folder, record, learning, losses, save_seconds, extend, opened, workers, progress):
        self.folder, self.record, self.learning, self._save_seconds = folder, record, learning, save_seconds
        for style in record["styles"]:
            if not Path(style["path"]).is_file() or sha256(style["path"]) != style["sha256"]:
                raise DataError(f"{one_line(style['path'])}: is not the style picture that this run began with.")
        self.photographs = Photographs(record["photographs"], learning, record["seed"], workers)
        opened.callback(self.photographs.close)
        if record.setdefault("photographs_sha256", self.photographs.sha256) != self.photographs.sha256:
            raise DataError(f"{one_line(folder)}: the photographs are not those that this run began with.")
        backend.configure(record["deterministic"])
        backend.seed(record["seed"])
        extractor = features.load(
            losses.network.extractor, losses.taps, weights=record["weights"],
            precision=backend.precision(record["precision"]), progress=progress,
            **losses.network.model_dump(exclude={"extractor"}),
        )  # fmt: skip
        styles = Styles([images.read(style["path"]) for style in record["styles"]])
        self.learner = Learner(learning, losses, extractor, styles, record["seed"])
        self.rows, self.seconds, self.held_out = [], 0.0, None
        self._extend = extend

    def go(self, callback, resumed):
        self._begin(resumed)
        self._shown = [self._at_size(path) for path in self.photographs.held_out]
        stopped = False
        with signals.noted() as came:
            begun = time.monotonic() - self.seconds
            saved = time.monotonic()
            for photographs in self.photographs(self.learner.step_number):
                if self._progress() >= 1 or stopped or came:
                    break
                losses = self.learner.take(photographs, self._rate_progress())
                self.seconds = time.monotonic() - begun
                number = self.learner.step_number
                looked = number % self.learning.look == 0
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
        return Learned(self._network(), self.rows, self.folder, bool(came))

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
            log.info(
                "%s: learns from %s photographs, %s held out", self.folder, self.photographs.count,
                len(self.photographs.held_out),
            )  # fmt: skip

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

    def _at_size(self, path):
        picture = images.read(path)
        return images.resize_picture(picture, images.fit(picture.size, self.learning.size)).rgb

    def _look(self):
        """Scores the network on the photographs held out, and draws the sheet."""
        self.held_out = self.learner.score(self._shown)
        network, entries = self._network(), []
        for path, photograph in list(zip(self.photographs.held_out, self._shown))[:ON_SHEET]:
            painted = network.paint(photograph)
            both = np.concatenate([photograph, painted], axis=1 if photograph.shape[0] > photograph.shape[1] else 0)
            entries.append((np.rint(both * 255).astype(np.uint8), [Path(path).stem], None))
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
            "photographs": self.photographs.count, "held_out": self.held_out, "seed": self.record["seed"],
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
