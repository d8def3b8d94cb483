"""Tiny ImageNet (Stanford's course CS231n, 2015): 64 × 64 photographs of up to 200 classes with a box each.

Read in its original layout, from the folder or straight from the official zip. wnids.txt says which classes there are:
a folder with some of them only is a data set too.
"""

import io
import os
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kstyle.checkpoints import plain
from kstyle.data.arrays import Split, assemble
from kstyle.data.find import Source, folders
from kstyle.errors import DataError

SIDE = 64

# Bytes of one file: the largest picture of the data set has 13,000, words.txt 2.7 million.
LARGEST = {".JPEG": 1 << 20, ".txt": 1 << 25}
_FOLDER = "tiny-imagenet-200"


def find(folder):
    """The folder with wnids.txt, or the official zip, in `folder` or its `tiny-imagenet-200`; or None."""
    if folder.is_file() and folder.suffix == ".zip":
        return folder
    for place in folders(folder, _FOLDER, "tiny_imagenet", f"tiny_imagenet/{_FOLDER}"):
        if (place / "wnids.txt").is_file() and (place / "train").is_dir():
            return place
    for place in folders(folder, _FOLDER, "tiny_imagenet"):
        if (place / f"{_FOLDER}.zip").is_file():
            return place / f"{_FOLDER}.zip"
    return None


def read(path):
    """Reads Tiny ImageNet from what `find` returned; a zip is read as it is, nothing is unpacked to disk.

    Returns:
        A `Dataset` of (N, 64, 64, 3) pictures; the official one has 100,000 and 10,000. Classes are in the order of
        wnids.txt, named by the first word of words.txt. The test split is the labelled `val` (the official test
        pictures have no labels). Boxes are None where the files have not one for each picture.

    Raises:
        DataError: a file is missing, damaged, not 64 × 64, or has lines of another layout.
    """
    if path.is_dir():
        return _read(_Folder(path), path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_Zip(archive, path), path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: is no zip archive, or damaged or cut short ({plain(error, 120)}).") from error


def _read(tree, path):
    wnids = [line[0] for line in _lines(tree, "wnids.txt", 1)]
    if not wnids or len(set(wnids)) != len(wnids):
        raise DataError(f"{path}/wnids.txt: expected a class a line, each once; found {len(wnids)} lines.")
    for wnid in wnids:
        if not re.fullmatch(r"n\d{8}", wnid):  # it becomes a folder's name
            raise DataError(f"{path}/wnids.txt: expected classes like n01443537, found '{plain(wnid)}'.")
    train = _decode(tree, [entry for label, wnid in enumerate(wnids) for entry in _train(tree, wnid, label)], "train")
    test = _decode(tree, _val(tree, wnids), "val")
    return assemble("tiny_imagenet", _names(tree, wnids), train, test, path)


def _train(tree, wnid, label):
    """[(file, label, box or None)] of a class, in the order of their numbers."""
    boxes, folder = {}, f"train/{wnid}"
    if tree.has(f"{folder}/{wnid}_boxes.txt"):
        boxes = {
            name: _box(tree, f"{folder}/{wnid}_boxes.txt", box)
            for name, *box in _lines(tree, f"{folder}/{wnid}_boxes.txt", 5)
        }
    files = sorted(tree.pictures(f"{folder}/images"), key=lambda name: (len(name), name))
    if not files:
        raise DataError(f"{tree.path}: {folder}/images has no .JPEG files; wnids.txt names the class {wnid}.")
    return [(f"{folder}/images/{name}", label, boxes.get(name)) for name in files]


def _val(tree, wnids):
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    entries = []
    for name, wnid, *box in _lines(tree, "val/val_annotations.txt", 6):
        if not re.fullmatch(r"[\w.-]+\.JPEG", name):
            raise DataError(f"{tree.path}/val/val_annotations.txt: '{plain(name)}' is no file name of a picture.")
        if wnid in labels:
            entries.append((f"val/images/{name}", labels[wnid], _box(tree, "val/val_annotations.txt", box)))
    if not entries:
        raise DataError(f"{tree.path}/val/val_annotations.txt: has no pictures of the classes in wnids.txt.")
    return entries


def _box(tree, file, numbers):
    try:
        x0, y0, x1, y1 = (int(number) for number in numbers)
    except ValueError:
        x0 = y0 = x1 = y1 = -1
    if not (0 <= x0 <= x1 <= SIDE and 0 <= y0 <= y1 <= SIDE):
        raise DataError(f"{tree.path}/{file}: expected a box within {SIDE} pixels, found {plain(numbers)}.")
    return x0, y0, x1, y1


def _lines(tree, file, fields):
    """The lines of a table, each a list of `fields` texts."""
    lines = [line.split() for line in _text(tree, file).splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != fields:
            raise DataError(f"{tree.path}/{file}: line {number} has {len(line)} fields, expected {fields}.")
    return lines


def _text(tree, file):
    try:
        return tree.read(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{tree.path}/{file}: is no text ({plain(error)}).") from error


def _names(tree, wnids):
    """A name a class, distinct: two kinds of crane have their number added."""
    words = dict(line.split("\t", 1) for line in _text(tree, "words.txt").splitlines() if "\t" in line)
    names = [plain(words.get(wnid, wnid).split(",")[0].strip()) for wnid in wnids]
    return [f"{name} ({wnid})" if names.count(name) > 1 else name for name, wnid in zip(names, wnids)]


def _decode(tree, entries, part):
    # Pillow lets go of Python's lock while it decodes, the file system while it reads.
    files, labels, boxes = zip(*entries)
    images = np.empty((len(files), SIDE, SIDE, 3), np.uint8)

    def decode(indices):
        for index in indices:
            images[index] = _picture(tree.read(files[index]), f"{tree.path}/{files[index]}")

    blocks = [range(first, min(first + 256, len(files))) for first in range(0, len(files), 256)]
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), f"decode-{part}")
    try:
        for _ in pool.map(decode, blocks):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    known = None if None in boxes else np.array(boxes, np.float32)
    return Split(images, np.array(labels, np.int32), known)


def _picture(data, where):
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):
                raise DataError(f"{where}: expected {SIDE} × {SIDE} pixels, found {image.width} × {image.height}.")
            # Some hundred are grey.
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way at all
        reason = "it is no JPEG" if isinstance(error, Image.UnidentifiedImageError) else plain(error, 120).rstrip(".")
        raise DataError(f"{where}: is damaged or cut short ({reason}).") from error


