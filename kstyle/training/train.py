"""`kstyle.train`: from a recipe to a run folder."""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from kstyle import backend
from kstyle.backend import distribute
from kstyle.errors import UsageError
from kstyle.io import runs
from kstyle.io.files import expanded
from kstyle.models.registry import GIVEN
from kstyle.nn import callbacks as given
from kstyle.nn import plain
from kstyle.training import course, teaching
from kstyle.training.aims import aim as aims
from kstyle.training.course import Interrupted
from kstyle.training.loop import steps
from kstyle.training.loop.fit import Look
from kstyle.training.results import evaluate, metrics
from kstyle.training.setup import build, foreign, own_file, own_model, settings
from kstyle.training.setup import start as starting

__all__ = ["Interrupted", "Run", "train"]

log = logging.getLogger("kstyle")


@dataclass(frozen=True)
class Run:
    """A training that is done.

    Attributes:
        folder: where everything is, see `kstyle.io.runs`.
        history: `pandas.DataFrame`, a row an epoch.
        scores: see `kstyle.training.results.metrics`; of the test split.
        model: `keras.Model`, pictures normalised as run.json says -> logits. It is compiled:
            `model.evaluate(pictures, labels)`, (N, H, W, C) float32 and (N,) integers, gives the cross-entropy and the
            accuracy. For pictures from 0 to 255 there is `folder / "model.keras"`.

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
    model: keras.Model | None = None,
    loss: str | keras.losses.Loss | Callable[..., Any] | None = None,
    metrics: Sequence[Any] = (),
) -> Run:
    """Trains what a recipe says, or a model of yours as a recipe says, and scores it on the test split.

    Args:
        recipe: a name from `kstyle recipes`, the path of a YAML file, a mapping of what such a file says, or a folder
            of photographs, with one for each class, for the recipe `folder`.
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
        model: a network of yours in place of the recipe's: built, from pictures (N, H, W, C), prepared as the recipe's
            `data.normalize` says, to logits (N, K). Its weights are trained in place; layers that you froze stay
            frozen. With `resume` the weights are those of the run; without `model`, it is made from the run's folder.
        loss: in place of the recipe's: a name, as a recipe's `loss` has it; a `keras.losses.Loss` of logits; or
            `function(labels, logits)` -> (B,), a number for each picture, in `keras.ops`. labels: (B,) integers; a Loss
            of Keras' gets shares of classes (B, K), unless its name begins with "Sparse".
        metrics: beside the recipe's: names, as a recipe's `metrics` has them, `keras.metrics.Metric`s of logits and
            functions like that, for the logs and the history: `name`, `val_name`.

    Returns:
        A `Run`.

    Raises:
        UsageError: the recipe or an option cannot be, or something among `callbacks` is none; the model, loss or
            metrics do not fit the data.
        DataError: the data cannot be had or used.
        Interrupted: Ctrl-C; the state is saved.

    >>> import keras, kstyle
    >>> stop = [keras.callbacks.EarlyStopping("val_accuracy", patience=3), lambda epoch, logs: logs["accuracy"] == 1]
    >>> run = kstyle.train("digits_cnn", run="runs/digits", callbacks=stop)  # doctest: +SKIP
    >>> run.scores.top1, run.folder  # doctest: +SKIP
    (0.958, PosixPath('runs/digits'))
    """
    extra = given.listed([callbacks, extra])
    if model is not None:
        overrides = own_model.overrides(recipe, overrides, model)
    if not resume:
        # Before a folder is made for it. The command line has checked its recipe already, and gives the settings.
        checked = settings.load(recipe, overrides)
        settings.check_functions(checked)
        if model is not None and checked.head:
            raise UsageError("head: the model is given, and has its own: leave one of them out.")
        aims.check_monitored(checked, metrics)
        if checked.distil:
            runs.facts(checked.distil.teacher)  # or an error: it is no run
        if model is None and checked.model.name == GIVEN.name:
            raise UsageError("The recipe's model was given in Python, by kstyle.train(…, model=…): give one there.")
    data, run = expanded(data), expanded(run)
    with (
        distribute.among_ranks(),
        _taken(run, "run" if resume else checked.called, resume) as folder,
        _flags_kept(model),
    ):
        checked, more = settings.resumed(folder, recipe, overrides) if resume else (checked, False)
        everywhere = settings.absolute(checked, data)
        written = settings.resolved(everywhere)
        parts = distribute.in_turn(lambda: build.data(checked, data, progress, statistics=not resume))
        backend.configure(checked.deterministic)
        backend.seed(checked.seed)
        precision = backend.precision(checked.precision)
        aim, own, architecture = aims.given(loss, metrics, len(parts.classes), checked), {}, None
        if model is not None:
            own, architecture = own_model.check(model, len(parts.classes), parts.shape)
        else:
            model = build.network(checked, len(parts.classes), parts.shape, precision, folder)
        weights, preprocessing = everywhere.model.weights, None
        if weights and not resume:
            usual = None
            if checked.head:
                usual = functools.partial(
                    build.network, checked, len(parts.classes), parts.shape, precision, usual_head=True
                )
            given_weights = functools.partial(starting.give_weights, model, weights, parts.classes, progress, usual)
            preprocessing = distribute.in_turn(given_weights)
        frozen = [layer for layer in plain.flat(model) if not layer.trainable]  # by the user, in a model that was given
        if not resume:
            normalise = steps.Normalise(*build.normalisation(checked, parts, preprocessing))
            teacher, told = teaching.opened(everywhere, parts, normalise)
            facts, code = build.facts(checked, parts, model, normalise, precision) | aim.facts | told | own, None
            if own_file.names_one(checked.model.name):
                *code, more_facts = own_file.source(checked.model.name)
                facts |= more_facts
            if distribute.first():
                runs.start(folder, written, facts, architecture, code)
        else:
            began = runs.begun(folder, parts.sha256, parts.origin)
            own_file.unchanged(folder, checked.model.name, began)
            distribute.barrier()  # it tidies up: nobody may be writing yet
            aims.same(aim, began, folder)
            normalise = steps.Normalise(began["mean"], began["std"])
            teacher, told = teaching.opened(everywhere, parts, normalise)
            teaching.same(told, began, folder)
            if more and distribute.first():
                runs.write_recipe(folder, written)
        with runs.logged(folder) if distribute.first() else contextlib.nullcontext():
            for line in [line for stage in checked.plan for line in foreign.beside_schedule(extra, stage.schedule)]:
                log.info(line)
            for note in checked.notes:
                log.info("An old name in the recipe, which keeps its meaning: %s.", note)
            log.info(
                "%s on %s: %s parameters, %s pictures. Run: %s",
                f"the given {model.name}" if checked.model.name == GIVEN.name else checked.model.name,
                checked.data.name,
                f"{model.count_params():,}",
                f"{len(parts.training):,}",
                folder,
            )
            history = course.run(
                checked, model, frozen, parts, normalise, folder, resume, more, extra, look, aim, teacher
            )
            scores = evaluate.score(checked, model, normalise, parts, folder)
            log.info("test: %s", scores.headline)
    return Run(folder, pd.DataFrame(history), scores, model)


@contextlib.contextmanager
def _taken(run, name, resume):
    """`kstyle.io.runs.taken` of the first rank; the others use the folder that it has."""
    if distribute.first():
        with runs.taken(run, name, resume) as folder:
            distribute.told_by_first(os.path.abspath(folder))
            yield folder
    else:
        yield Path(distribute.told_by_first(None))


@contextlib.contextmanager
def _flags_kept(model):
    """What stages freeze in a model that was given is trainable again at the end, and what its owner froze stays so."""
    flags = [(layer, layer.trainable) for layer in plain.flat(model)] if model is not None else []
    try:
        yield
    finally:
        for layer, flag in flags:
            layer.trainable = flag
