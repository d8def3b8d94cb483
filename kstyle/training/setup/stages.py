"""The stages of a fine-tuning: which layers train, and what the frozen ones give computed once.

A frozen network gives the same features for the same picture at every epoch. Where nothing is random before the layers
that train, those features are computed once and the rest of the network trains on them alone.
"""

import logging
from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend
from kstyle.data.batches import decode
from kstyle.models import finetune
from kstyle.training.augment import policy as augmentation
from kstyle.training.loop import steps
from kstyle.training.loop.fit import ArrayBatches
from kstyle.training.setup import build

ops = keras.ops
log = logging.getLogger("kstyle")

# Bytes of cached features, all views together. Above it a stage trains as if caching were off.
FEATURES_LIMIT = 4 << 30


@dataclass(frozen=True)
class Work:
    """What one stage trains on.

    Attributes:
        model: the network, or what comes after its cached features.
        batches: as `kstyle.training.loop.fit` takes them.
        images, labels: of validation, pictures or features.
        normalise, augment: what pictures go through before `model`.
    """

    model: keras.Model
    batches: object
    images: np.ndarray
    labels: np.ndarray
    normalise: object
    augment: object


@dataclass(frozen=True)
class Features:
    """images: (N, …) float32, what the frozen layers gave; labels: (N,) int32."""

    images: np.ndarray
    labels: np.ndarray


class PhotoBatches(decode.FileBatches):
    """`kstyle.data.batches.decode.FileBatches` on the device."""

    def __call__(self, epoch, first=0):
        for images, labels in super().__call__(epoch, first):
            yield ops.convert_to_tensor(images), ops.convert_to_tensor(labels)


class Views:
    """Several sets of features of the same pictures, one an epoch in turn; otherwise as `ArrayBatches`."""

    def __init__(self, views, size, seed, drop_last):
        self._views = [ArrayBatches(view, size, seed, drop_last) for view in views]
        self.count, self.size, self.steps = (getattr(self._views[0], name) for name in ("count", "size", "steps"))

    def __call__(self, epoch, first=0):
        return self._views[epoch % len(self._views)](epoch, first)


def prepare(stage, recipe, model, parts, normalise):
    """Freezes what the stage freezes and gathers what it trains on.

    Args:
        stage: one of `kstyle.training.setup.settings.TrainSettings.plan`.
        recipe: the `TrainSettings`.
        model: the whole network; its layers' `trainable` is changed.
        parts: a `kstyle.training.setup.build.Parts`.
        normalise: a `kstyle.training.loop.steps.Normalise`.

    Returns:
        `Work`.
    """
    finetune.set_trainable(model, stage.train)
    augment = augmentation.build(recipe.augment) if stage.augment else None
    validation = parts.validation
    pieces = finetune.split(model, stage.train) if stage.cached else None
    if pieces is None or not _fits(stage, pieces[0], parts):
        if stage.cached and stage.train != "all":
            log.info("Features before %s are not cached: they are too many, or not all goes through them.", stage.train)
        batches = _batches(stage, recipe, parts)
        return Work(model, batches, validation.images, validation.labels, normalise, augment)
    body, tail = pieces
    views = list(_views(stage, recipe, parts, body, normalise, augment))
    pictures = sum(len(view.labels) for view in views)
    log.info("Features of %s pictures computed once, %s numbers each.", f"{pictures:,}", f"{views[0].images[0].size:,}")
    found = steps.Predictor(body, normalise, output=steps.as_it_is)(validation.images)
    batches = Views(views, recipe.batch, recipe.seed, recipe.drop_last)
    return Work(tail, batches, found, validation.labels, steps.as_it_is, None)


def _fits(stage, body, parts):
    numbers = int(np.prod(body.output_shape[1:]))
    return 4 * numbers * len(parts.training) * max(1, stage.views) <= FEATURES_LIMIT


def _batches(stage, recipe, parts):
    if parts.size is None:
        return ArrayBatches(parts.training, recipe.batch, recipe.seed, recipe.drop_last)
    wanted = recipe.data.photographs
    return PhotoBatches(
        parts.training, recipe.batch, recipe.seed, side=parts.size, resize=parts.resize,
        crop=wanted.crop if stage.augment else "center", scale=wanted.scale, ratio=wanted.ratio,
        drop_last=recipe.drop_last, workers=wanted.workers,
    )  # fmt: skip


def _views(stage, recipe, parts, body, normalise, augment):
    if not stage.views:
        pictures = build.centred(parts, recipe)
        yield Features(steps.Predictor(body, normalise, output=steps.as_it_is)(pictures.images), pictures.labels)
        return
    batches = _batches(stage, recipe.model_copy(update={"drop_last": False}), parts)

    def changed(images, number):
        x = steps.to_unit(images)
        if augment is not None:  # without mixing: features are of one picture each
            x, _, _ = augment(x, ops.ones((images.shape[0], 1)), backend.Random(number), np.float32(1), np.float32(0))
        return ops.cast(body(normalise.from_unit(x), training=False), "float32")

    run = backend.compile(changed, body.variables)
    for view in range(stage.views):
        found, labels = [], []
        for number, (images, truth) in enumerate(batches(view)):
            found.append(ops.convert_to_numpy(run(images, np.int32(recipe.seed + 1000003 * view + number))))
            labels.append(ops.convert_to_numpy(truth))
        yield Features(np.concatenate(found), np.concatenate(labels))
