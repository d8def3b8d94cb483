"""The tensors in a weights file, read as data: Keras .h5, .npz, PyTorch .pth and .safetensors, with no framework.

A weights file comes from a stranger more often than not, and a PyTorch file is a pickle, which is a program. Here
it is never run: the few functions that rebuild tensors are replaced by ones that note what they were asked, and
anything else is refused by name. Shapes, strides and offsets are held against the bytes that are really there.
"""

import io
import json
import math
import struct
import zipfile
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.io import pickles
from kstyle.io.files import looks_like_html, plain
from kstyle.io.pickles import Unreadable

# What torch.save wrote before 1.6 starts with: the pickle of 0x1950a86a20f9469cfc6c.
_TORCH_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"

# Bytes that the compressed tensors of a file may unpack to, unless it is said how many its network needs: the largest
# has 144 million parameters, 1.2 GB in double precision.
MOST_UNPACKED = 2 << 30


def read(path, *, only=None, most=MOST_UNPACKED):
    """The tensors in a weights file.

    The format is told by the first bytes, not by the name. Names are those in the file: `features.0.weight` from
    PyTorch (nested dicts joined by dots), `block1_conv1/block1_conv1_W_1:0` from a Keras `.h5`,
    `layers/block1_conv1/vars/0` from a Keras 3 `.weights.h5` or `.keras` (with the layer's own name where the file
    tells it), the stored names from `.npz` and `.safetensors`.

    Args:
        path: the file.
        only: a function of a name that says whether the tensor is wanted; the others are not read. Default: all.
        most: bytes that what is compressed in it may unpack to.

    Returns:
        `{name: array}` in the file's order, layout and dtype, but bfloat16 widened to float32. The arrays may be
        read-only views of shared memory.

    Raises:
        DataError: the file is missing, damaged, cut short, of no known kind, or would have to run code to be read.
    """
    path = Path(path)
    wanted = only or (lambda name: True)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        return _reader(head)(path, wanted, _Room(most, path))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a weights file.") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read (permission denied).") from None
    except Unreadable as error:
        raise DataError(f"{path}: {error}.") from None
    except Exception as error:  # a damaged file can make a parser fail in any way at all
        reason = plain(error, 160).rstrip(".") or type(error).__name__
        raise DataError(f"{path}: is damaged or cut short ({reason}).") from error


def tensor_names(path):
    """The names of the tensors in a weights file, in its order; none is read. Raises: as `read`."""
    found = []
    read(path, only=found.append)  # `append` returns None, which says that the tensor is not wanted
    return found


def most_for(parameters):
    """Bytes for `read` that the weights of a network with so many parameters may unpack to: in double precision, and
    four times over, as a training's file has its optimiser's and an average."""
    return (1 << 20) + 4 * 8 * parameters


class _Room:
    """How many bytes may be read of a file: of what is stored as it is, the file's size; of compressed data `most`."""

    def __init__(self, most, path):
        self.most, self._unpacked, self._stored = most, 0, 0
        self.size = len(path) if isinstance(path, bytes) else path.stat().st_size

    def take(self, name, size, packed):
        """`size` bytes of tensor `name` are about to be read.

        Raises:
            Unreadable: it is more than the file can hold, or may unpack to.
        """
        if packed:
            self._unpacked += size
            if self._unpacked > self.most:
                said = f"with {plain(name)} it would unpack to {self._unpacked:,} bytes"
                raise Unreadable(f"refused: {said}, and weights for this have at most {self.most:,}")
        else:
            self._stored += size
            if self._stored > self.size:
                raise Unreadable(f"refused: {plain(name)} claims {size} bytes that the file does not hold")


def _reader(head):
    """The function that reads a file with these first bytes."""
    if not head:
        raise Unreadable("is empty")
    if looks_like_html(head):
        raise Unreadable("is a web page, not weights; the link it was saved from is dead or asks for a login")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if head.startswith(b"PK\x03\x04"):
        return _read_zip
    if head.startswith(_TORCH_LEGACY):
        return _read_torch_legacy
    if head[8:9] == b"{":
        return _read_safetensors
    if head.startswith(b"version https://git-lfs"):
        raise Unreadable("is a Git LFS pointer, not weights; fetch the file itself with 'git lfs pull'")
    if head[257:262] == b"ustar":
        raise Unreadable("is in PyTorch's format of 2016 (a tar); load and save it again with PyTorch")
    if head.startswith(b"\x80"):
        raise Unreadable("is a plain Python pickle, which is a program, not weights")
    raise Unreadable("is no weights file: expected Keras .h5, .npz, PyTorch .pth or .safetensors")


# ---------------------------------------------------------------------------------------------------- HDF5, npz


