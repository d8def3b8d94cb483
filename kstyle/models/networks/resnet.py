"""ResNet (He et al. 2015, arXiv 1512.03385) as torchvision has it: v1.5, the stride of a bottleneck in its 3×3; and by
the same blocks ResNeXt (Xie et al. 2016, arXiv 1611.05431) and Wide ResNet-50 (Zagoruyko & Komodakis 2016, arXiv
1605.07146)."""

import functools

import keras

from kstyle.models.networks import shape
from kstyle.models.networks.squeeze_excitation import squeeze_excite
from kstyle.nn.layers import BatchNormalization, Conv2D, Pool2D, default_init

# Name: (blocks in each stage, whether they are bottlenecks, groups of a bottleneck's 3×3, channels of one of them in
# the first stage).
FORMS = {
    "resnet18": ((2, 2, 2, 2), False, 1, 64),
    "resnet34": ((3, 4, 6, 3), False, 1, 64),
    "resnet50": ((3, 4, 6, 3), True, 1, 64),
    "resnet101": ((3, 4, 23, 3), True, 1, 64),
    "resnet152": ((3, 8, 36, 3), True, 1, 64),
    "resnext50_32x4d": ((3, 4, 6, 3), True, 32, 4),
    "wide_resnet50_2": ((3, 4, 6, 3), True, 1, 128),
    "resnext29_8x64d": ((3, 3, 3), True, 8, 64),
}


def resnet(
    form,
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
    zero_gamma=False,
    squeeze=0,
):
    """A residual network. Layer names are torchvision's with `_` for the dots, initial values and statistics torch's.

    For 1000 classes ResNet-18 has 11,689,512 trainable parameters, ResNet-50 25,557,032, ResNeXt-50 25,028,904, Wide
    ResNet-50-2 68,883,240; ResNeXt-29 8×64d, the paper's for CIFAR in three stages and with `stem="small"`, 34,426,698
    for ten. The map is averaged whole, which for the tiny-imagenet post's 64 px is its 2×2 pool.

    Args:
        form: key of `FORMS`.
        classes: number of classes.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures.
        stem: `"imagenet"` (7×7 with stride 2, then a 3×3 max pool with stride 2; pictures of at least 32 px), `"7x7"`
            (without the pool; 16 px) or `"small"` (3×3 with stride 1, no pool; 8 px), the paper's for CIFAR.
        dtype: a Keras precision policy, e.g. `"mixed_bfloat16"`.
        l2: the kernels' penalty is l2 Σw², as Keras has it (gradient 2·l2·w).
        dropout: share of the averaged features dropped in training.
        bn_momentum, bn_epsilon, unbiased_variance: see `kstyle.nn.layers.BatchNormalization`.
        zero_gamma: whether each block starts as the identity: the scale of its last normalisation is 0 (Goyal et al.
            2017, arXiv 1706.02677).
        squeeze: 16 for SE-ResNet (Hu et al. 2017, arXiv 1709.01507): what a block adds is weighed by
            `kstyle.models.networks.squeeze_excitation`, narrowed by this factor. 0: it is not.

    Returns:
        A `keras.Model` from (B, H, W, channels) to logits (B, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    depths, bottleneck, groups, width = FORMS[form]

    def kernels():
        initial = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        return {"kernel_initializer": initial, "kernel_regularizer": penalty, "dtype": dtype}

    def convolve(x, name, filters, kernel, strides=1, groups=1):
        options = {"strides": strides, "pad": kernel // 2, "groups": groups, "use_bias": False, "name": name}
        return Conv2D(filters, kernel, **options, **kernels())(x)

    def normalise(x, name, gamma="ones"):
        return BatchNormalization(
            bn_momentum, bn_epsilon, unbiased_variance, gamma_initializer=gamma, name=name, dtype=dtype
        )(x)

    def relu(x, name):
        return keras.layers.Activation("relu", name=name, dtype=dtype)(x)

    def block(x, name, filters, strides):
        # (filters, kernel, strides, groups) of the convolutions on the way round the shortcut.
        path = [(filters, 3, strides), (filters, 3, 1)]
        if bottleneck:
            inside = groups * (filters * width // 64)
            path = [(inside, 1, 1), (inside, 3, strides, groups), (4 * filters, 1, 1)]
        y = x
        for number, part in enumerate(path, 1):
            last = number == len(path)
            y = convolve(y, f"{name}_conv{number}", *part)
            y = normalise(y, f"{name}_bn{number}", "zeros" if last and zero_gamma else "ones")
            y = y if last else relu(y, f"{name}_relu{number}")
        if squeeze:
            y = squeeze_excite(y, f"{name}_se", max(1, y.shape[-1] // squeeze), **kernels())
        if x.shape[-1] != y.shape[-1] or strides != 1:
            x = convolve(x, f"{name}_downsample_0", y.shape[-1], 1, strides)
            x = normalise(x, f"{name}_downsample_1")
        return relu(keras.layers.Add(name=f"{name}_add", dtype=dtype)([y, x]), f"{name}_relu")

    x = inputs = keras.Input(shape(size, channels))
    x = convolve(x, "conv1", 64, *((3, 1) if stem == "small" else (7, 2)))
    x = relu(normalise(x, "bn1"), "relu")
    if stem == "imagenet":
        x = Pool2D(size=3, strides=2, pad=1, name="maxpool", dtype=dtype)(x)
    for stage, blocks in enumerate(depths, 1):
        for number in range(blocks):
            strides = 2 if number == 0 and stage > 1 else 1
            x = block(x, f"layer{stage}_{number}", 32 * 2**stage, strides)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    dense = {"kernel_regularizer": penalty, **default_init(x.shape[-1])}
    x = keras.layers.Dense(classes, name="fc", dtype="float32", **dense)(x)
    return keras.Model(inputs, x, name=form)


resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, wide_resnet50_2 = (
    functools.partial(resnet, form) for form in list(FORMS)[:-1]
)
resnext29_8x64d = functools.partial(resnet, "resnext29_8x64d", stem="small")
