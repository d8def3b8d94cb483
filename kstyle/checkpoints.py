"""The tensors in a weights file, read as data: Keras .h5, .npz, PyTorch .pth and .safetensors, with no framework.

A weights file comes from a stranger more often than not, and a PyTorch file is a pickle, which is a program. Here
it is never run: the few functions that rebuild tensors are replaced by ones that note what they were asked, and
anything else is refused by name. Shapes, strides and offsets are held against the bytes that are really there.
"""

import collections
import io
import json
import pickle
import struct
import typing
import zipfile
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.files import plain

# torch's storage classes and the bytes in them. "bfloat16" has no NumPy type and is widened to float32.
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}

# What torch.save wrote before 1.6 starts with: the pickle of 0x1950a86a20f9469cfc6c.
_TORCH_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"

# deflate cannot shrink data more than 1032 times, so a file that claims more holds a lie.
_MOST_DEFLATED = 1100


class _Unreadable(Exception):
    """Why a file cannot be used, without its name, which `read` puts in front."""


def read(path, *, only=None):
    """The tensors in a weights file.

    The format is told by the first bytes, not by the name. Names are those in the file: `features.0.weight` from
    PyTorch (nested dicts joined by dots), `block1_conv1/block1_conv1_W_1:0` from a Keras `.h5`,
    `layers/block1_conv1/vars/0` from a Keras 3 `.weights.h5` or `.keras` (with the layer's own name where the file
    tells it), the stored names from `.npz` and `.safetensors`.

    Args:
        path: the file.
        only: a function of a name that says whether the tensor is wanted; the others are not read. Default: all.

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
        return _reader(head)(path, wanted)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a weights file.") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read (permission denied).") from None
    except _Unreadable as error:
        raise DataError(f"{path}: {error}.") from None
    except Exception as error:  # a damaged file can make a parser fail in any way at all
        reason = plain(error, 160).rstrip(".") or type(error).__name__
        raise DataError(f"{path}: is damaged or cut short ({reason}).") from error


def looks_like_html(head):
    """Whether these first bytes of a file are a web page's: what a dead link or a login wall gives under any name."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype", b"<html"))


def _reader(head):
    """The function that reads a file with these first bytes."""
    if not head:
        raise _Unreadable("is empty")
    if looks_like_html(head):
        raise _Unreadable("is a web page, not weights; the link it was saved from is dead or asks for a login")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if head.startswith(b"PK\x03\x04"):
        return _read_zip
    if head.startswith(_TORCH_LEGACY):
        return _read_torch_legacy
    if head[8:9] == b"{":
        return _read_safetensors
    if head.startswith(b"version https://git-lfs"):
        raise _Unreadable("is a Git LFS pointer, not weights; fetch the file itself with 'git lfs pull'")
    if head[257:262] == b"ustar":
        raise _Unreadable("is in PyTorch's format of 2016 (a tar); load and save it again with PyTorch")
    if head.startswith(b"\x80"):
        raise _Unreadable("is a plain Python pickle, which is a program, not weights")
    raise _Unreadable("is no weights file: expected Keras .h5, .npz, PyTorch .pth or .safetensors")


