"""One network for any style picture: adaptive instance normalisation, and the decoder that learns to undo an extractor.

Huang & Belongie 2017, 'Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization' (arXiv 1703.06868).
"""

import keras

from kstyle.errors import UsageError
from kstyle.nn.image_layers import Doubled, MirroredConv2D
from kstyle.style.losses.moments import mean_and_deviation

ops = keras.ops

LEAST_DEVIATION = 1e-4
FURTHER = 3  # convolutions that keep the channels after the first doubling, as VGG19 has there; after others 1


def adain(features, mean, deviation, strength=1.0):
    """The features of a photograph, each channel moved to the mean and the deviation of a style's.

    Args:
        features: (1, H, W, C), in any precision.
        mean, deviation: (C,) float32, of a style; of several styles their weighted means.
        strength: 0 leaves the features as they are, 1 moves them all the way; the paper's alpha.

    Returns:
        (1, H, W, C) float32.

    >>> from keras import ops
    >>> from kstyle.style.networks.arbitrary import adain
    >>> features = ops.reshape(ops.arange(4, dtype="float32"), (1, 2, 2, 1))
    >>> [round(float(x), 3) for x in ops.reshape(adain(features, ops.ones(1) * 10, ops.ones(1)), (-1,))]
    [8.658, 9.553, 10.447, 11.342]
    """
    own_mean, own_deviation = mean_and_deviation(features)
    # It is no less already, by the small number under its root; but what writes ONNX files takes that number for 0.
    own_deviation = ops.maximum(own_deviation, LEAST_DEVIATION)
    mean, deviation = (a + strength * (b - a) for a, b in ((own_mean, mean), (own_deviation, deviation)))
    return (ops.cast(features, "float32") - own_mean) / own_deviation * deviation + mean


def decoder(channels, width=1.0, dtype="float32"):
    """Features of an extractor's deepest layer to the picture that has them: the extractor's mirror image, without
    normalisation, which would take away the style; doublings in place of pooling, and mirrored edges.

    The first layer, units, brings each channel to mean 0 and deviation 1 over all kinds of pictures, by numbers that
    are given and not trained.

    Args:
        channels: of the extractor's layers that lie at all pixels, at half of the sides, a quarter and so on.
        width: of all but the first and the last layer, as a share of these channels.
        dtype: a Keras precision policy.

    Returns:
        A `keras.Model` of [features (B, h, w, C), photographs (B, H, W, 3), of which only height and width count], to
        pictures (B, H, W, 3) float32, which may leave [0, 1]. For VGG19 up to relu4_1 3.5 million parameters.

    >>> import keras
    >>> from kstyle.style.networks.arbitrary import decoder
    >>> tuple(decoder((8, 16, 32))([keras.ops.ones((1, 5, 7, 32)), keras.ops.ones((1, 19, 25, 3))]).shape)
    (1, 19, 25, 3)
    """
    photograph = keras.Input((None, None, 3), name="photograph")
    features = keras.Input((None, None, channels[-1]), name="features")
    units = keras.layers.BatchNormalization(
        epsilon=1e-6, center=False, scale=False, trainable=False, name="units", dtype=dtype
    )
    x = units(features)
    wide = [max(1, round(width * n)) for n in channels]

    def convolve(x, name, filters):
        options = {"activation": "relu", "kernel_initializer": "he_normal", "name": name, "dtype": dtype}
        return MirroredConv2D(filters, 3, **options)(x)

    for level in range(len(channels) - 1, 0, -1):
        x = convolve(x, f"level{level}_fewer", wide[level - 1])
        doubled = Doubled(name=f"level{level}_doubled", dtype=dtype)
        x = doubled(x if level > 1 else [x, photograph])
        for number in range(FURTHER if level == len(channels) - 1 and level > 1 else 1):
            x = convolve(x, f"level{level - 1}_{number + 1}", wide[level - 1])
    last = MirroredConv2D(3, 3, bias_initializer=keras.initializers.Constant(0.5), name="picture", dtype=dtype)
    return keras.Model([features, photograph], ops.cast(last(x), "float32"), name="decoder")


def least_side(layers):
    """Pixels of the least side of a picture: at the deepest of so many layers a mirror needs two positions."""
    return 2 ** (layers - 1) + 1


def channels_of(extractor, layers):
    """Channels of an extractor's layers, finest first.

    Raises:
        UsageError: the first is not at all pixels, or another not at half of the sides of the one before it.
    """
    side = 2 ** len(layers) + 1  # odd, and so at each of them but the deepest
    found = extractor(ops.zeros((1, side, side, 3)))
    for name in layers:
        if tuple(found[name].shape[1:3]) != (side, side):
            raise UsageError(
                f"layers: {name} of {extractor.name} has {found[name].shape[1]} positions a side where a network for "
                f"any style needs {side}: name layers at all pixels, at half of the sides, at a quarter and so on."
            )
        side = -(-side // 2)
    return tuple(found[name].shape[-1] for name in layers)
