"""ConvNeXt-Tiny (Liu et al. 2022, arXiv 2201.03545) as torchvision has it."""

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import Conv2D, DepthwiseConv2D
from kstyle.nn.residual import DropPath, LayerScale

# Blocks in each stage, and their channels.
TINY = ((3, 3, 9, 3), (96, 192, 384, 768))


def convnext_tiny(classes, size, channels=3, *, dtype="float32", l2=0.0, dropout=0.0, drop_path=0.1, layer_scale=1e-6):
    """A residual network with a transformer's blocks: a filter of 7×7 for each channel, normalisation over a pixel's
    channels, and two dense layers, four times as wide between them.

    Layer names are torchvision's with `_` for the dots, and so are initial values. For 1000 classes it has 28,589,128
    parameters.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        drop_path: of the last block, the first has none: see `kstyle.nn.residual.DropPath`.
        layer_scale: what a block's channels are multiplied by at first, see `kstyle.nn.residual.LayerScale`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    depths, widths = TINY
    rates = iter(DropPath.increasing(drop_path, sum(depths)))

    def kernel(kind="kernel"):
        return {f"{kind}_initializer": keras.initializers.RandomNormal(0, 0.02), f"{kind}_regularizer": penalty}

    def normalise(x, name):
        return keras.layers.LayerNormalization(epsilon=1e-6, name=name, dtype=dtype)(x)

    def shrink(x, name, filters, factor):
        return Conv2D(filters, factor, strides=factor, name=name, dtype=dtype, **kernel())(x)

    def block(x, name, rate):
        width = x.shape[-1]
        y = DepthwiseConv2D(7, pad=3, name=f"{name}_block_0", dtype=dtype, **kernel("depthwise"))(x)
        y = normalise(y, f"{name}_block_2")
        y = keras.layers.Dense(4 * width, name=f"{name}_block_3", dtype=dtype, **kernel())(y)
        y = keras.layers.Activation(keras.activations.gelu, name=f"{name}_block_4", dtype=dtype)(y)
        y = keras.layers.Dense(width, name=f"{name}_block_5", dtype=dtype, **kernel())(y)
        y = LayerScale(width, layer_scale, name=f"{name}_layer_scale", dtype=dtype)(y)
        y = DropPath(rate, name=f"{name}_drop", dtype=dtype)(y) if rate else y
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, y])

    x = inputs = keras.Input(shape(size, channels))
    x = normalise(shrink(x, "features_0_0", widths[0], 4), "features_0_1")
    for stage, (blocks, width) in enumerate(zip(depths, widths)):
        if stage:
            x = normalise(x, f"features_{2 * stage}_0")
            x = shrink(x, f"features_{2 * stage}_1", width, 2)
        for number in range(blocks):
            x = block(x, f"features_{2 * stage + 1}_{number}", next(rates))
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    x = normalise(x, "classifier_0")
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    x = keras.layers.Dense(classes, name="classifier_2", dtype="float32", **kernel())(x)
    return keras.Model(inputs, x, name="convnext_tiny")


def in_torch(layers):
    """{layer: its name in torchvision's files}, where a layer's scale is no module of its own.

    >>> in_torch(["features_1_0_layer_scale", "classifier_2"])
    {'features_1_0_layer_scale': 'features.1.0.layer_scale', 'classifier_2': 'classifier.2'}
    """
    return {name: name.replace("_", ".").replace("layer.scale", "layer_scale") for name in layers}
