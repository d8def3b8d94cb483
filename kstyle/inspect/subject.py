"""What is looked into: a network with its layers by name, whatever it was given as."""

import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kstyle import backend, plugins
from kstyle.backend import Tensor, keras_private
from kstyle.data.batches import opening
from kstyle.errors import DataError, UsageError, did_you_mean, unknown
from kstyle.inspect import graph as graphs
from kstyle.io import checkpoints, runs
from kstyle.io.files import expanded, listed, one_line
from kstyle.models import classifiers, features, registry
from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.nn import image_layers, residual  # noqa: F401  which registers kstyle's layers with Keras
from kstyle.pictures import images
from kstyle.style.networks import style_facts
from kstyle.training.boxes import heads
from kstyle.training.results import evaluate, pretrained

ops = keras.ops

LOGITS = "logits"  # what `Subject.watch` calls a classifier's output before any softmax
MOST_NAMED = 40  # layers, in an error
MOST_SAID = 1 << 26  # bytes, of what a .keras file says beside its weights
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to look into: `open` makes one.

    Attributes:
        name: for people: a network's, a run's folder, a file.
        graph: its operations in order, `kstyle.inspect.graph.Graph`; models inside it are opened. Frozen, where `open`
            made or read them.
        prepare: a function in Keras ops of pictures (B, H, W, 3), RGB in [0, 1], that gives the network's input
            (B, H, W, C) float32. It resizes nothing.
        shape: (height, width, channels) of its input; None: any.
        classes: what a classifier's outputs are called, None of a network without such.
        outputs: {layer: `keras.KerasTensor` that it gives}, in order, and of a classifier `"logits"`, last.
        layers: {layer: the Keras layer, or operation}, as `outputs` without `"logits"`.
        aliases: {another name of a layer: the layer}, `relu4_2` of `block4_conv2`.
        facts: how a run's or a pretrained network's pictures are brought to size (`resize`, `resample`), or empty.

    >>> import kstyle
    >>> subject = kstyle.inspect.open("vgg19", values=False)
    >>> subject.layer("relu4_2"), subject.outputs["block1_conv1"].shape, subject.classes
    ('block4_conv2', (None, None, None, 64), None)
    """

    name: str
    graph: graphs.Graph
    prepare: Callable[[Tensor], Tensor]
    classes: tuple[str, ...] | None
    outputs: dict[str, Any]
    aliases: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(self.graph.input.shape[1:])

    @property
    def layers(self) -> dict[str, Any]:
        return {node.name: node.operation for node in self.graph.nodes if node.name in self.outputs}

    @property
    def model(self) -> keras.Model:
        """A `keras.Model` of the same layers: its input to what the network gives (a classifier: logits)."""
        return keras.Model(self.graph.input, self.outputs.get(LOGITS, self.graph.output), name="inspected")

    def layer(self, name: str) -> str:
        """The name of a layer as `outputs` has it, of any of its names. UsageError: there is none; says the nearest."""
        found = self.aliases.get(name, name)
        if found not in self.outputs:
            known = [*self.outputs]
            said = did_you_mean(name, [*known, *self.aliases])
            raise UsageError(f"{self.name} has no layer '{one_line(name)}'.{said} It has {listed(known, MOST_NAMED)}.")
        return found

    def maps(self, name: str) -> str:
        """As `layer`, of a layer that has channels: it gives (B, h, w, C). UsageError: it has none."""
        found = self.layer(name)
        shape = getattr(self.outputs[found], "shape", ())
        if len(shape) != 4:
            known = [key for key, tensor in self.outputs.items() if len(getattr(tensor, "shape", ())) == 4]
            said = f"{self.name}: '{one_line(name)}' gives {tuple(shape)}, not (batch, height, width, channels)"
            raise UsageError(f"{said}: it has no maps. These have: {listed(known, MOST_NAMED)}.")
        return found

    def watch(self, names: Iterable[str]) -> Callable[[Tensor], dict[str, Tensor]]:
        """A function of the network's input (B, H, W, C), as `prepare` gives it, to {name that was asked for: what that
        layer gives}, in Keras ops, that can be differentiated. `"logits"` is a classifier's output before any softmax.
        Only what these layers need is computed, and let go as soon as it can be."""
        keys = {name: self.layer(name) for name in ([names] if isinstance(names, str) else names)}
        tensors = [self.outputs[key] for key in keys.values()]
        return lambda x: dict(zip(keys, self.graph.run(x, tensors)))

    @property
    def variables(self) -> list[Any]:
        """All that its layers hold, for `kstyle.backend.compile`."""
        held = [each for node in self.graph.nodes for each in getattr(node.operation, "variables", ())]
        return list({id(each): each for each in held}.values())

    def look(self, names: Iterable[str]) -> Callable[[np.ndarray], dict[str, Tensor]]:
        """As `watch`, a function of pictures (B, H, W, 3) float32 in [0, 1], which it prepares; without gradients, and
        compiled where that pays."""
        watch = self.watch(names)
        run = backend.compile(lambda pictures: watch(self.prepare(pictures)), self.variables)
        return lambda pictures: run(backend.uploaded(pictures))

    def logits(self, x: Tensor) -> Tensor:
        """Of the network's input: (B, K) float32, before any softmax or sigmoid. UsageError: it is no classifier."""
        if self.classes is None:
            raise UsageError(
                f"{self.name} tells no classes apart: give a run, or a network with its head (efficientnet_lite0)."
            )
        return ops.cast(self.watch([LOGITS])(x)[LOGITS], "float32")

    def top(self, picture: np.ndarray, count: int) -> list[tuple[int, float]]:
        """The most probable classes of a picture (h, w, 3), as `picture` gives it: (number, probability) each."""
        logits = self.look([LOGITS])(picture[None])[LOGITS]
        told = backend.as_numpy(ops.softmax(logits) if logits.shape[-1] > 1 else ops.sigmoid(logits))[0]
        return [(int(number), float(told[number])) for number in np.argsort(-told, kind="stable")[:count]]

    def picture(self, source: images.Source) -> np.ndarray:
        """A picture, a file or an array as `kstyle.pictures.images.read` takes it, as the network sees it: (h, w, 3)
        float32 RGB in [0, 1], brought to the size and the colours that it takes as its evaluation does; of a network
        that takes any size, as it is."""
        height, width, channels = self.shape
        if height is None or width is None:
            return images.read(source).rgb
        path = source if isinstance(source, (str, os.PathLike, np.ndarray)) else images.read(source).values
        path = path if isinstance(path, np.ndarray) else expanded(path)
        if height == width:
            seen = evaluate.read(path, {**self.facts, "shape": (height, width, channels)}) / np.float32(255)
        else:
            seen = np.clip(images.resize(np.asarray(opening.open_rgb(path)) / np.float32(255), (height, width)), 0, 1)
        return np.array(np.broadcast_to(seen, (height, width, 3)), "float32")


