"""From a recipe's sections to what they name: data, normalisation, model, class weights."""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import dataclasses
import logging
from pathlib import Path

import numpy as np

from kstyle import data as datasets
from kstyle.data import arrays
from kstyle.errors import UsageError
from kstyle.models import classifiers

log = logging.getLogger("kstyle")


def data(recipe, folder=None, progress=None):
    """`(dataset, training split, validation split)`, cut down and held out as the recipe says."""
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


def normalisation(wanted, pictures):
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


def network(recipe, classes, shape):
    """The recipe's `keras.Model` for so many classes and pictures of `shape` (H, W, C), with initial values."""
    dtype = "mixed_bfloat16" if backend.precision(recipe.precision) == "bfloat16" else "float32"
    height, width, channels = shape
    options = recipe.model.options
    return classifiers.build(recipe.model.name, classes, (height, width), channels, dtype=dtype, **options)


def start_from(model, weights, progress=None):
    """Gives a model the weights that `model.weights` of a recipe names; the log says which."""
    log.info(_load(model, weights, progress).message)


def _load(model, weights, progress):
    if weights == "imagenet":
        return classifiers.load_imagenet(model, progress=progress)
    if Path(weights).suffix in (".pth", ".pt", ".safetensors"):
        return classifiers.load_torch(model, weights)
    return classifiers.load_imagenet(model, weights)


def class_weights(wanted, labels, classes):
    """(K,) factors, or None, as `settings.Loss.class_weights` says."""
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = np.bincount(labels, minlength=classes)
        return len(labels) / (classes * np.maximum(counts, 1))
    if len(wanted) != classes:
        raise UsageError(f"loss.class_weights: {len(wanted)} numbers for {classes} classes.")
    return wanted
