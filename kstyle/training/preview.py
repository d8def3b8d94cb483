"""A sheet of the first batch of a training, as the network would get it: augmented, before it is normalised."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.data.batches import arrays
from kstyle.data.parts import for_looking
from kstyle.io import names
from kstyle.io.files import expanded
from kstyle.pictures import sheet
from kstyle.training.augment import policy
from kstyle.training.boxes import truth
from kstyle.training.loop import batches, steps
from kstyle.training.schedules import schedules
from kstyle.training.setup import build, settings

ops = keras.ops

MOST = 64  # pictures on the sheet


def show_batch(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    path: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> int:
    """Writes the first pictures of a training, at most 64, with what each is; nothing is trained.

    They are those of the first step, bit for bit; of a recipe with stages, of the first stage that augments. Of a
    mixed picture the caption says how much of which class is in it.

    Args:
        recipe, data, overrides, progress: as for `kstyle.train`.
        path: a .png or .jpg; replaced once the new one is complete.

    Returns:
        How many pictures are on the sheet.

    Raises:
        UsageError: the recipe cannot be.
        DataError: the data cannot be had or used, or the sheet cannot be written.

    >>> from kstyle.training import preview
    >>> preview.show_batch("digits_cnn", "batch.png")  # doctest: +SKIP
    64
    """
    checked, path = settings.load(recipe, overrides), expanded(path)
    sheet.kind(path)
    found, (size, resize) = build.find(checked, expanded(data), progress), build.sides(checked)
    names.check_spares([path], [file for part in (found.train, found.test) for file in getattr(part, "paths", ())])
    wanted = checked.data
    parts = for_looking(
        found, checked.seed, size, resize, wanted.photographs.resample, train_limit=wanted.train_limit,
        validation=wanted.validation,
    )  # fmt: skip
    plan = checked.plan
    stage = next((each for each in plan if each.augment), plan[0])
    taken = batches.of(parts, checked, stage.augment, checked.drop_last)
    with taken if hasattr(taken, "close") else contextlib.nullcontext():
        images, labels = next(taken(0))
    labels, boxes = truth.opened(labels) if checked.boxes else (ops.convert_to_tensor(labels), None)
    images, labels = steps.to_unit(images), truth.shares(labels, len(parts.classes))
    augment = policy.build(checked.augment) if stage.augment else None
    if augment is not None:
        random = backend.Random(np.int32(arrays.step_number(checked.seed, 0, 0)))
        strength, mix = schedules.strength(checked.augment_schedule, 0, sum(each.epochs for each in plan))
        drawn = random, np.float32(strength), np.float32(mix)
        images, labels, boxes = truth.augmented(augment, images, labels, *drawn, boxes)
    pixels = np.rint(np.clip(ops.convert_to_numpy(images[:MOST]), 0, 1) * 255).astype(np.uint8)
    shares = ops.convert_to_numpy(labels[:MOST])
    said = _several if wanted.several else _said
    entries = [(picture, said(share, parts.classes), None) for picture, share in zip(pixels, shares)]
    if boxes is not None:
        entries = [(*each, sheet.outlines(None, box)) for each, box in zip(entries, ops.convert_to_numpy(boxes[:MOST]))]
    sheet.sheet(entries, path, title=f"{os.path.basename(checked.called)}: the first batch of {checked.batch}")
    return len(entries)


def _several(shares, classes):
    """The caption of a picture of several classes: those that are at least a half of it."""
    return [", ".join(name for name, share in zip(classes, shares) if share >= 0.5) or "none of them"]


def _said(shares, classes):
    """The caption: the class; of a mixed picture the two that are most of it, with their shares."""
    first, second = np.argsort(-shares, kind="stable")[:2]
    if shares[first] > 0.995:
        return [classes[first]]
    return [f"{classes[k]} {100 * shares[k]:.0f} %" for k in (first, second)]
