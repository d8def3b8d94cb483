"""The classification networks by name, and weights for them."""

import re
from dataclasses import dataclass

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.io import checkpoints, files
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
        preprocessing: what they were trained with, a key of `kstyle.models.preprocessing.PREPROCESSINGS`.
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
    return registry.classifier(name).make(classes, size, channels, **options)


def load_imagenet(model, weights=None, *, progress=None):
    """Gives a model the weights that were learnt on ImageNet. A layer that has no counterpart keeps its values, and so
    does a head of another number of classes.

    - ResNet, ResNeXt, DenseNet, AlexNet, ConvNeXt, vision transformers, MobileNet-V3, EfficientNet-V2: torchvision's.
    - VGG: torchvision's where the model has the paper's head for 224 px and they can be had; else the convolutions,
      Caffe's or torchvision's, whichever are on this machine.
    - SqueezeNet: Caffe's if they are on this machine, else torchvision's.
    - Inception, MobileNet-V2, EfficientNet: Keras', without a head. EfficientNet-Lite: Google's.
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
    row, channels, weights = registry.find(model.name), model.input_shape[-1], expanded(weights)
    if row is None or not row.pretrained:
        known = ", ".join(each.name for each in registry.rows() if each.pretrained)
        raise UsageError(f"No source of ImageNet weights is known for {model.name}, only for {known}.")
    if channels != 3:
        raise UsageError(f"ImageNet weights are for pictures of 3 channels; this {row.name} has {channels}.")
    owner = registry.find(row.borrows) if row.borrows else row  # whose convolutions it takes
    if not owner.weights and weights is None:
        raise UsageError(f"{row.name} has no official file of weights that kstyle reads: name one, with Keras' names.")
    flat = [layer for layer in model.layers if layer.name in ("flatten", "patches")]  # whose map has a size of its own
    fits = not flat or flat[0].input.shape[1:3] == row.flattened
    by_torch = owner.weights and not (owner.layers or row.load)  # its one source has PyTorch's names
    if by_torch and not fits:
        (height, width), side = model.input_shape[1:3], row.size
        raise UsageError(f"ImageNet weights of {row.name} are for pictures of {side} × {side}; got {height} × {width}.")
    whole = fits and owner is row
    found, source = _found(owner, weights, progress, dense=whole and bool(flat))
    if row.load:
        count = row.function("load")(model, found.path)
        message = f"{found.origin}: {count} tensors were taken; the head keeps its values."
        return Loaded(found.origin, found.sha256, owner.prepared_by(source), False, message)
    if by_torch or (source == "torchvision" and whole):
        tensors = checkpoints.read(found.path)
        if by_torch or _is_torch(tensors):
            return _from_torch(model, tensors, found, owner.prepared_by(source))
    return _from_layers(model, found, owner, owner.prepared_by(source))


def _found(row, file, progress, dense):
    """`(File, source)` of the weights of a row, of what is on this machine, then what can be had.

    Args:
        dense: whether the model has torchvision's dense layers, which other sources lack.
    """
    sources = [*row.weights] or [None]
    # (source, whether it may be downloaded), in order of preference.
    if not row.layers:
        order = [(sources[0], True)]
    elif file is not None:
        torch = _is_torch(checkpoints.tensor_names(file))
        order = [(source, False) for source in (sources[::-1] if torch else sources[:1])]
    else:
        order = [(source, False) for source in sources]
        for source in [source for source in sources if row.weights[source].url][:1]:
            order = [*(order[:-1] if order[-1][0] == source else order), (source, True)]
        if dense and "torchvision" in sources:
            order.insert(0, ("torchvision", True))
    for left, (source, download) in zip(reversed(range(len(order))), order):
        try:
            return weight_files.obtain(row, source, file, progress=progress, offline=not download), source
        except (weight_files.Absent, weight_files.OtherSource):
            if not left:
                raise


def _is_torch(names):
    """Whether tensors have torchvision's names."""
    return any(re.search(r"(^|\.)features\.0\.weight$", name) for name in names)


def _from_torch(model, tensors, found, preprocessing):
    """Gives a model all `tensors` of a file, which have PyTorch's names."""
    done = torch_names.convert(tensors, model, where=found.origin)
    return Loaded(found.origin, found.sha256, preprocessing, not done.left_out, done.message)


def _from_layers(model, found, owner, preprocessing):
    """Gives a model the layers of `owner` that a file holds; a model of its own name also further ones that fit."""
    own = {layer.name: layer for layer in model.layers if hasattr(layer, "kernel")}
    first, *_, head = own
    shapes = {name: Layer(tuple(layer.kernel.shape), ()) for name, layer in own.items()}
    needed = owner.layers or {name: shapes[name] for name in own if name != head}
    there = {name.replace("/", "_") for name in needed}
    more = {name: shapes[name] for name in own if name not in there} if owner.name == model.name else {}
    arrays = weight_files.layer_arrays(found.path, owner.name, needed, more)
    taken = {name.rpartition("/")[0] for name in arrays}
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
        path: of any file that `kstyle.io.checkpoints.read` reads: what torch.save wrote (`.pth`, `.pth.tar`, `.pkl`),
            a .safetensors, .h5 or .npz. A head of another number of classes is left out.

    Returns:
        `Loaded`.

    Raises:
        UsageError: the network has no counterpart in PyTorch, or takes no Keras file.
        DataError: the file cannot be read safely, or does not fit.
    """
    names, row = checkpoints.tensor_names(path), registry.find(model.name)
    torch = any(name.endswith(".weight") for name in names)
    # vgg19_cifar and caffenet: the file is searched for their layers under any names.
    if row is not None and row.pretrained and not (torch and (row.torch or row.weights)):
        return load_imagenet(model, path, progress=progress)
    if not torch:
        held = ", ".join(plain(name) for name in names[:3]) or "nothing"
        raise DataError(f"{path}: {model.name} takes a run's weights or PyTorch's; found tensors called {held}.")
    found = weight_files.File(path, str(path), files.sha256(path))
    sources = row.weights.values() if row else ()
    preprocessing = next((each.preprocessing for each in sources if each.cache == "torch"), "torch")
    return _from_torch(model, checkpoints.read(path), found, preprocessing)
