"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360): whole, and the convolutions alone, for features."""

import keras

from kstyle.errors import UsageError
from kstyle.models.networks import shape as picture_shape
from kstyle.nn.layers import Conv2D, Pool2D, default_init

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


def squeezenet_features(taps, *, pool="max", pool_factor=1.0, pool_edge="drop", first_padding="zero", dtype="float32"):
    """SqueezeNet 1.1 cut after its deepest tap, as a model of all taps.

    Args:
        taps: names from `LAYERS`; `conv1` is after its ReLU, `fireN` the concatenated expansions.
        pool, pool_factor: see `kstyle.nn.layers.Pool2D`.
        pool_edge: `"drop"` or `"partial"`, what becomes of a last window that the picture does not fill.
        first_padding: `"zero"`: there is none to choose.
        dtype: of weights and activations.

    Returns:
        A `keras.Model` from (B, H, W, 3), preprocessed, to a dict {tap: (B, H', W', C)}.

    Raises:
        UsageError: another `first_padding`.
    """
    if first_padding != "zero":
        raise UsageError(
            f"first_padding '{first_padding}' is for the VGGs; squeezenet1.1's first convolution has no padding."
        )
    wanted = set(taps)
    x = inputs = keras.Input((None, None, 3), dtype=dtype)
    outputs = {}
    for name, shape in LAYERS.items():
        if shape is None:
            x = Pool2D(pool, size=3, factor=pool_factor, partial=pool_edge == "partial", name=name, dtype=dtype)(x)
        elif name == "conv1":
            x = Conv2D(shape, 3, strides=2, pad=0, activation="relu", name=name, dtype=dtype)(x)
        else:
            x = _fire(name, x, *shape, dtype)
        if name in wanted:
            outputs[name] = x
        if len(outputs) == len(wanted):
            break
    return keras.Model(inputs, outputs, name="squeezenet1_1", trainable=False)


def _fire(name, x, squeeze, expand, dtype):
    def conv(part, x, filters, size):
        return Conv2D(filters, size, pad=size // 2, activation="relu", name=f"{name}_{part}", dtype=dtype)(x)

    x = conv("squeeze1x1", x, squeeze, 1)
    return keras.layers.Concatenate(name=name, dtype=dtype)(
        [conv("expand1x1", x, expand, 1), conv("expand3x3", x, expand, 3)]
    )


def pool_of_three(x, name, dtype):
    """The largest of 3×3 with stride 2, an incomplete last window too, of a map that comes from a ReLU, in Keras' own
    layers."""
    # After a ReLU a row of zeros changes no maximum; for odd sides the last window is complete without.
    odd = [(0, 1 - side % 2) for side in x.shape[1:3]]
    if any(map(sum, odd)):
        x = keras.layers.ZeroPadding2D(odd, data_format="channels_last", name=f"{name}_pad", dtype=dtype)(x)
    return Pool2D(size=3, name=name, dtype=dtype)(x)


def squeezenet(classes, size, channels=3, *, head="conv", dtype="float32", l2=0.0, dropout=0.5):
    """SqueezeNet 1.1: fire modules and a head.

    1,235,496 parameters for 1000 classes with the paper's head. Layers have the names of `LAYERS`, and `conv10`. Pools
    keep an incomplete last window, as Caffe's and torchvision's do.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 17.
        channels: of the pictures.
        head: `"conv"`, the paper's: a 1×1 convolution to the classes, ReLU and a global average; or `"gap"`: a global
            average and a dense layer, `fc10`. To fine-tune to a few classes: one whose scores fell below 0 everywhere
            has no gradient through the paper's ReLU.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training before the last convolution or dense layer.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32 and, after the paper's ReLU, not
        negative.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None

    def convolve(x, name, filters, size, initial="he_uniform", **options):
        options = {"pad": size // 2, "kernel_regularizer": penalty, "dtype": dtype, **options}
        return Conv2D(filters, size, activation="relu", kernel_initializer=initial, name=name, **options)(x)

    x = inputs = keras.Input(picture_shape(size, channels))
    for name, part in LAYERS.items():
        if part is None:
            x = pool_of_three(x, name, dtype)
        elif name == "conv1":
            x = convolve(x, name, part, 3, strides=2, pad=0)
        else:
            squeeze, expand = part
            x = convolve(x, f"{name}_squeeze1x1", squeeze, 1)
            both = [convolve(x, f"{name}_expand{k}x{k}", expand, k) for k in (1, 3)]
            x = keras.layers.Concatenate(name=name, dtype=dtype)(both)
    if head == "gap":
        x = keras.layers.GlobalAveragePooling2D(name="pool10", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="drop9", dtype=dtype)(x)
    if head == "gap":
        dense = {"kernel_regularizer": penalty, **default_init(x.shape[-1])}
        x = keras.layers.Dense(classes, name="fc10", dtype="float32", **dense)(x)
        return keras.Model(inputs, x, name="squeezenet1.1")
    x = convolve(x, "conv10", classes, 1, keras.initializers.RandomNormal(0, 0.01))
    x = keras.layers.GlobalAveragePooling2D(name="pool10", dtype="float32")(x)
    return keras.Model(inputs, x, name="squeezenet1.1")
