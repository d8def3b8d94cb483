"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition")."""

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import Conv2D, Pool2D


def lenet5(classes, size, channels=3, *, activation="relu", pool="max", dtype="float32", l2=0.0, dropout=0.0):
    """Twice a convolution of 5×5 without padding and a 2×2 pool (6 filters, then 16), and dense layers of 120 and 84.

    62,006 parameters for ten classes of 32×32×3, 61,706 of 32×32×1. ReLU and the largest value, as in BIGBALLON's port,
    are today's. The paper has tanh (scaled), averages with a factor and a bias for each channel, and a second
    convolution whose maps each see some of the first's: these three are not here.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 16.
        channels: of the pictures.
        activation: `"relu"` or `"tanh"`.
        pool: `"max"` or `"average"`.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training after each of the two hidden dense layers.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    # By name: one initialiser object gives every layer of a shape the same numbers.
    options = {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L2(l2) if l2 else None}
    x = inputs = keras.Input(shape(size, channels))
    for number, filters in enumerate((6, 16), 1):
        x = Conv2D(filters, 5, activation=activation, name=f"conv{number}", dtype=dtype, **options)(x)
        x = Pool2D(pool, name=f"pool{number}", dtype=dtype)(x)
    x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
    for number, units in enumerate((120, 84), 1):
        x = keras.layers.Dense(units, activation=activation, name=f"fc{number}", dtype=dtype, **options)(x)
        x = keras.layers.Dropout(dropout, name=f"dropout{number}", dtype=dtype)(x) if dropout else x
    x = keras.layers.Dense(classes, name="fc3", dtype="float32", **options)(x)
    return keras.Model(inputs, x, name="lenet5")
