"""Feature extractors for style transfer: a frozen network, its taps, its weights and the preprocessing they were
trained with."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor, keras_private
from kstyle.errors import UsageError, did_you_mean, unknown
from kstyle.io.files import listed, one_line
from kstyle.models import registry
from kstyle.models import weights as weight_files
from kstyle.models.networks.feature_layers import Layer
from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.nn import chain
from kstyle.nn.layers import Pool2D
from kstyle.nn.plain import NO_DESCRIPTION
from kstyle.open_names import name_of
from kstyle.pictures import images

ops = keras.ops

Prepare = Callable[[Tensor], Tensor]
MOST_NAMED = 40  # layers of a model, in an error
BETWEEN = "between"  # what the first of two halves gives to the other
GIVEN = "given by the caller"  # the origin of an extractor that was made of a user's model


@dataclass(frozen=True)
class Extractor:
    """A picture goes in, features come out: `load` makes one by name, `from_model` of a model of your own, and calling
    it looks at a picture.

    Attributes:
        name: one of `kstyle.models.registry.names("extractor")`, or what `from_model` was told.
        model: frozen `keras.Model`, preprocessed pixels -> {layer: features}.
        taps: {name asked for: layer of the model}.
        preprocessing: key of `kstyle.models.preprocessing.PREPROCESSINGS`, or a function that does it.
        precision: `"float32"` or `"bfloat16"`, of weights and features.
        origin, sha256: where the weights came from, and of their bytes.

    >>> import keras, kstyle
    >>> look = kstyle.Extractor.load("vgg19", ["relu1_1", "relu4_2"])
    >>> features = look(keras.random.uniform((32, 48, 3)))
    >>> {name: tuple(tensor.shape) for name, tensor in features.items()}
    {'relu1_1': (1, 32, 48, 64), 'relu4_2': (1, 4, 6, 512)}
    """

    name: str
    model: keras.Model
    taps: dict[str, str]
    preprocessing: str | Prepare
    precision: str
    origin: str
    sha256: str

    @classmethod
    def load(cls, name: str, taps: Iterable[str], **options: Any) -> "Extractor":
        """An extractor with its weights, see `kstyle.models.features.load`, which has the options: pool, precision,
        preprocessing, weights and so on."""
        return load(name, taps, **options)

    @classmethod
    def from_model(
        cls, model: keras.Model, taps: Iterable[str], preprocessing: str | Prepare, *, name: str | None = None
    ) -> "Extractor":
        """Any convolutional Keras model as an extractor: your own, or one of `keras.applications`.

        Args:
            model: a functional or sequential `keras.Model` with one input. It is copied up to the deepest tap, for
                pictures of any size, and stays as it is; what it learns later does not reach the extractor.
            taps: names of its layers, each of which gives (batch, height, width, channels).
            preprocessing: what the model wants for an input. A key of
                `kstyle.models.preprocessing.PREPROCESSINGS`: `"torch"`, `"caffe"`, `"tf"` (-1 to 1) or `"raw"` (0 to
                255). Or a function of a tensor (B, H, W, 3), RGB in [0, 1], to the model's input.
            name: for errors and for the record of what was painted with it; None: the model's.

        Returns:
            An `Extractor`, for `kstyle.stylize(extractor=…)`, `kstyle.Painter(extractor=…)` and code of your own.

        Raises:
            UsageError: no such layer (with the nearest), one that gives no map of features, an unknown preprocessing,
                or a model that cannot be cut.

        >>> import keras, kstyle
        >>> layers = [keras.layers.Conv2D(4, 3, name="one"), keras.layers.Conv2D(8, 3, strides=2, name="two")]
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), *layers], name="mine")
        >>> look = kstyle.Extractor.from_model(model, ["one", "two"], "tf")
        >>> {name: tuple(tensor.shape) for name, tensor in look(keras.random.uniform((48, 64, 3))).items()}
        {'one': (1, 46, 62, 4), 'two': (1, 22, 30, 8)}
        """
        if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
            raise UsageError(
                "from_model: expected a functional or sequential keras.Model with one input, whose layers can be "
                f"looked at; got {one_line(repr(model))[:200]}."
            )
        name, taps = name or model.name, [taps] if isinstance(taps, str) else list(taps)
        known = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        if not taps or not set(taps) <= set(known):
            asked = next((tap for tap in taps if tap not in known), None)
            said = f"unknown layer '{asked}'.{did_you_mean(asked, known)}" if taps else "no layer is named."
            raise UsageError(f"{name}: {said} It has {listed(known, MOST_NAMED)}.")
        channels = model.inputs[0].shape[-1]
        if not callable(preprocessing):
            if preprocessing not in PREPROCESSINGS:
                raise unknown("preprocessing", preprocessing, PREPROCESSINGS)
            if channels != 3:
                raise UsageError(f"{name} takes {channels} channels and not RGB: give preprocessing as a function.")
        copy = _cut(model, taps, name, channels)
        for tap, shape in zip(taps, (tuple(copy.output[tap].shape) for tap in taps)):
            if len(shape) != 4:
                raise UsageError(f"{name}: '{tap}' gives {shape}, and features are (batch, height, width, channels).")
        precision = str(copy.output[taps[0]].dtype)
        return cls(name, copy, {tap: tap for tap in taps}, preprocessing, precision, GIVEN, _digest(copy))

    def check(self, taps: Iterable[str]) -> None:
        """UsageError: one of the layers that somebody wants to look at is not among the taps."""
        for tap in taps:
            if tap not in self.taps:
                raise UsageError(
                    f"The extractor {self.name} has no layer '{tap}'.{did_you_mean(tap, list(self.taps))} It has "
                    f"{listed(list(self.taps), MOST_NAMED)}: name those in content.layers and style.layers."
                )

    def check_alone(self, settings: Mapping[str, Any]) -> None:
        """UsageError: `settings` ask for something else than what this extractor, which is ready made, is."""
        for key, value in settings.items():
            if key.partition(".")[0] in ("network", "extractor") or (key == "weights" and value is not None):
                raise UsageError(f"{key}: the extractor {self.name} was given ready made; leave that away.")
            if key == "precision" and value not in ("auto", self.precision):
                raise UsageError(f"precision: the extractor {self.name} is {self.precision}; got {value}.")

    def halves(self) -> "tuple[Extractor, Extractor] | None":
        """The same network in two, cut after its second pooling.

        Returns:
            One that gives the taps before the cut, and as `BETWEEN` what lies there; and one that gives the others, to
            which that is the picture. None: there are no two poolings, or there is nothing after them.
        """
        layers, outputs = self.model.layers, self.model.output
        pools = [number for number, layer in enumerate(layers) if isinstance(layer, Pool2D)]
        if len(pools) < 2 or pools[1] == len(layers) - 1:
            return None
        between, before = layers[pools[1]].output, {id(layer.output) for layer in layers[: pools[1] + 1]}
        near = {key: tensor for key, tensor in outputs.items() if id(tensor) in before}
        far = {key: tensor for key, tensor in outputs.items() if key not in near}
        one = keras.Model(self.model.input, {**near, BETWEEN: between}, name=self.name, trainable=False)
        other = keras.Model(between, far, name=self.name, trainable=False)
        taps = [{tap: key for tap, key in self.taps.items() if key in half} for half in (near, far)]
        return (
            replace(self, model=one, taps={**taps[0], BETWEEN: BETWEEN}),
            replace(self, model=other, taps=taps[1], preprocessing=lambda features: features),
        )

    def facts(self) -> dict[str, str]:
        """Its name, and that of its preprocessing, for the record of what is painted with it."""
        prepared = self.preprocessing if isinstance(self.preprocessing, str) else name_of(self.preprocessing)
        return {"extractor": self.name, "preprocessing": prepared}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """image: (H, W, 3) or (B, H, W, 3) RGB in [0, 1] -> {name asked for: (B, H', W', C)} in the extractor's
        precision, B 1 for a single one. A NumPy array is taken too; one of values from 0 to 255 is a DataError."""
        if isinstance(image, np.ndarray):
            if image.dtype.kind in "iu" or image.max() > 2:  # of a tensor this would wait for the device
                images.check_unit(image, "array")
            image = ops.convert_to_tensor(image, "float32")
        image, given, dtype = image if len(image.shape) == 4 else image[None], self.preprocessing, self.precision
        pixels = ops.cast(given(image), dtype) if callable(given) else preprocess(image, given, dtype)
        layers = chain.of(self.model)
        features = chain.call(layers, pixels) if layers else self.model(pixels)
        return {name: features[layer] for name, layer in self.taps.items()}


def preprocess(image, mode, dtype="float32"):
    """image: (..., 3) RGB in [0, 1] -> the same shape as the network was trained on, by `PREPROCESSINGS[mode]`."""
    wanted = PREPROCESSINGS[mode]
    if wanted.order == "bgr":
        image = ops.flip(image, axis=-1)
    deviation = np.asarray(wanted.deviation, "float32")
    scale, shift = np.float32(wanted.factor) / deviation, np.asarray(wanted.mean, "float32") / deviation
    return ops.cast(backend.affine(image, backend.constant(scale), backend.constant(-shift)), dtype)


def tap_name(row, name):
    """The one name of a tap: `relu4_2` is `block4_conv2`, `conv4_2` (before the ReLU) is `block4_conv2_pre`.

    Args:
        row: the `kstyle.models.rows.row.Network`.
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
        return weight_files.File(None, weight_files.OWN.format(row.name), _digest(model))
    layers = {name: row.layers.get(name) or Layer(tuple(each.kernel.shape), ()) for name, each in own.items()}
    found = weight_files.obtain(row, source, file, progress=progress)
    arrays = weight_files.layer_arrays(found.path, row.name, layers)
    for name, layer in own.items():
        layer.set_weights([arrays[f"{name}/{kind}"] for kind in ("kernel", "bias")])
    return found


@keras_private.without_tensorflow()
def _cut(model, taps, name, channels):
    """A frozen copy of a user's model from its input, of any height and width, to {tap: features}."""
    try:
        cut = keras.Model(model.inputs[0], {tap: model.get_layer(tap).output for tap in taps}, name=name)
        copy = keras.models.clone_model(cut, input_tensors=keras.Input((None, None, channels)))
        copy.set_weights(cut.get_weights())
    except (AttributeError, *NO_DESCRIPTION) as error:
        raise UsageError(
            f"{name} cannot be copied up to {', '.join(taps)} for pictures of any size: {one_line(error)[:300]}"
        ) from error
    copy.trainable = False
    return copy


def _digest(model):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in model.get_weights())).hexdigest()
