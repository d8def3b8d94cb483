"""The file of a network for any style: the decoder's weights, and which extractor they decode the features of."""

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor
from kstyle.errors import DataError
from kstyle.io.files import one_line, parsing
from kstyle.models import features
from kstyle.models.features import Extractor
from kstyle.style.losses.moments import mean_and_deviation
from kstyle.style.networks import arbitrary, style_facts, style_file
from kstyle.style.passes.regions import Region

log = logging.getLogger("kstyle")
ops = keras.ops

MOST_LAYERS = 6


@dataclass(frozen=True)
class ArbitraryFile:
    """A network for any style and what is known of it.

    Attributes:
        model: from `kstyle.style.networks.arbitrary.decoder`.
        facts: for JSON: `kind`, `width`, `size` (long side in pixels that it learned at), `extractor`, `pool`, `layers`
            and `sha256` (of the extractor's weights, which are not in the file), `learned` (recipe, photographs,
            paintings, steps, losses, versions).
        extractor: with these layers.
    """

    model: keras.Model
    facts: dict[str, Any]
    extractor: Extractor

    def style(self, rgb: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What is painted after of a picture: mean and deviation of each channel, (C,) float32.

        Args:
            rgb: (H, W, 3) float32 in [0, 1].
            mask: (H, W) in [0, 1], what of it counts; None: all.
        """
        _check_sides(rgb, len(self.facts["layers"]))
        found = self.extractor(ops.convert_to_tensor(rgb))[self.facts["layers"][-1]]
        seen = None if mask is None else Region(mask).placed_at(*found.shape[1:3])
        return tuple(backend.as_numpy(each) for each in mean_and_deviation(found, seen))

    def paint(self, rgb: np.ndarray, painting: Any, strength: float = 1.0) -> np.ndarray:
        """A photograph in the style of a painting.

        Args:
            rgb: (H, W, 3) float32 in [0, 1].
            painting: likewise, of any sides; or what `style` gives, of several the weighted mean.
            strength: from 0, the photograph's own style, to 1.

        Returns:
            (H, W, 3) float32 in [0, 1].

        Raises:
            DataError: a picture with fewer pixels a side than the extractor needs.

        >>> network.paint(numpy.full((48, 64, 3), 0.5), painting).shape  # doctest: +SKIP
        (48, 64, 3)
        """
        _check_sides(rgb, len(self.facts["layers"]))
        told = self.style(painting) if isinstance(painting, np.ndarray) else painting
        given = (np.ascontiguousarray(rgb, "float32")[None], *told, np.float32(strength))
        return backend.as_numpy(self._look(*map(ops.convert_to_tensor, given)))[0]

    @functools.cached_property
    def _look(self):
        """Compiled once, for all pictures of a shape."""
        return backend.compile(self.painted, [*self.extractor.model.variables, *self.model.variables])

    def painted(self, photograph: Tensor, mean: Tensor, deviation: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """`paint` of tensors: (1, H, W, 3), two (C,) and a scalar, to (1, H, W, 3) in [0, 1]."""
        found = self.extractor(photograph)[self.facts["layers"][-1]]
        moved = arbitrary.adain(found, mean, deviation, strength)
        return ops.clip(self.model([moved, photograph], training=False), 0, 1)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file under another name first."""
        return style_file.save(path, self.model, self.facts)


def _check_sides(rgb, layers):
    least = arbitrary.least_side(layers)
    if min(rgb.shape[:2]) < least:
        height, width = rgb.shape[:2]
        raise DataError(f"a network for any style needs pictures of {least} pixels a side; got {width}×{height}.")


def load_extractor(name, layers, pool, *, weights=None, precision="float32", progress=None):
    """What looks at the pictures: its pooling keeps a last window that a picture does not fill, so that the decoder,
    which doubles, reaches every pixel. Args, raises: as `kstyle.models.features.load`."""
    return features.load(
        name, layers, pool=pool, pool_edge="partial", weights=weights, precision=precision, progress=progress
    )


def read(path, precision="float32", weights=None, progress=None):
    """An `ArbitraryFile`.

    Args:
        path: of the file.
        precision: that extractor and decoder compute in, `"float32"` or `"bfloat16"`.
        weights, progress: of the extractor, as for `kstyle.models.features.load`.

    Raises:
        DataError: no such file, none of a network for any style, damaged, of a later version of kstyle, or no weights
            of its extractor can be had.
    """
    facts, label = style_facts.read(path, style_facts.ARBITRARY), one_line(path)
    with parsing(label):
        layers, width = list(map(str, facts["layers"])), float(facts["width"])
        if not 2 <= len(layers) <= MOST_LAYERS or not 0.1 <= width <= 2:
            raise DataError(f"{label}: says that it is {width:g} wide, of {len(layers)} layers.")
        extractor = load_extractor(
            str(facts["extractor"]), layers, str(facts["pool"]), weights=weights, precision=precision, progress=progress
        )
        channels = arbitrary.channels_of(extractor, layers)
    if extractor.sha256 != facts["sha256"]:
        log.warning(
            "%s learned with other weights of %s than those that are here (%s): its paintings may look otherwise.",
            label, extractor.name, extractor.origin,
        )  # fmt: skip
    model = arbitrary.decoder(channels, width, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    style_file.give_weights(model, path)
    return ArbitraryFile(model, facts, extractor)
