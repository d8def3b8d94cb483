"""What a file in configs/networks may say: how a style network learns, typed and closed."""

from typing import Annotated, Any, Literal

from pydantic import Field

from kstyle import config
from kstyle.config import Closed, NotNegative, Positive
from kstyle.errors import UsageError
from kstyle.style import settings as style_settings
from kstyle.style.losses import terms

Side = Annotated[int, Field(ge=32, le=4096)]
AUTO = "auto"
Share = Annotated[float, Field(gt=0, le=1)]


class Common(Closed):
    """What every network recipe may say.

    Attributes:
        description: what it is, in a line.
        width: of the network, as a share of the paper's channels.
        size: long side in pixels of the photographs that it is meant for, at which those held out are looked at.
        crop: side in pixels of the parts of pictures that it learns from.
        area: (least, most) share of a picture that such a part shows.
        batch: parts a step.
        steps: in all.
        learning_rate: of Adam. It rises over `warmup` steps and falls to 0 as half a cosine.
        warmup: steps.
        average: decay of the running average of the weights, which is the result.
        held_out: photographs that it does not learn from, by which its loss is told and the sheet is made.
        look: steps between two of these.
    """

    description: str = ""
    width: Annotated[float, Field(ge=0.1, le=2)] = 0.5
    size: Side = 384
    crop: Side = 256
    area: tuple[Share, Share] = (0.3, 1.0)
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    steps: Annotated[int, Field(ge=1, le=10**8)] = 4000
    learning_rate: Positive = 0.001
    warmup: Annotated[int, Field(ge=0)] = 50
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    held_out: Annotated[int, Field(ge=1, le=256)] = 16
    look: Annotated[int, Field(ge=1)] = 250


class Learning(Common):
    """The recipe of a network for some styles. Every key may be overridden with `--set` or a keyword of `kstyle.learn`.

    Attributes:
        preset: whose content and style losses are learned by, a name or a file.
        losses: what is changed of it: `{style: {weight: 80}}`.
        size: the style pictures too are shown at it, times the preset's `style.scale`: it is the size of the strokes.
        brush: (least, most) times `size` that the strokes may be asked for at, learned in one network, 0.25 to 4;
            None: `size` alone.
        start: a style network whose weights it begins with, a file or `style:NAME`: that one has learned what
            photographs show, and only the style is new. `auto`: one that comes with kstyle, where it has this width;
            None: none.
    """

    preset: str = "kstyle"
    losses: dict[str, Any] = Field(default={})
    brush: tuple[Annotated[float, Field(ge=0.25, le=1)], Annotated[float, Field(ge=1, le=4)]] | None = None
    start: str | None = AUTO


class Arbitrary(Common):
    """The recipe of a network for any style.

    Attributes:
        extractor: whose features are moved to those of a painting and decoded, a name of `kstyle.Extractor.load`.
        pool: how it pools, `max`, `average` or `l2`.
        layers: of it at all pixels, at half of the sides, a quarter and so on. The deepest is decoded; at each of them
            a painting is to have the style's means and deviations.
        style_weight: of these beside the content, which is that the deepest features are those asked for.
    """

    extractor: str = "vgg19"
    pool: Literal["max", "average", "l2"] = "max"
    layers: Annotated[tuple[str, ...], Field(min_length=2, max_length=6)] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    style_weight: NotNegative = 10.0


def load(recipe="half", overrides=None):
    """`(Learning, StyleSettings)`: a checked network recipe, and the losses that it names.

    Args:
        recipe: a name, the path of a YAML file, or a mapping of what one says.
        overrides: {dotted key: value}.

    Raises:
        UsageError: no such recipe, key or value; losses that no network can learn by.
        DataError: no YAML mapping.
    """
    learning, _ = config.load("networks", Learning, recipe, overrides)
    losses = style_settings.load(learning.preset, learning.losses)
    if losses.strength is not None:
        raise UsageError("strength is balanced for each painting: learn by style.weight, and give it when you paint.")
    for name, term in losses.style_terms.items():
        if term.weight and terms.kind_of(term).match is not None:
            raise UsageError(f"{name}: '{term.loss}' looks for its matches in one content; a network has none.")
    return learning, losses


def load_arbitrary(recipe="arbitrary", overrides=None):
    """The `Arbitrary` of a recipe. Args, raises: as `load`."""
    return config.load("networks", Arbitrary, recipe, overrides)[0]
