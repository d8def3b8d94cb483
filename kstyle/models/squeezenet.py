"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360): the convolutional part, as feature extractors use it, and the
classifier."""

from kstyle import backend  # noqa: F401, isort: skip  # first: it settles what Keras runs on

import keras

from kstyle.layers import Conv2D, Pool2D
from kstyle.models.alexnet import ceil_pool
from kstyle.models.mnist_cnn import regularizer, sides

# torchvision's `features` list without its classifier; a fire module is (squeeze filters, expand filters).
LAYERS = {
    "conv1": 64,
    "pool1": None,
    "fire2": (16, 64),
    "fire3": (16, 64),
    "pool3": None,
    "fire4": (32, 128),
    "fire5": (32, 128),
    "pool5": None,
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}


def squeezenet_features(taps, *, pool="max", pool_factor=1.0, dtype="float32"):
    """SqueezeNet 1.1 cut after its deepest tap, as a model of all taps.

    Args:
        taps: names from `LAYERS`; `conv1` is after its ReLU, `fireN` the concatenated expansions.
        pool, pool_factor: see `kstyle.layers.Pool2D`.
        dtype: of weights and activations.

    Returns:
        A `keras.Model` from (B, H, W, 3), preprocessed, to a dict {tap: (B, H', W', C)}.
    """
    wanted = set(taps)
    x = inputs = keras.Input((None, None, 3), dtype=dtype)
    outputs = {}
    for name, shape in LAYERS.items():
        if shape is None:
            x = Pool2D(pool, size=3, factor=pool_factor, name=name, dtype=dtype)(x)
        elif name == "conv1":
            x = Conv2D(shape, 3, strides=2, pad=0, activation="relu", name=name, dtype=dtype)(x)
        else:
            x = _fire(name, x, *shape, dtype=dtype)
        if name in wanted:
            outputs[name] = x
        if len(outputs) == len(wanted):
            break
    return keras.Model(inputs, outputs, name="squeezenet1_1", trainable=False)


def squeezenet1_1(classes, size=224, channels=3, *, dtype="float32", l2=0.0, dropout=0.5, rim="ceil"):
    """SqueezeNet 1.1 with its class head: 1,235,496 parameters with 1000 classes.

    Args:
        classes, size, channels: see `mnist_cnn`; at least 17 pixels.
        dtype: a Keras policy.
        l2: see `kstyle.models.options.Common`.
        dropout: before the head.
        rim: of the poolings where the size is even: `"ceil"` reaches past the edge, as Caffe and torchvision do,
            `"floor"` drops the last row and column, as the feature extractor does. At 224 pixels they are the same.

    Returns:
        A `keras.Model` from (B, height, width, channels), preprocessed as its weights want, to logits (B, classes),
        float32 and, being means after a ReLU, never below 0.
    """
    options = {"dtype": dtype, "kernel_initializer": "he_uniform", "kernel_regularizer": regularizer(l2)}
    x = inputs = keras.Input((*sides(size), channels))
    for name, shape in LAYERS.items():
        if shape is None:
            x = ceil_pool(x, name, dtype) if rim == "ceil" else Pool2D(size=3, name=name, dtype=dtype)(x)
        elif name == "conv1":
            x = Conv2D(shape, 3, strides=2, pad=0, activation="relu", name=name, **options)(x)
        else:
            x = _fire(name, x, *shape, **options)
    x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    options["kernel_initializer"] = keras.initializers.RandomNormal(0.0, 0.01)
    x = Conv2D(classes, 1, pad=0, activation="relu", name="conv10", **options)(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="logits", dtype="float32")(x)
    return keras.Model(inputs, x, name="squeezenet1.1")


def _fire(name, x, squeeze, expand, *, dtype, **options):
    def conv(part, x, filters, size):
        part = f"{name}_{part}"
        return Conv2D(filters, size, pad=size // 2, activation="relu", name=part, dtype=dtype, **options)(x)

    x = conv("squeeze1x1", x, squeeze, 1)
    return keras.layers.Concatenate(name=name, dtype=dtype)(
        [conv("expand1x1", x, expand, 1), conv("expand3x3", x, expand, 3)]
    )
