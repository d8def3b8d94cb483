"""Network in Network (Lin et al. 2013, arXiv 1312.4400), the paper's for CIFAR-10."""

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.squeezenet import pool_of_three
from kstyle.nn.layers import BatchNormalization, Conv2D

# Of each of the three parts: (side of its first kernel, filters of its three convolutions; the last has the classes').
PARTS = ((5, (192, 160, 96)), (5, (192, 192, 192)), (3, (192, 192, None)))


def nin(classes, size, channels=3, *, batch_norm=False, dtype="float32", l2=0.0, dropout=0.5):
    """Three times a convolution and two of single pixels, with pools and dropout between; the last map, one for each
    class and after a ReLU too, is averaged to the logits.

    966,986 parameters for ten classes, as in BIGBALLON's port of the paper, whose initial values these are. Pools keep
    an incomplete last window.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        batch_norm: whether each convolution is normalised before its ReLU, as in BIGBALLON's second version. Without,
            a rate that is too high leaves no score above 0, and so no gradient.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training after each of the two pools.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32 and, after the ReLU, not negative.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None

    def convolve(x, name, filters, kernel):
        initial = keras.initializers.RandomNormal(0, 0.01 if name == "conv1_1" else 0.05)
        x = Conv2D(
            filters, kernel, pad=kernel // 2, kernel_initializer=initial, kernel_regularizer=penalty, name=name,
            dtype=dtype,
        )(x)  # fmt: skip
        x = BatchNormalization(name=f"{name}_bn", dtype=dtype)(x) if batch_norm else x
        return keras.layers.Activation("relu", name=f"{name}_relu", dtype=dtype)(x)

    x = inputs = keras.Input(shape(size, channels))
    for part, (side, widths) in enumerate(PARTS, 1):
        for number, filters in enumerate(widths, 1):
            x = convolve(x, f"conv{part}_{number}", filters or classes, side if number == 1 else 1)
        if part < len(PARTS):
            x = pool_of_three(x, f"pool{part}", dtype)
            x = keras.layers.Dropout(dropout, name=f"dropout{part}", dtype=dtype)(x) if dropout else x
    x = keras.layers.GlobalAveragePooling2D(name="pool3", dtype="float32")(x)
    return keras.Model(inputs, x, name="nin")
