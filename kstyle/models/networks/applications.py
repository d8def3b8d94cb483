"""Networks from keras.applications with a new head: Inception v3 (Szegedy et al. 2015, arXiv 1512.00567), Xception
(Chollet 2016, arXiv 1610.02357), MobileNet v2 (Sandler et al. 2018, arXiv 1801.04381) and EfficientNet (Tan & Le 2019,
arXiv 1905.11946)."""

import collections
import contextlib
import functools
import re

import keras

from kstyle.errors import DataError
from kstyle.io import checkpoints
from kstyle.io.files import plain
from kstyle.models.networks import shape
from kstyle.nn.layers import BatchNormalization, Conv2D, DepthwiseConv2D, default_init

layers = keras.layers

_THEIRS = {
    "inception_v3": keras.applications.InceptionV3,
    "mobilenet_v2": keras.applications.MobileNetV2,
    **{f"efficientnet_b{i}": getattr(keras.applications, f"EfficientNetB{i}") for i in range(8)},
    "xception": keras.applications.Xception,
}
# Of the averaged features, where it is not 0.2 (Tan & Le 2019).
DROPOUT = {"efficientnet_b4": 0.4, "efficientnet_b5": 0.4, "efficientnet_b6": 0.5, "efficientnet_b7": 0.5}
DROP_PATH = 0.2  # of the last of EfficientNet's blocks, as Keras builds them; of the first 0

# Pixels a side of which every one of them can be built, to read a file of weights into.
_LARGE_ENOUGH = 107

# Keras' EfficientNet has its input's normalisation inside, in two versions, one wrong (tensorflow issue 49930), and not
# in mixed precision. Here pictures come normalised, as to any other network.
_INPUT = ("rescaling", "normalization")

# What each kind of layer was built with, and what it is called where Keras counts through a process. (Keras' own
# get_config would import TensorFlow wherever it is installed.)
_KINDS = {
    layers.Conv2D: (
        ("filters", "kernel_size", "strides", "padding", "use_bias", "activation", "kernel_initializer"), "conv",
    ),
    layers.DepthwiseConv2D: (("kernel_size", "strides", "padding", "use_bias", "depthwise_initializer"), "depthwise"),
    layers.BatchNormalization: (("momentum", "epsilon", "scale"), "bn"),
    layers.Activation: (("activation",), "relu"),
    layers.ReLU: (("max_value",), "relu"),
    layers.MaxPooling2D: (("pool_size", "strides", "padding"), "pool"),
    layers.AveragePooling2D: (("pool_size", "strides", "padding"), "pool"),
    layers.GlobalAveragePooling2D: ((), "mean"),
    layers.ZeroPadding2D: (("padding",), "pad"),
    layers.Concatenate: (("axis",), "concat"),
    layers.Add: ((), "add"),
    layers.Multiply: ((), "multiply"),
    layers.Reshape: (("target_shape",), "reshape"),
    layers.Dropout: (("rate", "noise_shape"), "dropout"),
}  # fmt: skip
_OURS = {
    layers.Conv2D: Conv2D, layers.DepthwiseConv2D: DepthwiseConv2D, layers.BatchNormalization: BatchNormalization,
}  # fmt: skip


