"""The settings of a style transfer, typed and closed: what a preset file in configs/stylize may say."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from kstyle import config
from kstyle.config import Closed, FilePath, NotNegative, Positive, Switched, one_of
from kstyle.errors import unknown
from kstyle.open_names import Names
from kstyle.style.colour.modes import MODES
from kstyle.style.losses.compared import Compared
from kstyle.style.losses.scalings import CONTENT, CONTENT_DIFFERENCES, GRAM_LOSSES, PIXELS, STYLE
from kstyle.style.passes.size_plan import Plateau, Scales, from_side

# What is weighed beside `terms`, and its column in the history.
SECTIONS = ("content", "style", "tv", "range")


class Network(Closed):
    """Which features: see `kstyle.models.features.load`."""

    extractor: str = "vgg19"
    pool: Literal["max", "average", "l2"] = "max"
    pool_factor: Positive = 1.0
    pool_edge: Literal["drop", "partial"] = "drop"
    first_padding: Literal["zero", "replicate"] = "zero"
    preprocessing: str | None = None


def _spread(layers):
    """`{from: relu1_1, to: relu5_1, ratio: 0.25}` written out: a layer a block, each `ratio` times as heavy as the one
    before it (1 if not given), all of them add up to 1."""
    if not isinstance(layers, dict) or not {"from", "to", "ratio"} & set(layers):
        return layers
    if {"from", "to"} - set(layers) or set(layers) - {"from", "to", "ratio"}:
        raise ValueError("expected {layer: weight, …} or {from: layer, to: layer, ratio: number}")
    ratio = layers.get("ratio", 1)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio < float("inf"):
        raise ValueError(f"ratio must be a number above 0; got {ratio!r}")
    ends = [re.fullmatch(r"(\D+)(\d)(_\w+)", str(layers[end])) for end in ("from", "to")]
    if not all(ends) or ends[0][1] != ends[1][1] or ends[0][3] != ends[1][3] or not ends[0][2] <= ends[1][2]:
        raise ValueError(
            "from and to must name one layer of two blocks, relu1_1 and relu5_1 say; "
            f"got '{layers['from']}' and '{layers['to']}'"
        )
    blocks = range(int(ends[0][2]), int(ends[1][2]) + 1)
    weights = [float(ratio) ** i for i in range(len(blocks))]
    return {f"{ends[0][1]}{block}{ends[0][3]}": weight / sum(weights) for block, weight in zip(blocks, weights)}


Layers = Annotated[dict[str, NotNegative], BeforeValidator(_spread)]
Samples = Annotated[int, Field(ge=16, le=4096)]


class Content(Compared):
    """`loss`: a name in `kstyle.style.losses.summed.CONTENT_SUMMED`, or `self_similarity`.

    `layers`: {tap: weight}, or `{from: relu1_1, to: relu5_1, ratio: 0.25}`. `samples`: positions that
    `self_similarity` compares. `target_factor`: by what the content's activations are multiplied, for the others.

    What is done to the content picture before all else: `median`: a median filter of so many pixels each way, 1: none;
    `towards_style`: how far its colours move to the style's, 0 to 1, see `kstyle.style.colour.modes.towards`.
    """

    known: ClassVar[Names] = CONTENT

    layers: Layers = Field(default={"block4_conv2": 1.0})
    loss: Annotated[str, one_of("content loss", CONTENT)] = "mse"
    weight: NotNegative = 1.0
    samples: Samples = 1024
    target_factor: Positive = 1.0
    median: Literal[1, 3, 5, 7] = 1
    towards_style: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _some_layer(self):
        if self.weight and not any(self.layers.values()):
            raise ValueError("content.layers names no layer that counts: name one, or give content.weight: 0")
        return self


class Term(Compared):
    """A style term.

    Attributes:
        layers: {tap: weight}, or `{from: relu1_1, to: relu5_1, ratio: 0.25}`: one layer a block, each `ratio` times as
            heavy as the one before, in all 1. `pixels` is the picture itself.
        loss: a name in `kstyle.style.losses.scalings.STYLE`. In Python also a function, as `kstyle.losses.register`
            takes it, with its `statistics` beside it if it has such.
        shift: added to the features before their Gram matrix is taken.
        samples: most positions of a layer (`mrf`, `nearest`) or of the picture (`remd`, `moments`, `palette`) that are
            compared; the others ignore it. None: 4096 and 1024.
        redraw: draw those positions anew at each step, where the optimiser can bear a loss that changes.
        mix: for `hypercolumns`, which looks for its matches once a size: how much of the picture as it is then is in
            what they are looked for, the rest is content; 0: the content alone.
        target_factor: of the Gram losses: by what the style's Gram matrices are multiplied.
    """

    known: ClassVar[Names] = STYLE

    layers: Layers
    loss: Annotated[str, one_of("style loss", STYLE)] = "relative"
    weight: NotNegative = 1.0
    shift: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    samples: Samples | None = None
    redraw: bool = True
    mix: Annotated[float, Field(ge=0, le=1)] = 0.0
    target_factor: Positive = 1.0

    @field_validator("layers")
    @classmethod
    def _some_layer(cls, layers):
        if not layers:
            raise ValueError("names no layer")
        return layers

    @model_validator(mode="after")
    def _one_that_counts(self):
        if self.weight and not any(self.layers.values()):
            raise ValueError("layers names no layer that counts: name one, or give weight: 0")
        return self


class Style(Term):
    """The style term that every preset has, and how the style pictures are shown to all terms.

    `scale`: the style picture's long side as a multiple of the result's, 0.01 to 16. `resize`: `"fit"` keeps its shape,
        `"stretch"` gives it the content's. `turned`: show it by 90, 180 and 270 degrees too, so that more of it fits.
    """

    scale: Annotated[float, Field(ge=0.01, le=16)] = 1.0
    turned: bool = False
    resize: Literal["fit", "stretch"] = "fit"


class FurtherTerm(Term):
    """A style term beside `style`. `name`: its column in the history; None: its loss."""

    name: str | None = None

    @property
    def column(self):
        return self.name or self.loss


class TotalVariation(Switched):
    """`kind`: a name in `kstyle.style.losses.total_variation.TV_LOSSES`."""

    kind: Literal["squares", "half_squares", "absolute", "mean_squares", "power", "nine_point", "blur"] = "absolute"
    weight: NotNegative = 0.0


class Range(Switched):
    """How far the picture leaves [0, 1]: mean of what is below 0, and mean of what is above 1."""

    weight: NotNegative = 0.0


class Optimizer(Closed):
    """`name`: a key of `kstyle.nn.optimizers.OPTIMIZERS`, `lbfgs` or `adam`. Every other key is passed to it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "adam"

    @model_validator(mode="after")
    def _some_rate(self):
        rate = (self.model_extra or {}).get("learning_rate", 1.0)
        if isinstance(rate, bool) or (isinstance(rate, (int, float)) and not 0 < rate < float("inf")):
            raise ValueError(f"learning_rate must be a number above 0; got {rate!r}")
        if isinstance(rate, dict):  # a schedule of Keras'
            for key, value in rate.items():
                for number in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(number, (int, float)) and not 0 <= number < float("inf"):
                        raise ValueError(f"learning_rate.{key} must be 0 or more; got {number!r}")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        arguments = dict(self.model_extra or {})
        rate = arguments.get("learning_rate")
        if isinstance(rate, dict) and isinstance(rate.get("values"), list):
            # Keras takes the type of the first for all, so that after a 3 a 0.1 is an error, or 0.
            values = [float(v) if isinstance(v, int) else v for v in rate["values"]]
            arguments["learning_rate"] = {**rate, "values": values}
        return arguments


