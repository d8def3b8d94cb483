"""Tiny ImageNet: photographs of 64×64 pixels in 200 classes, from the original folder or straight from its zip.

Of ImageNet (O. Russakovsky et al., 2015), for the course CS231n at Stanford. The official test pictures have no labels,
so `val` is the test split here, as in what is published about the set.
"""

import contextlib
import functools
import io
import os
import re
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kstyle.data.batches.arrays import Split
from kstyle.data.sets.find import ZIP_FAULTS, Source
from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import plain

SIDE = 64
MOST_TEXT = 1 << 24  # bytes; the official words.txt, of all of WordNet, has 2.7 million
MOST_PICTURE = 1 << 20  # bytes; a picture has about 2,000
BATCH = 256  # pictures a task of the thread pool decodes


def read(path):
    """Reads the folder that `path`, its wnids.txt, lies in, or the zip `path`, which is not unpacked to disk.

    The classes are those of wnids.txt, in its order; a shorter list reads fewer. Which pictures there are is in the
    lists of boxes. Grey pictures get three equal channels.

    Returns:
        `(classes, train, test)`: the first name in words.txt of each class; pictures (N, 64, 64, 3), in the order of
        the lists, with boxes (N, 4): x0, y0, x1, y1 from 0 to 63, the last pixels included. Some of the real boxes are
        a pixel wide.

    Raises:
        DataError: a file is missing, damaged, no JPEG of 64×64 pixels, or listed as what it cannot be.
    """
    with _opened(path) as (get, root):

        def rows(name, columns):
            return _rows(get(name, MOST_TEXT), f"{root}{name}", columns)

        wnids = [wnid for (wnid,) in rows("wnids.txt", 1)]
        odd = [wnid for wnid in wnids if not re.fullmatch(r"n\d{8}", wnid)]
        if odd or not wnids or len(set(wnids)) != len(wnids):
            found = f"'{plain(odd[0])}'" if odd else "one twice" if wnids else "nothing"
            raise DataError(f"{root}wnids.txt: expected WordNet ids like n01443537, each once; got {found}.")
        classes = _names(wnids, dict(rows("words.txt", 2)), f"{root}words.txt")
        train = []
        for label, wnid in enumerate(wnids):
            for name, *box in rows(f"train/{wnid}/{wnid}_boxes.txt", 5):
                train.append((f"train/{wnid}/images/{name}", label, box))
        labels = {wnid: label for label, wnid in enumerate(wnids)}
        listed = rows("val/val_annotations.txt", 6)
        test = [(f"val/images/{name}", labels[wnid], box) for name, wnid, *box in listed if wnid in labels]
        return classes, _split(get, root, train), _split(get, root, test)


@contextlib.contextmanager
def _opened(path):
    """`(get, root)`: `get(name, most)` gives a file's bytes, of any thread; `root` is put before its name in errors."""
    path = Path(path)
    if path.name == "wnids.txt":
        yield _from_folder(path.parent), f"{path.parent}{os.sep}"
        return
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_FAULTS as error:
        raise DataError(f"{path}: is no zip of Tiny ImageNet, or cut short ({plain(error)}).") from error
    with archive:
        yield _from_zip(archive, path), f"{path}: "


def _from_folder(folder):
    def get(name, most):
        path = folder / name
        try:
            return files.read_bytes(path, most)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error

    return get


def _from_zip(archive, path):
    # Only names that are asked for are looked up, so an entry's own name leads nowhere.
    roots = [entry[: -len("wnids.txt")] for entry in archive.namelist() if re.fullmatch(r"([^/]+/)?wnids\.txt", entry)]
    if not roots:
        raise DataError(f"{path}: holds no wnids.txt, so it is not Tiny ImageNet.")
    root, lock = min(roots, key=len), threading.Lock()

    def get(name, most):
        label = f"{path}: {name}"
        try:
            entry = archive.getinfo(root + name)
        except KeyError:
            raise DataError(f"{label}: there is no such file.") from None
        with files.parsing(label), lock:
            return files.read_member(archive, entry, most, label)

    return get


