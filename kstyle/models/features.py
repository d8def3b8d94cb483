"""Feature extractors for style transfer: a frozen network, its taps, its weights and the preprocessing they were
trained with."""

import re
from dataclasses import dataclass

import keras
import numpy as np

from kstyle.errors import UsageError, unknown
from kstyle.models import weights as weight_files
from kstyle.models.networks import squeezenet, vgg

ops = keras.ops

# How a picture in [0, 1] RGB becomes what the network was trained on: channel order, factor, then mean and deviation in
# the network's own channel order.
PREPROCESSING = {
    # Caffe models, Oxford's VGGs and so Keras' among them: BGR bytes minus the mean.
    "caffe": ("bgr", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    # jcjohnson/neural-style multiplies by 256.
    "caffe-256": ("bgr", 256.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    # torchvision's models.
    "torch": ("rgb", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

# What --extractor may name: the network, whose weights, and their preprocessing.
EXTRACTORS = {
    "vgg19": ("vgg19", "caffe", "caffe"),
    "vgg16": ("vgg16", "caffe", "caffe"),
    "vgg19-torchvision": ("vgg19", "torchvision", "torch"),
    "vgg16-torchvision": ("vgg16", "torchvision", "torch"),
    "squeezenet1.1": ("squeezenet1.1", "caffe", "caffe"),
    "squeezenet1.1-torchvision": ("squeezenet1.1", "torchvision", "torch"),
}


@dataclass(frozen=True)
class Extractor:
    """A picture goes in, features come out.

    Attributes:
        name: key of `EXTRACTORS`.
        model: frozen `keras.Model`, preprocessed pixels -> {layer: features}.
        taps: {name asked for: layer of the model}.
        preprocessing: key of `PREPROCESSING`.
        precision: `"float32"` or `"bfloat16"`, of weights and features.
        origin, sha256: where the weights came from.
    """

    name: str
    model: keras.Model
    taps: dict
    preprocessing: str
    precision: str
    origin: str
    sha256: str

    def __call__(self, image):
        """image: (H, W, 3) or (B, H, W, 3) RGB in [0, 1] -> {name asked for: (B, H', W', C)} in the extractor's
        precision, B 1 for a single one."""
        pixels = preprocess(image, self.preprocessing, self.precision)
        features = self.model(pixels if len(pixels.shape) == 4 else pixels[None])
        return {name: features[layer] for name, layer in self.taps.items()}


def preprocess(image, mode, dtype="float32"):
    """image: (..., 3) RGB in [0, 1] -> the same shape as the network was trained on, by `PREPROCESSING[mode]`."""
    order, factor, mean, deviation = PREPROCESSING[mode]
    if order == "bgr":
        image = ops.flip(image, axis=-1)
    scale = np.float32(factor) / np.asarray(deviation, "float32")
    shift = np.asarray(mean, "float32") / np.asarray(deviation, "float32")
    return ops.cast(image * ops.convert_to_tensor(scale) - ops.convert_to_tensor(shift), dtype)


def tap_name(network, name):
    """The one name of a tap: `relu4_2` is `block4_conv2`, `conv4_2` (before the ReLU) is `block4_conv2_pre`.

    Raises:
        UsageError: the network has no such layer; the message lists those it has.
    """
    known = list(squeezenet.LAYERS) if network.startswith("squeezenet") else vgg.layer_names(network)
    canonical = name
    if network.startswith("vgg"):
        canonical = re.sub(r"^relu(\d)_(\d)$", r"block\1_conv\2", canonical)
        canonical = re.sub(r"^conv(\d)_(\d)$", r"block\1_conv\2_pre", canonical)
        canonical = re.sub(r"^pool(\d)$", r"block\1_pool", canonical)
    base = canonical.removesuffix("_pre")
    if base not in known or (canonical != base and base.endswith("pool")):
        raise unknown(f"layer of {network}", name, known)
    return canonical


def load(
    name,
    taps,
    *,
    pool="max",
    pool_factor=1.0,
    pool_edge="drop",
    first_padding="zero",
    preprocessing=None,
    weights=None,
    precision="float32",
    progress=None,
):
    """An extractor with its weights.

    Args:
        name: key of `EXTRACTORS`.
        taps: layer names, as `tap_name` accepts them.
        pool, pool_factor: `"max"`, `"average"` or `"l2"`, and what its result is multiplied by.
        pool_edge: `"drop"` or `"partial"`, what becomes of a last window that the picture does not fill.
        first_padding: `"zero"` or `"replicate"`, of the first convolution (VGG only).
        preprocessing: overrides the extractor's own, by name from `PREPROCESSING`.
        weights: a file to take the weights from.
        precision: `"float32"` or `"bfloat16"`.
        progress: `progress(done_bytes, total_bytes)` during a download.

    Raises:
        UsageError: unknown extractor, layer or option.
        DataError: no weights can be had, or they do not fit.
    """
    if name not in EXTRACTORS:
        raise unknown("extractor", name, EXTRACTORS)
    network, source, own = EXTRACTORS[name]
    if preprocessing is not None and preprocessing not in PREPROCESSING:
        raise unknown("preprocessing", preprocessing, PREPROCESSING)
    taps = {tap: tap_name(network, tap) for tap in taps}
    pooling = {"pool": pool, "pool_factor": pool_factor, "pool_edge": pool_edge}
    if network.startswith("vgg"):
        model = vgg.vgg_features(network, taps.values(), **pooling, first_padding=first_padding, dtype=precision)
    elif first_padding != "zero":
        raise UsageError(
            f"first_padding '{first_padding}' is for the VGGs; {network}'s first convolution has no padding."
        )
    else:
        model = squeezenet.squeezenet_features(taps.values(), **pooling, dtype=precision)
    layers = [layer for layer in model.layers if layer.weights]
    found = weight_files.resolve(
        network, source, weights, layers=[_file_name(layer) for layer in layers], progress=progress
    )
    for layer in layers:
        layer.set_weights([found.arrays[f"{_file_name(layer)}/{kind}"] for kind in ("kernel", "bias")])
    return Extractor(name, model, taps, preprocessing or own, precision, found.origin, found.sha256)


def _file_name(layer):
    # Weight files name the parts of a fire module fire2/squeeze1x1; a Keras layer's name may hold no slash.
    return layer.name.replace("_", "/", 1) if layer.name.startswith("fire") else layer.name
