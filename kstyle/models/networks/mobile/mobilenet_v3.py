"""MobileNet-V3, small and large (Howard et al. 2019, arXiv 1905.02244), as torchvision has it."""

import functools

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.mobile.blocks import Blocks, in_eights

# Of each block: (side of the depthwise kernel, channels inside, channels after it, whether it squeezes, whether it is
# of the later ones with hard swish in place of ReLU, stride). Then channels of the hidden dense layer.
SIZES = {
    "small": ((
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    ), 1024),
    "large": ((
        (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
    ), 1280),
}  # fmt: skip
STEM = 16


def mobilenet_v3(
    kind,
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
    """Blocks that widen the channels, look around with a filter for each, weigh them, and narrow them again.

    Layer names are torchvision's with `_` for the dots, initial values and statistics torch's. For 1000 classes the
    small one has 2,542,856 trainable parameters, the large one 5,483,032.

    Args:
        kind: key of `SIZES`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the hidden dense layer's features dropped in training.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    blocks, hidden = SIZES[kind]
    made = Blocks(dtype, l2, bn_momentum, bn_epsilon, unbiased_variance)

    def block(x, name, kernel, inside, filters, squeezes, late, strides):
        act, part, y = "hard_silu" if late else "relu", 0, x
        if inside != x.shape[-1]:
            y, part = made.convolve(y, f"{name}_{part}", inside, activation=act), part + 1
        y = made.convolve(y, f"{name}_{part}", inside, kernel, strides, act, depthwise=True)
        if squeezes:
            part += 1
            y = made.squeeze(y, f"{name}_{part}", in_eights(inside // 4), "relu", "hard_sigmoid")
        y = made.convolve(y, f"{name}_{part + 1}", filters)
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([y, x]) if x.shape == y.shape else y

    def dense(x, units, name, dtype):
        initial = keras.initializers.RandomNormal(0, 0.01)
        return keras.layers.Dense(
            units, kernel_initializer=initial, kernel_regularizer=made.penalty, name=name, dtype=dtype
        )(x)

    x = inputs = keras.Input(shape(size, channels))
    x = made.convolve(x, "features_0", STEM, 3, 2, "hard_silu")
    for number, part in enumerate(blocks, 1):
        x = block(x, f"features_{number}_block", *part)
    x = made.convolve(x, f"features_{len(blocks) + 1}", 6 * x.shape[-1], activation="hard_silu")
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    x = made.activate(dense(x, hidden, "classifier_0", dtype), "classifier_1", "hard_silu")
    if dropout:
        x = keras.layers.Dropout(dropout, name="classifier_2", dtype=dtype)(x)
    return keras.Model(inputs, dense(x, classes, "classifier_3", "float32"), name=f"mobilenet_v3_{kind}")


mobilenet_v3_small, mobilenet_v3_large = (functools.partial(mobilenet_v3, kind) for kind in SIZES)
