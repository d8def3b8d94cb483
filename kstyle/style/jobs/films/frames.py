"""Frames of a film: what the painting of one takes over from the painting of the frame before it.

There is no optical flow. Where the content stays, a painting begins with the strokes of the frame before it and is held
to them; where it changes, the change is added to the strokes, and nothing holds them.
"""

import hashlib
import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.colour import modes as colour

log = logging.getLogger("kstyle")

# How much the colour of a place (0 to 1) has changed from frame to frame where it is trusted 1/e. That is a few grey
# levels more than the noise of a compressed film.
STILL = 0.04
# With `temporal` at 1, a mean change of 0.1 adds as much to the loss as all its other terms do. The term is the
# squared change, so it is divided by 0.1².
DEAR = 0.1**2


@dataclass(frozen=True)
class Motion:
    """How each frame of a film follows the one before it.

    Attributes:
        steps: gradient evaluations from the second frame on, all at the final size; None: a third of the first's.
        temporal: weight of the term `"temporal"`, in units of the loss of the frame before: at 1, a mean change of
            0.1 in what stands still costs as much as content, style and all other terms do. 0: no such term.
        cut: a mean change of the content above this, in [0, 1], is another scene, which is painted afresh.
    """

    steps: int | None = None
    temporal: float = 3.0
    cut: float = 0.15

    def facts(self) -> dict[str, Any]:
        """Its fields, for the record of a batch."""
        return asdict(self)


def check(motion, settings):
    """UsageError for a `Motion` that cannot be, or `StyleSettings` with which a frame cannot begin from the last."""
    if motion.steps is not None and motion.steps < 1:
        raise UsageError(f"The steps of a frame must be a whole number, 1 or more; got {motion.steps!r}.")
    if not (math.isfinite(motion.temporal) and motion.temporal >= 0):
        raise UsageError(f"The temporal weight must be 0 or more; got {motion.temporal!r}.")
    if not 0 < motion.cut <= 1:
        raise UsageError(f"What counts as a cut must be above 0 and at most 1; got {motion.cut!r}.")
    mode = colour.MODES[settings.colour]
    if mode.painted and not mode.content:
        other = settings.colour.removesuffix("-after")
        raise UsageError(
            f"colour '{settings.colour}' recolours a finished picture, from which the next frame cannot begin: use "
            f"'{other}' or 'none' for frames."
        )


def change(before, after):
    """How much each place of a content changes: (H, W) float32, the largest of the channels', in [0, 1].

    Differences are averaged over about 3 pixels first, in which a film's noise cancels.

    Args:
        before, after: (H, W, 3) float32 in [0, 1].
    """
    difference = after - before
    height, width = difference.shape[:2]
    coarse = images.resize(difference, (max(1, height // 3), max(1, width // 3)), "area")
    return np.abs(images.resize(coarse, (height, width), "bilinear")).max(axis=-1)


def trust(changed):
    """(H, W) from `change` -> (H, W) float32: 1 where nothing changed, 1/e at `STILL`, towards 0 above."""
    return np.exp(-((changed / STILL) ** 2)).astype("float32")


def carry(result, before, after):
    """What the next painting begins with: the last one, changed as the content changed; (H, W, 3) in [0, 1]."""
    return np.clip(result + after - before, 0, 1)


class Chain:
    """The frames painted so far, as far as the next one needs them.

    What it needs is read back from the files: a film that goes on after an interruption gets the same frames as one
    that was never stopped.

    Args:
        painter: `kstyle.style.transfer.Painter`.
        motion: `Motion`.
        size, steps: of the first frame, as for `Painter.paint`.
    """

    def __init__(self, painter, motion, size, steps):
        self._painter, self._motion = painter, motion
        first = sum(count for _, count in painter.settings.scales.plan(size, steps))
        self._steps = motion.steps or max(1, round(first / 3))
        self._size = size
        self._mark, self._last, self._after = None, None, None

    def goes_on(self, entry):
        """Whether a frame's entry in the record says that it was painted after the frames that this chain has, or
        afresh after none."""
        return entry.get("after") in (None, self._mark)

    def paint(self, size, steps, seed, callback, content):
        """Paints the next frame, a `kstyle.style.jobs.contents.Content`; the rest as for `Painter.paint`."""
        picture = images.read(content.path)
        scene = images.resize_picture(picture, images.fit(picture.size, size)).rgb
        before = self._before(scene, picture.name)
        if before is None:
            self._after = None
            return self._painter.paint(picture, size, steps, seed, callback)
        self._after = self._mark
        seen, held, loss = before
        anchor = None
        if self._motion.temporal and loss:
            anchor = transfer.Anchor(held, trust(change(seen, scene)), self._motion.temporal * loss / DEAR)
        start = carry(held, seen, scene)
        return self._painter.paint(
            picture, size, self._steps, seed, callback, start=start, anchor=anchor, final_only=True
        )

    def _before(self, scene, name):
        """(content, result, loss) of the frame before; None where this one is to be painted afresh."""
        if self._last is None:
            return None
        content, target, loss = self._last
        try:
            rgb = images.read(target).rgb
            picture = images.read(content.path)
        except DataError as error:
            log.warning("%s: painted afresh, the frame before it cannot be read back (%s)", name, error)
            return None
        seen = images.resize_picture(picture, images.fit(picture.size, self._size)).rgb
        if not seen.shape == scene.shape == rgb.shape:
            log.info("%s: painted afresh, it has another shape than the frame before it", name)
            return None
        moved = float(change(seen, scene).mean())
        if moved > self._motion.cut:
            log.info("%s: a cut (a mean change of %.2f), painted afresh", name, moved)
            return None
        grey = colour.MODES[self._painter.settings.colour].content
        return seen, (grey(rgb) if grey else rgb), loss

    def facts(self, result):
        """What the record keeps of a frame: which frames it followed, and its loss without the temporal term."""
        last = result.history.iloc[-1]
        loss = float(last["loss"] - last.get("temporal", 0.0))
        return {"after": self._after, "loss": loss if math.isfinite(loss) else None}

    def add(self, content, target, entry):
        """A frame that was painted or skipped, with its entry in the record: the next one follows it."""
        self._mark = hashlib.sha256(f"{entry.get('after')} {entry['sha256']}".encode()).hexdigest()[:16]
        self._last = content, target, entry.get("loss")
