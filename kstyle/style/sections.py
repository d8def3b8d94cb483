"""The sections of a preset, typed and closed: what a file in configs/stylize/ may say of each."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from kstyle.config import Also, Closed, NotNegative, Positive, Switched, one_of
from kstyle.open_names import Names
from kstyle.style.losses.compared import Compared
from kstyle.style.losses.scalings import CONTENT, STYLE


class Network(Closed):
    """The network whose features are compared.

    Attributes:
        extractor: `vgg19`, `vgg16`, `squeezenet1.1`, one of them with `-torchvision` (those weights), or one that was
            registered (`kstyle.networks.register`).
        pool: what a pooling takes of its window: the largest value, the mean, or the root of the mean square.
        pool_factor: by what its result is multiplied.
        pool_edge: what becomes of a last window that the picture does not fill.
        first_padding: what the first convolution sees beyond the picture's edge: black, or the edge repeated.
        preprocessing: how pixels are prepared, `torch`, `caffe`, `tf` or `raw`; None: as the weights were trained.
    """

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


_BY_RULE = {
    "type": "object",
    "properties": {"from": {"type": "string"}, "to": {"type": "string"}, "ratio": {"exclusiveMinimum": 0}},
    "required": ["from", "to"],
    "additionalProperties": False,
}
Layers = Annotated[dict[str, NotNegative], BeforeValidator(_spread), Also(**_BY_RULE)]
Samples = Annotated[int, Field(ge=16, le=4096)]


class Content(Compared):
    """The content term, and what is done to the content picture before all else.

    Attributes:
        layers: {tap: weight}, or `{from: relu1_1, to: relu5_1, ratio: 0.25}`: one layer a block, each `ratio` times as
            heavy as the one before, in all 1.
        loss: how activations are compared. In Python also a function.
        weight: of the term; 0: without it.
        samples: positions that `self_similarity` compares.
        target_factor: by what the content's activations are multiplied, for the other losses.
        median: side in pixels of a median filter of the content picture; 1: none.
        towards_style: how far the content's colours move to the style's, see `kstyle.style.colour.modes.towards`.
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
        loss: what is compared, and how it is scaled. In Python also a function, as `kstyle.losses.register` takes it,
            with its `statistics` beside it if it has such.
        weight: of the term; 0: without it.
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

    Attributes:
        scale: the style picture's long side as a multiple of the result's.
        turned: show it by 90, 180 and 270 degrees too, so that more of it fits.
        resize: `fit` keeps its shape, `stretch` gives it the content's.
    """

    scale: Annotated[float, Field(ge=0.01, le=16)] = 1.0
    turned: bool = False
    resize: Literal["fit", "stretch"] = "fit"


class FurtherTerm(Term):
    """A style term beside `style`, whose layers it has if it names none. A loss alone may stand for it.

    Attributes:
        name: its column in the history; None: its loss.
    """

    short_forms = ({"type": "string"},)

    name: str | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core, handler):
        made = handler(core)
        del handler.resolve_ref_schema(made)["anyOf"][0]["required"]  # `settings.load` gives it the layers
        return made

    @property
    def column(self):
        return self.name or self.loss


class TotalVariation(Switched):
    """Total variation: how rough the picture is from pixel to pixel.

    Attributes:
        kind: its formula, `tv_…` of `kstyle.losses`.
        weight: of the term; 0: without it.
    """

    kind: Literal["squares", "half_squares", "absolute", "mean_squares", "power", "nine_point", "blur"] = "absolute"
    weight: NotNegative = 0.0


class Range(Switched):
    """How far the picture leaves [0, 1]: mean of what is below 0, and mean of what is above 1.

    Attributes:
        weight: of the term; 0: without it.
    """

    weight: NotNegative = 0.0


class Optimizer(Closed):
    """What changes the picture. Every key but `name`, `learning_rate` say, is an argument of that optimiser.

    Attributes:
        name: `lbfgs`, `torch-adam`, `torch-sgd`, `torch-rmsprop`, one of Keras' (`adam`, `sgd`, `rmsprop`, …), or one
            that was added. The name alone may stand for the section.
    """

    short_forms = ({"type": "string"},)

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
