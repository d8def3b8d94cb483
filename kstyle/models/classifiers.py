"""The classification networks by name, and weights for them."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.io import checkpoints
from kstyle.io.files import expanded, plain
from kstyle.models import finetune
from kstyle.models import weights as weight_files
from kstyle.models.networks import applications, torch_names
from kstyle.models.networks import options as known_options
from kstyle.models.networks.alexnet import alexnet, caffenet
from kstyle.models.networks.densenet import densenet121, densenet161, densenet169, densenet201
from kstyle.models.networks.feature_layers import Layer
from kstyle.models.networks.mnist_cnn import mnist_cnn
from kstyle.models.networks.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from kstyle.models.networks.squeezenet import squeezenet
from kstyle.models.networks.vgg_cifar import vgg16, vgg19, vgg19_cifar

# {name: function(classes, size, channels, *, options) -> keras.Model of logits}
CLASSIFIERS = {
    "mnist_cnn": mnist_cnn,
    "vgg19_cifar": vgg19_cifar,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "alexnet": alexnet,
    "caffenet": caffenet,
    "squeezenet1.1": squeezenet,
    "inception_v3": applications.inception_v3,
    "mobilenet_v2": applications.mobilenet_v2,
    "efficientnet_b0": applications.efficientnet_b0,
    "efficientnet_b1": applications.efficientnet_b1,
    "efficientnet_b2": applications.efficientnet_b2,
    "efficientnet_b3": applications.efficientnet_b3,
}

# torchvision's dense layers fit only after a map of this size, of pictures of 224 px.
_MAPS = {"vgg16": (7, 7), "vgg19": (7, 7), "alexnet": (6, 6)}


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
        name: key of `CLASSIFIERS`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        options: see the network's function; `kstyle.models.networks.options.OPTIONS` lists them without a framework.

    Returns:
        A `keras.Model` from normalised pictures (B, H, W, channels) to logits (B, classes), float32 whatever the
        precision inside.

    Raises:
        UsageError: an unknown network or option, an impossible value, pictures too small for the network.
    """
    known_options.check(name, classes, size, channels, options)
    return CLASSIFIERS[name](classes, size, channels, **options)


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
    known = [each for each in CLASSIFIERS if each in finetune.BACKBONES or each == "vgg19_cifar"]
    if name not in known:
        raise UsageError(f"No source of ImageNet weights is known for {name}, only for {', '.join(known)}.")
    if channels != 3:
        raise UsageError(f"ImageNet weights are for pictures of 3 channels; this {name} has {channels}.")
    if name in known_options.APPLICATIONS:
        found = weight_files.find(name, "keras", weights, progress=progress)
        count = applications.load(model, found.path)
        message = f"{found.origin}: {count} tensors were taken; the head keeps its values."
        return Loaded(found.origin, found.sha256, finetune.BACKBONES[name].preprocessing, False, message)
    if name in ("vgg16", "vgg19", "vgg19_cifar", "squeezenet1.1"):
        return _with_features(model, weights, progress)
    if name == "caffenet":
        return _caffenet(model, weights)
    if not _map_fits(model):
        height, width = model.input_shape[1:3]
        raise UsageError(f"ImageNet weights of {name} are for pictures of 224 × 224; got {height} × {width}.")
    return _torchvision(model, weight_files.find(name, "torchvision", weights, progress=progress))


def _map_fits(model):
    names = [layer.name for layer in model.layers]
    return "flatten" not in names or model.get_layer("flatten").input.shape[1:3] == _MAPS.get(model.name)


def _torchvision(model, found):
    done = torch_names.convert(checkpoints.read(found.path), model, where=found.origin)
    return Loaded(found.origin, found.sha256, "torch", not done.left_out, done.message)


def _with_features(model, file, progress):
    """VGG and SqueezeNet, whose convolutions Caffe and torchvision have."""
    network = "vgg19" if model.name == "vgg19_cifar" else model.name
    squeezenet, whole = network == "squeezenet1.1", network == model.name and _map_fits(model)
    # (source, whether it may be downloaded), in order of preference.
    order = [("caffe", False), ("torchvision", squeezenet)] + [("caffe", True)] * (not squeezenet)
    if file is not None:
        order = [(source, False) for source in (("torchvision", "caffe") if _is_torch(file) else ("caffe",))]
    elif whole and "flatten" in (layer.name for layer in model.layers):
        order.insert(0, ("torchvision", True))
    for left, (source, download) in zip(reversed(range(len(order))), order):
        try:
            found = weight_files.resolve(network, source, file, progress=progress, offline=not download)
        except (weight_files.Absent, weight_files.OtherSource):
            if left:
                continue
            raise
        if source == "torchvision" and whole and _is_torch(found.path):
            return _torchvision(model, found)
        return _by_names(model, found, found.arrays, source, others=network == model.name)


def _is_torch(path):
    """Whether the tensors of a file have torchvision's names."""
    names = []
    checkpoints.read(path, only=names.append)
    return any(re.search(r"(^|\.)features\.0\.weight$", name) for name in names)


def _caffenet(model, file):
    if file is None:
        raise UsageError("caffenet has no official file of weights that kstyle reads: name one, with Keras' names.")
    layers = {layer.name: Layer(tuple(layer.kernel.shape), ()) for layer in model.layers[:-1] if layer.weights}
    arrays = weight_files.read(file, "caffenet", layers)
    found = weight_files.File(file, str(file), weight_files.sha256(file))
    return _by_names(model, found, arrays, "caffe", others=True)


def _by_names(model, found, arrays, source, others):
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
        if source == "caffe" and name == first:
            kernel = np.ascontiguousarray(kernel[:, :, ::-1])  # from BGR to RGB
        own[name.replace("/", "_")].set_weights([kernel, bias])
    rest = "the head's are among them" if head in taken else "the other layers keep their values"
    message = f"Weights of {len(taken)} layers from {found.origin}; {rest}."
    preprocessing = "caffe" if source == "caffe" else "torch"
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
    names = []
    checkpoints.read(path, only=names.append)
    if not any(name.endswith(".weight") for name in names):
        if model.name in finetune.BACKBONES or model.name == "vgg19_cifar":
            return load_imagenet(model, path, progress=progress)
        held = ", ".join(plain(name) for name in names[:3]) or "nothing"
        raise DataError(f"{path}: {model.name} takes a run's weights or PyTorch's; found tensors called {held}.")
    if model.name in ("vgg19_cifar", "caffenet"):  # their convolutions alone, under any names
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
        `kstyle.models.networks.torch_names.Converted`.

    Raises:
        DataError: the file cannot be read safely, or does not fit.
        UsageError: the network has no counterpart in PyTorch.
    """
    torch_names.layer_names(model)  # before a large file is read
    tensors = checkpoints.read(path)
    if not tensors:
        raise DataError(f"{path}: holds no tensors.")
    return torch_names.convert(tensors, model, skip_head=skip_head, where=str(path))
