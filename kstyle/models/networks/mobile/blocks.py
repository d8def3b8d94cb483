"""What torchvision's networks for phones are made of: convolution, normalisation and activation in a row, called `0`,
`1` and `2`."""

import functools

import keras

from kstyle.models.networks.squeeze_excitation import squeeze_excite
from kstyle.nn.layers import BatchNormalization, Conv2D, DepthwiseConv2D


class Blocks:
    """Layers as a network's options say.

    Args:
        dtype: a Keras precision policy.
        l2: the kernels' penalty is l2 Σw².
        momentum, epsilon, unbiased: see `kstyle.nn.layers.BatchNormalization`.
    """

    def __init__(self, dtype, l2, momentum, epsilon, unbiased):
        self.dtype, self.penalty = dtype, keras.regularizers.L2(l2) if l2 else None
        self._norm = functools.partial(BatchNormalization, momentum, epsilon, unbiased, dtype=dtype)

    def convolve(self, x, name, filters, kernel=1, strides=1, activation=None, depthwise=False):
        """(B, H, W, C) to (B, H', W', filters): a convolution with torch's padding, and what follows it."""
        options = {"strides": strides, "pad": kernel // 2, "use_bias": False, "name": f"{name}_0", "dtype": self.dtype}
        # Keras counts the inputs of a depthwise kernel as torch counts its outputs.
        initial = keras.initializers.VarianceScaling(2.0, "fan_in" if depthwise else "fan_out", "untruncated_normal")
        if depthwise:
            kernels = {"depthwise_initializer": initial, "depthwise_regularizer": self.penalty}
            x = DepthwiseConv2D(kernel, **options, **kernels)(x)
        else:
            kernels = {"kernel_initializer": initial, "kernel_regularizer": self.penalty}
            x = Conv2D(filters, kernel, **options, **kernels)(x)
        x = self._norm(name=f"{name}_1")(x)
        return self.activate(x, f"{name}_2", activation) if activation else x

    def activate(self, x, name, activation):
        return keras.layers.Activation(activation, name=name, dtype=self.dtype)(x)

    def squeeze(self, x, name, narrow, activation, gate):
        """See `kstyle.models.networks.squeeze_excitation`."""
        initial = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        return squeeze_excite(
            x, name, narrow, activation=activation, gate=gate, dtype=self.dtype, kernel_initializer=initial,
            kernel_regularizer=self.penalty,
        )  # fmt: skip


def in_eights(channels):
    """The nearest number of channels that 8 divides, and not a tenth less than there were.

    >>> in_eights(18), in_eights(11.9)
    (24, 16)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
