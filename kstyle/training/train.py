"""`kstyle.train`: from a recipe to a run folder."""

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import runs, signals
from kstyle.io.files import expanded
from kstyle.nn import callbacks as given
from kstyle.nn import state as checkpoint
from kstyle.training.loop import callbacks, optimizers, steps
from kstyle.training.loop.fit import Look, Position, Stopped, fit
from kstyle.training.results import evaluate, metrics, plots
from kstyle.training.setup import build, settings, stages
from kstyle.training.setup import resume as resuming
from kstyle.training.setup import start as starting

log = logging.getLogger("kstyle")

# Seconds between two drawings of the curves.
CURVES_INTERVAL = 60.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `train`; the state is saved in `folder`, and `train(…, resume=True)` goes on."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder


@dataclass(frozen=True)
class Run:
    """A training that is done.

    Attributes:
        folder: where everything is, see `kstyle.io.runs`.
        history: `pandas.DataFrame`, a row an epoch.
        scores: see `kstyle.training.results.metrics`; of the test split.
        model: `keras.Model`, pictures normalised as run.json says -> logits. It is compiled:
            `model.evaluate(pictures, labels)`, (N, H, W, C) float32 and (N,) integers, gives the cross-entropy and the
            accuracy.

    >>> import kstyle
    >>> run = kstyle.train("digits_cnn")  # doctest: +SKIP
    >>> run.history["val_accuracy"].max(), run.model.count_params()  # doctest: +SKIP
    """

    folder: Path
    history: pd.DataFrame
    scores: metrics.Scores
    model: keras.Model


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None,
    data: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    *,
    overrides: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    extra: Sequence[Any] = (),
    look: Callable[[Look], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Run:
    """Trains what a recipe says and scores it on the test split.

    Args:
        recipe: a name from `kstyle recipes`, the path of a YAML file, or a mapping of what such a file says.
        data: the folder of the data set; None: see `kstyle.data.load`.
        run: the run's folder; None: `runs/RECIPE-date-time`.
        resume: go on with `run`, which must hold a state. The recipe is then the run's own: `recipe`, or None, and
            `overrides` must not say anything else, but `epochs` may be another number, in all.
        overrides: {dotted key: value} of settings.
        callbacks: a list of `keras.callbacks.Callback`s, Keras' own or yours, and of functions, which are called as
            `function(epoch, logs)` after each epoch, counted from 0. The training ends when one sets
            `model.stop_training` or a function returns something true. docs/recipes.md says what they get.
        extra: the same, by its older name.
        look: called with a `kstyle.training.loop.fit.Look` now and then.
        progress: `progress(done_bytes, total_bytes)` during a download.

    Returns:
        A `Run`.

    Raises:
        UsageError: the recipe or an option cannot be, or something among `callbacks` is none.
        DataError: the data cannot be had or used.
        Interrupted: Ctrl-C; the state is saved.

    >>> import keras, kstyle
    >>> stop = [keras.callbacks.EarlyStopping("val_accuracy", patience=3), lambda epoch, logs: logs["accuracy"] == 1]
    >>> run = kstyle.train("digits_cnn", run="runs/digits", callbacks=stop)  # doctest: +SKIP
    >>> run.scores.top1, run.folder  # doctest: +SKIP
    (0.958, PosixPath('runs/digits'))
    """
    extra = given.listed([callbacks, extra])
    data, run = expanded(data), expanded(run)
    called = "recipe" if isinstance(recipe, Mapping) else expanded(recipe)
    if not resume:
        settings.load(recipe, overrides)  # before a folder is made for it
    with runs.taken(run, called, resume) as folder:
        return _trained(folder, recipe, data, resume, overrides, extra, look, progress)


def _trained(folder, recipe, data, resume, overrides, extra, look, progress):
    """What `train` does, in a folder that nobody else writes into."""
    recipe, more = resuming.recipe(folder, recipe, overrides) if resume else (settings.load(recipe, overrides), False)
    backend.configure(recipe.deterministic)
    backend.seed(recipe.seed)
    parts = build.data(recipe, data, progress)
    model = build.network(recipe, len(parts.classes), parts.shape)
    if data is not None:  # `kstyle evaluate` looks there too
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": data})})
    recipe = resuming.absolute(recipe)
    if resume:
        facts = runs.facts(folder)
        if facts["data"]["sha256"] != parts.sha256:
            raise DataError(f"{folder}: the data are not those it began with ({parts.origin}).")
        runs.clear(folder)
        if more:
            runs.write_recipe(folder, settings.resolved(recipe))
        normalise = steps.Normalise(facts["mean"], facts["std"])
    else:
        weights = recipe.model.weights
        preprocessing = starting.load(model, weights, parts.classes, progress) if weights else None
        normalise = steps.Normalise(*build.normalisation(recipe, parts, preprocessing))
        runs.start(folder, settings.resolved(recipe), _facts(recipe, parts, model, normalise))
    with _logged(folder):
        log.info(
            "%s on %s: %s parameters, %s pictures. Run: %s",
            recipe.model.name,
            recipe.data.name,
            f"{model.count_params():,}",
            f"{len(parts.training):,}",
            folder,
        )
        history = _train(recipe, model, parts, normalise, folder, resume, more, extra, look)
        scores = evaluate.score(model, normalise, parts, folder)
        log.info("test: top-1 %.2f %%", 100 * scores.top1)
    return Run(folder, _frame(history), scores, model)


def _facts(recipe, parts, model, normalise):
    """What run.json holds."""
    return {
        "classes": list(parts.classes),
        "shape": list(parts.shape),
        "resize": parts.resize,
        "mean": normalise.mean,
        "std": normalise.std,
        "data": {"name": recipe.data.name, "origin": parts.origin, "sha256": parts.sha256},
        "pictures": {
            "train": len(parts.training),
            "validation": len(parts.validation),
            "test": len(parts.test),
            "per_class": dict(zip(("train", "test"), build.counts(parts.classes, parts.training, parts.test))),
            "skipped": [list(entry) for entry in parts.skipped],
        },
        "parameters": model.count_params(),
        "seed": recipe.seed,
        "backend": backend.NAME,
        "device": backend.device(),
        "precision": backend.precision(recipe.precision),
        "versions": backend.versions(),
    }


def _train(recipe, model, parts, normalise, folder, resume, more, extra, look):
    plan = recipe.plan
    total = sum(stage.epochs for stage in plan)
    weights = build.class_weights(recipe.loss.class_weights, parts.training.labels, parts.classes)
    strength = callbacks.AugmentStrength(recipe.augment_schedule, total)
    average = callbacks.WeightAverage(recipe.average.decay) if recipe.average else None
    best = None

    def save_weights(path):
        with _averaged(average):
            runs.save_arrays(path, checkpoint.named(model.weights, "model"))

    def carry_best():
        if recipe.checkpoint.keep == "best" and (folder / runs.BEST).is_file():
            found, _ = runs.load_arrays(folder / runs.BEST)
            checkpoint.assign(model.weights, found, "model", folder / runs.BEST)
            return True
        return False

    lasting = [strength]
    if average:
        lasting.append(average)
    if recipe.checkpoint.keep == "best" or recipe.early_stop:
        best = callbacks.Best(folder, recipe.checkpoint.monitor, save_weights, recipe.early_stop)
        lasting.append(best)
    if recipe.tensorboard:
        lasting.append(callbacks.TensorBoard(folder))
    lasting.append(callbacks.TextLog(total))
    for callback in lasting:
        callback.set_model(model)
    state = _State(folder, recipe, model, average)
    position = state.restore_model() if resume else Position()
    if more and position.stage == len(plan) - 1:
        position.ended = position.stopped = False  # even if no epoch had been better for long
    optimizer = None
    with _interruptible() as stop:
        for number in range(position.stage, len(plan)):
            stage = plan[number]
            if number > position.stage:
                carry_best()
                position.stage, position.first, position.ended = number, position.epoch, False
            if len(plan) > 1:
                log.info("stage %d of %d: %s, %d epochs", number + 1, len(plan), stage.train, stage.epochs)
            work = stages.prepare(stage, recipe, model, parts, normalise)
            if not work.batches.steps:
                pictures = f"the {len(parts.training)} training pictures"
                raise UsageError(f"batch: {recipe.batch} is more than {pictures}, and drop_last is set.")
            before = optimizer
            optimizer = optimizers.build(stage.optimizer, work.model.trainable_variables)
            steps.compile_model(model, optimizer, monitored=bool(extra))
            if before is not None and stage.keep_optimizer:
                optimizers.carry(before, optimizer)
            step = steps.TrainStep(
                work.model, optimizer, recipe, stage.optimizer, work.normalise, work.augment, weights
            )
            rate = callbacks.LearningRate(
                stage.schedule, stage.optimizer.learning_rate, work.batches.steps, stage.epochs, position.first, extra
            )
            if best:
                best.enter(position.first)
            state.enter([rate, *lasting], step, restore=resume and before is None)
            everyone = [rate, *lasting, *extra]
            for callback in [rate] if before else [rate, *extra]:
                callback.set_model(model)
            for callback in everyone:
                callback.set_params({"verbose": 1, "epochs": total, "steps": work.batches.steps})
            if before is None:
                for callback in everyone:
                    callback.on_train_begin({})
                if epoch := given.initial_epoch(model):
                    if len(plan) > 1:
                        raise UsageError("callbacks: BackupAndRestore cannot go on in a recipe with stages.")
                    position.go_back(epoch)
                    rate.current = None
            try:
                history = fit(
                    model, step, work.batches, _validation(work), epochs=stage.epochs, seed=recipe.seed,
                    callbacks=everyone, position=position, strength=strength, save=state.save, look=look, stop=stop,
                    total=total,
                )  # fmt: skip
            except Stopped:
                log.info("Stopped in epoch %d. To go on: kstyle train --resume --run %s", position.epoch + 1, folder)
                raise Interrupted(folder) from None
            except Exception as error:
                if backend.out_of_memory(error):
                    parts = 2 * recipe.accumulate
                    raise DataError(
                        f"A step of {recipe.batch} pictures takes more memory than there is: a smaller batch "
                        f"(--set batch={max(1, recipe.batch // 2)}), or the same in {parts} parts "
                        f"(--set accumulate={parts}), takes less."
                    ) from error
                raise
            if position.stopped:
                break
    if optimizer.use_ema:  # as Keras does at the end of `fit`
        optimizer.finalize_variable_values(work.model.trainable_variables)
    for callback in everyone:
        callback.on_train_end(position.logs)
    state.tell(history, last=True)
    if not carry_best() and average:
        average.swap()
    runs.save_arrays(folder / runs.RESULT, checkpoint.named(model.weights, "model"))
    return history


def _validation(work):
    predictor = steps.Predictor(work.model, work.normalise)

    def validate():
        loss, accuracy = metrics.quick(predictor(work.images), work.labels)
        return {"val_loss": loss, "val_accuracy": accuracy}

    return validate


class _State:
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
            plots.curves(_frame(history), self.folder / "curves.png", title=self.folder.name)
            self.drawn = time.monotonic()

    def restore_model(self):
        """Assigns the weights that were saved and returns the `Position`."""
        self.found, self.notes = runs.load_arrays(self.path)
        self._assign(*self.groups)
        return Position(**self.notes["position"])

    def _assign(self, *groups):
        for name in groups:
            checkpoint.assign(self.groups[name], self.found, name, self.path)


def _frame(history):
    return pd.DataFrame(history)


@contextlib.contextmanager
def _averaged(average):
    if average is None:
        yield
        return
    average.swap()
    try:
        yield
    finally:
        average.swap()


@contextlib.contextmanager
def _interruptible():
    """A stop (Ctrl-C) waits for the end of a step, where weights and counters belong together; a second does not."""
    asked = []

    def ask(number, frame, before):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with signals.handled(ask):
        yield lambda: bool(asked)


@contextlib.contextmanager
def _logged(folder):
    """kstyle's log, with the time of each line, in the run folder."""
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = log.level
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