def open(
    source: "str | os.PathLike[str] | keras.Model | Subject",
    weights: str | os.PathLike[str] | None = None,
    allow_code: bool = False,
    progress: Callable[[int, int], Any] | None = None,
    *,
    head: bool = False,
    values: bool = True,
    preprocessing: str | Callable[[Tensor], Tensor] | None = None,
) -> Subject:
    """A network to look into. What the functions of `kstyle.inspect` take for `model` is what this takes.

    Args:
        source: the folder of a run; a `.keras` file; a functional or sequential `keras.Model`; the name of an extractor
            (`"vgg19"`) or of a network with an ImageNet head (`"efficientnet_lite0"`); or a `Subject`, given back.
        weights: of a network by name, a file to take them from in place of its own.
        allow_code: run the Python files that a run names, see `kstyle.plugins`.
        progress: `progress(done, total or None)` in bytes, during a download.
        head: of a name that is an extractor's and a network's, take the network with its head.
        values: False: a network by name keeps its initial values and needs no file of weights.
        preprocessing: of a `.keras` file or a model, what it wants for an input: a key of
            `kstyle.models.preprocessing.PREPROCESSINGS`, or a function of (B, H, W, 3) RGB in [0, 1] to its input.
            None: numbers from 0 to 255, as a run's model.keras and many of `keras.applications` want them.

    Returns:
        A `Subject`.

    Raises:
        UsageError: no such network, or none whose layers can be looked at.
        DataError: a file or a run that cannot be read, or weights that cannot be had.

    >>> import keras
    >>> from kstyle.inspect import subject
    >>> layers = [keras.layers.Flatten(name="flat"), keras.layers.Dense(2, name="two")]
    >>> mine = subject.open(keras.Sequential([keras.Input((8, 8, 3)), *layers]))
    >>> mine.shape, list(mine.outputs), mine.classes
    ((8, 8, 3), ['flat', 'two', 'logits'], ('0', '1'))
    """
    if isinstance(source, Subject):
        return source
    if allow_code:
        plugins.allow_code()
    if isinstance(source, keras.Model):
        return _given(source, source.name, preprocessing)
    path = expanded(source)
    if os.path.isdir(path):
        return _run(path)
    if os.path.exists(path):
        return _given(_read(path), one_line(path), preprocessing, _beside(path))
    name = os.fspath(source)
    extractor, heads_known = name in registry.names("extractor"), name in registry.names("classifier")
    if extractor and not (head and heads_known):
        return _extractor(name, weights, values, progress)
    if heads_known:
        return _network(name, weights, values, progress)
    known = [*dict.fromkeys([*registry.names("extractor"), *registry.names("classifier")])]
    raise UsageError(
        f"{one_line(name)} is no run's folder, no .keras file and no network.{did_you_mean(name, known)} Networks: "
        f"{listed(known, MOST_NAMED)}."
    )


