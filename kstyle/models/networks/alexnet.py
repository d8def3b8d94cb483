"""AlexNet: torchvision's, after Krizhevsky 2014 (arXiv 1404.5997), and Caffe's, after Krizhevsky et al. 2012."""

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import Conv2D, Pool2D, default_init

ops = keras.ops


def alexnet(classes, size, channels=3, *, dtype="float32", l2=0.0, dropout=0.5):
    """torchvision's AlexNet: one column, no normalisation. 61,100,840 parameters for 1000 classes of 224×224×3.

    Layers are named as torchvision's, with `_` for the dot. What the last pool leaves is flattened whatever its size
    (torchvision resamples it to 6×6), so that weights for the first dense layer fit 224 px only.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 63.
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training before each of the two hidden dense layers.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    x = inputs = keras.Input(shape(size, channels))
    # Index in torchvision's `features`: (filters, kernel, strides, pad), or None for a pool.
    features = {
        0: (64, 11, 4, 2), 2: None, 3: (192, 5, 1, 2), 5: None,
        6: (384, 3, 1, 1), 8: (256, 3, 1, 1), 10: (256, 3, 1, 1), 12: None,
    }  # fmt: skip
    for index, part in features.items():
        name = f"features_{index}"
        if part is None:
            x = Pool2D(size=3, name=name, dtype=dtype)(x)
            continue
        filters, kernel, strides, pad = part
        x = Conv2D(
            filters, kernel, strides=strides, pad=pad, activation="relu", kernel_regularizer=penalty, name=name,
            dtype=dtype, **default_init(kernel**2 * x.shape[-1]),
        )(x)  # fmt: skip
    x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
    for index in (1, 4):
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"classifier_{index - 1}", dtype=dtype)(x)
        dense = {"kernel_regularizer": penalty, "name": f"classifier_{index}", **default_init(x.shape[-1])}
        x = keras.layers.Dense(4096, activation="relu", dtype=dtype, **dense)(x)
    dense = {"kernel_regularizer": penalty, "name": "classifier_6", **default_init(x.shape[-1])}
    x = keras.layers.Dense(classes, dtype="float32", **dense)(x)
    return keras.Model(inputs, x, name="alexnet")


def caffenet(classes, size, channels=3, *, dtype="float32", l2=0.0, dropout=0.5):
    """Caffe's reference network: AlexNet of 2012 with the pool before the normalisation.

    60,965,224 parameters for 1000 classes of 227×227×3. The second, fourth and fifth convolution see half of the
    channels each. Layers have Caffe's names, initial values are the original's.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 67; the original's is 227.
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training after each of the two hidden dense layers.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None

    def values(deviation, bias):
        return {
            "kernel_initializer": keras.initializers.RandomNormal(0, deviation),
            "bias_initializer": keras.initializers.Constant(bias),
            "kernel_regularizer": penalty,
        }

    def convolve(x, name, filters, kernel, bias, strides=1, pad=0, groups=1):
        options = {"strides": strides, "activation": "relu", "name": name, "dtype": dtype, **values(0.01, bias)}
        if groups == 1:
            return Conv2D(filters, kernel, pad=pad, **options)(x)
        # An odd kernel with stride 1: Keras' "same" is symmetric.
        return keras.layers.Conv2D(
            filters, kernel, groups=groups, padding="same", data_format="channels_last", **options
        )(x)

    def shrink(x, number):
        x = Pool2D(size=3, name=f"pool{number}", dtype=dtype)(x)
        return LocalResponse(name=f"norm{number}", dtype=dtype)(x)

    x = inputs = keras.Input(shape(size, channels))
    x = shrink(convolve(x, "conv1", 96, 11, 0, strides=4), 1)
    x = shrink(convolve(x, "conv2", 256, 5, 1, groups=2), 2)
    x = convolve(x, "conv3", 384, 3, 0, pad=1)
    x = convolve(x, "conv4", 384, 3, 1, groups=2)
    x = convolve(x, "conv5", 256, 3, 1, groups=2)
    x = Pool2D(size=3, name="pool5", dtype=dtype)(x)
    x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
    for number in (6, 7):
        x = keras.layers.Dense(4096, activation="relu", name=f"fc{number}", dtype=dtype, **values(0.005, 1))(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"drop{number}", dtype=dtype)(x)
    x = keras.layers.Dense(classes, name="fc8", dtype="float32", **values(0.01, 0))(x)
    return keras.Model(inputs, x, name="caffenet")


@keras.saving.register_keras_serializable("kstyle")
class LocalResponse(keras.layers.Layer):
    """Local response normalisation across channels, as Caffe has it (Krizhevsky et al. 2012, section 3.3).

    x / (1 + alpha / depth · Σ x²) ** beta, the sum over the `depth` channels around each; (B, H, W, C) in and out.
    """

    made_of_keras_ops = True  # and without weights: a plain copy of a network (`kstyle.nn.plain`) has the ops

    def __init__(self, depth=5, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.alpha, self.beta = depth, alpha, beta

    def call(self, inputs):
        channels, around = inputs.shape[-1], self.depth // 2
        # Byte-sized activations squared overflow float16.
        x = ops.cast(inputs, "float32")
        squares = ops.pad(ops.square(x), ((0, 0), (0, 0), (0, 0), (around, around)))
        total = sum(squares[..., i : i + channels] for i in range(self.depth))
        return ops.cast(x * ops.power(1 + self.alpha / self.depth * total, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "depth": self.depth, "alpha": self.alpha, "beta": self.beta}
