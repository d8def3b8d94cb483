"""Keras layers whose kernel comes from `kstyle.backend`. They save and load the same weights as Keras' own."""

import keras

from kstyle import backend


@keras.saving.register_keras_serializable("kstyle")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` for NHWC pictures that copies no activations on torch.

    Input shape (B, H, W, C), output (B, H', W', filters). Padding is `"valid"` or `"same"`, as in Keras; with
    `"same"` and a stride above 1 Keras (and so this layer) pads more at the bottom and right: pass `pad=k // 2` for
    torch's symmetric padding.

    Args:
        pad: pixels of zeros on each side instead of `padding`.
        groups: in how many groups the channels are divided, each convolved by itself, as in Keras.
    """

    def __init__(self, *args, pad=None, **kwargs):
        kwargs.setdefault("data_format", "channels_last")
        super().__init__(*args, **kwargs)
        if self.dilation_rate != (1, 1) or self.data_format != "channels_last":
            raise ValueError("kstyle.nn.layers.Conv2D has no dilation or channels_first: use keras.layers.Conv2D.")
        self.pad = pad

    def build(self, input_shape):
        super().build(input_shape)
        backend.lay_out_kernel(self.kernel)

    def call(self, inputs):
        fused = self.activation is keras.activations.relu
        kernel, bias = self.kernel.value, self.bias.value if self.use_bias else None
        padding = _padding(self, inputs.shape) if self.pad is None else self.pad
        outputs = backend.conv2d(inputs, kernel, bias, self.strides, padding, "relu" if fused else None)
        return outputs if fused or self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape):
        if self.pad is None:
            return super().compute_output_shape(input_shape)
        return _padded_shape(self, input_shape, self.filters)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "pad": self.pad}


@keras.saving.register_keras_serializable("kstyle")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` for NHWC pictures, a filter for each channel, that copies no activations on torch.

    Input shape (B, H, W, C), output (B, H', W', C). Same weights and padding as Keras' layer.

    Args:
        pad: pixels of zeros on each side instead of `padding`.
    """

    def __init__(self, *args, pad=None, **kwargs):
        kwargs.setdefault("data_format", "channels_last")
        super().__init__(*args, **kwargs)
        if self.depth_multiplier != 1 or self.dilation_rate != (1, 1) or self.data_format != "channels_last":
            raise ValueError(
                "kstyle.nn.layers.DepthwiseConv2D has no depth_multiplier, dilation or channels_first: use "
                "keras.layers.DepthwiseConv2D."
            )
        self.pad = pad

    def build(self, input_shape):
        super().build(input_shape)
        if backend.depthwise_conv2d is not None:
            backend.lay_out_depthwise(self.kernel)

    def call(self, inputs):
        if backend.depthwise_conv2d is None:
            if self.pad:
                inputs = keras.ops.pad(inputs, [[0, 0], [self.pad, self.pad], [self.pad, self.pad], [0, 0]])
            return super().call(inputs)
        kernel = keras.ops.convert_to_tensor(self.kernel)
        bias = keras.ops.convert_to_tensor(self.bias) if self.use_bias else None
        padding = _padding(self, inputs.shape) if self.pad is None else self.pad
        outputs = backend.depthwise_conv2d(inputs, kernel, bias, self.strides, padding)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape):
        if self.pad is None:
            return super().compute_output_shape(input_shape)
        return _padded_shape(self, input_shape, input_shape[-1])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "pad": self.pad}


