"""From a recipe's sections to what they name: data, normalisation, model."""

import dataclasses
import os

import numpy as np

from kstyle import backend
from kstyle import data as datasets
from kstyle.data.batches import arrays
from kstyle.data.parts import counts, for_testing, for_training
from kstyle.errors import UsageError
from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.models.registry import GIVEN
from kstyle.training.boxes import heads, truth
from kstyle.training.setup import head, own_model


def find(recipe, folder=None, progress=None, others=False):
    """The whole data set that a recipe names, a `kstyle.data.Dataset` or a `kstyle.data.photos.tree.PhotoSet`.

    Args, Raises: as `data`.
        others: whether it may be another set: `folder` the name of a published one, or photographs in another layout
            than the recipe's, as `datasets.layout` sees.
    """
    wanted, name = recipe.data, recipe.data.name
    if folder and others:
        if folder in datasets.published() and not os.path.exists(folder):
            return datasets.named(folder, None, workers=wanted.photographs.workers, progress=progress)
        name = datasets.layout(name, folder)
    return datasets.named(
        name, folder or wanted.path, wanted.photographs.test_fraction, recipe.seed,
        workers=wanted.photographs.workers, progress=progress, boxes=bool(recipe.boxes), several=wanted.several,
    )  # fmt: skip


def data(recipe, folder=None, progress=None, statistics=True):
    """The `kstyle.data.parts.Parts` that a recipe names.

    Args:
        recipe: a `kstyle.training.setup.sections.TrainSettings`.
        folder: where the data set is, `~` written out; None: the recipe's `data.path`, or see `kstyle.data.load`.
        progress: `progress(done, total)` in bytes during a download, with `what="pictures"` in files looked at.
        statistics: whether the training pictures' mean and deviation may be needed; a run that goes on has them.

    Raises:
        DataError: it cannot be had or used.
        UsageError: limits or weights of classes that the data set does not allow.
    """
    wanted, (size, resize) = recipe.data, sides(recipe)
    found = find(recipe, folder, progress)
    if recipe.boxes and getattr(found.train, "boxes", None) is None:
        raise UsageError(
            f"boxes: the data set '{wanted.name}' has none; tiny_imagenet does, and csv by its columns "
            "x1, y1, x2, y2. Leave the section out."
        )
    return for_training(
        found, recipe.seed, size, resize, wanted.photographs.workers, progress, wanted.photographs.resample,
        train_limit=wanted.train_limit, test_limit=wanted.test_limit, validation=wanted.validation,
        class_weights=recipe.loss.class_weights, statistics=statistics and wanted.normalize in ("mean", "standard"),
    )  # fmt: skip


def testing(recipe, found, shape, limited=True, progress=None, side=None):
    """The `Parts` of a data set that `find` found, with nothing to train on or to validate with.

    Args:
        shape: (H, W, C) of the pictures that the network takes, to which others are brought.
        limited: whether the recipe's `data.test_limit` holds.
        side: of the square that is cut out of a photograph; None: what the network takes.
    """
    wanted, (size, resize) = recipe.data, sides(recipe)
    size = side or size
    limit = wanted.test_limit if limited else None
    if resize is None:  # photographs for a network of small pictures: the middle square
        size = resize = shape[0]
    parts = for_testing(
        found, recipe.seed, size, resize, wanted.photographs.workers, progress, wanted.photographs.resample, limit
    )
    shape = (side, side, shape[2]) if side else tuple(shape)
    return dataclasses.replace(parts, test=arrays.resized(parts.test, shape), shape=shape)


def sides(recipe):
    """`(size, resize)` of photographs in pixels: the recipe's, or what the network was made for; or `"stretch"`. Of a
    set of small pictures `data.size` and None."""
    if recipe.data.name in datasets.DATASETS:
        return recipe.data.size, None
    wanted, row = recipe.data.photographs, recipe.model.row
    size = wanted.size or row.size or 224
    ratio = row.resize / row.size if row.size and row.resize else 256 / 224
    return size, wanted.resize or round(size * ratio)


def normalisation(recipe, parts, preprocessing=None):
    """(mean, std), a number for each channel, as `sections.Data.normalize` says.

    Args:
        preprocessing: for `"pretrained"`, what `kstyle.training.setup.start.give_weights` returned; None: that of the
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
        if isinstance(preprocessing, tuple):
            return preprocessing
        name = preprocessing or recipe.model.row.preprocessing
        if name is None:
            raise UsageError(
                f"data.normalize: of {recipe.model.name} no pretrained weights are known, whose mean and std it could "
                "be: say 'unit', 'mean', 'standard', or the numbers."
            )
        return PREPROCESSINGS[name].rgb
    mean, std = parts.statistics
    return mean, [1.0] * channels if wanted == "mean" else np.maximum(std, 1e-6)


def network(recipe, classes, shape, precision, folder=None, usual_head=False):
    """The recipe's `keras.Model` with initial values; one that was given in Python is made again.

    Args:
        recipe: a `kstyle.training.setup.sections.TrainSettings`.
        classes: how many.
        shape: (H, W, C) of a picture.
        precision: `"float32"` or `"bfloat16"`.
        folder: of the run, from which a given one is made again.
        usual_head: whether it is to have the head that its files of weights are for, whatever the recipe's `head` says.
    """
    if recipe.model.name == GIVEN.name:
        return own_model.opened(folder)
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    height, width, channels = shape
    model = recipe.model.row.make(classes, (height, width), channels, dtype=dtype, **recipe.model.options)
    if usual_head:
        return model
    model = head.attach(model, recipe.head, classes, dtype) if recipe.head else model
    return heads.add(model, recipe.boxes, dtype) if recipe.boxes else model


def facts(recipe, parts, model, normalise, precision):
    """What run.json says of a training, a dict for JSON.

    Args:
        recipe: its `TrainSettings`.
        parts: its `Parts`.
        model: its `keras.Model`.
        normalise: a `kstyle.training.loop.steps.Normalise`.
        precision: that of the network.
    """
    more = {"boxes": {"mean": truth.mean_box(parts, recipe.data.photographs.workers)}} if recipe.boxes else {}
    more |= {"several": True} if recipe.data.several else {}
    return {
        "classes": list(parts.classes),
        "shape": list(parts.shape),
        "resize": parts.resize,
        **({"resample": parts.resample} if parts.resample else {}),
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
        "precision": precision,
        "tf32": backend.tf32(),
        "versions": backend.versions(),
        **more,
    }
