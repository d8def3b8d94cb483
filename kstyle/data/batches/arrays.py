"""Labelled pictures as NumPy arrays: what a data set is once read, and how it is split, thinned, ordered and
described."""

import functools
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from kstyle.data.batches import division
from kstyle.errors import DataError, UsageError
from kstyle.io.files import plain

CHUNK = 4096  # pictures looked at in one go, so that statistics need no second copy of the set


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures and what they show.

    Attributes:
        images: (N, H, W, C) uint8.
        labels: (N,) int32, an index into the data set's classes.
        boxes: (N, 4) float32, the object's x0, y0, x1, y1 in pixels from the upper left, the last ones included; or
            None.
        several: (N, K) uint8, 1 where a picture is of a class, of pictures that may be of several; or None.

    Raises:
        DataError: shapes or types do not match.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None
    several: np.ndarray | None = None

    def __post_init__(self):
        count, sound = len(self.images), self.images.ndim == 4 and self.images.dtype == np.uint8
        sound = sound and self.labels.shape == (count,) and self.labels.dtype == np.int32
        if self.boxes is not None:
            sound = sound and self.boxes.shape == (count, 4) and self.boxes.dtype == np.float32
        if not sound:
            found = [a if a is None else f"{a.shape} {a.dtype}" for a in (self.images, self.labels, self.boxes)]
            raise DataError(
                "A split is images (N, H, W, C) uint8, labels (N,) int32 and boxes (N, 4) float32 or None; "
                f"got {found[0]}, {found[1]} and {found[2]}."
            )

    def __len__(self):
        return len(self.images)

    @property
    def contents(self):
        """What tells equal pictures, as of `kstyle.data.photos.tree.Photos`: a list of N digests."""
        return [hashlib.sha256(image.tobytes()).digest() for image in self.images]

    def part(self, indices):
        """The split of these pictures, in this order; a copy."""
        return Split(*(None if each is None else each[indices] for each in vars(self).values()))

    def per_class(self, count):
        """How many pictures there are of each of `count` classes, a list."""
        return tallied(self, count)


def tallied(split, count):
    """`per_class` of a `Split` or of a `kstyle.data.photos.tree.Photos`."""
    if split.several is not None:
        return split.several.sum(axis=0, dtype=int).tolist()
    return np.bincount(split.labels, minlength=count).tolist()


def resized(split, shape):
    """A split with its pictures brought to another shape, as `kstyle.predict` brings files to it, but for rounding.

    Args:
        split: a `Split`.
        shape: (H, W, C), or the side of squares of as many channels. C is 1 or 3: colours become their grey by ITU-R
            601, grey is repeated.

    Returns:
        A `Split`, with the boxes moved; `split` itself where nothing is to be done.
    """
    height, width, channels = split.images.shape[1:]
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape, shape, channels)
    if shape == (height, width, channels):
        return split
    from PIL import Image

    mode, found = "L" if shape[2] == 1 else "RGB", np.empty((len(split), *shape), np.uint8)
    for place, pixels in enumerate(split.images):
        # By Pillow in bytes: `kstyle.pictures.images.resize` is for large ones, and takes fifty times as long here.
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        image = image if image.mode == mode else image.convert(mode)
        found[place] = np.asarray(image.resize(shape[1::-1], Image.Resampling.LANCZOS)).reshape(shape)
    boxes = split.boxes
    if boxes is not None:  # by the outer edges of the pixels that they name
        last, by = np.array([0, 0, 1, 1]), np.array([shape[1] / width, shape[0] / height] * 2)
        boxes = ((boxes + last) * by - last).astype(np.float32)
    return Split(found, split.labels, boxes, split.several)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: as in `kstyle.data.DATASETS`.
        classes: what the labels mean, in their order.
        train, test: the published splits; Tiny ImageNet's test is its labelled `val`.
        origin: where it was read from, for the user.

    Raises:
        DataError: a label has no class, or the pictures of the two splits differ in shape.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    origin: str = ""

    def __post_init__(self):
        for part, split in (("train", self.train), ("test", self.test)):
            if not len(split):
                raise DataError(f"{self.name}: {part} holds no pictures.")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                span = f"labels from 0 to {len(self.classes) - 1}"
                raise DataError(f"{self.name}: expected {span} in {part}, got {low} to {high}.")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            shapes = f"{self.train.images.shape[1:]} in train and {self.test.images.shape[1:]} in test"
            raise DataError(f"{self.name}: expected pictures of one shape, got {shapes}.")

    @functools.cached_property
    def sha256(self):
        """Hex SHA-256 of shapes and values, the same on every machine and for every file format of the same pictures.

        JPEG decoders may differ by a bit, so that of Tiny ImageNet goes with one version of Pillow.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for split in (self.train, self.test):
            for array in (split.images, split.labels, split.boxes):
                if array is not None:
                    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                    digest.update(f"{little.dtype.str}{little.shape}".encode())
                    digest.update(little.data)
        return digest.hexdigest()


def hold_out(split, fraction, seed, classes=None):
    """Sets a part of every class aside for validation; copies of a picture stay on one side.

    Args:
        split: a `Split`.
        fraction: of the pictures, above 0 and below 1.
        seed: 0 to 2³² - 1. The same seed holds out the same pictures.
        classes: what the labels mean, for errors.

    Returns:
        `(train, validation)`, both in the order of `split`.

    Raises:
        UsageError: the fraction or the seed is out of range.
        DataError: a class has too few pictures to be in both.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"The fraction to hold out is above 0 and below 1; got {fraction}.")
    contents = split.contents
    if contents is None or len(set(contents)) == len(split):
        held = _draw(split, round(fraction * len(split)), seed, classes)
    else:
        _check_seed(seed)
        held = np.array(sorted(division.held([str(n) for n in split.labels], contents, fraction, seed)), int)
    kept = np.setdiff1d(np.arange(len(split)), held, assume_unique=True)
    for label, count in zip(*np.unique(split.labels, return_counts=True)):
        if not (np.any(split.labels[held] == label) and np.any(split.labels[kept] == label)):
            raise DataError(
                f"Class {_named(label, classes)} has {count} of {len(split)} pictures, too few that differ to be in "
                f"both parts when {fraction:g} is held out: choose another fraction, or add pictures."
            )
    return split.part(kept), split.part(held)


