"""MNIST: 70,000 handwritten digits of 28×28 pixels, from Keras' .npz or the four idx files.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

import gzip
import io
import math
import zipfile
import zlib

import numpy as np

from kstyle.data.batches.arrays import Split
from kstyle.data.sets.find import Source
from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import plain

SIDE = 28
MOST = 1 << 26  # bytes an array may claim; the largest here has 47 million

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_NPZ = ("x_train", "y_train", "x_test", "y_test")


def read(path):
    """Reads `mnist.npz`, or the idx files, plain or gzipped, in the folder of `path`.

    Returns:
        `(classes, train, test)`; pictures (N, 28, 28, 1).

    Raises:
        DataError: a file is missing, damaged, larger than it may be, or of other shapes or types.
    """
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        arrays = [(f"{path}: {name}", array) for name, array in zip(_NPZ, _read_npz(path))]
    elif path.name.startswith(IDX):
        paths = [_beside(path, name) for name in IDX]
        arrays = [(str(part), _read_idx(part)) for part in paths]
    else:
        raise DataError(f"{path}: is no .npz of MNIST, nor one of its idx files.")
    return tuple("0123456789"), _split(*arrays[:2]), _split(*arrays[2:])


def _split(images, labels):
    (of_images, images), (of_labels, labels) = images, labels
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{of_images}: expected (N, 28, 28) uint8, got {images.shape} {images.dtype}.")
    if labels.dtype.kind not in "ui" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{of_labels}: expected {len(images)} labels, one a picture, got {labels.shape} {labels.dtype}."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() <= 9):  # before the cast to int32: 2³² becomes 0
        raise DataError(f"{of_labels}: expected labels from 0 to 9, got {labels.min()} to {labels.max()}.")
    return Split(images[..., None], labels.astype(np.int32))


def _read_npz(path):
    with files.parsing(path), zipfile.ZipFile(path) as archive:
        try:
            entries = [archive.getinfo(f"{name}.npy") for name in _NPZ]
        except KeyError as error:
            raise DataError(f"{path}: expected the arrays {', '.join(_NPZ)}; {plain(error.args[0])}.") from error
        raw = (files.read_member(archive, entry, MOST, f"{path}: {entry.filename}") for entry in entries)
        return [np.lib.format.read_array(io.BytesIO(array), allow_pickle=False) for array in raw]


def _beside(path, name):
    for candidate in (path.with_name(name), path.with_name(f"{name}.gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path.with_name(name)}: there is no such file, nor a .gz of it, beside {path.name}.")


def _read_idx(path):
    """Two zero bytes, 8 for uint8, the number of axes, their lengths as big-endian uint32, and the bytes."""
    opened = gzip.open if path.suffix == ".gz" else open
    with files.parsing(path, (EOFError, OSError, zlib.error)), opened(path, "rb") as file:
        head = file.read(4)
        axes = 3 if "idx3" in path.name else 1
        if head != bytes([0, 0, 8, axes]):
            raise DataError(f"{path}: is no idx file of uint8 with {axes} axes; it starts with {head.hex()}.")
        lengths = file.read(4 * axes)
        if len(lengths) < 4 * axes:
            raise EOFError("it ends in its header")
        shape = [int.from_bytes(lengths[i : i + 4], "big") for i in range(0, 4 * axes, 4)]
        size = math.prod(shape)
        if size > MOST:
            raise DataError(f"{path}: refused: it claims the shape {tuple(shape)}.")
        raw = file.read(size + 1)
    if len(raw) != size:
        raise DataError(f"{path}: is {'longer' if len(raw) > size else 'shorter'} than its shape {tuple(shape)}.")
    return np.frombuffer(bytearray(raw), np.uint8).reshape(shape)  # writable: torch warns of arrays that are not


# The file, address and checksum of keras.datasets.mnist; its arrays are bit for bit the original files'.
SOURCE = Source(
    title="MNIST",
    pictures=(60000, 10000),
    classes=10,
    shape=(SIDE, SIDE, 1),
    read=read,
    marks=("mnist.npz", *(f"{folder}{IDX[0]}{end}" for folder in ("", "MNIST/raw/") for end in ("", ".gz"))),
    file="mnist.npz",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    sums={"sha256": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
    size=11490434,
)
