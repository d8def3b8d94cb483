"""The classification networks by name, and weights for them."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

from dataclasses import dataclass

from kstyle import checkpoints
from kstyle import weights as weight_files
from kstyle.errors import DataError, UsageError
from kstyle.models import options as known_options
from kstyle.models import torch_names
from kstyle.models.alexnet import alexnet, caffenet
from kstyle.models.mnist_cnn import mnist_cnn
from kstyle.models.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from kstyle.models.squeezenet_classifier import squeezenet
from kstyle.models.vgg_cifar import vgg16, vgg19, vgg19_cifar

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
    "alexnet": alexnet,
    "caffenet": caffenet,
    "squeezenet1.1": squeezenet,
}

# {network: its name in `kstyle.weights`}, of those with a known source.
_IMAGENET = {"vgg19_cifar": "vgg19", "vgg19": "vgg19", "vgg16": "vgg16", "squeezenet1.1": "squeezenet1.1"}


@dataclass(frozen=True)
class Loaded:
    """Where a model's weights came from.

    Attributes:
        origin: for the user.
        sha256: of the file.
        preprocessing: what they were trained with, by name from `kstyle.models.features.PREPROCESSING`.
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
        options: see the network's function; `kstyle.models.options.OPTIONS` lists them without a framework.

    Returns:
        A `keras.Model` from normalised pictures (B, H, W, channels) to logits (B, classes), float32 whatever the
        precision inside.

    Raises:
        UsageError: an unknown network or option, an impossible value, pictures too small for the network.
    """
    known_options.check(name, classes, size, channels, options)
    return CLASSIFIERS[name](classes, size, channels, **options)


def load_imagenet(model, weights=None, *, progress=None):
    """Gives a model the weights that Caffe's models learnt on ImageNet, layer by layer, by name.

    For the VGGs the convolutions, for `squeezenet1.1` also the head where the file has it and the model as many
    classes. The other layers keep their values. These weights want `"caffe"` preprocessing: BGR bytes minus the mean.

    Args:
        model: from `build`, for pictures of three channels.
        weights: a file; None: what `kstyle.weights.resolve` finds.
        progress: `progress(done, total or None)` in bytes, during a download.

    Returns:
        `Loaded`.

    Raises:
        UsageError: no such weights are known for this network, or its pictures have not three channels.
        DataError: no weights can be had, or they do not fit.
    """
    if model.name not in _IMAGENET:
        known = ", ".join(_IMAGENET)
        raise UsageError(f"No source of ImageNet weights is known for {model.name}, only for {known}.")
    channels = model.input_shape[-1]
    if channels != 3:
        raise UsageError(f"ImageNet weights are for pictures of 3 channels; this {model.name} has {channels}.")
    network = _IMAGENET[model.name]
    layers = {name: model.get_layer(name.replace("/", "_")) for name in weight_files.LAYERS[network]}
    found = weight_files.resolve(network, "caffe", weights, layers=list(layers), progress=progress)
    arrays = {**found.arrays, **_head(model, found.path)}
    head = "conv10/kernel" in arrays
    if head:
        layers["conv10"] = model.get_layer("conv10")
    for name, layer in layers.items():
        layer.set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    rest = "the head's are among them" if head else "the other layers keep their values"
    message = f"Weights of {len(layers)} convolutions from {found.origin}; {rest}."
    return Loaded(found.origin, found.sha256, "caffe", head, message)


def _head(model, path):
    """The arrays of SqueezeNet's last convolution in a file with Keras' names, if they are there and fit."""
    if model.name != "squeezenet1.1":
        return {}
    tensors = checkpoints.read(path, only={"conv10/kernel", "conv10/bias"}.__contains__)
    shapes = {name: array.shape for name, array in tensors.items()}
    kernel, bias = (tuple(w.shape) for w in model.get_layer("conv10").weights)
    return tensors if shapes == {"conv10/kernel": kernel, "conv10/bias": bias} else {}


def load_torch(model, path, *, skip_head=None):
    """Gives a model the weights in a PyTorch file, torchvision's or one trained from it.

    Args:
        model: from `build`.
        path: `.pth`, `.pt` or `.safetensors`, read as data (see `kstyle.checkpoints`).
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
