"""What a page asks for, checked before anything is done: which pictures, which preset, which settings. What is asked
for by a name is one of the names that there are; nothing of it is ever a path."""

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field

from kstyle import config
from kstyle.config import Closed
from kstyle.errors import UsageError, unknown
from kstyle.io.files import shown
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.style.jobs import command as commands
from kstyle.style.networks import shipped, style_facts
from kstyle.style.passes import sizes

MOST_STYLES = 16

Name = Annotated[str, Field(max_length=200)]


class Asked(Closed):
    """A painting that is asked for.

    Attributes:
        content: id of a picture.
        styles: ids of pictures, or one `style:NAME`.
        preset: the name of one.
        size: long side in pixels.
        steps: in all; None: the preset's.
        strength, colour: as for `kstyle.stylize`; None: the preset's.
        brush: its `style.scale`.
        weights: one for each style; None: equal.
        masks: for each style the id of a picture, or None; None: every style everywhere.
        seed: of all random numbers.
    """

    model_config = ConfigDict(strict=True)

    content: Name
    styles: Annotated[list[Name], Field(min_length=1, max_length=MOST_STYLES)]
    preset: Name = "kstyle"
    size: Annotated[int, Field(ge=sizes.SMALLEST_SIDE, le=sizes.LARGEST_SIDE)] = 512
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    strength: Annotated[float, Field(ge=0, le=1)] | None = None
    brush: Annotated[float, Field(gt=0, le=100)] | None = None
    colour: Name | None = None
    weights: Annotated[list[Annotated[float, Field(ge=0)]], Field(max_length=MOST_STYLES)] | None = None
    masks: Annotated[list[Name | None], Field(max_length=MOST_STYLES)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @property
    def network(self):
        """Whether a style network is asked for, which paints at once."""
        return shipped.is_name(self.styles[0])

    @property
    def overrides(self):
        """{setting: value} of what is set beside the preset."""
        given = {"strength": self.strength, "style.scale": self.brush, "colour": self.colour}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def blend(self):
        """A weight for each style, or None."""
        return self.weights if self.weights and len(self.weights) > 1 else None


def checked(body, pictures):
    """An `Asked` of what a page sent, a dict.

    Raises:
        UsageError: something of it is not there or cannot be; one line.
    """
    if not isinstance(body, dict):
        raise UsageError(f"Expected a painting's settings; got {shown(body, 60)}.")
    asked = config.check(Asked, body, "settings")
    for number in (asked.content, *asked.styles, *(asked.masks or ())):
        if number is not None and not shipped.is_name(number) and pictures.about(number) is None:
            raise UsageError(f"There is no picture {shown(number, 60)}: send it first.")
    if shipped.is_name(asked.content):
        raise UsageError("content is a picture, not a style network.")
    if asked.network:
        return _checked_network(asked)
    if any(map(shipped.is_name, asked.styles)):
        raise UsageError("A style network stands alone: choose it, or pictures.")
    if asked.preset not in config.names("stylize"):  # a path would be one to kstyle
        raise unknown("preset", asked.preset, config.names("stylize"))
    for name, given in (("weights", asked.weights), ("masks", asked.masks)):
        if given is not None and len(given) != len(asked.styles):
            raise UsageError(f"{name}: expected one for each of {len(asked.styles)} styles; got {len(given)}.")
    if asked.weights is not None and not sum(asked.weights) > 0:
        raise UsageError("weights: one of them must be above 0.")
    plan(asked, pictures)
    return asked


def _checked_network(asked):
    if len(asked.styles) > 1:
        raise UsageError("A style network stands alone: choose it, or pictures.")
    if asked.masks is not None:
        raise UsageError("masks: a style network paints the whole picture here.")
    style_facts.condition(style_facts.read(asked.styles[0]), asked.blend, asked.brush or 1.0)
    return asked


def shape(asked, pictures):
    """(height, width) of what is painted."""
    about = pictures.about(asked.content)
    return images.fit((about["height"], about["width"]), asked.size)


def plan(asked, pictures):
    """[[pixels, steps], …] of the sizes that it goes through. UsageError, DataError: it cannot be painted so."""
    if asked.network:
        return []
    about = pictures.about(asked.content)
    nothing = np.broadcast_to(np.uint8(0), (about["height"], about["width"], 3))  # whose shape alone is looked at
    settings = style_settings.load(asked.preset, asked.overrides)
    sizes.check_scale(settings.style, shape(asked, pictures))
    passes = sizes.plan(settings, images.Picture(nothing, name=about["name"]), asked.size, asked.steps)
    return [[each.shape[0] * each.shape[1], each.steps] for each in passes]


def command(asked, pictures):
    """The `kstyle stylize` line that paints it again."""
    style = asked.styles if asked.network else [pictures.path(number) for number in asked.styles]
    options = {"size": asked.size}
    if not asked.network:
        options = {"preset": asked.preset, **options, "seed": asked.seed}
    blend = asked.blend and ",".join(f"{weight:g}" for weight in asked.blend)
    given = {"steps": asked.steps, "strength": asked.strength, "colour": asked.colour, "style_weight": blend}
    if asked.network:
        del given["steps"]
    scale = [("style.scale", f"{asked.brush:g}")] if asked.brush is not None else []
    masks = ["all" if number is None else str(pictures.path(number)) for number in asked.masks or ()]
    further = [word for mask in masks for word in ("--mask", mask)]
    return commands.stylize(pictures.path(asked.content), style, options, given, scale, further)
