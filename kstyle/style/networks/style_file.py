"""The file of a style network: weights and what they were learned from. It is read as data: no code in it runs."""

import functools
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import keras_private
from kstyle.errors import DataError, UsageError
from kstyle.io import checkpoints
from kstyle.io.files import expanded, json_text, one_line, parsing, read_member, replacing, shown
from kstyle.pictures import bands, formats, images
from kstyle.style.networks import by_rows, eight_bits, shipped, style_facts
from kstyle.style.networks.network import style_network

ops = keras.ops

PICTURE = "style_{}.jpg"  # beside what Keras puts into the archive, and passes over when it reads
QUALITY = {32: 95, 8: 80}  # of these JPEGs, by the bits of a weight
MOST_PICTURE = 1 << 25  # bytes


@dataclass(frozen=True)
class StyleFile:
    """A style network and what is known of it.

    Attributes:
        model: from `kstyle.style.networks.network.style_network`.
        facts: for JSON: `width`, `styles` (names of the pictures), `brush` ((least, most) or None), `size` (long
            side in pixels of the photographs that it is meant for), `learned` (recipe, photographs, steps, losses,
            versions), `bits` of a weight in the file that it was read from.
        pictures: the styles, (H, W, 3) float32 in [0, 1] each, at the size that they were shown at.
    """

    model: keras.Model
    facts: dict[str, Any]
    pictures: tuple[np.ndarray, ...] = ()

    def paint(
        self,
        rgb: np.ndarray,
        blend: Sequence[float] | None = None,
        brush: float = 1.0,
        limit: int | None = None,
    ) -> np.ndarray:
        """What the network makes of a photograph: at once, or, where that takes more memory than there is, some rows at
        a time, with the same result but for rounding.

        Args:
            rgb: (H, W, 3) float32 in [0, 1].
            blend, brush: as for `kstyle.style.networks.style_facts.condition`.
            limit: bytes that the process may hold; None: what is free, less a margin.

        Returns:
            (H, W, 3) float32 in [0, 1].

        Raises:
            UsageError: it takes more memory than that whatever is done.

        >>> network.paint(numpy.full((48, 64, 3), 0.5)).shape  # doctest: +SKIP
        (48, 64, 3)
        """
        told, rgb = style_facts.condition(self.facts, blend, brush), np.ascontiguousarray(rgb, "float32")
        rows = by_rows.planned(self.model, rgb.shape[:2], limit)
        if rows is not None:
            return by_rows.paint(self.model, rgb, told, rows)
        return backend.as_numpy(self._look(ops.convert_to_tensor(rgb[None]), ops.convert_to_tensor(told)))[0]

    def paint_bytes(
        self,
        frames: np.ndarray,
        blend: Sequence[float] | None = None,
        brush: float = 1.0,
        limit: int | None = None,
    ) -> np.ndarray:
        """`paint` of (B, H, W, 3) uint8, which gives the same: for the frames of films, as fast as can be."""
        count, *shape, _ = frames.shape
        # Together they take as much as a picture of all their rows; by rows each is painted by itself.
        if by_rows.planned(self.model, (count * shape[0], shape[1]), limit) is not None:
            return np.stack([bands.levels(self.paint(bands.floats(each), blend, brush, limit)) for each in frames])
        told = ops.convert_to_tensor(style_facts.condition(self.facts, blend, brush))
        return backend.as_numpy(self._look_at_bytes(backend.uploaded(frames), told))

    @functools.cached_property
    def _look(self):
        """Compiled once, for all pictures of a shape."""
        return backend.compile(self._painted, self.model.variables)

    @functools.cached_property
    def _look_at_bytes(self):
        def look(x, told):
            return ops.cast(ops.round(255 * self._painted(ops.cast(x, "float32") / 255, told)), "uint8")

        return backend.compile(look, self.model.variables)

    def _painted(self, x, told):
        return self.model([x, told], training=False)

    def write(self, path: str | os.PathLike[str], bits: int = 32) -> Path:
        """Writes the file under another name first. Plain Keras opens it once `kstyle.nn.image_layers` is imported.

        Args:
            path: of the file.
            bits: of a weight: 32, or 8, a quarter of the size (`kstyle.style.networks.eight_bits`), which kstyle alone
                reads.

        Raises:
            UsageError: other bits.
            DataError: it cannot be written.
        """
        return save(path, self.model, self.facts, self.pictures, bits)


@keras_private.without_tensorflow()
def save(path, model, facts, pictures=(), bits=32):
    """Writes a network's file, whole or not at all: its weights, with `facts` and `pictures` beside them. Returns its
    path. Raises as `StyleFile.write`."""
    if bits not in QUALITY:
        raise UsageError(f"Weights of a style network are written in 32 or 8 bits; got {shown(bits)}.")
    path, facts = Path(expanded(path)), {"version": style_facts.VERSION, **facts, "bits": bits}
    with replacing(path, ".keras") as beside:
        if bits == 8:
            with open(beside, "wb") as file:
                np.savez_compressed(file, **eight_bits.packed(_arrays(model)))
        else:
            model.save(beside)
        with zipfile.ZipFile(beside, "a") as archive:
            archive.writestr(style_facts.FACTS, json_text(facts, indent=2))
            for number, picture in enumerate(pictures, 1):
                archive.writestr(PICTURE.format(number), _jpeg(picture, QUALITY[bits]))
    return path


def read(path, dtype="float32"):
    """A `StyleFile`.

    Args:
        path: of the file, or `style:NAME`.
        dtype: precision policy that the network computes in.

    Raises:
        UsageError: no network of this name comes with kstyle.
        DataError: no such file, none of a style network, damaged, or of a later version of kstyle.
    """
    path, label = shipped.located(path), one_line(path)
    facts = style_facts.read(path)
    with parsing(label), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        names = [PICTURE.format(number) for number in range(1, len(facts["styles"]) + 1)]
        jpegs = [read_member(archive, entries[name], MOST_PICTURE, label) for name in names]
        pictures = tuple(images.read(formats.open_image(io.BytesIO(jpeg), label)).rgb for jpeg in jpegs)
        further = 0 if facts["brush"] is None else style_facts.BRUSH
        model = style_network(float(facts["width"]), len(facts["styles"]), further, dtype)
    give_weights(model, path)
    return StyleFile(model, facts, pictures)


def give_weights(model, path):
    """Gives a model the weights in a file of `save`, read as data. DataError: one is missing, has another shape or is
    not finite."""
    path, label = Path(expanded(path)), one_line(path)
    arrays = eight_bits.unpacked(checkpoints.read(path, most=checkpoints.most_for(model.count_params())))
    for layer in model.layers:
        if layer.weights:
            found = [arrays.get(name) for name in _names(layer)]
            if any(array is None or array.shape != tuple(w.shape) for array, w in zip(found, layer.weights)):
                raise DataError(f"{label}: the weights of {layer.name} are missing, or of another shape.")
            if any(array.dtype.kind != "f" for array in found):
                raise DataError(f"{label}: the weights of {layer.name} are whole numbers without their scales.")
            if not all(np.isfinite(array).all() for array in found):
                raise DataError(f"{label}: the weights of {layer.name} are not finite.")
            layer.set_weights(found)


def _names(layer):
    """What a layer's weights are called in the file, in their order."""
    return [f"layers/{layer.name}/vars/{i}" for i in range(len(layer.weights))]


def _arrays(model):
    """{name: array} of a network's weights."""
    return {name: array for layer in model.layers for name, array in zip(_names(layer), layer.get_weights())}


def _jpeg(picture, quality):
    stream = io.BytesIO()
    images.to_pil(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
