"""Which part of a network a stage of fine-tuning trains."""

import fnmatch

from kstyle.errors import UsageError
from kstyle.models import registry

OWN_HEAD = "head_"  # what the layers of a head are called that a recipe lists
BOX = "box_"  # how the layers of a box head begin, which is beside the head of the classes and always trains


def from_part(model, part):
    """The layers that are trained from a part up: its first one and all that come after it in the model's order.

    Args:
        model: a `keras.Model` from `kstyle.models.classifiers.build`.
        part: one of its row's `part_names`. The head of a network whose row names no parts is its last layer with a
            kernel.

    Returns:
        A list of layers, in order; those without weights too.

    Raises:
        UsageError: a part that this model has not (VGG's dense layers with a lean head).
    """
    # Deeper layers come first, and of layers at one depth no one is before the other.
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    if part == "all":
        return layers
    own = [layer for layer in layers if hasattr(layer, "kernel") and not layer.name.startswith(BOX)]
    row, last = registry.find(model.name), [layer.name for layer in own][-1:]
    patterns = (row.parts if row else {}) or {"head": last}
    if last and last[0].startswith(OWN_HEAD):
        patterns = {**patterns, "head": (f"{OWN_HEAD}*",)}
    for number, layer in enumerate(layers):
        if part in patterns and _matches(layer, patterns[part]):
            return [layer for n, layer in enumerate(layers) if n >= number or layer.name.startswith(BOX)]
    there = [name for name, each in patterns.items() if any(_matches(layer, each) for layer in layers)]
    raise UsageError(f"This {model.name} has no part '{part}'. It has: {', '.join([*there, 'all'])}.")


def set_trainable(model, part, frozen=()):
    """Freezes all layers but those from a part up. To be called before an optimiser is built.

    A frozen normalisation keeps its moving statistics and normalises by them, in training too.

    Args:
        model, part: as in `from_part`.
        frozen: layers that stay frozen in any case.

    Returns:
        The layers from the part up.

    Raises:
        UsageError: as `from_part`.
    """
    chosen = from_part(model, part)
    for layer in model.layers:
        layer.trainable = any(layer is each for each in chosen)
    for layer in frozen:  # it may be in a model that is a layer of this one
        layer.trainable = False
    return chosen


def split(model, chosen):
    """A model as two, so that what the frozen layers make of a picture can be computed once.

    Dropout right before them is in the tail.

    Args:
        model: as in `from_part`.
        chosen: the layers from a part up, as it gives them.

    Returns:
        `(body, tail)`, models of the same layers and variables: `model(x)` is `tail(body(x))`. None where there is no
        one tensor to cut at, or nothing before it; nor of a user's model that is no graph of layers used once.
    """
    try:
        return _cut(model, chosen)
    except (AttributeError, KeyError, ValueError):
        return None  # a user's: sequential, or with layers that are used twice


def _cut(model, chosen):
    import keras

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
            return None  # a path to the output that does not pass the tensor: the model cannot be cut there
        after.add(made[id(each)])
        inputs = made[id(each)].input
        tensors += inputs if isinstance(inputs, list) else [inputs]
    if tensor is model.input or any(layer.weights and layer not in after for layer in chosen):
        return None
    return keras.Model(model.input, tensor), keras.Model(tensor, model.output)


def _matches(layer, patterns):
    return any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns)
