"""The box head of a network, and what becomes of the network's output, which is logits and a box side by side."""

import functools

import keras

from kstyle.errors import UsageError
from kstyle.models import finetune
from kstyle.nn.layers import Conv2D, default_init
from kstyle.training.boxes import overlap

ops = keras.ops

# Channels that the map of features is brought to before its places are taken together.
NARROW = 64


def add(model, section, dtype="float32"):
    """A network with a box head on the last map of features before its head: what is averaged over all places, as many
    networks have it for classes, no longer says where something is.

    A 1×1 convolution, a dense layer over all places, and four numbers through a sigmoid: centre x and y, width and
    height of the box as parts of the picture, as in DETR (Carion et al. 2020, arXiv 2005.12872). So no box is turned
    round, and a mirrored picture is a mirrored number. The layers' names begin with `finetune.BOX`.

    Args:
        model: a `keras.Model` from pictures to logits (B, K).
        section: a `kstyle.training.boxes.settings.Boxes`.
        dtype: a Keras precision policy, of all but the last layer.

    Returns:
        A `keras.Model` of the same name and layers and the head's: (B, K + 4) float32, the logits and the four numbers.

    Raises:
        UsageError: there is no map of features before the network's head.
    """

    def named(name):
        return {"name": f"{finetune.BOX}{name}", "dtype": dtype}

    x = _map(model)
    x = Conv2D(NARROW, 1, activation="relu", **default_init(x.shape[-1]), **named("narrow"))(x)
    x = keras.layers.Flatten(data_format="channels_last", **named("places"))(x)
    x = keras.layers.Dense(section.width, activation="relu", **default_init(x.shape[-1]), **named("hidden"))(x)
    if section.dropout:
        x = keras.layers.Dropout(section.dropout, **named("dropout"))(x)
    last = {**named("sides"), "dtype": "float32"}
    x = keras.layers.Dense(4, activation="sigmoid", **default_init(x.shape[-1]), **last)(x)
    both = keras.layers.Concatenate(**{**named("beside"), "dtype": "float32"})([model.output, x])
    return keras.Model(model.input, both, name=model.name)


def _map(model):
    """The last tensor (B, h, w, C) on the way to a network's head."""
    made = {id(layer.output): layer for layer in model.layers}
    tensor = finetune.from_part(model, "head")[0].input
    while len(getattr(tensor, "shape", ())) != 4:
        layer = made.get(id(tensor))
        if layer is None or layer.input is tensor:
            raise UsageError(
                f"boxes: {model.name} has no map of features before its head, which would say where something is: "
                "choose another network (efficientnet_lite0, resnet18, …)."
            )
        tensor = layer.input
    return tensor


def has_box(model):
    """Whether a network has a box head."""
    return any(layer.name.startswith(finetune.BOX) for layer in model.layers)


def without_box(model):
    """The network that a box head was added to, of the same layers; a model without one is given back."""
    if not has_box(model):
        return model
    return keras.Model(model.input, model.get_layer(f"{finetune.BOX}beside").input[0], name=model.name)


def parted(outputs, classes):
    """`(logits, boxes)` of the output (B, K + 4) of a network with a box head: (B, K), and (B, 4) as
    `kstyle.training.boxes.overlap` has boxes."""
    return outputs[:, :classes], overlap.corners(outputs[:, classes:])


def told(model, classes, several=False):
    """For `kstyle.training.loop.steps.Predictor`: a function of a network's output that gives (B, K) probabilities, or,
    where it has a box head, (B, K + 4) with boxes beside them, cut at the picture's edges. `several`: whether the
    classes do not exclude each other."""
    if not has_box(model):
        return ops.sigmoid if several else ops.softmax

    def probabilities(outputs):
        logits, boxes = parted(outputs, classes)
        return ops.concatenate([ops.softmax(logits), ops.clip(boxes, 0.0, 1.0)], axis=-1)

    return probabilities


def compile_model(model, optimizer, classes, monitored=True, own=True):
    """As `kstyle.training.loop.aim.compile_model`, of a network with a box head: `model.evaluate(pictures, labels)`
    gives loss and accuracy of the classes. With `own` false nothing is compiled: the functions would not be in a file.
    """
    if not own:
        return
    logits = functools.partial(_of_logits, classes)
    accuracy = keras.metrics.MeanMetricWrapper(logits(keras.metrics.sparse_categorical_accuracy), name="accuracy")
    entropy = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    model.compile(optimizer, loss=logits(entropy), metrics=[accuracy])
    if monitored:  # callbacks look for its metrics, which Keras makes when it first needs them
        model.compute_metrics(None, ops.zeros(1, "int32"), ops.zeros((1, classes + 4)))
        model.reset_metrics()


def _of_logits(classes, function):
    return lambda labels, outputs: function(labels, outputs[:, :classes])
