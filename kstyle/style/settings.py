"""The settings of a style transfer, typed and closed: what a preset file in configs/stylize may say."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from kstyle import recipes
from kstyle.recipes import Closed, NotNegative, Positive, one_of
from kstyle.style.scalings import STYLE_LOSSES


class Network(Closed):
    """Which features: see `kstyle.models.features.load`."""

    extractor: str = "vgg19"
    pool: Literal["max", "average", "l2"] = "max"
    pool_factor: Positive = 1.0
    first_padding: Literal["zero", "replicate"] = "zero"
    preprocessing: str | None = None


class Content(Closed):
    """`loss`: a name in `kstyle.style.losses.CONTENT_LOSSES`; `layers`: {tap: weight}."""

    layers: dict[str, NotNegative] = Field(default={"block4_conv2": 1.0})
    loss: Literal["mse", "sum", "half_sum", "relative"] = "mse"
    weight: NotNegative = 1.0


class Style(Closed):
    """`loss`: a name in `kstyle.style.scalings.STYLE_LOSSES`; `layers`: {tap: weight}.

    `scale`: the style picture's long side as a multiple of the result's. `resize`: `"fit"` keeps its shape,
        `"stretch"` gives it the content's.
    """

    layers: dict[str, NotNegative]
    loss: Annotated[str, one_of("style loss", STYLE_LOSSES)] = "relative"
    weight: NotNegative = 1.0
    scale: Positive = 1.0
    resize: Literal["fit", "stretch"] = "fit"


class TotalVariation(Closed):
    """`kind`: a name in `kstyle.style.losses.TV_LOSSES`."""

    kind: Literal["squares", "half_squares", "absolute", "mean_squares", "power", "nine_point"] = "absolute"
    weight: NotNegative = 0.0


class Optimizer(Closed):
    """`name`: `lbfgs` or an optimiser of Keras; every other key is passed to it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "adam"

    @property
    def arguments(self) -> dict[str, Any]:
        arguments = dict(self.model_extra or {})
        rate = arguments.get("learning_rate")
        if isinstance(rate, dict) and isinstance(rate.get("values"), list):
            # Keras takes the type of the first for all, so that after a 3 a 0.1 is an error, or 0.
            values = [float(v) if isinstance(v, int) else v for v in rate["values"]]
            arguments["learning_rate"] = {**rate, "values": values}
        return arguments


class Scales(Closed):
    """The sizes a picture passes through, from coarse to fine.

    Attributes:
        steps: gradient evaluations at each size, from the final one down; the last entry serves all coarser ones.
        factor: ratio of one size to the next.
        smallest: long side in pixels below which no size is added; None: the final size only.
        carry: hand the optimiser's state from size to size.
        margin: pixels by which the picture is continued on each side, mirrored, at every size but the final one. The
            network's zero padding leaves a rim a few pixels wide; the finer sizes would magnify it.
    """

    steps: list[Annotated[int, Field(ge=1)]] = Field(default=[500], min_length=1)
    factor: Annotated[float, Field(gt=1)] = 2.0
    smallest: Annotated[int, Field(ge=32)] | None = None
    carry: bool = True
    margin: Annotated[int, Field(ge=0, le=64)] = 0

    def plan(self, size, total=None, at_least=0):
        """[(long side, steps)], from coarse to fine.

        Args:
            size: the final long side in pixels.
            total: gradient evaluations in all, shared out in the preset's proportions, at least one each. None: the
                preset's own.
            at_least: long side in pixels below which no size is added, whatever the preset says.
        """
        sides = [size]
        while self.smallest is not None and sides[-1] / self.factor >= max(self.smallest * 0.99, at_least):
            sides.append(sides[-1] / self.factor)
        steps = [self.steps[min(i, len(self.steps) - 1)] for i in range(len(sides))]
        if total is not None:
            sides, steps = sides[:total], steps[:total]
            shares = [max(1, int(total * s / sum(steps))) for s in steps]
            while sum(shares) != total:  # what rounding left over goes to the largest share
                largest = shares.index(max(shares))
                shares[largest] += 1 if sum(shares) < total else -1
            steps = shares
        return [(round(side), count) for side, count in zip(reversed(sides), reversed(steps))]


class StyleSettings(Closed):
    """A preset. Every key may be overridden with `--set` or a keyword of `kstyle.stylize`.

    Attributes:
        space: in which the picture is optimised, from `kstyle.style.objective.SPACES`.
        clamp: lowest and highest value, in units of `space`, enforced after each step; None: only the finished
            picture is clipped.
        clamp_until: number of steps after which the clamp is lifted; None: never.
        init: `content`, `noise`, `style` or the path of a picture.
        noise: standard deviation, in byte units, of normal noise around ImageNet's mean colour (`init: noise`).
        average: decay of the bias-corrected running average of the picture, which is then the result; 0: the last
            picture is.
    """

    description: str = ""
    network: Network = Network()
    content: Content = Content()
    style: Style
    tv: TotalVariation = TotalVariation()
    space: Literal["unit", "byte", "byte-256", "imagenet"] = "unit"
    clamp: tuple[float, float] | None = None
    clamp_until: Annotated[int, Field(ge=0)] | None = None
    init: str = "content"
    noise: Positive = 0.001
    optimizer: Optimizer = Optimizer()
    scales: Scales = Scales()
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _something_to_minimise(self):
        if not (self.content.weight or self.style.weight):
            raise ValueError("content.weight and style.weight are both 0: there is nothing to minimise")
        if not self.style.layers:
            raise ValueError("style.layers names no layer")
        return self


# Short names, as options and keywords have them.
SHORT = {
    "content_weight": "content.weight",
    "style_weight": "style.weight",
    "tv_weight": "tv.weight",
    "extractor": "network.extractor",
    "learning_rate": "optimizer.learning_rate",
}


def load(preset, overrides=None):
    """The checked settings of a preset.

    Args:
        preset: a name that comes with kstyle or the path of a YAML file.
        overrides: {dotted key or short name: value}; see `kstyle.recipes.load`.

    Raises:
        UsageError: an unknown preset or key (with the nearest match), a wrong type, an impossible value.
    """
    overrides = {SHORT.get(key, key): value for key, value in (overrides or {}).items()}
    settings, _ = recipes.load("stylize", StyleSettings, preset, overrides)
    return settings
