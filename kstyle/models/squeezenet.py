"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360): the convolutional part, as feature extractors use it."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import keras

from kstyle.layers import Conv2D, Pool2D

# torchvision's `features` list without its classifier; a fire module is (squeeze filters, expand filters).
LAYERS = {
    "conv1": 64,
    "pool1": None,
    "fire2": (16, 64),
    "fire3": (16, 64),
    "pool3": None,
    "fire4": (32, 128),
    "fire5": (32, 128),
    "pool5": None,
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}


def squeezenet_features(taps, *, pool="max", pool_factor=1.0, pool_edge="drop", dtype="float32"):
    """SqueezeNet 1.1 cut after its deepest tap, as a model of all taps.

    Args:
        taps: names from `LAYERS`; `conv1` is after its ReLU, `fireN` the concatenated expansions.
        pool, pool_factor: see `kstyle.layers.Pool2D`.
        pool_edge: `"drop"` or `"partial"`, what becomes of a last window that the picture does not fill.
        dtype: of weights and activations.

    Returns:
        A `keras.Model` from (B, H, W, 3), preprocessed, to a dict {tap: (B, H', W', C)}.
    """
    wanted = set(taps)
    x = inputs = keras.Input((None, None, 3), dtype=dtype)
    outputs = {}
    for name, shape in LAYERS.items():
        if shape is None:
            x = Pool2D(pool, size=3, factor=pool_factor, partial=pool_edge == "partial", name=name, dtype=dtype)(x)
        elif name == "conv1":
            x = Conv2D(shape, 3, strides=2, pad=0, activation="relu", name=name, dtype=dtype)(x)
        else:
            x = _fire(name, x, *shape, dtype)
        if name in wanted:
            outputs[name] = x
        if len(outputs) == len(wanted):
            break
    return keras.Model(inputs, outputs, name="squeezenet1_1", trainable=False)


def _fire(name, x, squeeze, expand, dtype):
    def conv(part, x, filters, size):
        return Conv2D(filters, size, pad=size // 2, activation="relu", name=f"{name}_{part}", dtype=dtype)(x)

    x = conv("squeeze1x1", x, squeeze, 1)
    return keras.layers.Concatenate(name=name, dtype=dtype)(
        [conv("expand1x1", x, expand, 1), conv("expand3x3", x, expand, 3)]
    )
