"""From a recipe's sections to what they name: data, normalisation, model, class weights."""

import dataclasses
import functools
import logging
from dataclasses import dataclass

import numpy as np

from kstyle import backend
from kstyle import data as datasets
from kstyle.data.batches import arrays, decode
from kstyle.data.photos.tree import Photos, PhotoSet
from kstyle.errors import UsageError, unknown
from kstyle.io.files import listed, plain
from kstyle.models import registry
from kstyle.models.registry import GIVEN
from kstyle.training.setup import own_model

log = logging.getLogger("kstyle")

# So many training photographs are looked at where normalisation wants their mean and deviation.
STATISTICS = 2000
# So many classes are named at the start, with their pictures.
MOST_NAMED = 20


@dataclass(frozen=True)
class Parts:
    """The data of a training, cut down and held out as its recipe says.

    Attributes:
        classes: names, in the order of the labels.
        training: a `kstyle.data.batches.arrays.Split`, or `kstyle.data.photos.tree.Photos` of files; None where it is
            for testing.
        validation, test: `Split`s; validation is None as well.
        shape: (H, W, C) of a picture.
        size, resize: of files, see `kstyle.training.setup.sections.Photographs`; None of arrays.
        origin, sha256: of the data set.
        skipped: (path, reason) of files that are no pictures.
        class_weights: (K,) factors of the loss, or None.
    """

    classes: tuple
    training: object
    validation: arrays.Split | None
    test: arrays.Split
    shape: tuple
    size: int | None
    resize: int | None
    origin: str
    sha256: str
    skipped: tuple = ()
    class_weights: object = None


def find(recipe, folder=None, progress=None, others=False):
    """The whole data set that a recipe names, a `kstyle.data.Dataset` or a `kstyle.data.photos.tree.PhotoSet`.

    Args, Raises: as `data`.
        others: whether `folder` may hold photographs in another layout than the recipe's, as `datasets.layout` sees.
    """
    wanted, name = recipe.data, recipe.data.name
    if name in datasets.DATASETS:
        return datasets.load(name, folder or wanted.path, progress=progress)
    if folder and others:
        name = datasets.layout(name, folder)
    return datasets.photographs(
        name, folder or wanted.path, wanted.photographs.test_fraction, recipe.seed,
        workers=wanted.photographs.workers, progress=progress,
    )  # fmt: skip


def data(recipe, folder=None, progress=None):
    """The `Parts` that a recipe names; the log says which classes there are, and how many pictures of each.

    Args:
        recipe: a `kstyle.training.setup.sections.TrainSettings`.
        folder: where the data set is; None: the recipe's `data.path`, or see `kstyle.data.load`.
        progress: `progress(done, total)` in bytes during a download, with `what="pictures"` in files looked at.

    Raises:
        DataError: it cannot be had or used.
        UsageError: limits or weights of classes that the data set does not allow.
    """
    wanted, found = recipe.data, find(recipe, folder, progress)
    if isinstance(found, PhotoSet):
        found.check_training()
    training, test = found.train, found.test
    if wanted.train_limit:
        training = arrays.take(training, wanted.train_limit, recipe.seed, found.classes)
    if wanted.test_limit:
        test = arrays.take(test, wanted.test_limit, recipe.seed, found.classes)
    validation = test
    if wanted.validation != "test":
        training, validation = arrays.hold_out(training, wanted.validation, recipe.seed, found.classes)
    log.info("%s", _counted(found.classes, training, test))
    weights = class_weights(recipe.loss.class_weights, training.labels, found.classes)
    return dataclasses.replace(_parts(recipe, found, training, validation, test, progress), class_weights=weights)


def testing(recipe, found, limited=True, progress=None):
    """The `Parts` of a data set that `find` found, with nothing to train on or to validate with.

    Args:
        limited: whether the recipe's `data.test_limit` holds.
    """
    test, limit = found.test, recipe.data.test_limit
    if limit and limited:
        test = arrays.take(test, limit, recipe.seed, found.classes)
    return _parts(recipe, found, None, None, test, progress)


def _parts(recipe, found, training, validation, test, progress):
    skipped = tuple(getattr(found, "skipped", ()))
    if recipe.data.name in datasets.DATASETS:
        size = resize = None
        shape = test.images.shape[1:]
    else:
        size, resize = sides(recipe)
        shape = (size, size, 3)
        workers, same = recipe.data.photographs.workers, validation is test
        looked = functools.partial(progress, what="pictures") if progress else None
        decoded = functools.partial(decode.decode, size=size, resize=resize, workers=workers, progress=looked)
        test = decoded(test)
        validation = test if same else validation and decoded(validation)
    return Parts(
        tuple(found.classes), training, validation, test, shape, size, resize, found.origin, found.sha256, skipped
    )


