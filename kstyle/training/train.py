"""`kstyle.train`: from a recipe to a run folder."""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import contextlib
import dataclasses
import logging
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kstyle import runs
from kstyle.errors import UsageError
from kstyle.training import augment, build, callbacks, checkpoint, evaluate, optimizers, plots, settings, steps
from kstyle.training.fit import ArrayBatches, Position, Stopped, fit

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
        folder: where everything is, see `kstyle.runs`.
        history: `pandas.DataFrame`, a row an epoch.
        scores: see `kstyle.training.metrics`; of the test split.
        model: `keras.Model`, pictures normalised as run.json says -> logits.
    """

    folder: Path
    history: object
    scores: object
    model: keras.Model


def train(recipe, data=None, run=None, resume=False, *, overrides=None, extra=(), look=None, progress=None):
    """Trains what a recipe says and scores it on the test split.

    Args:
        recipe: a name from `kstyle recipes`, or the path of a YAML file.
        data: the folder of the data set; None: see `kstyle.data.load`.
        run: the run's folder; None: `runs/RECIPE-date-time`.
        resume: go on with `run`, which must hold a state. The recipe is then the run's own.
        overrides: {dotted key: value} of settings.
        extra: more callbacks, Keras' own for instance.
        look: called with a `kstyle.training.fit.Look` now and then.
        progress: `progress(done_bytes, total_bytes)` during a download.

    Returns:
        A `Run`.

    Raises:
        UsageError: the recipe or an option cannot be.
        DataError: the data cannot be had or used.
        Interrupted: Ctrl-C; the state is saved.
    """
    folder = Path(run) if run is not None else runs.new_folder(recipe)
    if resume:
        if not (folder / runs.STATE).is_file():
            raise UsageError(f"{folder} holds no run to go on with.")
        if overrides:
            raise UsageError("A run goes on with its own recipe: leave --set out, or start a new run.")
        recipe = str(folder / "recipe.yaml")
    recipe = settings.load(recipe, overrides)
    backend.configure(recipe.deterministic)
    backend.seed(recipe.seed)
    dataset, training, validation = build.data(recipe, data, progress)
    normalise = steps.Normalise(*build.normalisation(recipe.data.normalize, training.images))
    model = build.network(recipe, len(dataset.classes), training.images.shape[1:])
    if recipe.model.weights and not resume:
        build.start_from(model, recipe.model.weights, progress)
    model.optimizer = optimizers.build(recipe.optimizer, model.trainable_variables)
    facts = {
        "classes": list(dataset.classes),
        "shape": list(training.images.shape[1:]),
        "mean": normalise.mean,
        "std": normalise.std,
        "data": {"name": dataset.name, "origin": dataset.origin, "sha256": dataset.sha256},
        "pictures": {"train": len(training), "validation": len(validation), "test": len(dataset.test)},
        "parameters": model.count_params(),
        "seed": recipe.seed,
        "backend": backend.NAME,
        "device": backend.device(),
        "precision": backend.precision(recipe.precision),
        "versions": backend.versions(),
    }
    if not resume:
        runs.start(folder, settings.resolved(recipe), facts)
    with _logged(folder):
        log.info(
            "%s on %s: %s parameters, %s pictures. Run: %s",
            recipe.model.name,
            dataset.name,
            f"{model.count_params():,}",
            f"{len(training):,}",
            folder,
        )
        history = _train(recipe, model, training, validation, normalise, folder, resume, extra, look)
        scores = evaluate.score(model, normalise, dataset, folder)
        log.info("test: top-1 %.2f %%", 100 * scores.top1)
    return Run(folder, _frame(history), scores, model)


def _train(recipe, model, training, validation, normalise, folder, resume, extra, look):
    batches = ArrayBatches(training, recipe.batch, recipe.seed, recipe.drop_last)
    if not batches.steps:
        raise UsageError(
            f"batch: {recipe.batch} is more than the {len(training)} training pictures, and drop_last is set."
        )
    weights = build.class_weights(recipe.loss.class_weights, training.labels, model.output_shape[-1])
    step = steps.TrainStep(model, model.optimizer, recipe, normalise, augment.build(recipe.augment), weights)
    predictor = steps.Predictor(model, normalise)
    strength = callbacks.AugmentStrength(recipe.augment_schedule, recipe.epochs)
    average = callbacks.WeightAverage(recipe.average.decay) if recipe.average else None

    def validate():
        p = predictor(validation.images)
        at_label = np.clip(p[np.arange(len(p)), validation.labels], 1e-7, 1)
        accuracy = float((p.argmax(1) == validation.labels).mean())
        return {"val_loss": float(-np.log(at_label).mean()), "val_accuracy": accuracy}

    def save_weights(path):
        with _averaged(average):
            runs.save_arrays(path, checkpoint.named(model.weights, "model"))

    own = [
        callbacks.LearningRate(recipe.schedule, recipe.optimizer.learning_rate, batches.steps, recipe.epochs),
        strength,
    ]
    if average:
        own.append(average)
    if recipe.checkpoint.keep == "best" or recipe.early_stop:
        own.append(callbacks.Best(folder, recipe.checkpoint.monitor, save_weights, recipe.early_stop))
    if recipe.tensorboard:
        own.append(callbacks.TensorBoard(folder))
    own.append(callbacks.TextLog(recipe.epochs))
    everyone = [*own, *extra]
    for callback in everyone:
        callback.set_model(model)
    state = _State(folder, recipe, model, step, own, average)
    position = state.restore() if resume else Position()
    with _interruptible() as stop:
        try:
            history = fit(
                model, step, batches, validate, epochs=recipe.epochs, seed=recipe.seed, callbacks=everyone,
                position=position, strength=strength, save=state.save, look=look, stop=stop,
            )  # fmt: skip
        except Stopped:
            log.info("Stopped in epoch %d. To go on: kstyle train --resume --run %s", position.epoch + 1, folder)
            raise Interrupted(folder) from None
    state.tell(history, last=True)
    best = folder / runs.BEST
    if recipe.checkpoint.keep == "best" and best.is_file():
        found, _ = runs.load_arrays(best)
        checkpoint.assign(model.weights, found, "model", best)
    elif average:
        average.swap()
    runs.save_arrays(folder / runs.RESULT, checkpoint.named(model.weights, "model"))
    return history


class _State:
    """Saves and restores everything that the next step depends on."""

    def __init__(self, folder, recipe, model, step, own, average):
        self.path, self.folder, self.recipe, self.own = folder / runs.STATE, folder, recipe, own
        self.groups = {"model": model.variables, "optimizer": model.optimizer.variables, "totals": [step.totals]}
        if average:
            self.groups["average"] = average.averages
        self.saved, self.since = time.monotonic(), 0
        self.drawn = time.monotonic()

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
        runs.write_history(self.folder, history)
        if last or time.monotonic() - self.drawn > CURVES_INTERVAL:
            plots.curves(_frame(history), self.folder / "curves.png", title=self.folder.name)
            self.drawn = time.monotonic()

    def restore(self):
        found, notes = runs.load_arrays(self.path)
        for name, variables in self.groups.items():
            checkpoint.assign(variables, found, name, self.path)
        for callback in self.own:
            if hasattr(callback, "restore"):
                callback.restore(notes["callbacks"][type(callback).__name__])
        return Position(**notes["position"])


def _frame(history):
    import pandas as pd

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
    """Ctrl-C asks for a stop between two steps, where weights and counters belong together; a second one is one."""
    asked = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ask(signum, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _logged(folder):
    """kstyle's log, with the time of each line, in the run folder."""
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
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
