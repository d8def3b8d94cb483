"""What a file in configs/networks may say: how a style network learns, typed and closed."""

from typing import Annotated, Any

from pydantic import Field

from kstyle import config
from kstyle.config import Closed, Positive
from kstyle.errors import UsageError
from kstyle.style import settings as style_settings
from kstyle.style.losses import terms

Side = Annotated[int, Field(ge=32, le=4096)]
Share = Annotated[float, Field(gt=0, le=1)]


class Learning(Closed):
    """A network recipe. Every key may be overridden with `--set` or a keyword of `kstyle.learn`.

    Attributes:
        description: what it is.
        width: of the network, as a share of the paper's channels.
        preset: whose content and style losses are learned by, a name or a file.
        losses: what is changed of it: `{style: {weight: 80}}`.
        size: long side in pixels that the style pictures are shown at, times the preset's `style.scale`: the size of
            the strokes, and the long side of photographs that they are meant for.
        crop: side in pixels of the parts of photographs that it learns from.
        area: (least, most) share of a photograph that such a part shows.
        batch: parts a step.
        steps: in all.
        learning_rate: of Adam. It rises over `warmup` steps and falls to 0 as half a cosine.
        warmup: steps.
        average: decay of the running average of the weights, which is the result.
        brush: (least, most) times `size` that the strokes may be asked for at, learned in one network, 0.25 to 4;
            None: `size` alone.
        held_out: photographs that it does not learn from, by which its loss is told and the sheet is made.
        look: steps between two of these.
    """

    description: str = ""
    width: Annotated[float, Field(ge=0.1, le=2)] = 0.5
    preset: str = "kstyle"
    losses: dict[str, Any] = Field(default={})
    size: Side = 384
    crop: Side = 256
    area: tuple[Share, Share] = (0.3, 1.0)
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    steps: Annotated[int, Field(ge=1, le=10**8)] = 4000
    learning_rate: Positive = 0.001
    warmup: Annotated[int, Field(ge=0)] = 50
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    brush: tuple[Annotated[float, Field(ge=0.25, le=1)], Annotated[float, Field(ge=1, le=4)]] | None = None
    held_out: Annotated[int, Field(ge=1, le=256)] = 16
    look: Annotated[int, Field(ge=1)] = 250


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
