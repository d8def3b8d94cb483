"""The settings of a style transfer, typed and closed: what a preset file in configs/stylize may say."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kstyle import config
from kstyle.config import Closed, FilePath, Positive, one_of
from kstyle.errors import unknown
from kstyle.style.colour.modes import MODES
from kstyle.style.losses.scalings import CONTENT_DIFFERENCES, GRAM_LOSSES, PIXELS
from kstyle.style.passes.size_plan import Plateau, Scales, from_side
from kstyle.style.sections import Content, FurtherTerm, Network, Optimizer, Range, Style, TotalVariation

# What is weighed beside `terms`, and its column in the history.
SECTIONS = ("content", "style", "tv", "range")


class StyleSettings(Closed):
    """A preset. Every key may be overridden with `--set` or a keyword of `kstyle.stylize`.

    Attributes:
        description: what `kstyle presets` says of it.
        network: which network looks at the pictures.
        content: the content term.
        style: the first style term.
        tv: total variation.
        range: what leaves the colours that there are.
        space: units in which the picture is optimised: 0 to 1, 0 to 255, 0 to 256, or about ImageNet's mean and in its
            deviations.
        clamp: lowest and highest value, in units of `space`, enforced after each step; None: only the finished
            picture is clipped.
        clamp_until: number of steps after which the clamp is lifted; None: never.
        colour: whose colours the result has.
        init: `content`, `noise`, `style`, `detail` or the path of a picture. `detail`: the finest level of the
            content's Laplacian pyramid on the style's mean colour, and again added wherever the picture grows but at
            the final size.
        noise: standard deviation, in byte units, of normal noise around ImageNet's mean colour (`init: noise`).
        terms: style terms beside `style`.
        optimizer: what changes the picture.
        scales: the sizes it passes through.
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