def _read_h5(path, wanted, room):
    import h5py

    found = {}
    # A bytes object here is a file out of an archive; visititems follows no link that leaves the file.
    with h5py.File(io.BytesIO(path) if isinstance(path, bytes) else path, "r") as file:

        def visit(name, item):
            if not isinstance(item, h5py.Dataset):
                return
            brain = item.attrs.get("dtype") == "bfloat16"
            if not (brain and item.dtype.itemsize == 2) and item.dtype.kind not in "fiub":
                return
            # Keras 3 names groups by class (conv2d_7) and notes the layer's name beside the variables.
            parts, own = name.split("/"), item.parent.attrs.get("name")
            if len(parts) > 2 and parts[-2] == "vars" and isinstance(own, str):
                renamed = "/".join([*parts[:-3], own, *parts[-2:]])
                name = name if renamed in found else renamed
            if not wanted(name):
                return
            if item.is_virtual or item.external:
                raise Unreadable(f"refused: {plain(name)} points at other files")
            size = max(item.nbytes, math.prod(item.chunks or (0,)) * item.dtype.itemsize)  # chunks are read whole
            room.take(name, size, packed=item.nbytes and item.id.get_storage_size() < size)
            found[name] = pickles.widen(item[()].view(np.uint16)) if brain else item[()]

        file.visititems(visit)
    return found


def _read_npz(archive, wanted, room):
    found = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename or not wanted(name):
            continue
        with archive.open(entry) as file:
            # The header first: what it says is what would be allocated.
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:
                raise Unreadable(f"is damaged: {plain(name)} is of an unknown version {version} of .npy")
            shape, _, dtype = read[version](file)
        if dtype.hasobject:
            raise Unreadable(f"refused: {plain(name)} is a pickled Python object, not numbers")
        room.take(name, math.prod(shape) * dtype.itemsize, packed=entry.compress_type != zipfile.ZIP_STORED)
        with archive.open(entry) as file:
            found[name] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def _read_safetensors(path, wanted, room):
    from safetensors import safe_open

    found = {}
    with safe_open(path, "numpy") as file:  # checks the header against the file's size
        for name in file.keys():  # noqa: SIM118 - not a dict
            if wanted(name):
                brain = file.get_slice(name).get_dtype() == "BF16"
                found[name] = _safetensors_bfloat16(path, name) if brain else file.get_tensor(name)
    return found


def _safetensors_bfloat16(path, name):
    # The library gives NumPy no bfloat16. The file: uint64 length of the header, the header as JSON, the data.
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
        first, last = entry["data_offsets"]
        file.seek(8 + length + first)
        return pickles.widen(np.frombuffer(file.read(last - first), "<u2")).reshape(entry["shape"])


# ---------------------------------------------------------------------------------------------------- PyTorch


def _read_zip(path, wanted, room):
    """A zip is an .npz, a Keras 3 .keras archive, or what torch.save writes since 1.6."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "model.weights.h5" in names:
            raw = _entry(archive, "model.weights.h5", room)
            return _read_h5(raw, wanted, _Room(room.most, raw))
        found = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
        if not found:
            if any(n.endswith(".npy") for n in names):
                return _read_npz(archive, wanted, room)
            raise Unreadable("is a zip archive without weights in it")
        folder = found[0][: -len("data.pkl")]
        if folder + "byteorder" in names and _entry(archive, folder + "byteorder", room) != b"little":
            raise Unreadable("was written on a big-endian machine, which is not supported")
        tensors = pickles.tensors_of(pickles.Notes(io.BytesIO(_entry(archive, found[0], room))).load(), wanted)
        flats = {}
        for key, storage in pickles.storages_of(tensors).items():
            size = storage.count * pickles.itemsize(storage.dtype)
            raw = _entry(archive, f"{folder}data/{key}", room)
            if len(raw) < size:
                raise Unreadable(f"is damaged: storage {plain(key)} holds {len(raw)} of {size} bytes")
            flats[key] = pickles.elements(raw[:size], storage.dtype)
        return pickles.assemble(tensors, flats)


def _entry(archive, name, room):
    """The bytes of one stored entry; in memory, so a name like ../../x leads nowhere."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise Unreadable(f"is damaged: its entry {plain(name)} is missing") from None
    if entry.compress_type != zipfile.ZIP_STORED:  # neither torch nor Keras compresses, a zip bomb does
        raise Unreadable(f"refused: its entry {plain(name)} is compressed")
    room.take(name, entry.file_size, packed=False)
    return archive.read(entry)


def _read_torch_legacy(path, wanted, room):
    """Pickles of the magic number, the version, the system, the tensors and the storage keys; then, a storage each,
    int64 elements and the bytes."""
    with open(path, "rb") as file:
        _, _, system = (pickles.Notes(file).load() for _ in range(3))
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise Unreadable("was written on a big-endian machine, which is not supported")
        notes = pickles.Notes(file)
        tensors = pickles.tensors_of(notes.load(), wanted)
        keys = pickles.Notes(file).load()
        needed, flats = pickles.storages_of(tensors), {}
        position, end = file.tell(), path.stat().st_size
        for key in keys:
            if key not in notes.dtypes:
                raise Unreadable(f"is damaged: nothing tells the type of storage {plain(key)}")
            file.seek(position)
            (count,) = struct.unpack("<q", file.read(8))
            size = count * pickles.itemsize(notes.dtypes[key])
            position += 8 + size
            if count < 0 or position > end:
                raise Unreadable(f"is cut short: storage {plain(key)} ends at byte {position}, the file at {end}")
            if key in needed:
                flats[key] = pickles.elements(file.read(size), notes.dtypes[key])
        missing = needed.keys() - flats.keys()
        if missing:
            raise Unreadable(f"is damaged: storage {plain(min(missing))} is missing")
        return pickles.assemble(tensors, flats)
