"""A data set cut down, held out and made ready: what a training, or a scoring, looks at."""

import functools
import logging
from dataclasses import dataclass

import numpy as np

from kstyle.data.batches import arrays, decode
from kstyle.data.photos.tree import PhotoSet
from kstyle.errors import UsageError, unknown
from kstyle.io.files import listed, plain

log = logging.getLogger("kstyle")

# So many training photographs are looked at where normalisation wants their mean and deviation.
STATISTICS = 2000
# So many classes are named at the start, with their pictures.
MOST_NAMED = 20


@dataclass(frozen=True)
class Parts:
    """The data of a training, or of a scoring.

    Attributes:
        classes: names, in the order of the labels.
        training: a `kstyle.data.batches.arrays.Split`, or `kstyle.data.photos.tree.Photos` of files; None where it is
            for testing.
        validation, test: `Split`s; validation is None as well; both where pictures are only looked at.
        shape: (H, W, C) of a picture.
        size, resize, resample: of files, see `kstyle.training.setup.sections.Photographs`; None of arrays.
        origin, sha256: of the data set.
        skipped: (path, reason) of files that are no pictures.
        class_weights: (K,) factors of the loss, or None.
        statistics: `(mean, std)` of the training pictures, (C,) each, in [0, 1]; None where nobody wanted them.
    """

    classes: tuple
    training: object
    validation: arrays.Split | None
    test: arrays.Split
    shape: tuple
    size: int | None
    resize: int | str | None
    resample: str | None
    origin: str
    sha256: str
    skipped: tuple = ()
    class_weights: object = None
    statistics: tuple | None = None


def for_training(
    found, seed, size, resize, workers=None, progress=None, resample="bilinear",
    *, train_limit=None, test_limit=None, validation="test", class_weights=None, statistics=False,
):  # fmt: skip
    """The `Parts` of a data set; the log says which classes there are, and how many pictures of each.

    Args:
        found: a `kstyle.data.Dataset` or a `kstyle.data.photos.tree.PhotoSet`.
        seed: of what is drawn.
        size, resize, resample: of photographs, as `kstyle.data.batches.decode.decode` takes them. Small pictures are
            brought to `size`; None: they stay as they are.
        workers: processes that decode photographs.
        progress: `progress(done, total, what="pictures")` as they are decoded.
        train_limit, test_limit: so many pictures only, stratified.
        validation: `"test"`, or the fraction of the training pictures held out, stratified.
        class_weights: as `factors` takes them.
        statistics: whether those of the training pictures are wanted.
        side: of arrays, in pixels, that they are resized to; None: they stay as they are.

    Raises:
        DataError: a class has too few pictures, or a picture cannot be read.
        UsageError: limits or weights of classes that the data set does not allow.
    """
    training, held, test = _divided(found, seed, train_limit, test_limit, validation)
    each = zip(found.classes, *counts(found.classes, training, test))
    named = listed([f"{plain(name)} {a:,} and {b:,}" for name, a, b in each], MOST_NAMED)
    log.info("%s classes, pictures to train and to test on: %s", f"{len(found.classes):,}", named)
    weights = factors(class_weights, training.labels, found.classes)
    known = seed if statistics else None
    return _made(found, training, held, test, size, resize, workers, progress, resample, weights, known)


def for_looking(found, seed, size, resize, resample="bilinear", *, train_limit=None, validation="test"):
    """The `Parts` of a data set with the training pictures alone, of which no photograph is decoded.

    Args, Raises: as for `for_training`.
    """
    training, _, _ = _divided(found, seed, train_limit, None, validation)
    return _made(found, training, None, None, size, resize, None, None, resample)


def _divided(found, seed, train_limit, test_limit, validation):
    """(pictures to train on, to validate with, to test on)."""
    if isinstance(found, PhotoSet):
        found.check_training()
    training, test = found.train, found.test
    if train_limit:
        training = arrays.take(training, train_limit, seed, found.classes)
    if test_limit:
        test = arrays.take(test, test_limit, seed, found.classes)
    if validation == "test":
        return training, test, test
    return *arrays.hold_out(training, validation, seed, found.classes), test


def for_testing(found, seed, size, resize, workers=None, progress=None, resample="bilinear", limit=None):
    """The `Parts` of a data set with nothing to train on or to validate with.

    Args: as for `for_training`.
        limit: so many pictures only, stratified.
        side: as for `for_training`.
    """
    test = arrays.take(found.test, limit, seed, found.classes) if limit else found.test
    return _made(found, None, None, test, size, resize, workers, progress, resample)


def _made(found, training, held, test, size, resize, workers, progress, resample, weights=None, seed=None):
    """Decodes photographs, and gathers all. seed: of the photographs whose statistics are wanted; None: not wanted."""
    known = training  # what statistics are of
    if isinstance(found, PhotoSet):
        shape, same = (size, size, 3), held is test
        looked = functools.partial(progress, what="pictures") if progress else None
        made = functools.partial(decode.decode, size=size, resize=resize, workers=workers, resample=resample)
        test = test and made(test, progress=looked)
        held = test if same else held and made(held, progress=looked)
        if seed is not None:
            # Any will do, whatever their classes: a mean needs none of each.
            known = training.part(np.sort(arrays.order(len(training), seed, 0)[:STATISTICS]))
            known = made(known)
    else:
        shape = found.test.images.shape[1:]
        if size:
            shape, same = (size, size, shape[-1]), held is test
            training, test = (each and arrays.resized(each, shape) for each in (training, test))
            held, known = test if same else held and arrays.resized(held, shape), training
        size, resize, resample = None, None, None
    statistics = None if seed is None else arrays.channel_statistics(known.images)
    skipped = tuple(getattr(found, "skipped", ()))
    return Parts(
        tuple(found.classes), training, held, test, shape, size, resize, resample, found.origin, found.sha256, skipped,
        weights, statistics,
    )  # fmt: skip


def counts(classes, *splits):
    """For each split a list: how many pictures there are of each class."""
    return [split.per_class(len(classes)) for split in splits]


def factors(wanted, labels, classes):
    """(K,) factors of the loss, or None.

    Args:
        wanted: `loss.class_weights` of a recipe: None; `"balanced"`; K numbers; or {class or its number: factor}.
        labels: (N,) int, of the training pictures.
        classes: the K names.

    Raises:
        UsageError: another count of numbers, an unknown class, or one that has two.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        counted = np.bincount(labels, minlength=len(classes))
        return len(labels) / (len(classes) * np.maximum(counted, 1))
    if not isinstance(wanted, dict):
        if len(wanted) != len(classes):
            raise UsageError(f"loss.class_weights: {len(wanted)} numbers for {len(classes)} classes.")
        return wanted
    names, given = [str(name) for name in classes], {}
    for key, factor in wanted.items():
        if key not in names and not (key.isascii() and key.isdigit() and int(key[:9]) < len(names)):
            raise unknown("class in loss.class_weights", key, names)
        place = names.index(key) if key in names else int(key)
        if place in given:
            raise UsageError(f"loss.class_weights: class '{names[place]}' is there by its name and by its number.")
        given[place] = factor
    return [given.get(place, 1.0) for place in range(len(names))]
