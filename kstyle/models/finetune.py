"""Pretrained networks: what their weights were trained on, and which part of them a stage of fine-tuning trains."""

import fnmatch

from kstyle.errors import UsageError, unknown
from kstyle.models import registry
from kstyle.models.preprocessing import PREPROCESSINGS


def normalisation(name, source=None):
    """(mean, deviation), three numbers each, for RGB pictures in [0, 1].

    Args:
        name: of a network in `kstyle.models.registry`.
        source: key of `PREPROCESSINGS`, as `Loaded.preprocessing` has it; or (mean, deviation), of a run; None: that of
            the weights which are looked for first.

    Raises:
        UsageError: an unknown network or source.
    """
    if isinstance(source, tuple):
        return source
    if not source:
        known = [each for each in registry.names("classifier") if registry.get(each).preprocessing]
        if name not in known:
            raise unknown("pretrained network", name, known)
        source = registry.get(name).preprocessing
    if source not in PREPROCESSINGS:
        raise unknown("preprocessing", source, PREPROCESSINGS)
    return PREPROCESSINGS[source].rgb


def parts(name):
    """The names of a network's parts, from the pictures to the logits, and `"all"`; a network whose row names none has
    its head alone."""
    return [*(_own(name) or ("head",)), "all"]


def from_part(model, part):
    """The layers that are trained from a part up: its first one and all that come after it in the model's order.

    Args:
        model: a `keras.Model` from `kstyle.models.classifiers.build`.
        part: one of `parts(model.name)`. The head of a network whose row names no parts is its last
            layer with a kernel.

    Returns:
        A list of layers, in order; those without weights too.

    Raises:
        UsageError: an unknown part, or one that this model has not (VGG's dense layers with a lean head).
    """
    # Deeper layers come first, and of layers at one depth no one is before the other.
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    if part == "all":
        return layers
    if part not in parts(model.name):
        raise unknown(f"part of {model.name}", part, parts(model.name))
    patterns = _patterns(model.name, layers)
    for number, layer in enumerate(layers):
        if _matches(layer, patterns[part]):
            return layers[number:]
    there = [name for name, each in patterns.items() if any(_matches(layer, each) for layer in layers)]
    raise UsageError(f"This {model.name} has no part '{part}'. It has: {', '.join([*there, 'all'])}.")


def set_trainable(model, part):
    """Freezes all layers but those from a part up. To be called before an optimiser is built.

    A frozen normalisation keeps its moving statistics and normalises by them, in training too.

    Args:
        model, part: as in `from_part`.

    Returns:
        The layers that are trained.

    Raises:
        UsageError: as `from_part`.
    """
    chosen = from_part(model, part)
    for layer in model.layers:
        layer.trainable = any(layer is each for each in chosen)
    return chosen


def split(model, part):
    """A model as two, so that what the frozen layers make of a picture can be computed once.

    Dropout right before the part is in the tail.

    Args:
        model, part: as in `from_part`.

    Returns:
        `(body, tail)`, models of the same layers and variables: `model(x)` is `tail(body(x))`. None where there is no
        one tensor to cut at, or nothing before it.

    Raises:
        UsageError: as `from_part`.
    """
    import keras

    chosen = from_part(model, part)
    made = {id(layer.output): layer for layer in model.layers}
    tensor = chosen[0].input
    while isinstance(made[id(tensor)], keras.layers.Dropout):
        tensor = made[id(tensor)].input
    after, tensors = set(), [model.output]
    while tensors:
        each = tensors.pop()
        if each is tensor or made[id(each)] in after:
            continue
        if each is model.input:
            return None  # a way round the tensor
        after.add(made[id(each)])
        inputs = made[id(each)].input
        tensors += inputs if isinstance(inputs, list) else [inputs]
    if tensor is model.input or any(layer.weights and layer not in after for layer in chosen):
        return None
    return keras.Model(model.input, tensor), keras.Model(tensor, model.output)


def _own(name):
    row = registry.find(name)
    return row.parts if row else {}


def _patterns(name, layers):
    return _own(name) or {"head": [layer.name for layer in layers if hasattr(layer, "kernel")][-1:]}


def _matches(layer, patterns):
    return any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns)