class StyleSettings(Closed):
    """A preset. Every key may be overridden with `--set` or a keyword of `kstyle.stylize`.

    Attributes:
        space: in which the picture is optimised, from `kstyle.style.passes.units.SPACES`.
        clamp: lowest and highest value, in units of `space`, enforced after each step; None: only the finished
            picture is clipped.
        clamp_until: number of steps after which the clamp is lifted; None: never.
        colour: whose colours the result has, a mode of `kstyle.style.colour.modes.MODES`.
        init: `content`, `noise`, `style`, `detail` or the path of a picture. `detail`: the finest level of the
            content's Laplacian pyramid on the style's mean colour, and again added wherever the picture grows but at
            the final size.
        noise: standard deviation, in byte units, of normal noise around ImageNet's mean colour (`init: noise`).
        terms: style terms beside `style`.
        average: decay of the bias-corrected running average of the picture, which is then the result; 0: the last
            picture is.
        pyramid: levels of a Laplacian pyramid that is optimised in place of pixels (`kstyle.style.passes.pyramid`); 0:
            none. The optimiser then begins anew at each size, and the picture is not clamped before the end.
        plateau: when to leave a size before its last step; None: never.
        strength: how much of style, 0 to 1, in place of the weights' own balance, see
            `kstyle.style.objectives.strength`; None: the weights as they are.
    """

    description: str = ""
    network: Network = Network()
    content: Content = Content()
    style: Style
    terms: list[FurtherTerm] = Field(default=[])
    tv: TotalVariation = TotalVariation()
    range: Range = Range()
    space: Literal["unit", "byte", "byte-256", "imagenet"] = "unit"
    clamp: tuple[float, float] | None = None
    clamp_until: Annotated[int, Field(ge=0)] | None = None
    colour: Annotated[str, one_of("colour mode", MODES)] = "none"
    init: FilePath = "content"
    noise: Positive = 0.001
    optimizer: Optimizer = Optimizer()
    scales: Scales = Scales()
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pyramid: Annotated[int, Field(ge=0, le=12)] = 0
    plateau: Plateau | None = None
    strength: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _something_to_minimise(self):
        if not (self.content.weight or self.has_style):
            raise ValueError("content.weight and style.weight are both 0: there is nothing to minimise")
        return self

    @field_validator("clamp")
    @classmethod
    def _from_low_to_high(cls, clamp):
        if clamp is not None and not clamp[0] < clamp[1]:
            raise ValueError(f"expected [lowest, highest], the one below the other; got [{clamp[0]:g}, {clamp[1]:g}]")
        return clamp

    @model_validator(mode="after")
    def _no_clamped_pyramid(self):
        if self.pyramid and self.clamp:
            raise ValueError("the numbers of a pyramid are no colours: give clamp: null, or pyramid: 0")
        return self

    @model_validator(mode="after")
    def _a_rate_to_multiply(self):
        number = isinstance(self.optimizer.arguments.get("learning_rate"), (int, float))
        for name, multiplies in (("rates_from", self.scales.rates_from), ("last_rate", self.scales.last_rate != 1)):
            if multiplies and not number:
                raise ValueError(f"scales.{name} multiplies optimizer.learning_rate, which must then be a number")
        return self

    @model_validator(mode="after")
    def _strength_of_two(self):
        if self.strength is not None and not (self.content.weight and self.has_style):
            raise ValueError("strength balances content and style: neither may have the weight 0")
        return self

    @model_validator(mode="after")
    def _one_name_a_term(self):
        names = [*SECTIONS, *(term.column for term in self.terms)]
        for name in ("scale", "step", "loss", "seconds", *names):
            if ["scale", "step", "loss", "seconds", *names].count(name) > 1:
                raise ValueError(f"terms: '{name}' is taken: give the term another name")
        for name in self.scales.weights_from:
            if name not in names:
                raise unknown("term in scales.weights_from", name, names)
        finish = self.scales.finish.terms if self.scales.finish else []
        for name in finish:
            if name not in names:
                raise unknown("term in scales.finish", name, names)
        for term in (self.content, *self.style_terms.values()):
            if term.loss == "palette" and set(term.layers) != {PIXELS}:
                raise ValueError("palette compares colours: its layers are {pixels: 1}")
            if term.target_factor != 1 and term.loss not in (*GRAM_LOSSES, *CONTENT_DIFFERENCES):
                raise ValueError(f"target_factor: '{term.loss}' has no target that could be multiplied")
        return self

    @model_validator(mode="after")
    def _something_in_every_pass(self):
        if self.scales.finish:
            for finish in (False, True):
                now = self.at(0, finish=finish)
                if not (now.content.weight or now.has_style):
                    raise ValueError(f"scales.finish leaves nothing to minimise {'in' if finish else 'before'} it")
        return self

    @property
    def style_terms(self):
        """{column: term}: `style` and what `terms` adds."""
        return {"style": self.style, **{term.column: term for term in self.terms}}

    @property
    def has_style(self):
        """Some style term counts."""
        return any(term.weight for term in self.style_terms.values())

    @property
    def given_losses(self):
        """The names of losses that are functions given to these settings, which no other process knows."""
        return [each.loss for each in (self.content, *self.style_terms.values()) if each._given]

    @property
    def taps(self):
        """The layers that some term needs, `pixels` left out."""
        terms = (self.content, *self.style_terms.values())
        return list(dict.fromkeys(tap for term in terms for tap in term.layers if tap != PIXELS))

    def at(self, side, last=False, finish=False):
        """The settings at a long side in pixels: weights and learning rate multiplied as `scales` says.

        Args:
            side: the size at hand.
            last: that is the final size.
            finish: in the last pass.
        """
        scales = self.scales
        factors = {name: from_side(table, side, 1.0) for name, table in scales.weights_from.items()}

        def weighed(name, section):
            here = scales.finish is None or (name in scales.finish.terms) == finish
            return section.model_copy(update={"weight": section.weight * factors.get(name, 1.0) if here else 0.0})

        sections = {name: weighed(name, getattr(self, name)) for name in SECTIONS}
        terms = [weighed(term.column, term) for term in self.terms]
        factor = from_side(scales.rates_from, side, 1.0) * (scales.last_rate if last else 1.0)
        if factor != 1:
            arguments = {
                **self.optimizer.arguments,
                "learning_rate": self.optimizer.arguments["learning_rate"] * factor,
            }
            sections["optimizer"] = Optimizer(name=self.optimizer.name, **arguments)
        return self.model_copy(update={**sections, "terms": terms})


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
        overrides: {dotted key or short name: value}; see `kstyle.config.load`.

    Raises:
        UsageError: an unknown preset or key (with the nearest match), a wrong type, an impossible value.
    """
    overrides = {SHORT.get(key, key): value for key, value in (overrides or {}).items()}
    settings, _ = config.load("stylize", StyleSettings, preset, overrides, _terms_written_out)
    return settings


def _terms_written_out(settings):
    """What a loss alone, or a term without layers, stands for in `terms`: the layers are those of `style`."""
    terms, style = settings.get("terms"), settings.get("style")
    if not isinstance(terms, (list, tuple)) or not isinstance(style, Mapping):
        return settings
    layers = {"layers": style["layers"]} if "layers" in style else {}
    alone = [{"loss": term} if isinstance(term, str) or callable(term) else term for term in terms]
    return {**settings, "terms": [{**layers, **term} if isinstance(term, Mapping) else term for term in alone]}
