"""A style network for other programs, as ONNX: for pictures of any size, run before it gets its name."""

import json
from pathlib import Path

import keras
import numpy as np

from kstyle import backend
from kstyle.backend.by_torch import exchange
from kstyle.errors import DataError, UsageError
from kstyle.io.files import expanded, one_line, replacing
from kstyle.style.networks import shipped, style_facts, style_file
from kstyle.style.networks.network import LEAST_SIDE

ops = keras.ops

# By how much a number of a picture may be off: bytes then differ by one at most.
TOLERANCE = 1 / 255
TRIED = ((64, 64), (101, 77), (40, 53))  # (height, width) of the pictures that a file is tried on


def write(network, path=None, blend=None, brush=1.0, check=True):
    """Writes the network of a file for ONNX: `photograph`, (1, H, W, 3) float32 RGB in [0, 1], sides of any length from
    `LEAST_SIDE` on, to `painting`, likewise. Weights of styles and the size of strokes are settled in it.

    Args:
        network: path of the style network's file, or `style:NAME`.
        path: of the ONNX file; None: the same name with .onnx.
        blend, brush: as for `kstyle.style.networks.style_facts.condition`.
        check: run the file on pictures of noise and compare. Nothing is left at `path` but what passed.

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
    known = style_file.read(network)
    told = ops.convert_to_tensor(style_facts.condition(known.facts, blend, brush))

    def paint(photograph):
        return (ops.clip(known.model([photograph, told], training=False), 0, 1),)

    notes = {"kstyle": json.dumps({key: known.facts[key] for key in ("styles", "size", "width")})}
    with replacing(path, ".onnx") as beside:
        sides = {1: LEAST_SIDE, 2: LEAST_SIDE}
        example = _noise(*TRIED[-1])[None]
        exchange.write_onnx(known.model, paint, example, beside, ["painting"], notes, name="photograph", free=sides)
        off = _checked(known, beside, blend, brush) if check else None
    return path, off


def _noise(height, width):
    return np.random.default_rng(0).random((height, width, 3), "float32")


def _checked(known, path, blend, brush):
    off = 0.0
    for shape in TRIED:
        noise = _noise(*shape)
        got = exchange.run_onnx(path, ["painting"], {"photograph": noise[None]})[0][0]
        off = max(off, float(np.abs(got - known.paint(noise, blend, brush)).max()))
    if not off <= TOLERANCE:  # so that NaN fails too
        raise DataError(f"The exported file is not the network: its pictures are off by {off:.2g}. Nothing was kept.")
    return off