def _widen(halves):
    """bfloat16 bit patterns (uint16) as float32: the same number with 16 more zero bits."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


# ---------------------------------------------------------------------------------------------------- HDF5, npz


def _read_h5(path, wanted):
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
                raise _Unreadable(f"refused: {plain(name)} points at other files")
            if item.nbytes > _MOST_DEFLATED * max(item.id.get_storage_size(), 1):
                raise _Unreadable(f"refused: {plain(name)} claims {item.nbytes} bytes that the file does not hold")
            found[name] = _widen(item[()].view(np.uint16)) if brain else item[()]

        file.visititems(visit)
    return found


def _read_npz(path, wanted):
    found = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if not wanted(name):
                continue
            try:
                value = archive[name]
            except ValueError as error:
                if "pickle" not in str(error):
                    raise
                raise _Unreadable(f"refused: {plain(name)} is a pickled Python object, not numbers") from None
            if isinstance(value, np.ndarray):
                found[name] = value
    return found


def _read_safetensors(path, wanted):
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
        return _widen(np.frombuffer(file.read(last - first), "<u2")).reshape(entry["shape"])


# ---------------------------------------------------------------------------------------------------- PyTorch


class _Storage(typing.NamedTuple):
    key: str
    dtype: str  # a value of _STORAGES
    count: int  # elements of the whole storage
    first: int = 0  # where a view into it starts, in elements


class _Tensor(typing.NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple  # in elements


class _Ignored:
    """Stands for what scripts keep beside the tensors: it can be made and given a state, and remembers nothing."""

    __slots__ = ()

    def __new__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def __setstate__(self, state):
        pass


# Figures of NumPy, such as the best score so far, and the options that a script was called with.
_IGNORED = {
    "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "_codecs.encode",
    "argparse.Namespace",
}  # fmt: skip


class _Notes(pickle.Unpickler):
    """Unpickles to dicts of `_Tensor` notes.

    What `find_class` hands out is a built-in type, a string, a bound method or `_Ignored`: things whose behaviour a
    hostile pickle's BUILD instruction cannot alter.
    """

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.dtypes = {}  # {key of a storage: its dtype}

    def find_class(self, module, name):
        if module == "torch" and name in _STORAGES:
            return name
        if f"{module}.{name}" in _IGNORED:
            return _Ignored
        allowed = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor": self._rebuild,  # torch 0.1: torchvision's VGG files of 2017
            "torch._utils._rebuild_tensor_v2": self._rebuild,
            "torch._utils._rebuild_parameter": self._rebuild_parameter,
        }
        if f"{module}.{name}" not in allowed:
            raise _Unreadable(
                f"refused: the file wants to run {plain(f'{module}.{name}')}; only plain tensors are read "
                "(in PyTorch: torch.save(model.state_dict(), FILE))"
            )
        return allowed[f"{module}.{name}"]

    def persistent_load(self, pid):
        # ('storage', type, key, device, elements[, view: None or (key, first element, elements)])
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or storage not in _STORAGES or not isinstance(key, str) or not _natural(count):
            raise _Unreadable("is damaged: it names a storage that cannot be")
        if self.dtypes.setdefault(key, _STORAGES[storage]) != _STORAGES[storage]:
            raise _Unreadable(f"is damaged: it gives storage {plain(key)} two types")
        first = view[0][1] if view and view[0] is not None else 0
        return _Storage(key, _STORAGES[storage], count, first)

    def _rebuild(self, storage, offset, shape, strides, *_gradient):
        return _Tensor(storage, offset, shape, strides)

    def _rebuild_parameter(self, tensor, *_gradient):
        return tensor


def _natural(value):
    return type(value) is int and value >= 0


def _tensors(root, wanted):
    """`{dotted name: _Tensor}` in nested dicts, lists and tuples; everything else (epochs, rates, names) is left."""
    found, todo, seen = {}, [("", root)], set()
    while todo:
        name, value = todo.pop()
        if isinstance(value, _Tensor):
            if wanted(name):
                found[name] = value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a pickle can hold a dict that holds itself
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [(f"{name}.{key}" if name else str(key), inner) for key, inner in reversed(list(items))]
    return found


def _view(name, tensor, flat):
    """The tensor as a view of its storage `flat`, refused where it would reach outside."""
    storage, offset, shape, strides = tensor
    fair = isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    fair = fair and len(shape) == len(strides) and all(map(_natural, (storage.first, offset, *shape, *strides)))
    if not fair:
        raise _Unreadable(f"is damaged: tensor {plain(name)} has no sound shape")
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    first = storage.first + offset
    if first + sum((n - 1) * stride for n, stride in zip(shape, strides)) >= flat.size:
        raise _Unreadable(f"is damaged: tensor {plain(name)} reaches outside its storage of {flat.size} elements")
    size = flat.dtype.itemsize
    steps = [stride * size if n > 1 else size for n, stride in zip(shape, strides)]
    return np.ndarray(shape, flat.dtype, buffer=flat, offset=first * size, strides=steps)


def _elements(raw, dtype):
    return _widen(np.frombuffer(raw, "<u2")) if dtype == "bfloat16" else np.frombuffer(raw, dtype)


def _itemsize(dtype):
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _storages(tensors):
    """`{key: _Storage}` of those that the tensors use."""
    return {t.storage.key: t.storage for t in tensors.values() if isinstance(t.storage, _Storage)}


def _assemble(tensors, flats):
    nothing = np.zeros(0, np.float32)
    return {n: _view(n, t, flats[t.storage.key] if isinstance(t.storage, _Storage) else nothing)
            for n, t in tensors.items()}  # fmt: skip


def _read_zip(path, wanted):
    """A zip is an .npz, a Keras 3 .keras archive, or what torch.save writes since 1.6."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "model.weights.h5" in names:
            return _read_h5(_entry(archive, "model.weights.h5"), wanted)
        pickles = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
        if not pickles:
            if any(n.endswith(".npy") for n in names):
                return _read_npz(path, wanted)
            raise _Unreadable("is a zip archive without weights in it")
        folder = pickles[0][: -len("data.pkl")]
        if folder + "byteorder" in names and _entry(archive, folder + "byteorder") != b"little":
            raise _Unreadable("was written on a big-endian machine, which is not supported")
        tensors = _tensors(_Notes(io.BytesIO(_entry(archive, pickles[0]))).load(), wanted)
        flats = {}
        for key, storage in _storages(tensors).items():
            size = storage.count * _itemsize(storage.dtype)
            raw = _entry(archive, f"{folder}data/{key}")
            if len(raw) < size:
                raise _Unreadable(f"is damaged: storage {plain(key)} holds {len(raw)} of {size} bytes")
            flats[key] = _elements(raw[:size], storage.dtype)
        return _assemble(tensors, flats)