def _rows(raw, label, columns):
    """The lines of a table, separated by tabs, as lists of `columns` texts."""
    try:
        rows = [line.rstrip("\r").split("\t") for line in raw.decode("utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{label}: is no text in UTF-8.") from error
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(f"{label}: expected {columns} columns in row {number}, got {len(row)}: {plain(row)}.")
    return rows


def _names(wnids, words, label):
    names = []
    for wnid in wnids:
        if wnid not in words:
            raise DataError(f"{label}: has no name for {wnid}, which wnids.txt lists.")
        names.append(words[wnid].split(",")[0].strip())
    return tuple(name if names.count(name) == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids))


def _split(get, root, entries):
    """entries: [(name, label, box as four texts)] -> Split"""
    images = np.empty((len(entries), SIDE, SIDE, 3), np.uint8)
    boxes = np.array([_box(name, box, root) for name, _, box in entries], np.float32).reshape(-1, 4)

    def decode(first):
        for index in range(first, min(first + BATCH, len(entries))):
            name = entries[index][0]
            images[index] = _decoded(get(name, MOST_PICTURE), f"{root}{name}")

    # Pillow lets other threads run while it decodes.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            list(pool.map(decode, range(0, len(entries), BATCH)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Split(images, np.array([label for _, label, _ in entries], np.int32), boxes)


def _box(name, box, root):
    file = name.rpartition("/")[2]
    # A list's names become paths: `../` must not lead out of the folder.
    if not re.fullmatch(r"\w[\w.-]*", file) or name.count("/") != (3 if name.startswith("train") else 2):
        raise DataError(f"{root}{plain(name)}: refused: no plain file name.")
    sides = [int(side) if re.fullmatch(r"\d{1,3}", side) else -1 for side in box]
    if not (0 <= sides[0] <= sides[2] < SIDE and 0 <= sides[1] <= sides[3] < SIDE):
        raise DataError(f"{root}{name}: expected a box x0, y0, x1, y1 from 0 to {SIDE - 1}, got {plain(box)}.")
    return sides


def true_box(path):
    """The box of a picture in the set's folder, from the list that lies there: [left, top, right, bottom], the outer
    edges of its pixels; None where there is no list, or it does not have the picture."""
    folder, name = os.path.split(os.path.abspath(path))
    lists = ("val_annotations.txt", f"{os.path.basename(os.path.dirname(folder))}_boxes.txt")
    for file in (os.path.join(os.path.dirname(folder), each) for each in lists):
        if os.path.isfile(file):
            left, top, right, bottom = _listed(file, os.stat(file).st_mtime_ns).get(name, [None] * 4)
            return None if left is None else [left, top, right + 1, bottom + 1]
    return None


@functools.lru_cache(4)
def _listed(file, _changed):
    """{name: box} of a list of boxes; rows that have none are passed over."""
    try:
        rows = [line.split() for line in files.read_bytes(file, MOST_TEXT).decode("utf-8", "replace").splitlines()]
    except OSError:
        return {}
    return {row[0]: [int(side) for side in row[-4:]] for row in rows if len(row) > 4 and "".join(row[-4:]).isdecimal()}


def _decoded(raw, label):
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG",)) as image:
            if image.size != (SIDE, SIDE) or image.mode not in ("RGB", "L"):
                width, height = image.size
                raise DataError(
                    f"{label}: expected 64×64 pixels in colour or grey, got {width}×{height} in {image.mode}."
                )
            pixels = np.asarray(image)
    except DataError:
        raise
    except Exception as error:  # on damaged files Pillow's readers raise nearly anything
        # What Pillow calls the file, an object in memory, helps no one.
        reason = "no JPEG" if "cannot identify" in str(error) else plain(error)
        raise DataError(f"{label}: is damaged or no picture ({reason}).") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


# The md5 of the course's own file, which it publishes under http only.
SOURCE = Source(
    title="Tiny ImageNet",
    pictures=(100000, 10000),
    classes=200,
    shape=(SIDE, SIDE, 3),
    read=read,
    marks=("tiny-imagenet-200/wnids.txt", "tiny-imagenet-200.zip", "wnids.txt"),
    file="tiny-imagenet-200.zip",
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    sums={"md5": "90528d7ca1a48142e341f4ef8d21d0de"},
    size=248100043,
)
