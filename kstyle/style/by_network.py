"""Paintings by a style network, in place of an optimiser: `kstyle.stylize(photo, "night.keras")`."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.io.files import expanded, one_line, sha256, shown
from kstyle.pictures import bands, images
from kstyle.style import arguments
from kstyle.style.colour import modes
from kstyle.style.engine import memory
from kstyle.style.networks import shipped, style_facts, style_file
from kstyle.style.passes import regions
from kstyle.style.result import Result
from kstyle.style.transfer import Painter

# Settings of presets that mean the same for a network.
SETTINGS = ("colour", "strength", "style.scale")


def network_of(styles: Any) -> Path | None:
    """The style network's file that is given as the style, or as `style:NAME`; None: pictures are. UsageError: both
    are, or no network of this name comes with kstyle."""
    given = list(styles) if isinstance(styles, (list, tuple)) else [styles]
    found = [isinstance(style, (str, os.PathLike)) and style_facts.is_one(style) for style in given]
    if any(found) and len(given) > 1:
        raise UsageError("A style network stands alone: what it has learned is blended by --style-weight.")
    return shipped.located(given[0]) if any(found) else None


def check_alone(given):
    """UsageError: `given`, names of arguments, has one that no style network takes."""
    for name in sorted(given):
        raise UsageError(f"{name}: a style network paints as it has learned to, in no steps; leave that away.")


@dataclass
class NetworkPainter:
    """Paints any number of photographs by one style network.

    Args:
        path: of the network's file, or `style:NAME`.
        blend: a weight for each of its styles; None: equal.
        precision: as for `kstyle.stylize`.
        settings: {"colour": a mode, "strength": 0 to 1, how much of the painting is laid over the photograph,
            "style.scale": size of the strokes}, of which any may be left out.
        max_memory: what the process may hold, `"2GB"` or bytes: a picture that takes more is painted some rows at a
            time, with the same result but for rounding. None: what is free.

    Raises:
        UsageError: a setting that no network has.
        DataError: no network, or not one that can be asked for this.
    """

    deterministic = False  # of a batch; a network's painting has nothing that is drawn

    path: str | os.PathLike[str]
    blend: Sequence[float] | None = None
    precision: str = "auto"
    settings: Mapping[str, Any] | None = None
    max_memory: str | int | None = None

    def __post_init__(self):
        self._limit = None if self.max_memory is None else memory.parsed(self.max_memory)
        self.path, self.precision = shipped.located(self.path), backend.precision(self.precision)
        settings = dict(self.settings or {})
        style = settings.pop("style", {})
        settings |= {f"style.{key}": value for key, value in style.items()}
        for key in settings:
            if key not in SETTINGS:
                label = one_line(self.path)
                raise UsageError(f"{key}: {label} paints as it has learned to; it has {', '.join(SETTINGS)} alone.")
        self._colour = settings.get("colour", "none")
        after = [name for name, each in modes.MODES.items() if each.content is None and each.style is None]
        if self._colour not in after:
            known = ", ".join(after)
            raise UsageError(f"colour: of a style network's painting it is one of {known}; got {self._colour}.")
        self._strength = settings.get("strength", 1.0)
        if not isinstance(self._strength, (int, float)) or not 0 <= self._strength <= 1:
            raise UsageError(f"strength is a number from 0 to 1; got {shown(self._strength)}.")
        self._brush = settings.get("style.scale", 1.0)
        self._network, self._refiner = self._read(), None
        style_facts.condition(self._network.facts, self.blend, self._brush)  # what is wrong with them is said now

    def _read(self):
        return style_file.read(self.path, "mixed_bfloat16" if self.precision == "bfloat16" else "float32")

    def paint(self, content, size=512, *, masks=None, refine=0, seed=0, callback=None):
        """Paints one photograph.

        Args:
            content, size, seed, callback: as for `kstyle.stylize`.
            masks: where each of the network's styles goes, as there; the rest stays as it is.
            refine: steps of the preset's optimiser, from the network's picture on.

        Returns:
            A `Result`, whose history is that of these steps.

        Raises: as `kstyle.stylize`.
        """
        arguments.check_numbers(size, refine or None, seed)
        if refine and masks is not None:
            raise UsageError("refine: steps of the optimiser would paint beyond the masks: give one or the other.")
        began, picture = time.perf_counter(), images.read(content)
        shape = images.fit(picture.size, size)
        photograph = images.resize_picture(picture, shape)
        where = None
        if masks is not None:
            count = len(self._network.facts["styles"])
            where = regions.all_at(regions.read(masks, [picture] * count, "content"), shape)
        if not refine:
            picture = None  # of a large file it is as many bytes as the network has for some rows
        rgb, history, steps = self._painted(photograph.rgb, where), None, {}
        if refine:
            refined = self._optimiser().paint(picture, size, refine, seed, callback, start=rgb, final_only=True)
            rgb, history, steps = refined.rgb, refined.history, {"steps": refine, "seed": seed}
        rgb = self._finished(photograph.rgb, rgb, where)
        record = {**self.record(), "size": list(shape), **steps, "painted_in": round(time.perf_counter() - began, 3)}
        return Result(rgb, photograph.alpha, _no_history() if history is None else history, record)

    def paint_frames(self, frames):
        """Paints frames of a film as they are: (B, H, W, 3) uint8 to the same."""
        painted = self._network.paint_bytes(frames, self.blend, self._brush, self._limit)
        if self._colour == "none" and self._strength == 1:
            return painted
        done = (self._finished(*map(bands.floats, pair)) for pair in zip(frames, painted))
        return np.stack([bands.levels(each) for each in done])

    def _finished(self, photograph, rgb, where=None):
        """A painting in the colours, and as strong, as was asked for."""
        return self._over(photograph, modes.after(self._colour, photograph, rgb, where))

    def _optimiser(self):
        """A `Painter` of what the network learned by."""
        if self._refiner is None:
            recipe = self._network.facts["learned"]["recipe"]
            losses = {**recipe["losses"], **({"style.scale": self._brush} if self._brush != 1 else {})}
            pictures = self._network.pictures
            self._refiner = Painter(
                pictures, recipe["preset"], precision=self.precision, blend=self.blend, max_memory=self.max_memory,
                **losses,
            )  # fmt: skip
        return self._refiner

    def _painted(self, photograph, where):
        paint, count = self._network.paint, len(self._network.facts["styles"])
        if where is None:
            return paint(photograph, self.blend, self._brush, self._limit)
        masks = np.stack([np.ones(photograph.shape[:2], "float32") if mask is None else mask for mask in where])
        masks = masks / np.maximum(masks.sum(0), 1)
        rgb = photograph * (1 - masks.sum(0))[..., None]
        for number in range(count):
            rgb += paint(photograph, np.eye(count)[number], self._brush, self._limit) * masks[number][..., None]
        return rgb

    def _over(self, photograph, rgb):
        share = np.float32(self._strength)
        if share == 1:
            return rgb
        return bands.mapped(lambda below, above: below + share * (above - below), photograph, rgb)

    def load(self):
        """Of a batch: the network was read as the painter was made."""

    def made_with(self, size):
        """What a painting depends on beside its content, for JSON."""
        kept = ("network", "blend", "colour", "strength", "brush", "precision")
        return {"size": size, **{key: value for key, value in self.record().items() if key in kept}}

    def record(self):
        """What its paintings are made with, for JSON."""
        return {
            "network": {"file": Path(self.path).name, "sha256": sha256(expanded(self.path)), **self._network.facts},
            "blend": self.blend,
            "colour": self._colour,
            "strength": self._strength,
            "brush": self._brush,
            "precision": self.precision,
            "backend": backend.NAME,
            "device": backend.device(),
            "versions": backend.versions(),
        }


def _no_history():
    import pandas as pd

    return pd.DataFrame(columns=["scale", "step", "loss", "seconds"])
