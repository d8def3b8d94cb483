"""The vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) as torchvision has it."""

import keras

from kstyle.errors import UsageError
from kstyle.models.networks import shape
from kstyle.nn.layers import Conv2D
from kstyle.nn.residual import ClassToken, DropPath, PositionEmbedding, SelfAttention


def vit_b_16(
    classes,
    size,
    channels=3,
    *,
    patch=16,
    depth=12,
    width=768,
    heads=12,
    hidden=3072,
    dtype="float32",
    l2=0.0,
    dropout=0.0,
    drop_path=0.0,
):
    """A picture as a row of square patches, each of which looks at all others, block after block; a row that is learnt
    and stands before them becomes the logits.

    Initial values are torchvision's, the logits' 0 among them. The defaults make ViT-B/16, with 86,567,656 parameters
    for 1000 classes of 224×224 px. Each place has a learnt row of its own, so that weights fit one size of pictures.
    `patch=6, depth=8, width=64, heads=4, hidden=128` and pictures of 72 px make one about as large as that of keras.io.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), which `patch` divides.
        channels: of the pictures.
        patch: side of a patch in pixels.
        depth: how many blocks.
        width: channels, which `heads` divides.
        heads: of the attention.
        hidden: channels of a block's hidden dense layer.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training after positions are added, after the attention and each of the two dense
            layers of a block.
        drop_path: of the last block, the first has none: see `kstyle.nn.residual.DropPath`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.

    Raises:
        UsageError: `patch` or `heads` does not divide.
    """
    *sides, _ = shape(size, channels)
    if any(side % patch for side in sides):
        near = " × ".join(str(max(1, round(side / patch)) * patch) for side in sides)
        has = " × ".join(map(str, sides))
        raise UsageError(f"vit_b_16 divides pictures into patches of {patch} × {patch}; got {has}: write {near}, say.")
    if width % heads:
        raise UsageError(f"vit_b_16: width is a multiple of heads; got {width} and {heads}.")
    penalty = keras.regularizers.L2(l2) if l2 else None

    def dense(x, units, name, kernel="glorot_uniform", bias="zeros", dtype=dtype):
        options = {"kernel_initializer": kernel, "bias_initializer": bias, "kernel_regularizer": penalty}
        return keras.layers.Dense(units, name=name, dtype=dtype, **options)(x)

    def normalise(x, name):
        return keras.layers.LayerNormalization(epsilon=1e-6, name=name, dtype=dtype)(x)

    def drop(x, name):
        return keras.layers.Dropout(dropout, name=f"{name}_dropout", dtype=dtype)(x) if dropout else x

    def add(x, y, name, rate):
        y = DropPath(rate, name=f"{name}_drop", dtype=dtype)(y) if rate else y
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, y])

    def block(x, name, rate):
        y = dense(normalise(x, f"{name}_ln1"), 3 * width, f"{name}_in_proj")
        y = SelfAttention(heads, name=f"{name}_attention", dtype=dtype)(y)
        limit = width**-0.5
        y = dense(y, width, f"{name}_out_proj", keras.initializers.RandomUniform(-limit, limit))
        x = add(x, drop(y, f"{name}_out_proj"), f"{name}_attention", rate)
        y = normalise(x, f"{name}_ln2")
        y = dense(y, hidden, f"{name}_mlp0", bias=keras.initializers.RandomNormal(0, 1e-6))
        y = drop(keras.layers.Activation(keras.activations.gelu, name=f"{name}_gelu", dtype=dtype)(y), f"{name}_mlp0")
        y = dense(y, width, f"{name}_mlp3", bias=keras.initializers.RandomNormal(0, 1e-6))
        return add(x, drop(y, f"{name}_mlp3"), f"{name}_mlp", rate)

    x = inputs = keras.Input(shape(size, channels))
    initial = keras.initializers.RandomNormal(0, (patch * patch * channels) ** -0.5)
    kernel = {"kernel_initializer": initial, "kernel_regularizer": penalty}
    x = Conv2D(width, patch, strides=patch, name="conv_proj", dtype=dtype, **kernel)(x)
    x = keras.layers.Reshape((x.shape[1] * x.shape[2], width), name="patches", dtype=dtype)(x)
    x = ClassToken(width, name="class_token", dtype=dtype)(x)
    x = drop(PositionEmbedding(x.shape[1], width, name="pos_embedding", dtype=dtype)(x), "pos_embedding")
    for number, rate in enumerate(DropPath.increasing(drop_path, depth)):
        x = block(x, f"layer{number}", rate)
    x = normalise(x, "ln")
    x = keras.layers.Cropping1D((0, x.shape[1] - 1), name="first", dtype=dtype)(x)
    x = keras.layers.Reshape((width,), name="token", dtype=dtype)(x)
    return keras.Model(inputs, dense(x, classes, "head", "zeros", dtype="float32"), name="vit_b_16")


_IN_TORCH = {
    "ln1": "ln_1", "in_proj": "self_attention.in_proj", "out_proj": "self_attention.out_proj", "ln2": "ln_2",
    "mlp0": "mlp.0", "mlp3": "mlp.3",
}  # fmt: skip


def in_torch(layers):
    """{layer: its name in torchvision's files}.

    >>> in_torch(["layer3_ln1", "head"])
    {'layer3_ln1': 'encoder.layers.encoder_layer_3.ln_1', 'head': 'heads.head'}
    """
    names = {"pos_embedding": "encoder.pos_embedding", "ln": "encoder.ln", "head": "heads.head"}
    for name in layers:
        first, _, rest = name.partition("_")
        if rest in _IN_TORCH:
            names[name] = f"encoder.layers.encoder_layer_{first.removeprefix('layer')}.{_IN_TORCH[rest]}"
    return {name: names.get(name, name) for name in layers}
