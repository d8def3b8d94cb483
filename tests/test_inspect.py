"""`kstyle.inspect`: what is opened, and what its layers are said to see."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from kstyle import backend
from kstyle.inspect import fields, graph
from kstyle.models import classifiers
from kstyle.nn.layers import Conv2D, Pool2D

ops = keras.ops


def branched():
    """Branches of other sizes, strides, dilation, padding of both kinds, pools of both kinds, a gate and a head."""
    x = inputs = keras.Input((64, 48, 3))
    x = kl.Conv2D(4, 5, strides=2, padding="same", name="first")(x)
    left = kl.Conv2D(4, 3, dilation_rate=3, padding="same", name="wide")(x)
    right = kl.DepthwiseConv2D((1, 3), padding="same", name="flat")(x)
    x = kl.Add(name="both")([left, right])
    x = Pool2D("average", 3, 2, pad=1, name="pool")(x)
    x = kl.ZeroPadding2D(((2, 0), (1, 1)), name="zeros")(x)
    x = Conv2D(4, 2, name="after")(x)
    x = kl.AveragePooling2D(2, name="halved")(x)
    gate = kl.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = kl.Multiply(name="gated")([x, gate])
    return keras.Model(inputs, kl.Dense(2, activation="softmax", name="told")(kl.Flatten(name="flatten")(x)))


def positive(model):
    """A model whose kernels are positive and whose pools are means, so that no path from a pixel comes to nothing."""
    for layer in model.layers:
        if isinstance(layer, Pool2D):
            layer.kind = "average"
        for weight in layer.weights:
            if "kernel" in weight.name:
                weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1]), "float32"))
    return model


def measured(model, name, place):
    """(first, last) row and column that a place of a layer sees, by its gradient."""
    inside = graph.of(model, "model")
    tensor = next(node.output for node in inside.nodes if node.name == name)

    def seen(x):
        return ops.sum(inside.run(x, [tensor])[0][:, place[0], place[1]]), {}

    x = ops.convert_to_tensor(np.ones((1, *model.input_shape[1:]), "float32"))
    _, gradient = backend.value_and_grad(seen)(x)
    there = np.abs(ops.convert_to_numpy(gradient))[0].sum(-1) > 0
    return [(side.min(), side.max() + 1) for side in (np.flatnonzero(there.any(axis)) for axis in (1, 0))]


@pytest.mark.parametrize("name", ["first", "wide", "both", "pool", "zeros", "after", "halved"])
def test_fields_of_branches(name):
    """Failure: a field is larger or smaller than what changes an output, or lies elsewhere in the picture."""
    model = positive(branched())
    found, (_, height, width, _) = fields.of(graph.of(model, "model"))[name], model.get_layer(name).output.shape
    for place in ((height // 2, width // 2), (height // 2 - 1, width // 2 - 1)):
        top, left, bottom, right = found.box(*place)
        assert measured(model, name, place) == [(top, bottom), (left, right)]


def test_whole_pictures():
    """Failure: what a global mean was multiplied by is said to see a part of the picture."""
    found = fields.of(graph.of(branched(), "model"))
    assert [found[name] for name in ("mean", "gated", "flatten", "told")] == [None] * 4


@pytest.mark.parametrize(
    ("network", "layer", "side"),
    [
        ("vgg19", "block3_conv4", 160), ("vgg19", "block5_conv4", 400), ("resnet50", "layer2_3_relu", 320),
        ("resnet50", "layer4_2_relu", 640),
    ],
)  # fmt: skip
def test_fields_of_networks(network, layer, side):
    """Failure: of real networks a receptive field is not what one output's gradient covers."""
    model = classifiers.build(network, 10, (side, 32), **({"head": "gap"} if network == "vgg19" else {}))
    found = fields.of(graph.of(positive(model), network))[layer]
    middle = side // found.stride[0] // 2
    low, _, high, _ = found.box(middle, 0)
    assert low > 0 and high < side
    assert measured(model, layer, (middle, 0))[0] == (low, high)
    assert found.size[0] == {"block3_conv4": 48, "block5_conv4": 252, "layer2_3_relu": 91, "layer4_2_relu": 427}[layer]