def application(network, classes, size, channels=3, *, dtype="float32", l2=0.0, dropout=0.2, drop_path=DROP_PATH):
    """keras.applications' network without its top, a global average, dropout and a dense layer.

    Layers have Keras' names, but for those that Keras counts through a whole process: Inception's are `stem_conv1`,
    `mixed4_bn2` and so on, what goes around Xception's blocks `block4_around_conv` and the like. Convolutions and
    normalisation are those of `kstyle.nn.layers`; a separable convolution is two of them.

    Args:
        network: key of `_THEIRS`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 75 for Inception, 71 for
            Xception, 32 for the others.
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        drop_path: how often EfficientNet's last block is passed by in training, those before it in proportion to their
            place (Huang et al. 2016, arXiv 1603.09382). The functions of the others do not take it.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    theirs = _theirs(network, shape(size, 3))
    names, pointwise = _names(network, theirs.layers), {}

    def left_out(layer):
        return layer.name.startswith(_INPUT) or (isinstance(layer, layers.Dropout) and not drop_path)

    def copy(layer):
        if left_out(layer):
            return layer
        kind = type(layer)
        if kind is layers.SeparableConv2D:
            return separable(layer)
        options = {name: getattr(layer, name) for name in _KINDS[kind][0]}
        for regularizer in ("kernel_regularizer", "depthwise_regularizer"):
            if hasattr(layer, regularizer):
                options[regularizer] = penalty
        if kind is layers.Dropout:
            options["rate"] *= drop_path / DROP_PATH
        return _OURS.get(kind, kind)(name=names[layer.name], dtype=dtype, **options)

    def separable(layer):
        one, other = _parts(layer, names[layer.name])
        made = DepthwiseConv2D(
            layer.kernel_size, layer.strides, layer.padding, use_bias=False, name=one, dtype=dtype,
            depthwise_initializer=layer.depthwise_initializer, depthwise_regularizer=penalty,
        )  # fmt: skip
        pointwise[one] = Conv2D(
            layer.filters, 1, use_bias=False, name=other, dtype=dtype, kernel_regularizer=penalty,
            kernel_initializer=layer.pointwise_initializer,
        )  # fmt: skip
        return made

    def call(layer, *arguments, **options):
        if left_out(layer):
            return arguments[0]
        found = layer(*arguments, **options)
        return pointwise[layer.name](found) if layer.name in pointwise else found

    inputs = keras.Input(shape(size, channels))
    with _channels_last():
        x = keras.models.clone_model(theirs, inputs, copy, call).output
    x = layers.GlobalAveragePooling2D(name="avg_pool", dtype=dtype)(x)
    if dropout:
        x = layers.Dropout(dropout, name="top_dropout", dtype=dtype)(x)
    dense = {"kernel_regularizer": penalty, **default_init(x.shape[-1])}
    x = layers.Dense(classes, name="predictions", dtype="float32", **dense)(x)
    return keras.Model(inputs, x, name=network)


def load(model, path):
    """Gives a model from `application` the weights in a file that Keras wrote of the network without its top.

    Args:
        model: for pictures of three channels.
        path: `.h5`, as Keras writes it.

    Returns:
        How many arrays were assigned; all but the head's.

    Raises:
        DataError: the file is damaged, or of another network.
    """
    checkpoints.read(path, only=lambda name: False)  # says what is wrong with a file that is none
    try:
        theirs = _theirs(model.name, (_LARGE_ENOUGH, _LARGE_ENOUGH, 3), str(path))
    except Exception as error:  # Keras' readers fail in many ways
        reason = plain(error, 160).rstrip(".") or type(error).__name__
        raise DataError(f"{path}: not the weights of {model.name} without its top ({reason}).") from error
    known = [layer for layer in theirs.layers if layer.weights and not layer.name.startswith(_INPUT)]
    names, count = _names(model.name, theirs.layers), 0
    for layer in known:
        variables = [v for name in _parts(layer, names[layer.name]) for v in model.get_layer(name).weights]
        for variable, array in zip(variables, layer.get_weights(), strict=True):
            variable.assign(array)
        count += len(variables)
    return count


def _parts(layer, name):
    """The names of the layers here that one of Keras' layers becomes."""
    return (f"{name}_depthwise", f"{name}_pointwise") if isinstance(layer, layers.SeparableConv2D) else (name,)


def _without_drop_path(network, classes, size, channels=3, *, dtype="float32", l2=0.0, dropout=0.2):
    return application(network, classes, size, channels, dtype=dtype, l2=l2, dropout=dropout)


# A function for each network, by its name, which rows refer to.
for _name in _THEIRS:
    if _name.startswith("efficientnet"):
        globals()[_name] = functools.partial(application, _name, dropout=DROPOUT.get(_name, 0.2))
    else:
        globals()[_name] = functools.partial(_without_drop_path, _name)


def _theirs(network, input_shape, weights=None):
    with _channels_last():
        return _THEIRS[network](weights=weights, include_top=False, input_shape=input_shape)


@contextlib.contextmanager
def _channels_last():
    """Keras' networks are laid out as its global setting says."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def _names(network, known):
    """{Keras' name of a layer: the same, or one that does not depend on what was built before}."""
    names, block = {}, []
    if network == "xception":
        for layer in known:
            own = re.match(r"block\d+", layer.name)
            block = own[0] if own else block
            names[layer.name] = layer.name if own or not block else f"{block}_around_{_KINDS[type(layer)][1]}"
        return names
    if network != "inception_v3":
        return {layer.name: layer.name for layer in known}
    for layer in known[1:]:
        block.append(layer)
        mixed = re.fullmatch(r"mixed\d+", layer.name)
        pools = sum(isinstance(each, layers.MaxPooling2D) for each in block)
        if mixed or (pools == 2 and not names):
            counts = collections.Counter()
            for each in block:
                kind = _KINDS[type(each)][1]
                counts[kind] += 1
                names[each.name] = f"{layer.name if mixed else 'stem'}_{kind}{counts[kind]}"
            if mixed:
                names[layer.name] = layer.name
            block = []
    return names