def _limit(size, file, path):
    most = LARGEST[os.path.splitext(file)[1]]
    if size > most:
        raise DataError(f"{path}/{file}: has {size} bytes, more than {most}: nothing in Tiny ImageNet is so large.")


class _Folder:
    """The files of an unpacked data set, by their names from its root."""

    def __init__(self, path):
        self.path = path

    def has(self, file):
        return (self.path / file).is_file()

    def read(self, file):
        try:
            with open(self.path / file, "rb") as opened:
                _limit(os.fstat(opened.fileno()).st_size, file, self.path)
                return opened.read()
        except OSError as error:
            raise DataError(f"{self.path / file}: cannot be read ({error.strerror or plain(error)}).") from error

    def pictures(self, folder):
        place = self.path / folder
        return [name for name in os.listdir(place) if name.endswith(".JPEG")] if place.is_dir() else []


class _Zip:
    """The same of the official zip. Entries are only ever looked up by names made here, so ../../x leads nowhere."""

    def __init__(self, archive, path):
        self.archive, self.path, self.folders = archive, path, {}
        names = archive.namelist()
        self.root = f"{_FOLDER}/" if f"{_FOLDER}/wnids.txt" in names else ""
        self.names = set(names)
        for name in names:
            folder, _, file = name.rpartition("/")
            if file.endswith(".JPEG"):
                self.folders.setdefault(folder, []).append(file)

    def has(self, file):
        return self.root + file in self.names

    def read(self, file):
        if not self.has(file):
            raise DataError(f"{self.path}/{file}: is missing from the archive.")
        entry = self.archive.getinfo(self.root + file)
        _limit(entry.file_size, file, self.path)
        try:
            # Not more than the entry says it has is unpacked, whatever its data say.
            return self.archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self.path}/{file}: is damaged ({plain(error, 120)}).") from error

    def pictures(self, folder):
        return self.folders.get(self.root + folder, [])


# No checksum is published with it; this MD5 is the one in common use.
SOURCE = Source(
    name="tiny_imagenet",
    find=find,
    read=read,
    pictures=110_000,
    classes=200,
    shape=(SIDE, SIDE, 3),
    file=f"{_FOLDER}.zip",
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    sums={"md5": "90528d7ca1a48142e341f4ef8d21d0de"},
    megabytes=248,
)
