"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360) with its classifier."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import keras

from kstyle.layers import Conv2D, Pool2D
from kstyle.models.options import shape
from kstyle.models.squeezenet import LAYERS
from kstyle.models.torch_names import default_init


def squeezenet(classes, size, channels=3, *, head="conv", dtype="float32", l2=0.0, dropout=0.5):
    """SqueezeNet 1.1: fire modules and a head.

    1,235,496 parameters for 1000 classes with the paper's head. Layers have the names of `kstyle.models.squeezenet`,
    and `conv10`. Pools keep an incomplete last window, as Caffe's and torchvision's do.

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

    def pool(x, name):
        # After a ReLU a row of zeros changes no maximum; for odd sides the last window is complete without.
        odd = [(0, 1 - side % 2) for side in x.shape[1:3]]
        if any(map(sum, odd)):
            x = keras.layers.ZeroPadding2D(odd, data_format="channels_last", name=f"{name}_pad", dtype=dtype)(x)
        return Pool2D(size=3, name=name, dtype=dtype)(x)

    x = inputs = keras.Input(shape(size, channels))
    for name, part in LAYERS.items():
        if part is None:
            x = pool(x, name)
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
