"""The MLP-Mixer of keras.io ("Image classification with modern MLP models", K. Salama 2021), after Tolstikhin et al.
2021 (arXiv 2105.01601): dense layers over the patches, then over the channels, in turn."""

import keras
from keras import layers


def build(input_shape, num_classes, dtype, patch=8, width=256, blocks=4, dropout=0.2):
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, patch, patch, dtype=dtype, name="patches")(inputs)
    x = layers.Reshape((-1, width), dtype=dtype)(x)
    count = x.shape[1]
    for n in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name=f"block{n}_norm1")(x)
        y = layers.Permute((2, 1), dtype=dtype)(y)
        y = dense(y, count, count, dropout, dtype, f"block{n}_patches")
        x = layers.Add(dtype=dtype)([x, layers.Permute((2, 1), dtype=dtype)(y)])
        y = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name=f"block{n}_norm2")(x)
        x = layers.Add(dtype=dtype)([x, dense(y, width, width, dropout, dtype, f"block{n}_channels")])
    x = layers.Dropout(dropout, dtype=dtype)(layers.GlobalAveragePooling1D(dtype=dtype)(x))
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="classes")(x))


def dense(x, hidden, width, dropout, dtype, name):
    """Two dense layers with GELU between them."""
    x = layers.Dense(hidden, activation="gelu", dtype=dtype, name=f"{name}_dense0")(x)
    return layers.Dropout(dropout, dtype=dtype)(layers.Dense(width, dtype=dtype, name=f"{name}_dense1")(x))
