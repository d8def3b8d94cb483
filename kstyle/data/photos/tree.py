"""Photographs in folders and lists: which files there are, and of which classes."""

import functools
import logging
import os
import re
from pathlib import Path

from kstyle.data.photos import beside, splits, tables
from kstyle.data.photos.photoset import Photos, PhotoSet, photo_set
from kstyle.errors import DataError
from kstyle.io.files import legible, plain, read_bytes
from kstyle.pictures import folders as walk

__all__ = ["PhotoSet", "Photos", "read_csv", "read_folder", "read_list"]

log = logging.getLogger("kstyle")

NAMES = ("classes.txt", "style_names.txt")
COLUMNS = {"path": ("path", "file", "filename", "image"), "label": ("label", "class"), "split": ("split",)}
MOST_TEXT = 1 << 28  # bytes of a list; that of ImageNet's 1.3 million has 50 million


def read_folder(root, *, name=None, test_fraction=0.2, seed=0, leave_out=None, workers=None, progress=None):
    """Reads a folder with a folder for each class, or with `train/` and `test/` that each have one for each class.

    Splits may be called as people call them, in any case (`kstyle.data.photos.splits.role`). `val/` stands for a
    `test/` that is not there; beside one that is, it is not looked into and a warning says so. Without any of them a
    part of every class becomes the test split, drawn by `seed`, whatever other classes there are; copies of a picture
    stay on one side (`kstyle.data.batches.division.held`), and a class of one picture stays in train. A class is its
    folder's name, with all pictures in and below it; hidden folders are passed over, links are followed.

    A file counts as a picture if it can be opened and decoded. Others are left out, named in `skipped` and counted in
    one warning. Classes without a picture in train and in test are left out, with a warning; one that has none in
    either keeps its number, with a warning.

    Args:
        root: the folder.
        name: of the set; default: the folder's.
        test_fraction: of the pictures, above 0 and below 1, where there is no test split.
        seed: 0 to 2³² - 1.
        leave_out: {file name: why it is no picture of the set}.
        workers: processes that open the pictures, as for `kstyle.data.batches.workers.Decoder`.
        progress: `progress(done, total)` in files that had to be opened.

    Returns: a `PhotoSet`, classes in the order of their names, as torchvision's ImageFolder has them (numbers, where
        all are numbers, by value).

    Raises:
        UsageError: the fraction or the seed is out of range.
        DataError: there is no such folder, or no picture to test on; a test split alone will do.
    """
    root = os.path.abspath(Path(root).expanduser())
    skipped, folders = [], splits.find(root, _folders, lambda folder: bool(walk.pictures(folder).pictures))
    if folders:
        loose = walk.pictures(root, recursive=False).pictures
        skipped += [(picture.path, "it lies in no split's folder") for picture in loose]
    else:
        folders = {"train": root}
    found, known = {"train": []} | {part: [] for part in folders}, set()
    for part, folder in folders.items():
        for entry in _entries(folder):
            if not walk.is_folder(entry):
                skipped.append((entry.path, "it lies in no class's folder"))
            elif not walk.hidden(entry.name):
                known.add(label := legible(entry.name))
                inside = walk.pictures(entry.path)
                skipped += _told(inside.left)
                for path in (picture.path for picture in inside.pictures):
                    if why := (leave_out or {}).get(os.path.basename(path)):
                        skipped.append((path, why))
                    else:
                        found[part].append((path, label))
    if not known:
        raise DataError(
            f"{root}: expected a folder for each class, or train/ and test/ with one for each; found {_found(root)}."
        )
    return photo_set(name, root, _in_order(known), found, skipped, test_fraction, seed, workers, progress)


def _entries(folder):
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if str(folder).lower().endswith((".csv", ".tsv")) and os.path.isfile(folder):
            raise DataError(f"{folder}: expected a folder of pictures, got a table: set data.name=csv.") from error
        raise DataError(f"{folder}: cannot be read as a folder of pictures ({error.strerror}).") from error


def _folders(folder):
    return [entry.name for entry in _entries(folder) if walk.is_folder(entry) and not walk.hidden(entry.name)]


def _found(root):
    """What is in a folder that has no folders in it."""
    files = [entry.name for entry in _entries(root) if not walk.hidden(entry.name)]
    for reader, ends in (("csv", (".csv", ".tsv")), ("list", ("train.txt",))):
        if table := next((name for name in files if name.lower().endswith(ends)), None):
            return f"{plain(table)} (data.name={reader} reads it)"
    pictures = len(walk.pictures(root, recursive=False).pictures)
    return f"{pictures:,} pictures and no folder" if pictures else "no folder and no picture"


def _told(left):
    """[(path, reason)] of the `Left`s that a walk found, but for what nobody takes for a picture.

    DataError of a folder that cannot be read: a whole class may be in it.
    """
    for each in left:
        if each.kind == "folder":
            raise DataError(f"{each.path}: {each.why}.")
    return [(each.path, each.why) for each in left if each.kind not in ("again", "hidden folder")]


def _in_order(names):
    """Numbers by value where all are, texts by their code points where not."""
    return sorted(names, key=(lambda n: (int(n), n)) if all(re.fullmatch("[0-9]+", n) for n in names) else None)


