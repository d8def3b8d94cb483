"""What a step learns from: labels, of one class or of several, and boxes in one array, from the data to the step, and
as augmentation moves them."""

from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend
from kstyle.data.batches import decode
from kstyle.data.photos.tree import Photos

ops = keras.ops

MOST_SEEN = 500  # photographs that are decoded for the mean box


@dataclass(frozen=True)
class Taught:
    """Pictures, or features of them, (N, …), with labels as `packed` gives them."""

    images: object
    labels: np.ndarray


def fractions(split):
    """The boxes of a `kstyle.data.batches.arrays.Split` as `kstyle.training.boxes.overlap` has them: (N, 4) float32.

    A box of the split names the last pixels that it holds; here its sides are the pixels' outer edges.
    """
    height, width = split.images.shape[1:3]
    edges = split.boxes + np.array([0, 0, 1, 1], "float32")
    return (edges / np.array([width, height, width, height])).astype("float32")


def packed(labels, boxes):
    """(N, 5) float32: the label, exact up to 16 million classes, and the box; either may be on the device."""
    return ops.concatenate([ops.cast(labels, "float32")[:, None], boxes], axis=1)


def taught(split, boxes=True):
    """A `Split` with what a step learns from as its labels: with boxes as `packed` gives it; of several classes (N, K)
    float32; else the split itself."""
    if boxes:
        return Taught(split.images, np.concatenate([split.labels[:, None].astype("float32"), fractions(split)], axis=1))
    return split if split.several is None else Taught(split.images, split.several.astype("float32"))


def mean_box(parts, workers=None):
    """The mean of the boxes of the training pictures, of photographs as they are tested, a list of four: of a part of
    them where there are many, and without those that are cut away.

    Args:
        parts: a `kstyle.data.parts.Parts`.
        workers: processes that decode photographs.
    """
    split = parts.training
    if isinstance(split, Photos):
        some = split.part(np.unique(np.linspace(0, len(split) - 1, MOST_SEEN, dtype=int)))
        split = decode.decode(some, parts.size, parts.resize, workers, resample=parts.resample)
    boxes = fractions(split)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)].mean(axis=0).tolist()


def shares(labels, classes):
    """(B, K) float32 shares of classes from labels (B,) of one class each, or (B, K) of several."""
    labels = ops.convert_to_tensor(labels)
    return backend.one_hot(labels, classes) if len(labels.shape) == 1 else ops.cast(labels, "float32")


def opened(labels):
    """`(labels, boxes)` from what `packed` gave: (N,) int32, (N, 4) float32."""
    labels = ops.convert_to_tensor(labels)
    return ops.cast(labels[:, 0], "int32"), labels[:, 1:]


def augmented(augment, images, targets, random, strength, mix, boxes=None):
    """What `augment`, of `kstyle.training.augment.policy.build`, makes of pictures in [0, 1], (B, H, W, C).

    Args:
        boxes: (B, 4) parts of the picture's sides, or None.

    Returns:
        `(images, targets, boxes)`.
    """
    height, width = images.shape[1:3]
    sides = None if boxes is None else backend.constant(np.array([width, height, width, height]))
    pixels = None if boxes is None else boxes * sides
    images, targets, pixels = augment(images, targets, random, strength, mix, pixels)
    return images, targets, None if boxes is None else pixels / sides
