"""The classification networks by name, and weights for them."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.io import checkpoints
from kstyle.io.files import expanded, plain
from kstyle.models import registry, torch_names
from kstyle.models import weights as weight_files
from kstyle.models.networks.feature_layers import Layer
from kstyle.models.preprocessing import PREPROCESSINGS


@dataclass(frozen=True)
class Loaded:
    """Where a model's weights came from.

    Attributes:
        origin: for the user.
        sha256: of the file.
        preprocessing: what they were trained with; `kstyle.models.finetune.normalisation` has the numbers, of RGB.
        head: whether the last layer's were among them.
        message: a sentence for the user.
    """

    origin: str
    sha256: str
    preprocessing: str
    head: bool
    message: str


def build(name, classes, size, channels=3, **options):
    """A classification network with initial values.

    Args:
        name: one of `kstyle.models.registry.names("classifier")`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        options: see the network's function; its row in `kstyle.models.registry` lists them without a framework.

    Returns:
        A `keras.Model` from normalised pictures (B, H, W, channels) to logits (B, classes), float32 whatever the
        precision inside.

    Raises:
        UsageError: an unknown network or option, an impossible value, pictures too small for the network.

    Example:
        >>> from kstyle.models import classifiers
        >>> classifiers.build("mnist_cnn", 10, 28, channels=1).output_shape
        (None, 10)
    """
    row = registry.classifier(name)
    row.check(classes, size, channels, options)
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    model = row.function("build")(classes, sides, channels, **{"dtype": "float32", **options})
    model.name = name  # a network of the user's may have been called otherwise; parts and weights go by it
    return model


def load_imagenet(model, weights=None, *, progress=None):
    """Gives a model the weights that were learnt on ImageNet. A layer that has no counterpart keeps its values, and so
    does a head of another number of classes.

    - ResNet, DenseNet, AlexNet: torchvision's.
    - VGG: torchvision's where the model has the paper's head for 224 px and they can be had; else the convolutions,
      Caffe's or torchvision's, whichever are on this machine.
    - SqueezeNet: Caffe's if they are on this machine, else torchvision's.
    - Inception, MobileNet, EfficientNet: Keras', without a head.
    - `caffenet` from a file only, `vgg19_cifar` the convolutions.

    Pictures are RGB whatever the weights: of Caffe's, which want BGR, the first kernel is turned round.

    Args:
        model: from `build`, for pictures of three channels.
        weights: a file; None: what `kstyle.models.weights` finds or downloads.
        progress: `progress(done, total or None)` in bytes, during a download.

    Returns:
        `Loaded`.

    Raises:
        UsageError: no such weights are known for this network, or not for its pictures.
        DataError: no weights can be had, or they do not fit.
    """
    name, channels = model.name, model.input_shape[-1]
    weights = None if weights is None else Path(expanded(weights))
    known, row = [each for each in registry.names() if _pretrained(registry.get(each))], registry.find(name)
    if name not in known:
        raise UsageError(f"No source of ImageNet weights is known for {name}, only for {', '.join(known)}.")
    if channels != 3:
        raise UsageError(f"ImageNet weights are for pictures of 3 channels; this {name} has {channels}.")
    if row.borrows or row.layers:
        return _with_features(model, registry.get(row.borrows or name), weights, progress)
    if not row.weights:
        return _from_file(model, row, weights)
    source = next(iter(row.weights))
    if row.load is None and not _map_fits(model):
        (height, width), side = model.input_shape[1:3], row.size
        raise UsageError(f"ImageNet weights of {name} are for pictures of {side} × {side}; got {height} × {width}.")
    found = weight_files.find(name, source, weights, progress=progress)
    if row.load is None:
        return _torch(model, found, row.prepared_by(source))
    count = row.function("load")(model, found.path)
    message = f"{found.origin}: {count} tensors were taken; the head keeps its values."
    return Loaded(found.origin, found.sha256, row.prepared_by(source), False, message)


def _pretrained(row):
    return row.build is not None and bool(row.preprocessing or row.borrows)


def _map_fits(model):
    names, fits = [layer.name for layer in model.layers], registry.get(model.name).flattened
    return "flatten" not in names or model.get_layer("flatten").input.shape[1:3] == fits


def _torch(model, found, preprocessing):
    done = torch_names.convert(checkpoints.read(found.path), model, where=found.origin)
    return Loaded(found.origin, found.sha256, preprocessing, not done.left_out, done.message)


def _with_features(model, row, file, progress):
    """A network whose convolutions several sources may have, VGG and SqueezeNet. `row`: whose they are."""
    network, whole = row.name, row.name == model.name and _map_fits(model)
    # (source, whether it may be downloaded), in order of preference: what is on this machine, then what can be had.
    order = [(source, False) for source in row.weights]
    for source in [source for source, entry in row.weights.items() if entry.url][:1]:
        order = [*(order[:-1] if order[-1][0] == source else order), (source, True)]
    if file is not None:
        order = [(source, False) for source in (reversed(row.weights) if _is_torch(file) else [*row.weights][:1])]
    elif whole and "torchvision" in row.weights and "flatten" in (layer.name for layer in model.layers):
        order.insert(0, ("torchvision", True))  # the others lack the dense layers
    for left, (source, download) in zip(reversed(range(len(order))), order):
        try:
            found = weight_files.resolve(network, source, file, progress=progress, offline=not download)
        except (weight_files.Absent, weight_files.OtherSource):
            if left:
                continue
            raise
        preprocessing = row.prepared_by(source)
        if source == "torchvision" and whole and _is_torch(found.path):
            return _torch(model, found, preprocessing)
        return _by_names(model, found, found.arrays, preprocessing, others=network == model.name)


def _is_torch(path):
    """Whether the tensors of a file have torchvision's names."""
    names = []
    checkpoints.read(path, only=names.append)
    return any(re.search(r"(^|\.)features\.0\.weight$", name) for name in names)


