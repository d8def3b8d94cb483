"""EfficientNet-Lite 0 to 2 (Google 2020): EfficientNet (Tan & Le 2019, arXiv 1905.11946) for phones, without the parts
that are slow there: no squeeze and excitation, and ReLU6 in place of swish."""

import functools
import math

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.mobile.blocks import in_eights
from kstyle.nn.layers import BatchNormalization, Conv2D, DepthwiseConv2D, default_init

# Of each stage of Lite0: (blocks, side of the depthwise kernel, stride of the first block, how many times the channels
# are widened inside a block, channels after it).
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
# Number: (how many times the channels of Lite0, how many times the blocks of its inner stages).
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
STEM, TOP = 32, 1280  # channels, the same in all three

# What follows the block's name in a layer's, or the whole name, and what it is in the published files for PyTorch.
_IN_TORCH = {
    "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
    "project_conv": "_project_conv", "project_bn": "_bn2",
    "stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1", "predictions": "_fc",
}  # fmt: skip


def efficientnet_lite(
    number,
    classes,
    size,
    channels=3,
    *,
    dtype="float32",
    l2=0.0,
    dropout=0.2,
    bn_momentum=0.99,
    bn_epsilon=1e-3,
    unbiased_variance=True,
):
    """Blocks that widen the channels, look around with a filter for each channel, and narrow them again.

    Layers are called as in Keras' EfficientNet. Padding is TensorFlow's `"same"`: where a stride leaves an odd pixel of
    zeros, it is at the bottom and on the right. For 1000 classes Lite0 has 4,652,008 trainable parameters, Lite1
    5,416,680, Lite2 6,092,072.

    Args:
        number: key of `SCALES`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    initial = functools.partial(keras.initializers.VarianceScaling, 2.0, "fan_out", "untruncated_normal")
    width, depth = SCALES[number]

    def convolve(x, name, filters, kernel=1, strides=1):
        return Conv2D(
            filters, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer=initial(),
            kernel_regularizer=penalty, name=name, dtype=dtype,
        )(x)  # fmt: skip

    def normalise(x, name):
        return BatchNormalization(bn_momentum, bn_epsilon, unbiased_variance, name=name, dtype=dtype)(x)

    def activate(x, norm, relu):
        return keras.layers.ReLU(6.0, name=relu, dtype=dtype)(normalise(x, norm))

    def block(x, name, kernel, strides, widening, filters):
        y = x
        if widening != 1:
            y = convolve(y, f"{name}_expand_conv", widening * x.shape[-1])
            y = activate(y, f"{name}_expand_bn", f"{name}_expand_relu")
        y = DepthwiseConv2D(
            kernel, strides=strides, padding="same", use_bias=False, depthwise_initializer=initial(),
            depthwise_regularizer=penalty, name=f"{name}_dwconv", dtype=dtype,
        )(y)  # fmt: skip
        y = activate(y, f"{name}_bn", f"{name}_relu")
        y = normalise(convolve(y, f"{name}_project_conv", filters), f"{name}_project_bn")
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([y, x]) if x.shape == y.shape else y

    x = inputs = keras.Input(shape(size, channels))
    x = activate(convolve(x, "stem_conv", STEM, 3, 2), "stem_bn", "stem_relu")
    for stage, (blocks, kernel, strides, widening, filters) in enumerate(STAGES, 1):
        if 1 < stage < len(STAGES):
            blocks = math.ceil(depth * blocks)
        for place in range(blocks):
            name = f"block{stage}{chr(ord('a') + place)}"
            x = block(x, name, kernel, 1 if place else strides, widening, in_eights(width * filters))
    x = activate(convolve(x, "top_conv", TOP), "top_bn", "top_relu")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="top_dropout", dtype=dtype)(x)
    dense = {"kernel_regularizer": penalty, **default_init(x.shape[-1])}
    x = keras.layers.Dense(classes, name="predictions", dtype="float32", **dense)(x)
    return keras.Model(inputs, x, name=f"efficientnet_lite{number}")


efficientnet_lite0, efficientnet_lite1 = (functools.partial(efficientnet_lite, number) for number in (0, 1))
efficientnet_lite2 = functools.partial(efficientnet_lite, 2, dropout=0.3)


def in_torch(layers):
    """{layer: its name in the published files for PyTorch}, whose blocks are counted through all stages.

    Args:
        layers: names of all layers with weights, in order.
    """
    blocks = list(dict.fromkeys(name.partition("_")[0] for name in layers if name.startswith("block")))
    names = {}
    for name in layers:
        first, _, rest = name.partition("_")
        names[name] = f"_blocks.{blocks.index(first)}.{_IN_TORCH[rest]}" if first in blocks else _IN_TORCH[name]
    return names
