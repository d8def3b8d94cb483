"""What the pickle in a PyTorch file says of its tensors, read as data.

The pickle is never run: the few functions that rebuild tensors are replaced by ones that note what they were asked, and
anything else is refused by name. Its size, its depth and what it may have copied are bounded by what a network needs.
"""

import collections
import pickle
import typing

import numpy as np

from kstyle.io.files import plain

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


# Of a pickle: bytes, of which a tensor takes 150; levels of dicts in dicts; characters of a tensor's name.
MOST_PICKLED, DEEPEST, LONGEST_NAME = 1 << 22, 100, 1000


class Unreadable(Exception):
    """Why a file cannot be used, without its name, which `kstyle.io.checkpoints.read` puts in front."""


def widen(halves):
    """bfloat16 bit patterns (uint16) as float32: the same number with 16 more zero bits."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


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


# Python's own and not the one in C, which reserves memory for whatever memo number a file claims, 64 GB say.
class Notes(pickle._Unpickler):
    """Unpickles to dicts of `_Tensor` notes.

    What `find_class` hands out is a string, a bound method or `_Ignored`: things whose behaviour a hostile pickle's
    BUILD instruction cannot alter.
    """

    def __init__(self, file):
        super().__init__(_Bounded(file), encoding="utf-8")
        self.dtypes = {}  # {key of a storage: its dtype}
        self._copied = 0

    def find_class(self, module, name):
        if module == "torch" and name in _STORAGES:
            return name
        if f"{module}.{name}" in _IGNORED:
            return _Ignored
        allowed = {
            "collections.OrderedDict": self._ordered,
            "torch.Size": self._size,
            "torch._utils._rebuild_tensor": self._rebuild,  # torch 0.1: torchvision's VGG files of 2017
            "torch._utils._rebuild_tensor_v2": self._rebuild,
            "torch._utils._rebuild_parameter": self._rebuild_parameter,
        }
        if f"{module}.{name}" not in allowed:
            raise Unreadable(
                f"refused: the file wants to run {plain(f'{module}.{name}')}; only plain tensors are read "
                "(in PyTorch: torch.save(model.state_dict(), FILE))"
            )
        return allowed[f"{module}.{name}"]

    def persistent_load(self, pid):
        # ('storage', type, key, device, elements[, view: None or (key, first element, elements)])
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or storage not in _STORAGES or not isinstance(key, str) or not _natural(count):
            raise Unreadable("is damaged: it names a storage that cannot be")
        if self.dtypes.setdefault(key, _STORAGES[storage]) != _STORAGES[storage]:
            raise Unreadable(f"is damaged: it gives storage {plain(key)} two types")
        first = view[0][1] if view and view[0] is not None else 0
        return _Storage(key, _STORAGES[storage], count, first)

    def _ordered(self, items=()):
        return collections.OrderedDict(self._counted(items))

    def _size(self, sides=()):
        return tuple(self._counted(sides))

    def _counted(self, items):
        """Items to copy: each is in the pickle once, but a hostile one has the same list copied over and over."""
        self._copied += len(items)
        if self._copied > MOST_PICKLED:
            raise Unreadable("refused: its pickle copies more than it holds")
        return items

    def _rebuild(self, storage, offset, shape, strides, *_gradient):
        return _Tensor(storage, offset, shape, strides)

    def _rebuild_parameter(self, tensor, *_gradient):
        return tensor


class _Bounded:
    """A file of which no more than `MOST_PICKLED` bytes are read."""

    def __init__(self, file):
        self._file, self._left = file, MOST_PICKLED

    def read(self, size):
        self._left -= size
        if self._left < 0:
            raise Unreadable(f"refused: its pickle has more than {MOST_PICKLED} bytes, and that of weights has few")
        return self._file.read(size)

    def readline(self):
        line = self._file.readline(max(self._left, 0) + 1)
        self._left -= len(line)
        if self._left < 0:
            self.read(1)
        return line


def _natural(value):
    return type(value) is int and value >= 0


def tensors_of(root, wanted):
    """`{dotted name: _Tensor}` in nested dicts, lists and tuples; everything else (epochs, rates, names) is left."""
    found, todo, seen = {}, [((), root)], set()
    while todo:
        keys, value = todo.pop()
        if isinstance(value, _Tensor):
            name = ".".join(map(str, keys))
            if len(name) > LONGEST_NAME:
                raise Unreadable(f"refused: a tensor's name, {plain(name, 40)}, has {len(name)} characters")
            if wanted(name):
                found[name] = value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a pickle can hold a dict that holds itself
            if len(keys) == DEEPEST:
                raise Unreadable(f"refused: it is nested more than {DEEPEST} deep, and weights are not")
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [
                ((*keys, key), inner) for key, inner in reversed(list(items)) if isinstance(inner, dict | list | tuple)
            ]
    return found


def _view(name, tensor, flat):
    """The tensor as a view of its storage `flat`, refused where it would reach outside."""
    storage, offset, shape, strides = tensor
    fair = isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    fair = fair and len(shape) == len(strides) and all(map(_natural, (storage.first, offset, *shape, *strides)))
    if not fair:
        raise Unreadable(f"is damaged: tensor {plain(name)} has no sound shape")
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    first = storage.first + offset
    if first + sum((n - 1) * stride for n, stride in zip(shape, strides)) >= flat.size:
        raise Unreadable(f"is damaged: tensor {plain(name)} reaches outside its storage of {flat.size} elements")
    size = flat.dtype.itemsize
    steps = [stride * size if n > 1 else size for n, stride in zip(shape, strides)]
    return np.ndarray(shape, flat.dtype, buffer=flat, offset=first * size, strides=steps)


def elements(raw, dtype):
    return widen(np.frombuffer(raw, "<u2")) if dtype == "bfloat16" else np.frombuffer(raw, dtype)


def itemsize(dtype):
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def storages_of(tensors):
    """`{key: _Storage}` of those that the tensors use."""
    return {t.storage.key: t.storage for t in tensors.values() if isinstance(t.storage, _Storage)}


def assemble(tensors, flats):
    nothing = np.zeros(0, np.float32)
    return {n: _view(n, t, flats[t.storage.key] if isinstance(t.storage, _Storage) else nothing)
            for n, t in tensors.items()}  # fmt: skip
