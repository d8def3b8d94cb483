"""Residual networks for CIFAR with activations before convolutions (He et al. 2016, arXiv 1603.05027): ResNet-20 to
ResNet-110, and Wide ResNets (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

import functools

import keras

from kstyle.models.networks import shape
from kstyle.nn.layers import BatchNormalization, Conv2D, default_init

# Name: (blocks in each of the three stages, how many times as wide as 16, 32, 64 channels).
FORMS = {
    "resnet20": (3, 1),
    "resnet32": (5, 1),
    "resnet56": (9, 1),
    "resnet110": (18, 1),
    "wrn_16_8": (2, 8),
    "wrn_28_10": (4, 10),
}


def preact_resnet(
    form,
    classes,
    size,
    channels=3,
    *,
    dtype="float32",
    l2=0.0,
    dropout=0.0,
    bn_momentum=0.9,
    bn_epsilon=1e-5,
    unbiased_variance=True,
):
    """Normalisation, ReLU and convolution, twice in a block, added to what came into it; a stage after the first halves
    the sides. Where the shape changes a 1×1 convolution of the block's first activations goes round it, as in Wide
    ResNets and in BIGBALLON's ResNet-20 (He et al. have zeros for the channels that are new).

    For ten classes ResNet-20 has 272,282 trainable parameters, ResNet-110 1,730,522, WRN-16-8 10,961,370, WRN-28-10
    36,479,194. Layers are called as in torchvision's ResNets, with `bn1` before `conv1`.

    Args:
        form: key of `FORMS`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share dropped in training between a block's two convolutions, Wide ResNet's (0.3 there).
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    blocks, widening = FORMS[form]

    def convolve(x, name, filters, kernel, strides=1):
        initial = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        return Conv2D(
            filters, kernel, strides=strides, pad=kernel // 2, use_bias=False, kernel_initializer=initial,
            kernel_regularizer=penalty, name=name, dtype=dtype,
        )(x)  # fmt: skip

    def activate(x, name, number=""):
        x = BatchNormalization(
            bn_momentum, bn_epsilon, unbiased_variance, name=f"{name}bn{number}", dtype=dtype
        )(x)  # fmt: skip
        return keras.layers.Activation("relu", name=f"{name}relu{number}", dtype=dtype)(x)

    def block(x, name, filters, strides):
        y = activate(x, f"{name}_", 1)
        if strides != 1 or x.shape[-1] != filters:
            x = convolve(y, f"{name}_downsample", filters, 1, strides)
        y = activate(convolve(y, f"{name}_conv1", filters, 3, strides), f"{name}_", 2)
        if dropout:
            y = keras.layers.Dropout(dropout, name=f"{name}_dropout", dtype=dtype)(y)
        y = convolve(y, f"{name}_conv2", filters, 3)
        return keras.layers.Add(name=f"{name}_add", dtype=dtype)([x, y])

    x = inputs = keras.Input(shape(size, channels))
    x = convolve(x, "conv1", 16, 3)
    for stage in (1, 2, 3):
        for number in range(blocks):
            strides = 2 if number == 0 and stage > 1 else 1
            x = block(x, f"layer{stage}_{number}", 8 * 2**stage * widening, strides)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(activate(x, ""))
    dense = {"kernel_regularizer": penalty, **default_init(x.shape[-1])}
    x = keras.layers.Dense(classes, name="fc", dtype="float32", **dense)(x)
    return keras.Model(inputs, x, name=form)


resnet20, resnet32, resnet56, resnet110, wrn_16_8, wrn_28_10 = (
    functools.partial(preact_resnet, form) for form in FORMS
)
