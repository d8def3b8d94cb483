"""Layers of networks that make pictures: convolutions with mirrored edges, instance normalisation, doubling."""

import keras
import numpy as np

from kstyle import backend
from kstyle.nn.layers import Conv2D


@keras.saving.register_keras_serializable("kstyle")
class MirroredConv2D(Conv2D):
    """A convolution of an odd kernel that continues the picture beyond its edges as in a mirror, as zeros would leave a
    frame. (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), filters).

    >>> import keras
    >>> from kstyle.nn.image_layers import MirroredConv2D
    >>> tuple(MirroredConv2D(8, 3, strides=2)(keras.ops.ones((1, 5, 7, 3))).shape)
    (1, 3, 4, 8)
    """

    def __init__(self, filters, kernel_size, **kwargs):
        kwargs["padding"] = "valid"
        super().__init__(filters, kernel_size, **kwargs)
        if len(set(self.kernel_size)) > 1 or self.kernel_size[0] % 2 == 0:
            raise ValueError(f"kstyle.nn.image_layers.MirroredConv2D has a square, odd kernel; got {self.kernel_size}.")

    def call(self, inputs, around=None):
        """around: pixels to continue by, (top, bottom, left, right), of what is a part of a picture."""
        around = self.kernel_size[0] // 2 if around is None else around
        return super().call(backend.mirrored(inputs, around) if around else inputs)

    def compute_output_shape(self, input_shape):
        batch, *space, _ = input_shape
        lengths = [None if n is None else -(-n // s) for n, s in zip(space, self.strides)]
        return (batch, *lengths, self.filters)


@keras.saving.register_keras_serializable("kstyle")
class InstanceNormalization(keras.layers.Layer):
    """Each channel of each picture with mean 0 and variance 1, then scaled and shifted (Ulyanov et al. 2016, arXiv
    1607.08022), as a condition has it (Dumoulin et al. 2017, arXiv 1610.07629).

    `layer([x, condition])`: x (B, H, W, C); condition (K,), the same for all of the batch, by which the K rows of
    scales and of shifts are weighted and added.

    Args:
        styles: the first so many numbers of a condition are weights that add up to 1, and their rows begin with scale
            1; the others may be 0, and begin as nothing. None: all are weights.
        epsilon: added to the variance.
        relu: negative results become 0.
    """

    def __init__(self, styles=None, epsilon=1e-5, relu=False, **kwargs):
        super().__init__(**kwargs)
        self.styles, self.epsilon, self.relu = styles, epsilon, relu

    def build(self, input_shape):
        (*_, channels), (count,) = input_shape
        given = {"shape": (count, channels), "autocast": False}  # float32 whatever the precision of the activations
        self.gamma = self.add_weight(name="gamma", initializer=self._first_scales, **given)
        self.beta = self.add_weight(name="beta", initializer="zeros", **given)

    def _first_scales(self, shape, dtype=None):
        scales = np.zeros(shape, "float32")
        scales[: self.styles] = 1
        return keras.ops.convert_to_tensor(scales, dtype)

    def call(self, inputs):
        x, condition = inputs
        gamma, beta = (keras.ops.matmul(keras.ops.cast(condition, "float32"), w) for w in (self.gamma, self.beta))
        return backend.instance_norm(x, gamma, beta, self.epsilon, "relu" if self.relu else None)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "styles": self.styles, "epsilon": self.epsilon, "relu": self.relu}


@keras.saving.register_keras_serializable("kstyle")
class Doubled(keras.layers.Layer):
    """`layer([x, like])`: each pixel of x, (B, h, w, C), as 2×2, cut to height and width of `like`, (B, H, W, ...),
    where that is less than 2h or 2w. `layer(x)`: uncut."""

    def call(self, inputs):
        x, like = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        y = backend.doubled(x)
        return y if like is None else y[:, : like.shape[1], : like.shape[2]]

    def compute_output_spec(self, inputs):
        x, like = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        sides = like.shape[1:3] if like is not None else [n and 2 * n for n in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[-1]), dtype=self.compute_dtype)
