"""Two views of each picture, and losses of them: SimCLR, SupCon, consistency. See docs/porting/two-views.md.

A batch of B pictures becomes B / 2 pictures twice: number i and number i + B / 2 are views of one. An augmentation does
that, and the losses below know it. So batches are even, and whole: `batch: 256`, `drop_last: true`, no `accumulate`.
"""

import keras
from keras import ops

from kstyle import aims, augmentations, networks


def pairs(images, random, strength, shift=0.125, noise=0.1, plain=False):
    """Views of the first half of a batch: moved by up to `shift` of a side, with noise; `plain`: one as it is."""
    half = images.shape[0] // 2
    one, rest = images[:half], images[2 * half :]
    views = [one if plain else _view(one, random, strength, shift, noise), _view(one, random, strength, shift, noise)]
    return ops.concatenate([*views, rest], axis=0)


def _view(images, random, strength, shift, noise):
    count, height, width, _ = images.shape
    for axis, side in ((1, height), (2, width)):
        offset = ops.round((2 * random.uniform((count, 1)) - 1) * shift * side * strength)
        places = ops.clip(ops.arange(side, dtype="float32")[None] + offset, 0, side - 1)  # (B, side)
        chosen = ops.one_hot(ops.cast(places, "int32"), side)
        images = ops.einsum("bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic", chosen, images)
    return images + noise * strength * (2 * random.uniform(tuple(images.shape)) - 1)


def supcon(labels, logits, temperature=0.1):
    """Khosla et al. 2020 (arXiv 2004.11362): views of one class attract each other. -> (B,)"""
    half = logits.shape[0] // 2
    return _attracted(ops.tile(labels[:half], [2]), logits, temperature)


def simclr(labels, logits, temperature=0.1):
    """Chen et al. 2020 (arXiv 2002.05709), NT-Xent: the two views of a picture attract each other. -> (B,)"""
    return _attracted(ops.tile(ops.arange(logits.shape[0] // 2), [2]), logits, temperature)


def _attracted(groups, logits, temperature):
    logits = logits[: groups.shape[0]]  # validation has batches of odd numbers too
    x = logits / ops.maximum(ops.norm(logits, axis=-1, keepdims=True), 1e-6)
    itself = ops.eye(x.shape[0])
    alike = ops.cast(ops.equal(groups[:, None], groups[None]), "float32") - itself
    near = ops.log_softmax(ops.matmul(x, ops.transpose(x)) / temperature - 1e9 * itself, axis=-1)
    return -ops.sum(alike * near, axis=-1) / ops.maximum(ops.sum(alike, axis=-1), 1.0)


def consistency(labels, logits, weight=1.0):
    """Cross-entropy of the first view, and how far the second is from what the network says of the first. -> (B,)"""
    half = logits.shape[0] // 2
    first, second = ops.log_softmax(logits[:half]), ops.log_softmax(logits[half : 2 * half])
    told = ops.stop_gradient(first)
    entropy = -ops.sum(ops.one_hot(labels[:half], logits.shape[-1]) * first, axis=-1)
    return ops.concatenate([entropy, weight * ops.sum(ops.exp(told) * (told - second), axis=-1)])


def encoder(classes, size, channels, *, dtype, width=32, hidden=64):
    """Convolutions, what is kept of them (`hidden`), and a last layer: what is compared, or the logits of classes."""
    x = inputs = keras.Input((*size, channels))
    for number, (filters, stride) in enumerate(((width, 1), (2 * width, 2), (2 * width, 2))):
        named = {"name": f"conv{number}", "dtype": dtype}
        x = keras.layers.Conv2D(filters, 3, stride, "same", activation="relu", **named)(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean", dtype=dtype)(x)
    x = keras.layers.Dense(hidden, activation="relu", name="hidden", dtype=dtype)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="compared", dtype="float32")(x))


augmentations.register("pairs", pairs)
for each in (simclr, supcon, consistency):
    aims.register_loss(each.__name__, each)
networks.register(
    networks.Network(
        "encoder",
        build=encoder,
        options={"width": 32, "hidden": 64},
        smallest=4,
        parts={"body": ("conv?",), "hidden": ("hidden",), "head": ("compared",)},
    )
)
