"""A style network for other programs, as ONNX: for pictures of any size, run before it gets its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kstyle import backend
from kstyle.backend.by_torch import exchange
from kstyle.errors import DataError, UsageError
from kstyle.io.files import expanded, one_line, replacing
from kstyle.style.losses.moments import mean_and_deviation
from kstyle.style.networks import arbitrary, arbitrary_file, shipped, style_facts, style_file
from kstyle.style.networks.network import LEAST_SIDE

ops = keras.ops

# By how much a number of a picture may be off: bytes then differ by one at most.
TOLERANCE = 1 / 255
TRIED = ((64, 64), (101, 77), (40, 53))  # (height, width) of the pictures that a file is tried on


def write(network, path=None, blend=None, brush=1.0, check=True, weights=None):
    """Writes the network of a file for ONNX: `photograph`, (1, H, W, 3) float32 RGB in [0, 1], sides of any length from
    `LEAST_SIDE` on, to `painting`, likewise. Weights of styles and the size of strokes are settled in it.

    One for any style has another input, `style`, a picture of any sides, and its extractor goes into the file.

    Args:
        network: path of the style network's file, or `style:NAME`.
        path: of the ONNX file; None: the same name with .onnx.
        blend, brush: as for `kstyle.style.networks.style_facts.condition`, of one that has learned its styles.
        check: run the file on pictures of noise and compare. Nothing is left at `path` but what passed.
        weights: a file to take the extractor's weights from.

    Returns:
        `(path, how far its numbers are off at most, or None)`.

    Raises:
        UsageError: a package or backend that is not there, another suffix.
        DataError: no style network, a file that cannot be written, or that gives other pictures.
    """
    exchange.need_onnx()
    if check:
        exchange.need("onnxruntime")
    path = Path(expanded(path)) if path is not None else shipped.beside(network).with_suffix(".onnx")
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{one_line(path)}: a style network is exported as .onnx.")
    backend.configure(deterministic=True)
    if style_facts.read(network, None).get("kind") == style_facts.ARBITRARY:
        parts = _of_any(arbitrary_file.read(network, weights=weights))
    else:
        parts = _of_learned(style_file.read(network), blend, brush)
    examples = {name: _noise(*shape)[None] for name, shape in zip(parts.inputs, TRIED[::-1])}
    notes = {"kstyle": json.dumps({key: parts.facts[key] for key in parts.told})}
    with replacing(path, ".onnx") as beside:
        free = {1: parts.least, 2: parts.least}
        exchange.write_onnx(parts.models, parts.call, examples, beside, ["painting"], notes, free=free)
        off = _checked(parts, beside) if check else None
    return path, off


class _Parts(NamedTuple):
    """What is written: `call` of tensors runs `models`, `paint` does the same of arrays; inputs have `least` pixels a
    side; the file tells those of its `facts` that are in `told`."""

    models: list
    call: Callable
    paint: Callable
    inputs: tuple
    least: int
    facts: dict
    told: tuple


def _of_learned(known, blend, brush):
    told = ops.convert_to_tensor(style_facts.condition(known.facts, blend, brush))

    def call(photograph):
        return (known.model([photograph, told], training=False),)

    def paint(rgb):
        return known.paint(rgb, blend, brush)

    return _Parts([known.model], call, paint, ("photograph",), LEAST_SIDE, known.facts, ("styles", "size", "width"))


def _of_any(known):
    layers = known.facts["layers"]

    def call(photograph, style):
        return (known.painted(photograph, *mean_and_deviation(known.extractor(style)[layers[-1]])),)

    inputs, told = ("photograph", "style"), ("kind", "size", "width", "extractor", "layers")
    models, least = [known.extractor.model, known.model], arbitrary.least_side(len(layers))
    return _Parts(models, call, known.paint, inputs, least, known.facts, told)


def _noise(height, width):
    return np.random.default_rng(0).random((height, width, 3), "float32")


def _checked(parts, path):
    off = 0.0
    for number in range(len(TRIED)):
        noise = {name: _noise(*TRIED[number - i]) for i, name in enumerate(parts.inputs)}
        got = exchange.run_onnx(path, ["painting"], {name: rgb[None] for name, rgb in noise.items()})[0][0]
        off = float(np.maximum(off, np.abs(got - parts.paint(*noise.values())).max()))  # max() would pass over NaN
    if not off <= TOLERANCE:  # so that NaN fails too
        raise DataError(f"The exported file is not the network: its pictures are off by {off:.2g}. Nothing was kept.")
    return off