def _run(folder):
    _, facts, model, normalise = evaluate.load(folder)
    model = heads.without_box(model)
    model.trainable = False
    return _subject(one_line(folder), model, _coloured(normalise.from_unit, facts["shape"][2]), facts["classes"], facts)


def _network(name, weights, values, progress):
    row = registry.get(name)
    if values and weights is None:
        row = pretrained.network(name)  # or it says that this has no head yet
        facts, model, normalise = pretrained.load(row, progress)
        classes, prepare = facts["classes"], normalise.from_unit
    else:
        classes, side = pretrained.classes(), row.size or 32
        model = row.make(len(classes), side)
        facts = {"shape": [side, side, 3], "resize": row.resize, "resample": row.resample}
        mode = row.preprocessing or "torch"
        if values:
            loaded = classifiers.load_file(model, weights, progress=progress)
            mode = loaded.preprocessing
            if not loaded.head:
                raise DataError(
                    f"{name}: {one_line(weights)} is without a head of {len(classes)} classes: {loaded.message}"
                )
        prepare = evaluate.steps.Normalise(*PREPROCESSINGS[mode].rgb).from_unit
    model.trainable = False
    return _subject(name, model, prepare, classes, facts)


def _extractor(name, weights, values, progress):
    row, _, mode = registry.extractor(name)
    taps = list(row.function("taps"))
    if values:
        found = features.load(name, taps, weights=weights, progress=progress)
        model, mode = found.model, found.preprocessing
    else:
        model = row.function("features")(taps)
    aliases = {short: layer for short, layer in row.aliases.items() if not layer.endswith("_pre")}
    return _subject(name, model, lambda x: features.preprocess(x, mode), None, aliases=aliases, extractor=True)


@keras_private.without_tensorflow()
def _read(path):
    """The model in a .keras file, read as data: no code in it runs."""
    label = one_line(path)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{label}: is no .keras file: give one, a run's folder, or a network's name.")
    if style_facts.is_one(path):
        raise UsageError(f"{label}: is a style network, which paints and tells no classes: `kstyle stylize` takes it.")
    checkpoints.tensor_names(path)  # refuses what points at other files or claims more bytes than there are
    with zipfile.ZipFile(path) as archive:
        if any(entry.file_size > MOST_SAID for entry in archive.infolist() if not entry.filename.endswith(".h5")):
            raise DataError(f"{label}: refused: what it says of its model is more than {MOST_SAID:,} bytes.")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise DataError(
            f"{label}: Keras cannot make its model again ({one_line(error)[:200]}). Layers are to be Keras' own, or "
            "registered by a --plugin (keras.saving.register_keras_serializable)."
        ) from error
    model.trainable = False
    return model


def _beside(path):
    """run.json of the run whose model.keras this is, or {}."""
    try:
        return runs.facts(Path(path).parent) if Path(path).name == runs.KERAS else {}
    except DataError:
        return {}


def _given(model, label, preprocessing=None, facts=None):
    mode = "raw" if preprocessing is None else preprocessing
    if not callable(mode) and mode not in PREPROCESSINGS:
        raise unknown("preprocessing", mode, PREPROCESSINGS)
    inputs = getattr(model, "inputs", None) or ()
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if len(inputs) == 1 and (len(shape) != 4 or (shape[-1] not in (1, 3) and not callable(mode))):
        raise UsageError(f"{label}: takes {shape}, and a picture is (batch, height, width, 1 or 3 channels).")
    if callable(mode):
        prepare = mode
    elif shape[-1:] == (1,):
        prepare = _coloured(lambda x: features.preprocess(ops.repeat(x, 3, -1), mode)[..., :1], 1)
    else:

        def prepare(x):
            return features.preprocess(x, mode)

    return _subject(label, model, prepare, (facts or {}).get("classes"), facts or {})


def _coloured(prepare, channels):
    """`prepare` of pictures in grey where the network wants one channel."""
    if channels == 3:
        return prepare
    return lambda x: prepare(ops.sum(x * ops.convert_to_tensor(np.array(GREY, "float32")), axis=-1, keepdims=True))


def _subject(name, model, prepare, classes, facts=None, aliases=None, extractor=False):
    graph = graphs.of(model, name)
    outputs = {node.name: node.output for node in graph.nodes if node.name != LOGITS}
    graph, logits = (graph, None) if extractor else graphs.with_logits(graph)
    if logits is not None:
        outputs[LOGITS] = logits
        classes = tuple(classes or ())
        classes = classes if len(classes) == logits.shape[-1] else tuple(map(str, range(logits.shape[-1])))
    return Subject(name, graph, prepare, None if logits is None else classes, outputs, aliases or {}, facts or {})
