"""Squeeze and excitation (Hu et al. 2017, arXiv 1709.01507): what a whole map shows says how much each of its channels
counts."""

import keras

from kstyle.nn.layers import Conv2D


def squeeze_excite(x, name, narrow, *, activation="relu", gate="sigmoid", dtype="float32", **kernel):
    """A map times factors of its channels: its mean through two 1×1 convolutions, called `fc1` and `fc2` as torchvision
    has them.

    Args:
        x: (B, H, W, C).
        name: what the layers' names begin with.
        narrow: channels between the two.
        activation, gate: after the first and the second.
        dtype: a Keras precision policy.
        kernel: options of the convolutions' kernels, e.g. `kernel_regularizer`.

    Returns:
        (B, H, W, C).
    """

    def dense(y, part, filters, kind):
        return keras.layers.Activation(kind, name=f"{name}_{kind}{part}", dtype=dtype)(
            Conv2D(filters, 1, name=f"{name}_fc{part}", dtype=dtype, **kernel)(y)
        )

    y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean", dtype=dtype)(x)
    y = dense(dense(y, 1, narrow, activation), 2, x.shape[-1], gate)
    return keras.layers.Multiply(name=f"{name}_scale", dtype=dtype)([x, y])