def read_list(root, *, train="train.txt", test=None, name=None, test_fraction=0.2, seed=0, workers=None, progress=None):
    """Reads lists of `path label` lines, as Caffe's tools and those of Flickr Style write them.

    A path may hold blanks and is absolute, or relative to the list's folder or to `root`, and then leads out of
    neither, by `..` or by a link. A label is a whole number: the number of a line, from 0, of the `classes.txt` or
    `style_names.txt` in `root`; without such a file the numbers are the names. Splitting, what is left out and the
    other arguments are as for `read_folder`; a file that is not there is left out too.

    Args:
        root: the folder.
        train, test: the lists, relative to `root` or absolute. Default of `test`: `test.txt`, `val.txt` or another of
            `kstyle.data.photos.splits.TESTS`, whichever is there; where none is, a part of `train`.

    Returns: a `PhotoSet`.

    Raises:
        UsageError: as `read_folder`.
        DataError: a list is missing, has a line that is no path and label, or a path that leads out.
    """
    root = os.path.abspath(Path(root).expanduser())
    test = test or next(
        (f"{part}.txt" for part in splits.TESTS if os.path.isfile(os.path.join(root, f"{part}.txt"))), None
    )
    names = next((names for file in NAMES if (names := _lines(os.path.join(root, file), optional=True))), None)
    found, skipped = {}, []
    for part, file in (("train", train), ("test", test)):
        if file is None:
            continue
        found[part], file = [], os.path.join(root, file)
        within = _Within(file, (os.path.dirname(file), root))
        for number, line in _lines(file):
            text, label = [*line.rsplit(maxsplit=1), ""][:2]
            if not re.fullmatch("[0-9]{1,9}", label):
                raise DataError(f"{file}: expected a path and a number in line {number}, got '{plain(line)}'.")
            if names is not None and int(label) >= len(names):
                raise DataError(f"{file}: line {number} has label {label}; the names are for 0 to {len(names) - 1}.")
            found[part].append((within(text, number), str(int(label))))
    known = _in_order({label for rows in found.values() for _, label in rows})
    if names is not None:
        known = [legible(text.strip()) for _, text in names]
        found = {part: [(path, known[int(label)]) for path, label in rows] for part, rows in found.items()}
    return photo_set(name, root, known, found, skipped, test_fraction, seed, workers, progress,
                     declared=names is not None)  # fmt: skip


def _lines(path, optional=False):
    """[(number from 1, text)] of the lines that are not blank."""
    if optional and not os.path.isfile(path):
        return None
    try:
        text = read_bytes(path, MOST_TEXT).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


class _Within:
    """Turns the texts of a list into paths. An absolute path is taken as it is; others may not leave their base."""

    def __init__(self, file, bases):
        self.file, self.bases = file, tuple(dict.fromkeys(os.path.abspath(base) for base in bases))
        self.real = [os.path.join(os.path.realpath(base), "") for base in self.bases]
        self.folder = functools.cache(os.path.realpath)  # most files share theirs

    def __call__(self, text, number):
        if "\0" not in text:
            if os.path.isabs(text):
                return text
            paths = [path for path in (os.path.join(base, text) for base in self.bases) if self._inside(path)]
            if paths:
                return next((path for path in paths if os.path.exists(path)), paths[0])
        raise DataError(
            f"{self.file}: refused: '{plain(text)}' in line {number} leads out of {self.bases[-1]}; give an absolute "
            "path if that is meant."
        )

    def _inside(self, path):
        if os.path.islink(path):
            real = os.path.realpath(path)
        else:
            folder, base = os.path.split(path)
            real = os.path.normpath(os.path.join(self.folder(folder), base))
        return any(real.startswith(base) for base in self.real)


def read_csv(
    path, *, name=None, test_fraction=0.2, seed=0, workers=None, progress=None, boxes=False, several=False
):  # fmt: skip
    """Reads a table (`kstyle.data.photos.tables.read`) with a column `path`, `file`, `filename` or `image`, a column
    `label` or `class`, and perhaps a column `split` of `train` and `test` (or what else
    `kstyle.data.photos.splits.role` knows).

    Paths are absolute or relative to the table's folder, which they then do not leave. Labels are the names of the
    classes. Splitting, what is left out and the other arguments are as for `read_folder`.

    Args:
        path: the table, or a folder with no other `.csv`.
        boxes: whether to read a box for each picture, where the table has `kstyle.data.photos.beside.SIDES`.
        several: whether a picture may be of several classes, or of none, see `kstyle.data.photos.beside.labels`.

    Returns: a `PhotoSet`.

    Raises:
        UsageError: as `read_folder`.
        DataError: the table is missing, is no CSV, lacks a column or a value, or has a path that leads out.
    """
    path = os.path.abspath(Path(path).expanduser())
    if os.path.isdir(path):
        path = tables.only(path, [entry.name for entry in _entries(path)])
    columns, marked = beside.columns(path, COLUMNS, several)
    sides = beside.SIDES if boxes else {}
    rows, there = tables.read(path, columns | sides, optional=("split", *sides))
    boxes = boxes and set(sides) <= set(there)
    given = [row["split"] if "split" in there else "train" for _, row in rows]
    parts = [splits.role(text) for text in given]
    test = splits.chosen(parts, path)
    within = _Within(path, (os.path.dirname(path),))
    found, told = {"train": []} | ({"test": []} if test else {}), {} if boxes else None
    for (number, row), split, part in zip(rows, given, parts):
        text, label = row["path"], beside.labels(path, number, row, marked) if several else row["label"]
        if not text or not (label or several) or not part:
            row = plain((text, label, split))
            raise DataError(
                f"{path}: expected a path, a label and a split of train or test in line {number}, got {row}."
            )
        if part in ("train", test):
            file = within(text, number)
            found["train" if part == "train" else "test"].append((file, label))
            if boxes:
                beside.add_box(told, file, path, number, row)
    sets = None
    if several:
        found, sets, known = beside.gathered(found, marked)
    known = _in_order(known if several else {row["label"] for _, row in rows})
    return photo_set(name or Path(path).stem, os.path.dirname(path), known, found, [], test_fraction, seed, workers,
                     progress, origin=path, boxes=told, several=sets)  # fmt: skip
