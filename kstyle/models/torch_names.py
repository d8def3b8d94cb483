"""PyTorch's names and layouts of weights, for Keras' models."""

import re
from dataclasses import dataclass

import keras
import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.io.files import listed
from kstyle.models import registry
from kstyle.nn.residual import LayerScale


@dataclass(frozen=True)
class Converted:
    """What `convert` did.

    Attributes:
        tensors: how many of the model's arrays were assigned.
        left_out: the head's torch names, where it kept its values; else empty.
        message: a sentence for the user.
    """

    tensors: int
    left_out: tuple
    message: str


# What a head without torchvision's hidden layers is called. Its own are numbered: classifier.0 and so on.
_LEAN = "classifier"


def layer_names(model):
    """`{name of a layer with weights: its torch name}` of a network from `kstyle.models.classifiers`.

    Raises:
        UsageError: the network has no counterpart in torchvision or the posts.
    """
    layers, row = [layer.name for layer in model.layers if layer.weights], registry.find(model.name)
    if row is None or row.torch is None:
        raise UsageError(f"{model.name} has no counterpart in PyTorch whose weights it could take.")
    names = row.function("torch")
    names = names(layers) if callable(names) else names
    return {name: names[name] for name in layers}


def entries(model):
    """The model's arrays as PyTorch has them.

    Returns:
        {torch name: (variable, its shape in torch, function from torch's array to Keras')}, in the order of the layers.
        The function moves numbers and changes none, so that it can be turned round.

    Raises:
        UsageError: the network has no counterpart in torchvision or the posts.
    """
    expected = {}
    for name, torch in layer_names(model).items():
        layer = model.get_layer(name)
        expected.update(_expected(layer, torch, _flattened(model, layer)))
    return expected


def convert(state, model, *, skip_head=None, where="the weights"):
    """Assigns the tensors of a PyTorch state dict to a Keras model of the same structure.

    Convolutions go from (out, in, kh, kw) to (kh, kw, in, out), dense kernels are transposed, and that after a flatten
    has its rows reordered from torch's (C, H, W) to (H, W, C). A wrapper's prefix (`module.`, `state_dict.`) is found
    and dropped, and what lies outside it, an optimiser's state say, ignored; so is a head that is built otherwise than
    the model's, such as a Sequential in place of one layer. Nothing is assigned unless all else fits.

    Args:
        state: {torch name: NumPy array}, as `kstyle.io.checkpoints.read` gives it.
        model: from `kstyle.models.classifiers.build`.
        skip_head: whether the last layer keeps its values. None: where its number of classes is another, or its kind;
            of VGG and AlexNet then all dense layers that do not fit.
        where: what the tensors are from, for messages.

    Returns:
        `Converted`.

    Raises:
        DataError: names that are missing or unknown, shapes that do not fit, values that are no numbers.
        UsageError: the model has no counterpart in PyTorch.
    """
    names = layer_names(model)
    expected = entries(model)
    prefix = _prefix(state, expected)
    state = {_modern(name[len(prefix) :]): array for name, array in state.items() if name.startswith(prefix)}

    last = list(names.values())[-1]
    head = [name for name in expected if name.startswith(f"{last}.")]
    left, strange = _other_head(state, expected, head) if skip_head is None else (head * skip_head, set())
    wanted = {name: entry for name, entry in expected.items() if name not in left}

    _complain(where, model, "it lacks", [name for name in wanted if name not in state])
    # torch counts the batches that a BatchNorm has seen; nothing reads it.
    ignored = {*strange, *(name for name in state if name.endswith("num_batches_tracked"))}
    _complain(
        where, model, "the model has no", [name for name in state if name not in expected and name not in ignored]
    )
    misfits = [
        f"{name} (expected {entry[1]}, got {state[name].dtype} {tuple(state[name].shape)})"
        for name, entry in wanted.items()
        if tuple(state[name].shape) != entry[1] or state[name].dtype.kind != "f"
    ]
    _complain(where, model, "these have other shapes or types:", misfits)
    bad = [name for name in wanted if not np.isfinite(state[name]).all()]
    _complain(where, model, "there are values that are no numbers (NaN or infinity) in", bad)

    for name, (variable, _, bring) in wanted.items():
        # A copy: torch warns of the read-only views that a file's reader gives.
        variable.assign(np.array(bring(state[name]), "float32", order="C"))
    if not left:
        return Converted(len(wanted), (), f"{where}: all {len(wanted)} tensors were taken.")
    kernel, (_, shape, _) = head[0], expected[head[0]]
    if left == head and kernel in state and state[kernel].shape[1:] == shape[1:]:
        there = f"{len(state[kernel])} classes"
    else:
        there = "another" if strange or kernel in state else "none"
    message = f"{where}: {len(wanted)} tensors were taken; the head ({there} there, {shape[0]} here) was left out."
    return Converted(len(wanted), tuple(left), message)


