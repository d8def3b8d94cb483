"""Paintings after pictures by a network for any style: `kstyle.stylize(photo, "painting.jpg", network="any.keras")`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kstyle.pictures import bands, images
from kstyle.style import settings
from kstyle.style.by_network import NetworkPainter
from kstyle.style.networks import arbitrary_file
from kstyle.style.passes.styles import Styles, kept
from kstyle.style.transfer import Painter

BRUSH = 0.25, 4.0  # times the photograph's long side: how large the style pictures may be shown


@dataclass
class ArbitraryPainter(NetworkPainter):
    """Paints any number of photographs after style pictures, by a network that has learned none of them.

    Args: as for `NetworkPainter`; and
        styles, style_masks: pictures, and what of each counts, as for `kstyle.stylize`.
        preset: whose optimiser refines a painting.
        weights: a file to take the extractor's weights from.
        progress: `progress(done_bytes, total_bytes)` while weights are downloaded.

    `strength` says how far a photograph's features are moved to the style's, and nothing is laid over it.
    `style.scale` is the size that style pictures are shown at, as for the optimiser. `max_memory` is for steps of the
    optimiser alone: the network paints a picture whole.

    Raises: as `NetworkPainter`.
    """

    styles: Any = ()
    style_masks: Sequence[Any] | None = None
    preset: Any = "kstyle"
    weights: str | os.PathLike[str] | None = None
    progress: Callable[[int, int], Any] | None = field(default=None, repr=False)

    def _read(self):
        given = self.styles if isinstance(self.styles, (list, tuple)) else [self.styles]
        styles = Styles([images.read(each) for each in given], self.style_masks)
        network = arbitrary_file.read(self.path, self.precision, self.weights, self.progress)
        return Told(network, styles, self._strength)

    def _over(self, photograph, rgb):
        return rgb

    def _optimiser(self):
        if self._refiner is None:
            self._refiner = Painter(
                list(self._network.styles.pictures), self.preset, precision=self.precision, blend=self.blend,
                style_masks=self.style_masks, weights=self.weights, max_memory=self.max_memory,
                **{"style.scale": self._brush},
            )  # fmt: skip
        return self._refiner

    def made_with(self, size):
        own = {"styles": self._network.styles.digests(), "weights": self._network.extractor_sha256}
        return {**super().made_with(size), **own}


class Told:
    """A network for any style that has been told which, in the way of a `style_file.StyleFile`.

    Args:
        network: `kstyle.style.networks.arbitrary_file.ArbitraryFile`.
        styles: `kstyle.style.passes.styles.Styles`.
        strength: 0 to 1.
    """

    def __init__(self, network, styles, strength=1.0):
        self._network, self.styles, self._strength, self._seen = network, styles, strength, {}
        names = [picture.name for picture in styles.pictures]
        self.facts = {**network.facts, "styles": names, "brush": BRUSH}
        self.extractor_sha256 = network.extractor.sha256

    def paint(self, rgb, blend=None, brush=1.0, limit=None):
        """As `StyleFile.paint`, but at once whatever the memory; blended are the styles' means and deviations."""
        found = self._moments(rgb.shape[:2], brush)
        weights = np.ones(len(found)) if blend is None else np.asarray(blend, float)
        told = [sum(w * each[i] for w, each in zip(weights / weights.sum(), found)).astype("float32") for i in (0, 1)]
        return self._network.paint(rgb, told, self._strength)

    def paint_bytes(self, frames, blend=None, brush=1.0, limit=None):
        """As `StyleFile.paint_bytes`, one after the other."""
        return np.stack([bands.levels(self.paint(bands.floats(each), blend, brush)) for each in frames])

    def _moments(self, shape, brush):
        shown = settings.Style(scale=brush, layers=dict.fromkeys(self.facts["layers"], 1.0))
        pictures, masks = self.styles.at(shown, shape)
        sizes = tuple(picture.shape for picture in pictures)
        return kept(self._seen, sizes, lambda: [self._network.style(*each) for each in zip(pictures, masks)])