def _named(label, classes):
    return str(label) if classes is None else f"'{plain(classes[label])}'"


def take(split, count, seed, classes=None):
    """A smaller set with the classes in the same proportions, for runs on a processor.

    Args:
        split: a `Split`.
        count: of pictures, from the number of classes to `len(split)`.
        seed: 0 to 2³² - 1. The same seed takes the same pictures.
        classes: what the labels mean, for errors.

    Returns:
        A `Split` in the order of `split`; `split` itself where all are taken.

    Raises:
        UsageError: the count or the seed is out of range.
        DataError: a class would be left without pictures.
    """
    present = np.unique(split.labels)
    if count != int(count) or not len(present) <= count <= len(split):
        raise UsageError(
            f"From {len(split)} pictures of {len(present)} classes, {len(present)} to {len(split)} can be taken; "
            f"got {count}."
        )
    if count == len(split):
        return split
    drawn = split.part(_draw(split, int(count), seed, classes))
    lost = np.setdiff1d(present, drawn.labels)
    if len(lost):
        raise DataError(
            f"Of {int(count)} pictures none would be of class {_named(lost[0], classes)}, which has "
            f"{np.sum(split.labels == lost[0])} of {len(split)}: take more."
        )
    return drawn


def _check_seed(seed):
    if not 0 <= seed < 2**32:
        raise UsageError(f"The seed is a whole number from 0 to {2**32 - 1}; got {seed}.")


def _draw(split, count, seed, classes):
    """Sorted indices of `count` pictures, the classes in proportion."""
    _check_seed(seed)
    labels, total = split.labels, len(split)
    present, counts = np.unique(labels, return_counts=True)
    few = int(counts.argmin())
    if counts[few] < 2:
        name = _named(present[few], classes)
        raise DataError(f"Class {name} has a single picture; to draw in proportion takes two: add pictures.")
    if count < len(present):
        raise DataError(
            f"{count} of {total} pictures are fewer than the {len(present)} classes: a larger part is needed."
        )
    if total - count < len(present):
        # So few are left out that not every class loses one, which scikit-learn refuses. Chance says which classes do.
        shuffled = np.random.RandomState(seed).permutation(total)
        firsts = np.sort(np.unique(labels[shuffled], return_index=True)[1])
        return np.setdiff1d(np.arange(total), shuffled[firsts[: total - count]])
    from sklearn.model_selection import train_test_split

    drawn, _ = train_test_split(np.arange(total), train_size=count, random_state=seed, stratify=labels)
    return np.sort(drawn)


def order(count, seed, epoch):
    """The order in which an epoch goes through `count` pictures.

    It comes from NumPy's Generator (PCG64) alone, so it is the same on every machine and every backend.

    Args:
        count: of pictures, at least 0.
        seed, epoch: whole numbers of at least 0. Each pair has an order of its own.

    Returns:
        (count,) int32, a permutation of 0 … count - 1.

    Raises:
        UsageError: one of them is negative or no whole number.
    """
    for name, value in (("count", count), ("seed", seed), ("epoch", epoch)):
        if value != int(value) or value < 0:
            raise UsageError(f"The {name} of an order is a whole number of at least 0; got {value}.")
    return np.random.default_rng((int(seed), int(epoch))).permutation(int(count)).astype(np.int32)


def step_number(seed, epoch, batch):
    """The integer that all random numbers of a training step come from, at least 0 and below 2³¹."""
    return zlib.crc32(f"{seed} {epoch} {batch}".encode()) >> 1


def channel_statistics(images):
    """Mean and standard deviation of each channel over all pixels.

    Args:
        images: (N, H, W, C) uint8.

    Returns:
        `(mean, std)`, each (C,) float64, of values in [0, 1] (byte / 255); exact, from counts of the 256 values.
    """
    counts = np.zeros((images.shape[3], 256), np.int64)
    for first in range(0, len(images), CHUNK):
        for channel, found in enumerate(counts):
            found += np.bincount(images[first : first + CHUNK, ..., channel].ravel(), minlength=256)
    values, weights = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    return mean, np.sqrt(weights @ values**2 - mean**2)


def count_grey(images):
    """How many pictures of (N, H, W, 3) uint8 have three equal channels; None for any other number of channels.

    These are all that are stored as grey, and the few stored in colour that show none.
    """
    if images.shape[3] != 3:
        return None
    total = 0
    for first in range(0, len(images), CHUNK):
        chunk = images[first : first + CHUNK]
        same = (chunk[..., 0] == chunk[..., 1]) & (chunk[..., 1] == chunk[..., 2])
        total += int(same.all(axis=(1, 2)).sum())
    return total


def count_shared(first, second):
    """How many pictures of the split `second` are, to the last byte, also in `first`."""
    seen = {hashlib.sha256(image.tobytes()).digest() for image in first.images}
    return sum(hashlib.sha256(image.tobytes()).digest() in seen for image in second.images)
