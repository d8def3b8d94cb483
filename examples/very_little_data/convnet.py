"""The three convolutions of blog.keras.io's "Building powerful image classification models using very little data"
(F. Chollet 2016). Two classes are two logits here, where the post has one and a sigmoid."""

import keras
from keras import layers


def build(input_shape, num_classes, dtype, dropout=0.5):
    x = inputs = keras.Input(input_shape)
    for n, filters in enumerate((32, 32, 64), 1):
        x = layers.Conv2D(filters, 3, activation="relu", dtype=dtype, name=f"conv{n}")(x)
        x = layers.MaxPooling2D(dtype=dtype, name=f"pool{n}")(x)
    x = layers.Dense(64, activation="relu", dtype=dtype, name="dense")(layers.Flatten(dtype=dtype)(x))
    x = layers.Dropout(dropout, dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(num_classes, dtype="float32", name="classes")(x))
