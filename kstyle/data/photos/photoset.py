"""Photographs as a data set: whether each file can be read, which are tested on, and what is wrong with them.

Pictures are opened once, at reduced size, to see that they can be; they become arrays in `kstyle.data.batches.decode`.
"""

import functools
import hashlib
import logging
import os
from dataclasses import dataclass

import numpy as np

from kstyle.data.batches import division, verdicts
from kstyle.data.batches.arrays import tallied
from kstyle.data.photos.classes import matched
from kstyle.errors import DataError, UsageError
from kstyle.io.files import listed, plain

log = logging.getLogger("kstyle")


@dataclass(frozen=True, eq=False)
class Photos:
    """Picture files and what they show; goes wherever a `kstyle.data.batches.arrays.Split` is only divided.

    Attributes:
        paths: (N,) of texts (dtype object).
        labels: (N,) int32, an index into the set's classes.
        contents: (N,) of texts (dtype object), equal where the files are; None where they were not looked into.
        boxes: (N, 4) float32, the left, top, right and bottom edge of a thing in pixels of the turned picture; or None.
        several: (N, K) uint8, 1 where a picture is of a class, of pictures that may be of several; `labels` then has
            the rarest of each, by which they are drawn. Or None.

    Raises:
        DataError: shapes or types do not match.
    """

    paths: np.ndarray
    labels: np.ndarray
    contents: np.ndarray | None = None
    boxes: np.ndarray | None = None
    several: np.ndarray | None = None

    def __post_init__(self):
        count = len(self.paths)
        if (
            self.paths.shape != (count,)
            or self.paths.dtype != object
            or not all(isinstance(p, str) for p in self.paths)
        ):
            raise DataError(f"Expected paths (N,) of texts, got {self.paths.shape} {self.paths.dtype}.")
        if self.labels.shape != (count,) or self.labels.dtype != np.int32:
            raise DataError(f"Expected labels ({count},) int32, got {self.labels.shape} {self.labels.dtype}.")

    def __len__(self):
        return len(self.paths)

    def part(self, indices):
        """These files, in this order."""
        return Photos(*(None if each is None else each[indices] for each in vars(self).values()))

    def per_class(self, count):
        """How many pictures there are of each of `count` classes, a list."""
        return tallied(self, count)


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """A data set of picture files.

    Attributes:
        name: of the set.
        classes: what the labels mean, in their order.
        train, test: `Photos`.
        origin: where it was found, for the user.
        skipped: (path, reason) of every file that is left out.
        root: the folder that paths are relative to in `sha256` and in the cache.
        drawn: whether the pictures to test on are a part that was set apart here, no split of the set's own.

    Raises:
        DataError: there is nothing to test on, or a label has no class. There may be nothing to train on.
    """

    name: str
    classes: tuple[str, ...]
    train: Photos
    test: Photos
    origin: str = ""
    skipped: tuple[tuple[str, str], ...] = ()
    root: str = ""
    drawn: bool = False

    def __post_init__(self):
        if not len(self.test):
            self.check("train" if self.drawn and not len(self.train) else "test")
        for part, split in (("train", self.train), ("test", self.test)):
            if not len(split):
                continue
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                span = f"labels from 0 to {len(self.classes) - 1}"
                raise DataError(f"{self.name}: expected {span} in {part}, got {low} to {high}.")

    def check(self, part):
        """DataError where the split `part` holds no pictures."""
        if not len(getattr(self, part)):
            left = f" ({len(self.skipped)} files are left out: {_list_of(self.skipped)})" if self.skipped else ""
            if self.drawn and len(self.train):
                left = ": no class has two that differ, so that one could be set apart; add some, or give a test split"
            raise DataError(f"{self.name}: {part} holds no pictures{left}.")

    def check_training(self):
        """DataError where there is nothing to train on, or one class; it names what was found."""
        self.check("train")
        there = np.flatnonzero(self.train.per_class(len(self.classes)))
        if len(there) > 1:
            return
        folder = os.path.commonpath([os.path.dirname(path) for path in self.train.paths])
        below = {os.path.relpath(path, folder).split(os.sep)[0] for path in self.train.paths if
                 os.path.dirname(path) != folder}  # fmt: skip
        way = f"; in it are the folders {listed(sorted(below), 3)}: if these are the classes, give {folder}"
        raise DataError(
            f"{self.origin or self.name}: expected two classes or more to train on, found one: "
            f"{plain(self.classes[there[0]])}, {len(self.train):,} pictures{way if len(below) > 1 else ''}."
        )

    @functools.cached_property
    def sha256(self):
        """Hex SHA-256 of class names and, for each split, every file's path below `root`, label, size and content, with
        boxes and several labels where there are such.

        Contents are read once; their sums are kept with the verdicts in the cache, by path, size and time of change.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part, split in (("train", self.train), ("test", self.test)):
            found = verdicts.examine(split.paths, self.root)
            beside = [each for each in (split.boxes, split.several) if each is not None]
            for number, (path, label) in enumerate(zip(split.paths, split.labels)):
                content, reason = found[path]
                if reason:
                    raise DataError(f"{path}: {reason}.")
                row = [part, verdicts.below(path, self.root), str(label), str(os.path.getsize(path)), content]
                row += [str(each[number].tolist()) for each in beside]
                digest.update(os.fsencode("\0" + "\0".join(row)))
        return digest.hexdigest()


def _list_of(skipped):
    return listed((f"{plain(os.path.basename(path))} ({plain(reason)})" for path, reason in skipped), 3, 200)


def photo_set(
    name, root, known, found, skipped, test_fraction, seed, workers, progress, origin=None, declared=False, boxes=None,
    several=None,
):  # fmt: skip
    """`known`: names in order, `declared` as the classes of the set rather than found in its splits; `found`: {"train"
    and perhaps "test": [(path, name)]}; `boxes`: {path: four numbers}, or None; `several`: {path: names}, or None, and
    then `found` has the rarest name of each path, or "" of one that has none."""
    if not 0 < test_fraction < 1 or not 0 <= seed < 2**32:
        raise UsageError(
            f"The test fraction is above 0 and below 1, the seed from 0 to {2**32 - 1}; got {test_fraction}, {seed}."
        )
    total = len(skipped) + sum(len(rows) for rows in found.values())
    judged = verdicts.examine(sorted({path for rows in found.values() for path, _ in rows}), root, workers, progress)
    kept = {}
    for part, rows in found.items():
        reasons = [judged[path][1] for path, _ in rows]
        skipped += [(path, reason) for (path, _), reason in zip(rows, reasons) if reason]
        kept[part] = [row for row, reason in zip(rows, reasons) if not reason]
    if skipped:
        log.warning("%s: %d of %d files are left out: %s.", root, len(skipped), total, _list_of(skipped))
    drawn = "test" not in kept
    if not drawn and not declared and several is None:
        same = _as_in_train(root, kept)
        known = [label for label in known if same.get(label, label) == label]
        kept["test"] = [(path, same[label]) for path, label in kept["test"]]
    elif drawn:
        kept = _divided(kept["train"], test_fraction, seed, judged)
    present = {
        part: {name for path, label in rows for name in ([label] if several is None else several[path])}
        for part, rows in kept.items()
    }
    empty = [label for label in known if label not in present["train"] | present["test"]]
    classes = [label for label in known if label not in empty]
    if empty:
        _warn(root, "no picture at all, and left out", empty)
    for part in ("train", "test"):
        lacking = [label for label in classes if label not in present[part]]
        if lacking and kept[part]:
            _warn(root, f"no picture in {part}", lacking)
    numbers = {label: number for number, label in enumerate(classes)}
    photos = {part: _photos(kept[part], numbers, judged, boxes, several) for part in ("train", "test")}
    for problem in division.problems(**photos, classes=classes):
        log.warning("%s: %s.", root, problem)
    name = name or os.path.basename(root)
    return PhotoSet(
        name, tuple(classes), **photos, origin=origin or root, skipped=tuple(skipped), root=root, drawn=drawn
    )


def _photos(rows, numbers, judged, boxes, several):
    paths, contents = (np.array([*column, None], object)[:-1] for column in
                       ([path for path, _ in rows], [judged[path][0] for path, _ in rows]))  # fmt: skip
    if boxes is not None:
        boxes = np.array([boxes[path] for path in paths], np.float32).reshape(-1, 4)
    if several is not None:
        marks = np.zeros((len(paths), len(numbers)), np.uint8)
        for row, path in zip(marks, paths):
            row[[numbers[name] for name in several[path]]] = 1
        several = marks
    # A picture of none of several classes is drawn with those of the first.
    labels = np.array([numbers[label] if label else 0 for _, label in rows], np.int32)
    return Photos(paths, labels, contents, boxes, several)


def _warn(root, what, classes):
    log.warning("%s: classes with %s: %s.", root, what, listed(classes, 3))


def _as_in_train(root, kept):
    """{class of a given test split: what the same class is called in train}; one that train lacks keeps its name."""
    train, test = (list(dict.fromkeys(label for _, label in kept[part])) for part in ("train", "test"))
    same = matched(test, train)
    if train and test and not any(same.values()):
        raise DataError(
            f"{root}: none of the classes to test on ({listed(test)}) is among those to train on ({listed(train)}): "
            "expected the same folders or labels in both. Without a test split, a part of the training pictures is it."
        )
    for one, other in same.items():
        if other not in (None, one):
            log.info("%s: '%s' of the test split is '%s' of train.", root, plain(one), plain(other))
    return {one: other or one for one, other in same.items()}


def _divided(rows, fraction, seed, judged):
    """{"train": rows, "test": rows}: rows that are not divided yet, with a part of each class set apart for testing."""
    order = {label: number for number, label in enumerate(dict.fromkeys(label for _, label in rows))}
    rows = sorted(rows, key=lambda row: order[row[1]])
    tested = division.held([label for _, label in rows], [judged[path][0] for path, _ in rows], fraction, seed)
    kept = {"train": [], "test": []}
    for number, row in enumerate(rows):
        kept["test" if number in tested else "train"].append(row)
    return kept
