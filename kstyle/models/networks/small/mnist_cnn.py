"""The two-convolution network of the posts on MNIST."""

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import Conv2D, Pool2D, default_init


def mnist_cnn(classes, size, channels=1, *, init="keras", dtype="float32", l2=0.0, dropout=0.0):
    """Twice convolution 5×5, ReLU, 2×2 pool (16 filters, then 32), and one dense layer.

    28,938 parameters for ten classes of 28×28×1; of 8×8 pictures a 2×2×32 map is left.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 4.
        channels: of the pictures.
        init: initial values: `"keras"` (Glorot uniform, biases 0) or `"torch"` (uniform within ±1/√fan_in).
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the flattened features dropped in training.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    x = inputs = keras.Input(shape(size, channels))
    for number, filters in enumerate((16, 32), 1):
        values = default_init(25 * x.shape[-1]) if init == "torch" else {}
        x = Conv2D(
            filters,
            5,
            pad=2,
            activation="relu",
            kernel_regularizer=penalty,
            name=f"conv{number}",
            dtype=dtype,
            **values,
        )(x)
        x = Pool2D(name=f"pool{number}", dtype=dtype)(x)
    x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    values = default_init(x.shape[-1]) if init == "torch" else {}
    x = keras.layers.Dense(classes, kernel_regularizer=penalty, name="out", dtype="float32", **values)(x)
    return keras.Model(inputs, x, name="mnist_cnn")
