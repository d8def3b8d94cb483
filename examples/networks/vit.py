"""The vision transformer of keras.io ("Image classification with Vision Transformer", K. Salama 2021), after
Dosovitskiy et al. 2020 (arXiv 2010.11929): no class token, all patches go into the head."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("examples")
class Positions(layers.Layer):
    """Adds a vector that is learnt for each place: (B, N, D) -> the same."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, x):
        return x + ops.cast(self.table, x.dtype)


def build(
    input_shape, num_classes, dtype,
    patch=6, width=64, heads=4, blocks=8, hidden=128, head=(2048, 1024), dropout=0.1, head_dropout=0.5,
):  # fmt: skip
    inputs = keras.Input(input_shape)
    # A dense layer on each patch's pixels is a convolution with steps of its own size.
    x = layers.Conv2D(width, patch, patch, dtype=dtype, name="patches")(inputs)
    x = layers.Reshape((-1, width), dtype=dtype)(x)
    x = Positions(dtype=dtype, name="positions")(x)
    for n in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name=f"block{n}_norm1")(x)
        y = layers.MultiHeadAttention(heads, width, dropout=dropout, dtype=dtype, name=f"block{n}_attention")(y, y)
        x = layers.Add(dtype=dtype)([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name=f"block{n}_norm2")(x)
        x = layers.Add(dtype=dtype)([x, dense(y, (hidden, width), dropout, dtype, f"block{n}")])
    x = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="norm")(x)
    x = layers.Dropout(head_dropout, dtype=dtype)(layers.Flatten(dtype=dtype)(x))
    x = dense(x, head, head_dropout, dtype, "head")
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="classes")(x))


def dense(x, widths, dropout, dtype, name):
    """Dense layers with GELU and dropout."""
    for n, width in enumerate(widths):
        x = layers.Dense(width, activation="gelu", dtype=dtype, name=f"{name}_dense{n}")(x)
        x = layers.Dropout(dropout, dtype=dtype)(x)
    return x
