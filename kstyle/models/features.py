"""Feature extractors for style transfer: a frozen network, its taps, its weights and the preprocessing they were
trained with."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kstyle.backend import Tensor
from kstyle.errors import unknown
from kstyle.models import registry
from kstyle.models import weights as weight_files
from kstyle.models.networks.feature_layers import Layer
from kstyle.models.preprocessing import PREPROCESSINGS

ops = keras.ops


@dataclass(frozen=True)
class Extractor:
    """A picture goes in, features come out: `load` makes one, and calling it looks at a picture.

    Attributes:
        name: one of `kstyle.models.registry.names("extractor")`.
        model: frozen `keras.Model`, preprocessed pixels -> {layer: features}.
        taps: {name asked for: layer of the model}.
        preprocessing: key of `kstyle.models.preprocessing.PREPROCESSINGS`.
        precision: `"float32"` or `"bfloat16"`, of weights and features.
        origin, sha256: where the weights came from.

    >>> import keras, kstyle
    >>> look = kstyle.Extractor.load("vgg19", ["relu1_1", "relu4_2"])
    >>> features = look(keras.random.uniform((32, 48, 3)))
    >>> {name: tuple(tensor.shape) for name, tensor in features.items()}
    {'relu1_1': (1, 32, 48, 64), 'relu4_2': (1, 4, 6, 512)}
    """

    name: str
    model: keras.Model
    taps: dict[str, str]
    preprocessing: str
    precision: str
    origin: str
    sha256: str

    @classmethod
    def load(cls, name: str, taps: Iterable[str], **options: Any) -> "Extractor":
        """An extractor with its weights, see `kstyle.models.features.load`, which has the options: pool, precision,
        preprocessing, weights and so on."""
        return load(name, taps, **options)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """image: (H, W, 3) or (B, H, W, 3) RGB in [0, 1] -> {name asked for: (B, H', W', C)} in the extractor's
        precision, B 1 for a single one."""
        pixels = preprocess(image, self.preprocessing, self.precision)
        features = self.model(pixels if len(pixels.shape) == 4 else pixels[None])
        return {name: features[layer] for name, layer in self.taps.items()}


def preprocess(image, mode, dtype="float32"):
    """image: (..., 3) RGB in [0, 1] -> the same shape as the network was trained on, by `PREPROCESSINGS[mode]`."""
    wanted = PREPROCESSINGS[mode]
    if wanted.order == "bgr":
        image = ops.flip(image, axis=-1)
    deviation = np.asarray(wanted.deviation, "float32")
    scale, shift = np.float32(wanted.factor) / deviation, np.asarray(wanted.mean, "float32") / deviation
    return ops.cast(image * ops.convert_to_tensor(scale) - ops.convert_to_tensor(shift), dtype)


def tap_name(row, name):
    """The one name of a tap: `relu4_2` is `block4_conv2`, `conv4_2` (before the ReLU) is `block4_conv2_pre`.

    Args:
        row: the `kstyle.models.row.Network`.
        name: of the tap, as a preset has it.

    Raises:
        UsageError: the network has no such layer; the message lists those it has.
    """
    known = list(row.function("taps"))
    if name not in known and name not in row.aliases:
        raise unknown(f"layer of {row.name}", name, known)
    return row.aliases.get(name, name)


def load(
    name: str,
    taps: Iterable[str],
    *,
    pool: str = "max",
    pool_factor: float = 1.0,
    pool_edge: str = "drop",
    first_padding: str = "zero",
    preprocessing: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    progress: Callable[[int, int], Any] | None = None,
) -> Extractor:
    """An extractor with its weights.

    Args:
        name: one of `kstyle.models.registry.names("extractor")`.
        taps: layer names, as `tap_name` accepts them.
        pool, pool_factor: `"max"`, `"average"` or `"l2"`, and what its result is multiplied by.
        pool_edge: `"drop"` or `"partial"`, what becomes of a last window that the picture does not fill.
        first_padding: `"zero"` or `"replicate"`, of the first convolution (of kstyle's own, VGG only).
        preprocessing: overrides the extractor's own, a key of `kstyle.models.preprocessing.PREPROCESSINGS`.
        weights: a file to take the weights from, in place of the network's own.
        precision: `"float32"` or `"bfloat16"`.
        progress: `progress(done_bytes, total_bytes)` during a download.

    Raises:
        UsageError: unknown extractor, layer or option.
        DataError: no weights can be had, or they do not fit.
    """
    row, source, own = registry.extractor(name)
    if preprocessing is not None and preprocessing not in PREPROCESSINGS:
        raise unknown("preprocessing", preprocessing, PREPROCESSINGS)
    layers = {tap: tap_name(row, tap) for tap in taps}
    pooling = {"pool": pool, "pool_factor": pool_factor, "pool_edge": pool_edge, "first_padding": first_padding}
    model = row.function("features")(layers.values(), **pooling, dtype=precision)
    model.trainable = False
    found = _filled(model, row, source, weights, progress)
    return Extractor(name, model, layers, preprocessing or own, precision, found.origin, found.sha256)


def _filled(model, row, source, file, progress):
    """Gives a model its weights. Returns where they came from, a `kstyle.models.weights.File`."""
    # Weight files name the parts of a fire module fire2/squeeze1x1; a Keras layer's name may hold no slash.
    stored = {name.replace("/", "_"): name for name in row.layers}
    own = {stored.get(layer.name, layer.name): layer for layer in model.layers if layer.weights}
    if source is None and file is None:
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in model.get_weights())).hexdigest()
        return weight_files.File(None, weight_files.OWN.format(row.name), digest)
    layers = {name: row.layers.get(name) or Layer(tuple(each.kernel.shape), ()) for name, each in own.items()}
    found = weight_files.obtain(row, source, file, progress=progress)
    arrays = weight_files.layer_arrays(found.path, row.name, layers)
    for name, layer in own.items():
        layer.set_weights([arrays[f"{name}/{kind}"] for kind in ("kernel", "bias")])
    return found
