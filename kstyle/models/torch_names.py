"""PyTorch's weights in our classifiers: by torchvision's names, transposed, all or nothing."""

import re

import numpy as np

from kstyle import checkpoints, weights
from kstyle.checkpoints import plain
from kstyle.errors import DataError, UsageError

# Of a layer's own weights, in Keras' order.
_CONV = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var")

_VGG_HEAD = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
_ALEXNET = {f"conv{n}": f"features.{index}" for n, index in enumerate((0, 3, 6, 8, 10), 1)}
_ALEXNET |= {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}


def _features(network):
    # A Keras layer's name may hold no slash.
    return {layer.replace("/", "_"): aliases[0] for layer, (_, aliases) in weights.LAYERS[network].items()}


# {network: {layer: its name in torchvision}}; a ResNet's follow from a rule.
TABLES = {
    "alexnet": _ALEXNET,
    "squeezenet1.1": {**_features("squeezenet1.1"), "conv10": "classifier.1"},
    "vgg16": {**_features("vgg16"), **_VGG_HEAD},
    "vgg19": {**_features("vgg19"), **_VGG_HEAD},
    # Not torchvision's: the PyTorch post's.
    "mnist_cnn": {"conv1": "conv1.0", "conv2": "conv2.0", "out": "out"},
}


def torch_name(network, layer):
    """What torchvision calls a layer: `layer1_0_conv1` of a ResNet is `layer1.0.conv1`.

    Raises:
        UsageError: there is no network of that name in torchvision.
    """
    if re.fullmatch(r"resnet\d+", network):
        return layer.replace("_", ".")
    if network not in TABLES:
        known = ", ".join(["resnet18 to resnet152", *TABLES])
        raise UsageError(f"{network} has no counterpart in PyTorch to take weights from; these have: {known}.")
    return TABLES[network][layer]


def load(path, model, *, skip_head=None):
    """`convert` of a file that `kstyle.checkpoints.read` reads, without running any code in it."""
    return convert(checkpoints.read(path), model, skip_head=skip_head, where=str(path))


def convert(state, model, *, skip_head=None, where="the weights"):
    """Assigns PyTorch's weights to a model of `kstyle.models.classifiers.build`.

    Convolutions (out, in, kh, kw) become (kh, kw, in, out); dense layers (out, in) become (in, out), the first after a
    flattening with its rows in the order H, W, C for C, H, W. Nothing is assigned unless everything fits.

    Args:
        state: {name in PyTorch: array}, as of a `state_dict`. What encloses the names (`module.`, `state_dict.`) is
            found out; tensors outside of it, an optimiser's for example, are ignored.
        model: whose name is the network's.
        skip_head: leave the last layer as it is; None: where its number of classes differs.
        where: for messages, e.g. the file.

    Returns:
        The names of the layers left as they were: the head's or none.

    Raises:
        UsageError: torchvision has no such network.
        DataError: tensors are missing, of the wrong shape, not finite, or belong to no layer; the first few are named.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = {layer.name: torch_name(model.name, layer.name) for layer in layers}
    head = layers[-1]
    state = _inside(state, f"{names[layers[0].name]}.weight")
    if skip_head is None:
        given = state.get(f"{names[head.name]}.weight")
        skip_head = given is not None and given.ndim > 0 and given.shape[0] != head.weights[0].shape[-1]
    rows = _rows(model, layers)
    found, missing, misshaped, wanted = [], [], [], set()
    for layer in layers:
        # Of a skipped head neither presence nor shape matters.
        keys = [f"{names[layer.name]}.{kind}" for kind in _NORM if len(layer.weights) == 4 or kind in _CONV]
        wanted.update(keys[: len(layer.weights)] if layer is not head else keys)
        if layer is head and skip_head:
            continue
        for variable, key in zip(layer.weights, keys):
            if key not in state:
                missing.append(key)
                continue
            array = _turn(np.asarray(state[key]), rows if layer is rows.layer else None)
            if array.shape != tuple(variable.shape) or array.dtype.kind != "f":
                theirs = f"{state[key].shape} {state[key].dtype}"
                misshaped.append(f"{plain(key)} {theirs} for {layer.name} {tuple(variable.shape)}")
            elif not np.isfinite(array).all():
                misshaped.append(f"{plain(key)} with NaN or infinity")
            else:
                found.append((variable, array))
    extra = [key for key in state if key not in wanted and not key.endswith("num_batches_tracked")]
    problems = [("it lacks", missing), ("these do not fit", misshaped), (f"{model.name} has no place for", extra)]
    said = "; ".join(f"{what} {_few(names)}" for what, names in problems if names)
    if said:
        raise DataError(f"{where}: not the weights of this {model.name}: {said}.")
    for variable, array in found:
        variable.assign(array)
    return [head.name] if skip_head else []


def _inside(state, first):
    """The tensors of the network, without what encloses their names; `first`: the first layer's weight."""
    prefixes = [key[: -len(first)] for key in state if key == first or key.endswith(f".{first}")]
    if not prefixes:
        return state
    prefix = min(prefixes, key=len)
    inside = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    return inside if prefix else _beside(inside)


def _beside(state):
    return state


class _Rows:
    """The dense layer after a flattening, and the shape (H, W, C) that was flattened; of None where there is none."""

    def __init__(self, layer=None, shape=None):
        self.layer, self.shape = layer, shape


def _rows(model, layers):
    flatten = next((layer for layer in model.layers if layer.name == "flatten"), None)
    if flatten is None:
        return _Rows()
    dense = next(layer for layer in layers if len(layer.weights[0].shape) == 2)
    return _Rows(dense, flatten.input.shape[1:])


def _turn(array, rows):
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
        array = array.T
        if rows is not None and array.shape[0] == np.prod(rows.shape):
            height, width, channels = rows.shape
            array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(array.shape)
    if array.dtype.kind != "f":
        return array
    return np.array(array, "float32", order="C")  # a copy: torch warns of the read-only views that files give


def _few(names, most=4):
    names = [plain(name, 120) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
