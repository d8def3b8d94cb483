"""The ConvMixer of keras.io ("Image classification with ConvMixer", S. Paul 2021), after Trockman and Kolter 2022
(arXiv 2201.09792): a depthwise convolution over the places, then one of 1×1 over the channels, in turn."""

import keras
from keras import layers


def build(input_shape, num_classes, dtype, filters=256, depth=8, kernel=5, patch=2, momentum=0.99):
    inputs = keras.Input(input_shape)
    x = block(layers.Conv2D(filters, patch, patch, dtype=dtype, name="patches")(inputs), dtype, momentum, "patches")
    for n in range(depth):
        y = layers.DepthwiseConv2D(kernel, padding="same", dtype=dtype, name=f"block{n}_places")(x)
        x = layers.Add(dtype=dtype)([block(y, dtype, momentum, f"block{n}_places"), x])
        y = layers.Conv2D(filters, 1, dtype=dtype, name=f"block{n}_channels")(x)
        x = block(y, dtype, momentum, f"block{n}_channels")
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="classes")(x))


def block(x, dtype, momentum, name):
    """GELU, then batch normalisation."""
    x = layers.Activation("gelu", dtype=dtype)(x)
    return layers.BatchNormalization(momentum=momentum, dtype=dtype, name=f"{name}_norm")(x)
