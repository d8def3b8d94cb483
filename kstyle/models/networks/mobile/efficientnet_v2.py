"""EfficientNet-V2-S (Tan & Le 2021, arXiv 2104.00298) as torchvision has it."""

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.mobile.blocks import Blocks, in_eights
from kstyle.nn.residual import DropPath

# Of each stage: (blocks, stride of the first, how many times the channels are widened inside a block, channels after
# it, whether it is of the early ones, where one convolution of 3×3 takes the place of two and of the squeezing).
STAGES = (
    (2, 1, 1, 24, True), (4, 2, 4, 48, True), (4, 2, 4, 64, True),
    (6, 2, 4, 128, False), (9, 1, 6, 160, False), (15, 2, 6, 256, False),
)  # fmt: skip
STEM, TOP = 24, 1280


def efficientnet_v2_s(
    classes,
    size,
    channels=3,
    *,
    dtype="float32",
    l2=0.0,
    dropout=0.2,
    drop_path=0.2,
    bn_momentum=0.9,
    bn_epsilon=1e-3,
    unbiased_variance=True,
):
    """Blocks that widen the channels, look around, weigh them, and narrow them again; the early ones in whole
    convolutions, which are faster there than a filter for each channel.

    Layer names are torchvision's with `_` for the dots, initial values and statistics torch's. For 1000 classes it has
    21,458,488 trainable parameters. Its weights were trained on 300 px and tested on 384.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        drop_path: see `kstyle.nn.residual.DropPath`: of block i of n, counted from 0, this times i / n.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    made = Blocks(dtype, l2, bn_momentum, bn_epsilon, unbiased_variance)
    total = sum(stage[0] for stage in STAGES)

    def block(x, name, strides, widening, filters, early, rate):
        inputs = x.shape[-1]
        inside = in_eights(widening * inputs)
        if early and inside == inputs:
            y = made.convolve(x, f"{name}_block_0", filters, 3, strides, "silu")
        elif early:
            y = made.convolve(x, f"{name}_block_0", inside, 3, strides, "silu")
            y = made.convolve(y, f"{name}_block_1", filters)
        else:
            y = made.convolve(x, f"{name}_block_0", inside, activation="silu")
            y = made.convolve(y, f"{name}_block_1", inside, 3, strides, "silu", depthwise=True)
            y = made.squeeze(y, f"{name}_block_2", inputs // 4, "silu", "sigmoid")
            y = made.convolve(y, f"{name}_block_3", filters)
        if x.shape != y.shape:
            return y
        y = DropPath(rate, name=f"{name}_drop", dtype=dtype)(y) if rate else y
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([y, x])

    x = inputs = keras.Input(shape(size, channels))
    x = made.convolve(x, "features_0", STEM, 3, 2, "silu")
    done = 0
    for stage, (blocks, strides, *part) in enumerate(STAGES, 1):
        for place in range(blocks):
            x = block(x, f"features_{stage}_{place}", 1 if place else strides, *part, drop_path * done / total)
            done += 1
    x = made.convolve(x, f"features_{len(STAGES) + 1}", TOP, activation="silu")
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="classifier_0", dtype=dtype)(x)
    limit = classes**-0.5
    x = keras.layers.Dense(
        classes, kernel_initializer=keras.initializers.RandomUniform(-limit, limit), kernel_regularizer=made.penalty,
        name="classifier_1", dtype="float32",
    )(x)  # fmt: skip
    return keras.Model(inputs, x, name="efficientnet_v2_s")
