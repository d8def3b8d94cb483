"""The network that paints: Johnson et al. 2016 (arXiv 1603.08155), with what was learned of it since."""

import keras

from kstyle.nn.image_layers import Doubled, InstanceNormalization, MirroredConv2D

BLOCKS = 5  # residual ones, at a quarter of the picture's sides
CHANNELS = (32, 64, 128)  # of full width: at all pixels, at half of the sides, at a quarter
LEAST_SIDE = 5  # in pixels: beyond each edge a mirror shows four


def style_network(width=0.5, styles=1, further=0, dtype="float32"):
    """Photographs to paintings: two halvings, five residual blocks, two doublings, and a change that is added to the
    photograph in the style's colours.

    Beside the paper: instance normalisation in place of that of batches (Ulyanov et al., arXiv 1607.08022);
    doublings and convolutions in place of transposed convolutions, which leave checkerboards (Odena et al. 2016,
    doi 10.23915/distill.00003); and mirrored edges. What the change is added to is the photograph
    too, its colours mixed and normalised, so that its light and contrast are the style's; the logistic function of both
    is a colour that there is. The last convolution begins as nothing: a network that has learned nothing gives the
    photograph, paler, so what is in it need not be learned first.

    Args:
        width: of `CHANNELS`; 0.5 has a quarter of the work.
        styles: how many, each with its weight in a condition.
        further: numbers of a condition beside these weights, 0 in the middle of what they may be.
        dtype: a Keras precision policy.

    Returns:
        A `keras.Model` of [photographs (B, H, W, 3), RGB in [0, 1], sides of at least `LEAST_SIDE`; condition
        (styles + further,)], to paintings (B, H, W, 3) float32 in [0, 1]. Half width has 424,114
        parameters with one style, full width four times as many; another style adds 1,606.

    >>> import keras
    >>> from kstyle.style.networks.network import style_network
    >>> tuple(style_network(0.25)([keras.ops.ones((1, 31, 45, 3)), keras.ops.ones(1)]).shape)
    (1, 31, 45, 3)
    """
    fine, middle, coarse = (max(1, round(width * channels)) for channels in CHANNELS)
    photograph = keras.Input((None, None, 3), name="photograph")
    condition = keras.Input(batch_shape=(styles + further,), name="condition")

    def convolve(x, name, filters, kernel=3, strides=1, relu=True):
        x = MirroredConv2D(filters, kernel, strides=strides, use_bias=False, name=f"{name}_conv", dtype=dtype)(x)
        norm = InstanceNormalization(styles, relu=relu, name=f"{name}_norm", dtype=dtype)
        return norm([x, condition])

    whole = convolve(photograph - 0.5, "whole", fine, 9)
    half = convolve(whole, "half", middle, strides=2)
    x = convolve(half, "quarter", coarse, strides=2)
    for block in range(1, BLOCKS + 1):
        y = convolve(x, f"block{block}_1", coarse)
        x = x + convolve(y, f"block{block}_2", coarse, relu=False)
    x = convolve(Doubled(name="to_half", dtype=dtype)([x, half]), "half_again", middle)
    x = convolve(Doubled(name="to_whole", dtype=dtype)([x, whole]), "whole_again", fine)
    change = MirroredConv2D(3, 9, kernel_initializer="zeros", name="change", dtype=dtype)(x)
    mixed = MirroredConv2D(3, 1, use_bias=False, kernel_initializer="zeros", name="base_conv")(photograph)
    base = InstanceNormalization(styles, name="base_norm")([photograph + mixed, condition])
    painting = keras.ops.sigmoid(base + keras.ops.cast(change, "float32"))
    return keras.Model([photograph, condition], painting, name="style_network")