def _other_head(state, expected, head):
    """What a checkpoint with another head has not for this one.

    Args:
        state, expected: {torch name: array}, {torch name: (variable, shape, …)}.
        head: the names of the last layer.

    Returns:
        (names of `expected` that are left out: none, those of `head`, or those of all dense layers; names of `state`
        that are the other head's).
    """
    root = head[0].partition(".")[0] + "."
    own, theirs = ([name for name in names if name.startswith(root)] for names in (expected, state))
    body = {name.partition(".")[0] for name in expected if not name.startswith(root)}
    if not theirs:  # the file has no head, or one of another name: then it must have all the rest
        theirs = [name for name in state if name.partition(".")[0] not in body]
        if not all(name in state for name in expected if name not in own):
            return [], set()
        return own, set(theirs)

    def fits(names):
        return all(name in state and tuple(state[name].shape) == expected[name][1] for name in names)

    strange = {name for name in theirs if name not in expected}
    differs = any(name in state and tuple(state[name].shape) != expected[name][1] for name in own)
    if fits(own) or not (strange or differs):
        return [], strange if root == f"{_LEAN}." == head[0].rpartition(".")[0] + "." else set()
    return (head if fits(name for name in own if name not in head) else own), strange


def _expected(layer, torch, flattened):
    """{torch name: (variable, shape in torch, function from torch's array to Keras')} of one layer."""
    if isinstance(layer, keras.layers.Embedding):  # a parameter by itself, as the next
        return {torch: (layer.embeddings, (1, *layer.embeddings.shape), lambda w: w[0])}
    if isinstance(layer, LayerScale):
        return {torch: (layer.kernel, (*layer.kernel.shape, 1, 1), lambda w: w.reshape(-1))}
    if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.LayerNormalization)):
        kinds = {"weight": "gamma", "bias": "beta"}
        if isinstance(layer, keras.layers.BatchNormalization):
            kinds |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
        found = {f"{torch}.{kind}": getattr(layer, own) for kind, own in kinds.items()}
        return {name: (variable, tuple(variable.shape), np.asarray) for name, variable in found.items()}
    kernel = tuple(layer.kernel.shape)
    if len(kernel) == 4:
        height, width, inputs, outputs = kernel
        shape, order = (outputs, inputs, height, width), (2, 3, 1, 0)
        if isinstance(layer, keras.layers.DepthwiseConv2D):  # a filter of one input for each channel
            shape, order = (inputs, outputs, height, width), (2, 3, 0, 1)
        entry = (layer.kernel, shape, lambda w: w.transpose(order))
    else:
        entry = (layer.kernel, kernel[::-1], lambda w: _dense(w, flattened))
    # An attention's first projection is three in one, which torch calls `in_proj_weight`.
    dot = "_" if torch.endswith("in_proj") else "."
    expected = {f"{torch}{dot}weight": entry}
    if layer.use_bias:
        expected[f"{torch}{dot}bias"] = (layer.bias, tuple(layer.bias.shape), np.asarray)
    return expected


def _dense(weight, flattened):
    if flattened is None:
        return weight.T
    height, width, channels = flattened
    return weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _flattened(model, layer):
    """(H, W, C) of what is flattened before this dense layer; None for any other layer."""
    names = [each.name for each in model.layers]
    if "flatten" not in names or not isinstance(layer, keras.layers.Dense):
        return None
    after = model.layers[names.index("flatten") :]
    first = next(each for each in after if isinstance(each, keras.layers.Dense))
    return tuple(model.get_layer("flatten").input.shape[1:]) if layer is first else None


def _modern(name):
    """Some of torchvision's files are older than its names: DenseNet's have `denselayer1.norm.1.weight`, that of its
    vision transformer `mlp.linear_1.weight` and `mlp.linear_2.weight`, which are `mlp.0` and `mlp.3` now."""
    name = re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)
    return re.sub(r"\.mlp\.linear_([12])\.", lambda found: f".mlp.{3 * int(found[1]) - 3}.", name)


def _prefix(state, expected):
    """What stands before the names of `expected` in `state`: that which finds most of them, the shortest of such."""
    first = next(iter(expected))
    ends = {name[: -len(first)] for name in state if name.endswith(f".{first}")}
    candidates = sorted({"", *ends}, key=lambda prefix: (len(prefix), prefix))
    return max(candidates, key=lambda prefix: sum(prefix + name in state for name in expected))


def _complain(where, model, what, names):
    if names:
        raise DataError(f"{where}: not the weights of this {model.name}: {what} {listed(names, 3, 120)}.")
