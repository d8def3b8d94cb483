"""The sizes that a picture passes through, a `Pass` each."""

from dataclasses import dataclass, replace
from typing import Any

from kstyle.errors import DataError, UsageError
from kstyle.pictures import images

# Four poolings: a side below this has nothing left at block5.
SMALLEST_SIDE = 16
LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Pass:
    """One size, or the last pass at the final one, with the terms and weights that hold in it.

    Attributes:
        shape: (height, width) of the picture in it.
        steps: gradient evaluations.
        settings: `kstyle.style.settings.StyleSettings`, weights and learning rate as they are at this size.
        final: the picture has its final size.
        margin: pixels around the picture.
        tile: the picture is looked at in tiles of at most so many pixels a side; None: whole.
        halved: only the network's first half looks at tiles.
    """

    shape: tuple[int, int]
    steps: int
    settings: Any
    final: bool
    margin: int
    tile: int | None = None
    halved: bool = False

    def divided(self, tile: int | None, history: int | None = None, halved: bool = False) -> "Pass":
        """The same in tiles, or only the network's first half in tiles; with so many pairs of L-BFGS where a number is
        given."""
        if history is None or history == self.settings.optimizer.arguments.get("history"):
            return replace(self, tile=tile, halved=halved)
        optimizer = self.settings.optimizer
        shorter = type(optimizer)(name=optimizer.name, **{**optimizer.arguments, "history": history})
        return replace(self, tile=tile, halved=halved, settings=self.settings.model_copy(update={"optimizer": shorter}))

    @property
    def division(self) -> list:
        """What `divided` was called with, for JSON."""
        return [self.tile, self.settings.optimizer.arguments.get("history"), self.halved]


def plan(settings, content, size, steps, final_only=False):
    """A `Pass` for each size from coarse to fine, and again the final one for a `finish`.

    Args:
        settings: `kstyle.style.settings.StyleSettings`.
        content: the `Picture` whose shape they have.
        size: the final long side in pixels.
        steps: in all; None: the preset's.
        final_only: leave the smaller sizes out.

    Raises:
        DataError: the picture is so narrow that the network sees nothing of it at the final size.
    """
    final = images.fit(content.size, size)
    if min(final) < SMALLEST_SIDE:
        longer, shorter = max(content.size), min(content.size)
        needed = -(-SMALLEST_SIDE * longer // shorter)
        way = f"Make it of size {needed} or crop it" if needed <= LARGEST_SIDE else "Crop it"
        raise DataError(
            f"{content.name} is {content.size[1]}×{content.size[0]}: at size {size} its short side is {min(final)} "
            f"pixels, and the network needs {SMALLEST_SIDE}. {way}."
        )
    # Coarse sizes at which a narrow picture has next to nothing left are left out.
    at_least = size if final_only else 2 * SMALLEST_SIDE * max(final) / min(final)
    sides, found = settings.scales.plan(size, steps, at_least), []
    for number, (side, count) in enumerate(sides, 1):
        shape = images.fit(content.size, side)
        last = shape == final
        finish = bool(settings.scales.finish) and number == len(sides)
        own = settings.at(max(shape), last, finish)
        found.append(Pass(shape, count, own, last, 0 if last else settings.scales.margin))
    return found


def extended(plan, steps):
    """A plan with so many more steps in its last pass, which then takes all of its own, whatever `plateau` says."""
    if not steps:
        return plan
    *before, last = plan
    settings = last.settings.model_copy(update={"plateau": None})
    return [*before, replace(last, steps=last.steps + steps, settings=settings)]


def of_style(style, picture, shape):
    """(height, width) of a style picture for a result of `shape`; style: `kstyle.style.sections.Style`."""
    if style.resize == "stretch":
        height, width = (round(side * style.scale) for side in shape)
    else:
        height, width = images.fit(picture.size, round(max(shape) * style.scale))
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)


def check_scale(style, shape):
    """UsageError where style pictures would have no or too many pixels beside a result of `shape`."""
    side = round(max(shape) * style.scale)
    if not SMALLEST_SIDE // 2 <= side <= LARGEST_SIDE:
        raise UsageError(
            f"style.scale: at {style.scale:g} times {max(shape)} the style pictures' long side is {side} pixels; "
            f"expected {SMALLEST_SIDE // 2} to {LARGEST_SIDE}."
        )
