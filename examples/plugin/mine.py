"""A plugin: a style loss, an optimiser, a network and an augmentation of one's own. See docs/plugins.md."""

import keras
from keras import ops

from kstyle import augmentations, losses, networks, optimizers


def means(features):  # (1, H, W, C) -> (C,)
    return ops.mean(features, axis=(0, 1, 2))


def small(classes, size, channels, *, dtype, width=16):
    x = inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(width, 3, activation="relu", dtype=dtype)(x)
    x = keras.layers.GlobalMaxPooling2D(dtype=dtype)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, dtype="float32")(x))


def salt(images, random, strength, share=0.1):  # pixels that become white
    grains = random.uniform((*images.shape[:3], 1)) < strength * share
    return ops.where(grains, 1.0, images)


losses.register("means", lambda features, target: ops.mean(ops.square(means(features) - target)), means)
optimizers.register("heavy-ball", lambda learning_rate=0.05: keras.optimizers.SGD(learning_rate, momentum=0.9))
networks.register(networks.Network("small", build=small, options={"width": 16}))
augmentations.register("salt", salt)