def _entry(archive, name):
    """The bytes of one stored entry; in memory, so a name like ../../x leads nowhere."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise _Unreadable(f"is damaged: its entry {plain(name)} is missing") from None
    if entry.compress_type != zipfile.ZIP_STORED:  # neither torch nor Keras compresses, a zip bomb does
        raise _Unreadable(f"refused: its entry {plain(name)} is compressed")
    return archive.read(entry)


def _read_torch_legacy(path, wanted):
    """Pickles of the magic number, the version, the system, the tensors and the storage keys; then, a storage each,
    int64 elements and the bytes."""
    with open(path, "rb") as file:
        _, _, system = (_Notes(file).load() for _ in range(3))
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise _Unreadable("was written on a big-endian machine, which is not supported")
        notes = _Notes(file)
        tensors = _tensors(notes.load(), wanted)
        keys = _Notes(file).load()
        needed, flats = _storages(tensors), {}
        position, end = file.tell(), path.stat().st_size
        for key in keys:
            if key not in notes.dtypes:
                raise _Unreadable(f"is damaged: nothing tells the type of storage {plain(key)}")
            file.seek(position)
            (count,) = struct.unpack("<q", file.read(8))
            size = count * _itemsize(notes.dtypes[key])
            position += 8 + size
            if count < 0 or position > end:
                raise _Unreadable(f"is cut short: storage {plain(key)} ends at byte {position}, the file at {end}")
            if key in needed:
                flats[key] = _elements(file.read(size), notes.dtypes[key])
        missing = needed.keys() - flats.keys()
        if missing:
            raise _Unreadable(f"is damaged: storage {plain(min(missing))} is missing")
        return _assemble(tensors, flats)
