"""The files of CIFAR-10 and CIFAR-100 for Python: batches of pictures of 32×32 pixels, in a folder or an archive.

The batches are pickles, which are programs. Here they are never run: the functions that rebuild an array are replaced
by ones that note what they were asked, as `kstyle.io.checkpoints` does for PyTorch's files, and anything else is
refused by name.
"""

import gzip
import io
import pickle
import tarfile
import zlib

import numpy as np

from kstyle.data.batches.arrays import Split
from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import plain

SIDE = 32
MOST = 1 << 28  # bytes of a batch; the largest official one has 155 million
MOST_UNPACKED = 1 << 28  # bytes an archive may unpack to; the official ones have 186 million


def read(path, train, test, *, title, labels, classes):
    """Reads the batches in the folder of `path`, one of them, or in the archive `path`, which is not unpacked to disk.

    Args:
        train, test: names of the batches, lists.
        title: what the set is called.
        labels: what the labels are called in a batch.
        classes: how many.

    Returns:
        `(train, test)`, two `Split`s; pictures (N, 32, 32, 3), of however many each batch has.

    Raises:
        DataError: a batch is missing, damaged, larger than it may be, holds other arrays, or wants to run code.
    """
    names = (*train, *test)
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    batches = {}
    for name, raw in _archived(path, names) if packed else _beside(path, names):
        where = f"{path}: {name}" if packed else str(path.with_name(name))
        batches[name] = _batch(raw, where, labels, classes)
    missing = [name for name in names if name not in batches]
    if missing:
        where = path if packed else path.parent
        raise DataError(f"{where}: lacks {', '.join(missing)} of {title}, the version for Python.")
    return _split(batches, train), _split(batches, test)


def _split(batches, names):
    """Takes the named batches out of `batches`."""
    labels = np.concatenate([batches[name][1] for name in names])
    images, first = np.empty((len(labels), SIDE, SIDE, 3), np.uint8), 0
    for name in names:
        # Batch by batch, each let go once it is copied: the set is not in memory three times.
        planes = batches.pop(name)[0].reshape(-1, 3, SIDE, SIDE)
        images[first : first + len(planes)] = planes.transpose(0, 2, 3, 1)
        first += len(planes)
    return Split(images, labels)


def _beside(path, names):
    for name in names:
        part = path.with_name(name)
        if part.is_file():
            yield name, files.read_bytes(part, MOST)


class _Bounded(io.RawIOBase):
    """What a gzip file unpacks to, up to `MOST_UNPACKED` bytes: a few megabytes can unpack to terabytes."""

    def __init__(self, file):
        self.file, self.left = file, MOST_UNPACKED

    def read(self, size=-1):
        chunk = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(chunk)
        if self.left < 0:
            raise tarfile.ReadError(f"refused: it unpacks to more than {MOST_UNPACKED} bytes")
        return chunk


def _archived(path, names):
    """The batches in the archive. Only plain files are read, and none is written, so names lead nowhere."""
    with (
        files.parsing(path, (tarfile.TarError, zlib.error, EOFError, OSError)),
        gzip.open(path) as unpacked,
        tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as archive,
    ):
        for entry in archive:
            name = entry.name.rpartition("/")[2]
            if entry.isreg() and name in names:
                yield name, archive.extractfile(entry).read()


# ---------------------------------------------------------------------------------------------------- pickles


class _Array:
    """What a pickle says of an array: `state` is (version, shape, dtype, Fortran order?, bytes)."""

    __slots__ = ("state",)

    def __setstate__(self, state):
        self.state = state


class _Type:
    """A dtype's name. Its state is the byte order, which numbers of one byte do not have."""

    __slots__ = ("name",)

    def __setstate__(self, _state):
        pass


class _Refused(Exception):
    pass


# Python's own, as in `kstyle.io.pickles`: the one in C reserves memory for whatever memo number is claimed.
class _Notes(pickle._Unpickler):
    """Unpickles to dicts with `_Array` notes, from Python 2 (strings come as bytes) and 3.

    As in `kstyle.io.pickles`, `find_class` hands out strings and bound methods only: a hostile pickle's BUILD
    instruction cannot alter them.
    """

    def __init__(self, raw):
        super().__init__(io.BytesIO(raw), encoding="bytes")

    def find_class(self, module, name):
        allowed = {
            "numpy.core.multiarray._reconstruct": self._array,
            "numpy._core.multiarray._reconstruct": self._array,
            "numpy.ndarray": "ndarray",
            "numpy.dtype": self._type,
            "_codecs.encode": self._bytes,
        }
        if f"{module}.{name}" not in allowed:
            raise _Refused(f"wants to run {plain(f'{module}.{name}')}; only plain arrays are read")
        return allowed[f"{module}.{name}"]

    def persistent_load(self, pid):
        raise _Refused("points at something outside the file")

    def _array(self, *_):
        return _Array()

    def _type(self, name, *_):
        found = _Type()
        found.name = name
        return found

    def _bytes(self, text, encoding):
        # Protocol 2 has no bytes: Python 3 writes them as text of the first 256 characters.
        if type(text) is not str or encoding not in ("latin1", b"latin1"):
            raise _Refused(f"wants text in the encoding {plain(encoding)}")
        return text.encode("latin1")


def _batch(raw, label, key, classes):
    """A batch's bytes -> data (N, 3072) uint8, each picture's red, green and blue plane; labels (N,) int32."""
    with files.parsing(label):
        try:
            return _checked(_Notes(raw).load(), label, key, classes)
        except _Refused as error:
            raise DataError(f"{label}: refused: the file {error}.") from None


def _checked(batch, label, key, classes):
    if not isinstance(batch, dict):
        raise DataError(f"{label}: expected a dict of data and labels, got {type(batch).__name__}.")
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = _data(batch.get("data"), label), batch.get(key)
    # Not numpy's own conversion: it would take nested lists, texts and booleans too.
    if not isinstance(labels, list) or len(labels) != len(data):
        held = f"{len(labels)} labels" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{label}: expected a list of {len(data)} labels, one a picture, got {held}.")
    wrong = [value for value in labels if type(value) is not int or not 0 <= value < classes]
    if wrong:
        raise DataError(f"{label}: expected labels from 0 to {classes - 1}, got {plain(wrong[0])}.")
    return data, np.array(labels, np.int32)


def _data(note, label):
    state = getattr(note, "state", None) if isinstance(note, _Array) else None
    if not isinstance(state, tuple) or len(state) != 5:
        raise DataError(f"{label}: expected an array named data, got {plain(type(note).__name__)}.")
    _, shape, dtype, fortran, raw = state
    name = dtype.name if isinstance(dtype, _Type) else None
    width = 3 * SIDE * SIDE
    sound = name in ("u1", b"u1", "|u1", b"|u1", "uint8", b"uint8") and isinstance(raw, bytes)
    sound = sound and isinstance(shape, tuple) and [type(n) for n in shape] == [int, int]
    if not sound or shape[1] != width or len(raw) != shape[0] * width:
        held = f"{plain(shape)} {plain(name)} in {len(raw) if isinstance(raw, bytes) else 'no'} bytes"
        raise DataError(f"{label}: expected data (N, {width}) uint8, got {held}.")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
