"""A model whose layers follow one another, walked without Keras, whose own way takes as long as a small picture's
layers."""

from kstyle.nn.layers import Conv2D, Pool2D


def of(model):
    """The layers of a model with a dict of outputs, and of each the names of what it gives: [(layer, names), …]; empty
    where one is not kstyle's own, or they do not follow one another."""
    first, *layers = model.layers
    before, found = first.output, []
    for layer in layers:
        if not isinstance(layer, (Conv2D, Pool2D)) or layer.input is not before:
            return []
        before = layer.output
        found.append((layer, [key for key, tensor in model.output.items() if tensor is before]))
    return found


def call(chain, x):
    """What the model gives of a tensor: {name: tensor}."""
    found = {}
    for layer, names in chain:
        x = layer.call(x)
        found |= dict.fromkeys(names, x)
    return found
