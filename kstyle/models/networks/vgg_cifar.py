"""VGG (Simonyan & Zisserman 2014, arXiv 1409.1556) as a classifier: the CIFAR-10 post's VGG19, and the paper's own."""

import functools

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.feature_layers import filters, layer_names
from kstyle.nn.layers import BatchNormalization, Conv2D, Pool2D


def vgg19_cifar(
    classes,
    size,
    channels=3,
    *,
    head="post",
    pool5=False,
    last_bn=None,
    dtype="float32",
    l2=0.0,
    dropout=0.5,
    bn_momentum=0.99,
    bn_epsilon=1e-3,
    unbiased_variance=False,
):
    """VGG19 for small pictures, with batch normalisation after every convolution and dense layer.

    The post's (junmo1215, after BIGBALLON/cifar-10-cnn) has 45,294,194 parameters for ten classes of 32×32×3, and no
    fifth pool; `head="gap"`, which averages the last map and goes straight to the logits, 20,051,530.
    Convolutions have Keras' VGG19 names, so that ImageNet's weights can be loaded into them.

    Args:
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width), at least 16, or 32 with `pool5`.
        channels: of the pictures.
        head: `"post"` (flatten, two dense layers of 4096) or `"gap"`.
        pool5: whether the fifth block ends with a pool too, as BIGBALLON's and the paper's do.
        last_bn: whether the logits are normalised as well. None: with the post's head.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training after each dense layer of the post's head, or before the lean one's logits.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    # By name: one initialiser object gives every layer of a shape the same numbers.
    kernel = {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L2(l2) if l2 else None}

    def normalise(x, name, dtype):
        return BatchNormalization(bn_momentum, bn_epsilon, unbiased_variance, name=f"{name}_bn", dtype=dtype)(x)

    def activate(x, name):
        return keras.layers.Activation("relu", name=f"{name}_relu", dtype=dtype)(normalise(x, name, dtype))

    def drop(x, name):
        return keras.layers.Dropout(dropout, name=f"{name}_dropout", dtype=dtype)(x) if dropout else x

    x = inputs = keras.Input(shape(size, channels))
    for name in layer_names("vgg19"):
        if not name.endswith("pool"):
            x = activate(Conv2D(filters(name), 3, pad=1, name=name, dtype=dtype, **kernel)(x), name)
        elif pool5 or name != "block5_pool":
            x = Pool2D(name=name, dtype=dtype)(x)
    if head == "gap":
        x = drop(keras.layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x), "pool")
    else:
        x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
        for name in ("fc_cifa10", "fc2"):
            x = drop(activate(keras.layers.Dense(4096, name=name, dtype=dtype, **kernel)(x), name), name)
    x = keras.layers.Dense(classes, name="predictions_cifa10", dtype="float32", **kernel)(x)
    if last_bn or (last_bn is None and head == "post"):
        x = normalise(x, "predictions_cifa10", "float32")
    return keras.Model(inputs, x, name="vgg19_cifar")


def vgg(network, classes, size, channels=3, *, head="paper", dtype="float32", l2=0.0, dropout=0.5):
    """The paper's VGG, with torchvision's initial values and without batch normalisation.

    VGG16 has 138,357,544 parameters for 1000 classes of 224×224×3, VGG19 143,667,240. What the fifth pool leaves is
    flattened whatever its size (torchvision resamples it to 7×7), so that weights for the dense layers fit 224 px only.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        classes, size, channels, dtype, l2: as in `vgg19_cifar`; pictures of at least 32 px.
        head: `"paper"` (flatten, two dense layers of 4096) or `"gap"`, which averages the last map and goes straight to
            the logits: 14,714,688 parameters and 513 a class for VGG16, 20,024,384 for VGG19.
        dropout: share dropped in training after each of the two dense layers, or before the lean head's logits.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None

    def dense(x, units, name, **options):
        kernel = {"kernel_initializer": keras.initializers.RandomNormal(0, 0.01), "kernel_regularizer": penalty}
        return keras.layers.Dense(units, name=name, **kernel, **options)(x)

    def drop(x, name):
        return keras.layers.Dropout(dropout, name=f"{name}_dropout", dtype=dtype)(x) if dropout else x

    x = inputs = keras.Input(shape(size, channels))
    for name in layer_names(network):
        if name.endswith("pool"):
            x = Pool2D(name=name, dtype=dtype)(x)
        else:
            initial = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
            kernel = {"kernel_initializer": initial, "kernel_regularizer": penalty}
            x = Conv2D(filters(name), 3, pad=1, activation="relu", name=name, dtype=dtype, **kernel)(x)
    if head == "gap":
        x = drop(keras.layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x), "pool")
    else:
        x = keras.layers.Flatten(name="flatten", dtype=dtype)(x)
        for name in ("fc1", "fc2"):
            x = drop(dense(x, 4096, name, activation="relu", dtype=dtype), name)
    x = dense(x, classes, "predictions", dtype="float32")
    return keras.Model(inputs, x, name=network)


vgg16 = functools.partial(vgg, "vgg16")
vgg19 = functools.partial(vgg, "vgg19")
