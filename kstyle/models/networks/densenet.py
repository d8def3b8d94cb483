"""DenseNet (Huang et al. 2016, arXiv 1608.06993) as torchvision has it, and the paper's for CIFAR."""

import functools

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import BatchNormalization, Conv2D, Pool2D, default_init

# Depth: (channels that a layer adds, layers in each block, channels of the stem).
DEPTHS = {
    40: (12, (12, 12, 12), 16),
    100: (12, (16, 16, 16), 24),
    121: (32, (6, 12, 24, 16), 64),
    161: (48, (6, 12, 36, 24), 96),
    169: (32, (6, 12, 32, 32), 64),
    201: (32, (6, 12, 48, 32), 64),
}


def densenet(
    depth,
    classes,
    size,
    channels=3,
    *,
    stem="imagenet",
    dtype="float32",
    l2=0.0,
    dropout=0.0,
    bn_momentum=0.9,
    bn_epsilon=1e-5,
    unbiased_variance=True,
    bottleneck=True,
):
    """A densely connected network: each layer sees all that its block made before it.

    Layer names are torchvision's with `_` for the dots, initial values and statistics torch's. For 1000 classes
    DenseNet-121 has 7,978,856 trainable parameters. DenseNet-40 and -100 are the paper's for CIFAR, with 12 channels a
    layer and `stem="small"`: for ten classes the one, without bottlenecks, has 1,019,722, the other 769,162.

    Args:
        depth: key of `DEPTHS`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        stem: `"imagenet"` (7×7 with stride 2, then a 3×3 max pool with stride 2; pictures of at least 29 px), `"7x7"`
            (without the pool; 15 px) or `"small"` (3×3 with stride 1, no pool; 8 px), the paper's for CIFAR.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.
        bottleneck: whether a layer narrows what it sees by a 1×1 convolution first, and what leaves a block has half
            its channels: the paper's DenseNet-BC. Without, a depth of 40 has 12 layers in a block, as the paper counts
            them.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    growth, blocks, width = DEPTHS[depth]

    def convolve(x, name, filters, kernel, strides=1):
        initial = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        return Conv2D(
            filters, kernel, strides=strides, pad=kernel // 2, use_bias=False, kernel_initializer=initial,
            kernel_regularizer=penalty, name=name, dtype=dtype,
        )(x)  # fmt: skip

    def activate(x, norm, relu):
        x = BatchNormalization(bn_momentum, bn_epsilon, unbiased_variance, name=norm, dtype=dtype)(x)
        return keras.layers.Activation("relu", name=relu, dtype=dtype)(x)

    def layer(x, name):
        y = activate(x, f"{name}_norm1", f"{name}_relu1")
        if bottleneck:
            y = convolve(y, f"{name}_conv1", 4 * growth, 1)
            y = activate(y, f"{name}_norm2", f"{name}_relu2")
        y = convolve(y, f"{name}_conv{1 + bottleneck}", growth, 3)
        return keras.layers.Concatenate(name=f"{name}_concat", dtype=dtype)([x, y])

    x = inputs = keras.Input(shape(size, channels))
    x = convolve(x, "features_conv0", width, *((3, 1) if stem == "small" else (7, 2)))
    if stem != "small" or len(blocks) == 4:  # the paper's for CIFAR leave this to their first layer
        x = activate(x, "features_norm0", "features_relu0")
    if stem == "imagenet":
        x = Pool2D(size=3, strides=2, pad=1, name="features_pool0", dtype=dtype)(x)
    for number, layers in enumerate(blocks, 1):
        for each in range(1, layers + 1):
            x = layer(x, f"features_denseblock{number}_denselayer{each}")
        if number < len(blocks):
            name = f"features_transition{number}"
            filters = x.shape[-1] // 2 if bottleneck else x.shape[-1]
            x = convolve(activate(x, f"{name}_norm", f"{name}_relu"), f"{name}_conv", filters, 1)
            x = Pool2D("average", name=f"{name}_pool", dtype=dtype)(x)
    x = activate(x, "features_norm5", "features_relu5")
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    initial = {**default_init(x.shape[-1]), "bias_initializer": "zeros"}
    x = keras.layers.Dense(classes, kernel_regularizer=penalty, name="classifier", dtype="float32", **initial)(x)
    return keras.Model(inputs, x, name=f"densenet{depth}")


densenet121, densenet161, densenet169, densenet201 = (functools.partial(densenet, depth) for depth in list(DEPTHS)[2:])
densenet40 = functools.partial(densenet, 40, stem="small", bottleneck=False)
densenet100 = functools.partial(densenet, 100, stem="small")
