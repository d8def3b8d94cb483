"""VGG16 and VGG19 (Simonyan & Zisserman 2014, arXiv 1409.1556): the convolutional part, as feature extractors use
it."""

import functools

import keras

from kstyle.models.networks.feature_layers import filters, layer_names
from kstyle.nn.layers import Conv2D, Pool2D


def vgg_features(
    network, taps, *, pool="max", pool_factor=1.0, pool_edge="drop", first_padding="zero", dtype="float32"
):
    """VGG cut after its deepest tap, as a model of all taps.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        taps: layer names; `block4_conv2` is the activation after its ReLU, `block4_conv2_pre` before.
        pool, pool_factor: see `kstyle.nn.layers.Pool2D`.
        pool_edge: `"drop"` or `"partial"`, what becomes of a last window that the picture does not fill.
        first_padding: around the picture for the first convolution: `"zero"`, or `"replicate"`, which repeats the edge
            pixels and so shows the network no dark rim.
        dtype: of weights and activations.

    Returns:
        A `keras.Model` from (B, H, W, 3), preprocessed, to a dict {tap: (B, H', W', C)}.
    """
    wanted = set(taps)
    x = inputs = keras.Input((None, None, 3), dtype=dtype)
    outputs = {}
    for name in layer_names(network):
        if name.endswith("pool"):
            x = Pool2D(pool, factor=pool_factor, partial=pool_edge == "partial", name=name, dtype=dtype)(x)
        else:
            before = f"{name}_pre" in wanted
            x = _convolution(name, x, first_padding, None if before else "relu", dtype)
            if before:
                outputs[f"{name}_pre"] = x
                x = keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)
        if name in wanted:
            outputs[name] = x
        if len(outputs) == len(wanted):
            break
    return keras.Model(inputs, outputs, name=network, trainable=False)


vgg16_features, vgg19_features = (functools.partial(vgg_features, network) for network in ("vgg16", "vgg19"))


def _convolution(name, x, first_padding, activation, dtype):
    pad = 1
    if name == "block1_conv1" and first_padding == "replicate":
        # One pixel of symmetric padding repeats the edge pixel.
        x = Pad2D("symmetric", name="edge", dtype=dtype)(x)
        pad = 0
    # Zeros, because weights from a file follow: random numbers for 20 million of them take half a second.
    options = {"pad": pad, "activation": activation, "kernel_initializer": "zeros", "name": name, "dtype": dtype}
    return Conv2D(filters(name), 3, **options)(x)


@keras.saving.register_keras_serializable("kstyle")
class Pad2D(keras.layers.Layer):
    """One pixel around NHWC pictures, by any mode of `keras.ops.pad`."""

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def call(self, inputs):
        return keras.ops.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=self.mode)

    def compute_output_spec(self, inputs):
        batch, *space, channels = inputs.shape
        return keras.KerasTensor((batch, *[n and n + 2 for n in space], channels), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}