def _padded_shape(layer, shape, filters):
    """Of what a convolution with `pad` gives for pictures of this shape, (B, H, W, C)."""
    sides = zip(shape[1:3], layer.kernel_size, layer.strides)
    return (shape[0], *(None if n is None else (n + 2 * layer.pad - k) // s + 1 for n, k, s in sides), filters)


def _padding(layer, shape):
    """Pixels of zeros that Keras' `padding` puts around pictures (B, H, W, C): a number for all sides, or (top, bottom,
    left, right)."""
    if layer.padding == "valid":
        return 0
    sides = []
    for length, kernel, stride in zip(shape[1:3], layer.kernel_size, layer.strides):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        sides += [total // 2, total - total // 2]
    return sides[0] if len(set(sides)) == 1 else tuple(sides)


@keras.saving.register_keras_serializable("kstyle")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` of the last axis in one kernel on torch, mixed precision included.

    Input and output shape (B, H, W, C) or (B, C). Same weights as Keras' layer; statistics are float32.

    Args:
        momentum, epsilon: Keras' defaults are 0.99 and 1e-3; torch's are 0.9 (there called 0.1) and 1e-5.
        unbiased_variance: the moving variance is that of a sample, n / (n - 1) of the batch's, as torch keeps it.
    """

    def __init__(self, momentum=0.99, epsilon=1e-3, unbiased_variance=False, **kwargs):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)
        self.unbiased_variance = unbiased_variance

    def build(self, input_shape):
        if self.axis not in (-1, len(input_shape) - 1) or len(input_shape) not in (2, 4):
            raise ValueError(
                "kstyle.nn.layers.BatchNormalization normalises the last axis of (B, C) or (B, H, W, C): "
                f"use keras.layers.BatchNormalization for axis {self.axis} of {len(input_shape)}."
            )
        if self.synchronized or self.renorm:
            raise ValueError("kstyle.nn.layers.BatchNormalization has no synchronized or renorm: use Keras' own layer.")
        super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        if mask is not None:
            raise ValueError("kstyle.nn.layers.BatchNormalization has no masks: use keras.layers.BatchNormalization.")
        # Float32 parameters whatever the precision of the activations, as the kernel has it.
        parameters = [p if p is None else p.value for p in (self.gamma, self.beta)]
        return backend.batch_norm(
            inputs, *parameters, self.moving_mean, self.moving_variance,
            training=bool(training) and self.trainable,
            momentum=self.momentum, epsilon=self.epsilon, unbiased=self.unbiased_variance,
        )  # fmt: skip

    def compute_output_spec(self, inputs, training=None, mask=None):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "unbiased_variance": self.unbiased_variance}


@keras.saving.register_keras_serializable("kstyle")
class Pool2D(keras.layers.Layer):
    """Max or average pooling of NHWC pictures, times a constant.

    Replacing max by average pooling in a trained network lowers its activations; `factor` makes up for that
    (2.0 for 2×2 average pooling, as in crowsonkb/style-transfer-pytorch).

    Args:
        kind: `"max"`, `"average"` or `"l2"` (root of the sum of squares, torch's LPPool2d).
        size, strides: of the window, in pixels.
        factor: what the result is multiplied by.
        pad: pixels around the picture, at most half of `size`. The largest value never lies there; the average and
            the root count them as zeros.
        partial: keep a last window that the picture does not fill, as Caffe, torchvision's SqueezeNet and TensorFlow's
            `SAME` do. What is missing repeats the last row or column: the largest value and, of windows beside one
            another, the average are then those of what is there.
    """

    def __init__(self, kind="max", size=2, strides=2, factor=1.0, pad=0, partial=False, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.size, self.strides, self.factor, self.pad = kind, size, strides, factor, pad
        self.partial = partial

    def _missing(self, side):
        """Rows that the last window of a side lacks."""
        if not self.partial:
            return 0
        if not isinstance(side, int) and self.size == self.strides:  # as a file for any sides is written
            return self.size - 1  # enough for any: what is left over of them is no whole window
        return max(self.size - side, (self.size - side) % self.strides)

    def call(self, inputs):
        for axis in (1, 2):
            if missing := self._missing(inputs.shape[axis]):
                last = inputs[:, -1:] if axis == 1 else inputs[:, :, -1:]
                inputs = keras.ops.concatenate([inputs] + [last] * missing, axis=axis)
        if self.kind == "max":
            y = backend.max_pool(inputs, self.size, self.strides, self.pad)
        elif self.kind == "l2":
            # The small constant keeps the root's gradient finite where a whole window is zero.
            mean = backend.avg_pool(keras.ops.square(inputs), self.size, self.strides, self.pad)
            y = keras.ops.sqrt(mean * self.size**2 + 1e-8)
        else:
            y = backend.avg_pool(inputs, self.size, self.strides, self.pad)
        return y if self.factor == 1 else y * self.factor

    def compute_output_shape(self, input_shape):
        batch, *space, channels = input_shape
        beyond = 2 * self.pad - self.size
        space = [None if n is None else (n + self._missing(n) + beyond) // self.strides + 1 for n in space]
        return (batch, *space, channels)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "kind": self.kind,
            "size": self.size,
            "strides": self.strides,
            "factor": self.factor,
            "pad": self.pad,
            "partial": self.partial,
        }


def default_init(fan_in):
    """The initialisers of torch's `nn.Conv2d` and `nn.Linear`: uniform within ±1/√fan_in, the bias too.

    Args:
        fan_in: inputs to one output, kh · kw · C of a convolution.

    Returns:
        `{"kernel_initializer": ..., "bias_initializer": ...}`, for one layer: used twice they give the same numbers.
    """
    limit = fan_in**-0.5
    return {f"{kind}_initializer": keras.initializers.RandomUniform(-limit, limit) for kind in ("kernel", "bias")}
