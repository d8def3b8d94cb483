"""`kstyle.train`, `kstyle.evaluate`, `kstyle.predict`: from a recipe to a run folder, and from a run folder to scores."""

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

from kstyle import data as datasets
from kstyle import images, runs
from kstyle.data import arrays
from kstyle.errors import DataError, UsageError
from kstyle.models import classifiers
from kstyle.training import augment, callbacks, metrics, optimizers, plots, settings, steps
from kstyle.training.fit import ArrayBatches, Position, Stopped, fit

ops = keras.ops
log = logging.getLogger("kstyle")


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
    dataset, training, validation = _data(recipe, data, progress)
    normalise = steps.Normalise(*_normalisation(recipe.data.normalize, training.images))
    model = _model(recipe, dataset, training)
    model.optimizer = optimizers.build(recipe.optimizer, model.trainable_variables)
    facts = {
        "classes": list(dataset.classes),
        "shape": list(training.images.shape[1:]),
        "mean": normalise.mean,
        "std": normalise.std,
        "data": {"name": dataset.name, "origin": dataset.origin, "sha256": dataset.sha256, "train": len(training), "validation": len(validation), "test": len(dataset.test)},
        "parameters": model.count_params(),
        "seed": recipe.seed,
        "backend": backend.NAME,
        "device": backend.device(),
        "precision": backend.precision(recipe.precision),
        "versions": backend.versions(),
    }  # fmt: skip
    if not resume:
        runs.start(folder, recipe, facts)
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
        scores = _score(model, normalise, dataset, folder)
        log.info("test: top-1 %.2f %%", 100 * scores.top1)
    import pandas as pd

    return Run(folder, pd.DataFrame(history), scores, model)


def _train(recipe, model, training, validation, normalise, folder, resume, extra, look):
    batches = ArrayBatches(training, recipe.batch, recipe.seed, recipe.drop_last)
    if not batches.steps:
        raise UsageError(
            f"batch: {recipe.batch} is more than the {len(training)} training pictures, and drop_last is set."
        )
    weights = _class_weights(recipe.loss.class_weights, training.labels, model.output_shape[-1])
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
            runs.save_arrays(path, _named(model.weights, "model"))

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
    best = folder / runs.BEST
    if recipe.checkpoint.keep == "best" and best.is_file():
        found, _ = runs.load_arrays(best)
        _assign(model.weights, found, "model", best)
    elif average:
        average.swap()
    runs.save_arrays(folder / runs.RESULT, _named(model.weights, "model"))
    return history


class _State:
    """Saves and restores everything that the next step depends on."""

    def __init__(self, folder, recipe, model, step, own, average):
        self.path, self.folder, self.recipe, self.own = folder / runs.STATE, folder, recipe, own
        self.groups = {"model": model.variables, "optimizer": model.optimizer.variables, "totals": [step.totals]}
        if average:
            self.groups["average"] = average.averages
        self.saved, self.since = time.monotonic(), 0

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
            values |= _named(variables, name)
        runs.save_arrays(self.path, values, notes)
        if position.history and position.batch == 0:
            runs.write_history(self.folder, position.history)
            plots.curves(_frame(position.history), self.folder / "curves.png", title=self.folder.name)
        self.saved, self.since = time.monotonic(), 0

    def restore(self):
        found, notes = runs.load_arrays(self.path)
        for name, variables in self.groups.items():
            _assign(variables, found, name, self.path)
        for callback in self.own:
            if hasattr(callback, "restore"):
                callback.restore(notes["callbacks"][type(callback).__name__])
        return Position(**notes["position"])


def _frame(history):
    import pandas as pd

    return pd.DataFrame(history)


def _named(variables, group):
    """{"group/0007 path": array}: the number keeps apart what Keras gave the same path."""
    return {f"{group}/{i:04d} {v.path}": ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}


def _assign(variables, found, group, path):
    found = {name.split(" ")[0]: array for name, array in found.items() if name.startswith(group + "/")}
    for i, variable in enumerate(variables):
        array = found.get(f"{group}/{i:04d}")
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise DataError(f"{path}: it is of another model than the recipe's ({variable.path} does not fit).")
        variable.assign(array)


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


def _data(recipe, folder, progress):
    dataset = datasets.load(recipe.data.name, folder, progress=progress)
    training, test = dataset.train, dataset.test
    if recipe.data.train_limit:
        training = arrays.take(training, recipe.data.train_limit, recipe.seed)
    if recipe.data.test_limit:
        test = arrays.take(test, recipe.data.test_limit, recipe.seed)
    dataset = dataclasses.replace(dataset, train=training, test=test)
    if recipe.data.validation == "test":
        return dataset, training, test
    return dataset, *arrays.hold_out(training, recipe.data.validation, recipe.seed)


