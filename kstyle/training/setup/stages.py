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
from kstyle.data.photos.tree import Photos
from kstyle.models import finetune
from kstyle.training.augment import policy as augmentation
from kstyle.training.boxes import truth
from kstyle.training.loop import batches, steps

ops = keras.ops
log = logging.getLogger("kstyle")

# Bytes of cached features, of all views. Above it a stage trains as if caching were off.
FEATURES_LIMIT = 4 << 30


@dataclass(frozen=True)
class Work:
    """What one stage trains on.

    Attributes:
        model: the network, or what comes after its cached features.
        batches: as `kstyle.training.loop.fit` takes them.
        images, labels: of validation, pictures or features; where there are boxes, labels as `boxes.truth` has them.
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
    """images: (N, …) float32, what the frozen layers gave; labels: of the pictures."""

    images: np.ndarray
    labels: np.ndarray


def prepare(stage, recipe, model, parts, normalise, frozen=()):
    """Freezes what the stage freezes and gathers what it trains on.

    Args:
        stage: one of `kstyle.training.setup.sections.TrainSettings.plan`.
        recipe: the `TrainSettings`.
        model: the whole network; its layers' `trainable` is changed.
        parts: a `kstyle.data.parts.Parts`.
        normalise: a `kstyle.training.loop.steps.Normalise`.
        frozen: layers that are not trained in any stage.

    Returns:
        `Work`.
    """
    chosen = finetune.set_trainable(model, stage.train, frozen)
    validation = truth.taught(parts.validation, recipe.boxes)
    cached = stage.cached and not recipe.distil  # a teacher sees the pictures of each step
    pieces = finetune.split(model, chosen) if cached else None
    augment = augmentation.build(recipe.augment) if stage.augment else None
    if pieces is None or not _fits(stage, pieces[0], parts):
        if cached and stage.train != "all":
            log.info("Features before %s are not cached: they are too many, or not all goes through them.", stage.train)
        taken = batches.of(parts, recipe, stage.augment, recipe.drop_last)
        return Work(model, taken, validation.images, validation.labels, normalise, augment)
    body, tail = pieces
    views = list(_views(stage, recipe, parts, body, normalise, augment))
    pictures = sum(len(view.labels) for view in views)
    log.info("Features of %s pictures computed once, %s numbers each.", f"{pictures:,}", f"{views[0].images[0].size:,}")
    found = steps.Predictor(body, normalise, output=steps.as_it_is)(validation.images)
    taken = batches.Views(views, recipe.batch, recipe.seed, recipe.drop_last)
    return Work(tail, taken, found, validation.labels, steps.as_it_is, None)


def _fits(stage, body, parts):
    numbers = int(np.prod(body.output_shape[1:]))
    return 4 * numbers * len(parts.training) * max(1, stage.views) <= FEATURES_LIMIT


def _views(stage, recipe, parts, body, normalise, augment):
    if not stage.views:
        pictures = parts.training
        if isinstance(pictures, Photos):  # cut as those for testing are
            workers = recipe.data.photographs.workers
            pictures = decode.decode(pictures, parts.size, parts.resize, workers, resample=parts.resample)
        pictures = truth.taught(pictures, recipe.boxes)
        yield Features(steps.Predictor(body, normalise, output=steps.as_it_is)(pictures.images), pictures.labels)
        return
    every = batches.of(parts, recipe, stage.augment, drop_last=False)

    def changed(images, labels, number):
        x = steps.to_unit(images)
        classes, boxes = truth.opened(labels) if recipe.boxes else (labels, None)
        if augment is not None:  # without mixing: features are of one picture each
            ones, random = ops.ones((images.shape[0], 1)), backend.Random(number)
            x, _, boxes = truth.augmented(augment, x, ones, random, np.float32(1), np.float32(0), boxes)
        labels = truth.packed(classes, boxes) if recipe.boxes else labels
        return ops.cast(body(normalise.from_unit(x), training=False), "float32"), labels

    run = backend.compile(changed, body.variables)
    for view in range(stage.views):
        found, known = [], []
        for number, (images, labels) in enumerate(every(view)):
            features, labels = run(images, labels, np.int32(recipe.seed + 1000003 * view + number))
            found.append(ops.convert_to_numpy(features))
            known.append(ops.convert_to_numpy(labels))
        yield Features(np.concatenate(found), np.concatenate(known))