def counts(classes, *splits):
    """For each split a list: how many pictures there are of each class."""
    return [np.bincount(split.labels, minlength=len(classes)).tolist() for split in splits]


def _counted(classes, training, test):
    """`"2 classes, pictures to train and to test on: ants 123 and 70, bees 121 and 83"`"""
    each = [f"{plain(name)} {a:,} and {b:,}" for name, a, b in zip(classes, *counts(classes, training, test))]
    return f"{len(classes):,} classes, pictures to train and to test on: {listed(each, MOST_NAMED)}"


def sides(recipe):
    """`(size, resize)` of photographs in pixels: the recipe's, or what the network was made for."""
    wanted, row = recipe.data.photographs, recipe.model.row
    size = wanted.size or row.size or 224
    ratio = row.resize / row.size if row.size and row.resize else 256 / 224
    return size, wanted.resize or round(size * ratio)


def normalisation(recipe, parts, preprocessing=None):
    """(mean, std), a number for each channel, as `sections.Data.normalize` says.

    Args:
        preprocessing: what `kstyle.training.setup.start.give_weights` returned, for `"pretrained"`; None: that of the
            network's usual weights.

    Raises:
        UsageError: numbers for another count of channels, or a network without ImageNet weights.
    """
    wanted, channels = recipe.data.normalize, parts.shape[-1]
    if not isinstance(wanted, str):
        for numbers in (wanted.mean, wanted.std):
            if len(numbers) != channels:
                raise UsageError(f"data.normalize: {len(numbers)} numbers for pictures of {channels} channels.")
        return wanted.mean, wanted.std
    if wanted == "unit":
        return [0.0] * channels, [1.0] * channels
    if wanted == "pretrained":
        return registry.normalisation(recipe.model.name, preprocessing)
    training = parts.training
    if isinstance(training, Photos):
        # Any will do, whatever their classes: a mean needs none of each.
        some = training.part(np.sort(arrays.order(len(training), recipe.seed, 0)[:STATISTICS]))
        training = decode.decode(some, parts.size, parts.resize, recipe.data.photographs.workers)
    mean, std = arrays.channel_statistics(training.images)
    return mean, [1.0] * channels if wanted == "mean" else np.maximum(std, 1e-6)


def network(recipe, classes, shape, folder=None):
    """The recipe's `keras.Model` for so many classes and pictures of `shape` (H, W, C), with initial values; one that
    was given in Python is made again from the run's `folder`."""
    if recipe.model.name == GIVEN.name:
        return own_model.opened(folder)
    dtype = "mixed_bfloat16" if backend.precision(recipe.precision) == "bfloat16" else "float32"
    height, width, channels = shape
    return recipe.model.row.make(classes, (height, width), channels, dtype=dtype, **recipe.model.options)


def facts(recipe, parts, model, normalise):
    """What run.json says of a training, a dict for JSON.

    Args:
        recipe: its `TrainSettings`.
        parts: its `Parts`.
        model: its `keras.Model`.
        normalise: a `kstyle.training.loop.steps.Normalise`.
    """
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
            "per_class": dict(zip(("train", "test"), counts(parts.classes, parts.training, parts.test))),
            "skipped": [list(entry) for entry in parts.skipped],
        },
        "parameters": model.count_params(),
        "seed": recipe.seed,
        "backend": backend.NAME,
        "device": backend.device(),
        "precision": backend.precision(recipe.precision),
        "versions": backend.versions(),
    }


def class_weights(wanted, labels, classes):
    """(K,) factors, or None, as `sections.Loss.class_weights` says.

    Args:
        wanted: that setting.
        labels: (N,) int, of the training pictures.
        classes: the K names.

    Raises:
        UsageError: another count of numbers, an unknown class, or one that has two.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = np.bincount(labels, minlength=len(classes))
        return len(labels) / (len(classes) * np.maximum(counts, 1))
    if not isinstance(wanted, dict):
        if len(wanted) != len(classes):
            raise UsageError(f"loss.class_weights: {len(wanted)} numbers for {len(classes)} classes.")
        return wanted
    names, factors = [str(name) for name in classes], {}
    for key, factor in wanted.items():
        if key not in names and not (key.isascii() and key.isdigit() and int(key[:9]) < len(names)):
            raise unknown("class in loss.class_weights", key, names)
        place = names.index(key) if key in names else int(key)
        if place in factors:
            raise UsageError(f"loss.class_weights: class '{names[place]}' is there by its name and by its number.")
        factors[place] = factor
    return [factors.get(place, 1.0) for place in range(len(names))]