def _from_file(model, row, file):
    """A network without official weights: a file with Keras' names of its layers, as `caffenet` needs."""
    if file is None:
        raise UsageError(f"{row.name} has no official file of weights that kstyle reads: name one, with Keras' names.")
    layers = {layer.name: Layer(tuple(layer.kernel.shape), ()) for layer in model.layers[:-1] if layer.weights}
    arrays = weight_files.read(file, row.name, layers)
    found = weight_files.File(file, str(file), weight_files.sha256(file))
    return _by_names(model, found, arrays, row.preprocessing, others=True)


def _by_names(model, found, arrays, preprocessing, others):
    """Assigns a file's arrays under Keras' names. `others`: also those of further layers that it has and that fit."""
    arrays, own = dict(arrays), {layer.name: layer for layer in model.layers if hasattr(layer, "kernel")}
    taken = {name.rpartition("/")[0] for name in arrays}
    first, head = next(iter(own)), list(own)[-1]
    for name in own if others else ():
        if name not in {each.replace("/", "_") for each in taken}:
            with contextlib.suppress(DataError):
                arrays |= weight_files.read(found.path, model.name, {name: Layer(tuple(own[name].kernel.shape), ())})
                taken.add(name)
    for name in taken:
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        if PREPROCESSINGS[preprocessing].order == "bgr" and name == first:
            kernel = np.ascontiguousarray(kernel[:, :, ::-1])  # from BGR to RGB
        own[name.replace("/", "_")].set_weights([kernel, bias])
    rest = "the head's are among them" if head in taken else "the other layers keep their values"
    message = f"Weights of {len(taken)} layers from {found.origin}; {rest}."
    return Loaded(found.origin, found.sha256, preprocessing, head in taken, message)


def load_file(model, path, *, progress=None):
    """Gives a model the weights in a file, Keras' or PyTorch's, whatever it is called: its tensors' names tell.

    Args:
        model: from `build`.
        path: of any file that `kstyle.io.checkpoints.read` reads.

    Returns:
        `Loaded`.

    Raises:
        UsageError: the network has no counterpart in PyTorch, or takes no Keras file.
        DataError: the file cannot be read safely, or does not fit.
    """
    names, row = [], registry.find(model.name)
    checkpoints.read(path, only=names.append)
    if not any(name.endswith(".weight") for name in names):
        if row is not None and _pretrained(row):
            return load_imagenet(model, path, progress=progress)
        held = ", ".join(plain(name) for name in names[:3]) or "nothing"
        raise DataError(f"{path}: {model.name} takes a run's weights or PyTorch's; found tensors called {held}.")
    if row is not None and _pretrained(row) and not (row.torch or row.weights):
        # vgg19_cifar and caffenet: the file is searched for their layers under any names.
        return load_imagenet(model, path, progress=progress)
    done = load_torch(model, path)
    return Loaded(str(path), weight_files.sha256(path), "torch", not done.left_out, done.message)


def load_torch(model, path, *, skip_head=None):
    """Gives a model the weights in a PyTorch file, torchvision's or one trained from it.

    Args:
        model: from `build`.
        path: of a file that torch.save wrote (`.pth`, `.pth.tar`, `.pkl`), or of a .safetensors, read as data (see
            `kstyle.io.checkpoints`).
        skip_head: whether the last layer keeps its values. None: where the file's has another number of classes.

    Returns:
        `kstyle.models.torch_names.Converted`.

    Raises:
        DataError: the file cannot be read safely, or does not fit.
        UsageError: the network has no counterpart in PyTorch.
    """
    torch_names.layer_names(model)  # before a large file is read
    tensors = checkpoints.read(path)
    if not tensors:
        raise DataError(f"{path}: holds no tensors.")
    return torch_names.convert(tensors, model, skip_head=skip_head, where=str(path))