def _normalisation(wanted, pictures):
    """(mean, std), a number for each channel, of (N, H, W, C) uint8 as `settings.Data.normalize` says."""
    channels = pictures.shape[-1]
    if not isinstance(wanted, str):
        for numbers in (wanted.mean, wanted.std):
            if len(numbers) != channels:
                raise UsageError(f"data.normalize: {len(numbers)} numbers for pictures of {channels} channels.")
        return wanted.mean, wanted.std
    if wanted == "unit":
        return [0.0] * channels, [1.0] * channels
    # By value: 256 counts a channel give the exact mean and deviation without a copy of the set in floats.
    counts = np.stack([np.bincount(pictures[..., c].ravel(), minlength=256) for c in range(channels)])
    share = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    if wanted == "mean":
        return mean, [1.0] * channels
    return mean, np.sqrt(np.maximum(share @ values**2 - mean**2, 1e-12))


def _model(recipe, dataset, training):
    dtype = "mixed_bfloat16" if backend.precision(recipe.precision) == "bfloat16" else "float32"
    height, width, channels = training.images.shape[1:]
    if height != width:
        raise DataError(f"{dataset.name}: the networks expect square pictures, these are {width}×{height}.")
    model = classifiers.build(
        recipe.model.name, len(dataset.classes), height, channels, dtype=dtype, **recipe.model.options
    )
    if recipe.model.weights:
        classifiers.load_weights(model, recipe.model.name, recipe.model.weights)
    return model


def _class_weights(wanted, labels, classes):
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = np.bincount(labels, minlength=classes)
        return len(labels) / (classes * np.maximum(counts, 1))
    if len(wanted) != classes:
        raise UsageError(f"loss.class_weights: {len(wanted)} numbers for {classes} classes.")
    return wanted


def load(folder):
    """A finished run, as `(recipe, facts, model, normalise)`."""
    facts = runs.facts(folder)
    recipe = settings.load(str(Path(folder) / "recipe.yaml"))
    dtype = "mixed_bfloat16" if backend.precision(recipe.precision) == "bfloat16" else "float32"
    size, _, channels = facts["shape"]
    model = classifiers.build(
        recipe.model.name, len(facts["classes"]), size, channels, dtype=dtype, **recipe.model.options
    )
    path = runs.result_file(folder)
    found, _ = runs.load_arrays(path)
    # A state holds random generators among the variables; a result only weights. Both keep the model's order.
    _assign(model.variables if path.name == runs.STATE else model.weights, found, "model", path)
    return recipe, facts, model, steps.Normalise(facts["mean"], facts["std"])


def evaluate(folder, data=None, progress=None):
    """Scores a run on the test split of its data; writes scores.json, per_class.csv, confusion.csv and confusion.png.

    Returns:
        See `kstyle.training.metrics.scores`.
    """
    recipe, facts, model, normalise = load(folder)
    dataset, _, _ = _data(recipe, data, progress)
    if dataset.sha256 != facts["data"]["sha256"]:
        log.warning(
            "The data are not those of the run: %s now, %s then.", dataset.sha256[:12], facts["data"]["sha256"][:12]
        )
    return _score(model, normalise, dataset, Path(folder))


def _score(model, normalise, dataset, folder):
    import json

    found = steps.Predictor(model, normalise)(dataset.test.images)
    scores = metrics.scores(found, dataset.test.labels, dataset.classes)
    with runs.replacing(folder / "scores.json") as beside:
        beside.write_text(json.dumps(scores.as_json(), indent=2), "utf-8")
    for name in ("per_class", "confusion"):
        with runs.replacing(folder / f"{name}.csv") as beside:
            getattr(scores, name).to_csv(beside)
    plots.confusion(scores.confusion, dataset.classes, folder / "confusion.png")
    return scores


def predict(folder, paths, top=5):
    """What a run sees in pictures.

    Args:
        folder: of the run.
        paths: picture files.
        top: so many classes a picture.

    Returns:
        A list, for each path a dict of `path` and either `predictions` (list of `{"class", "probability"}`, the most
        probable first) and `picture` ((H, W, C) uint8, as the network saw it), or `error`.
    """
    _, facts, model, normalise = load(folder)
    size, _, channels = facts["shape"]
    found = []
    for path in paths:
        try:
            found.append({"path": str(path), "picture": _square(images.read(path), size, channels)})
        except DataError as error:
            found.append({"path": str(path), "error": str(error)})
    seen = [entry for entry in found if "picture" in entry]
    if seen:
        for entry, p in zip(seen, steps.Predictor(model, normalise)(np.stack([e["picture"] for e in seen]))):
            best = np.argsort(-p, kind="stable")[:top]
            entry["predictions"] = [{"class": facts["classes"][k], "probability": float(p[k])} for k in best]
    return found


def _square(picture, size, channels):
    """The middle square of a picture, (size, size, channels) uint8."""
    rgb = picture.rgb
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    rgb = images.resize(rgb[top : top + side, left : left + side], (size, size))
    if channels == 1:
        rgb = rgb @ np.array([[0.299], [0.587], [0.114]], "float32")  # ITU-R 601, as Pillow's "L"
    return (np.clip(rgb, 0, 1) * 255).round().astype("uint8")
