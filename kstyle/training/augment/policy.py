"""Random augmentation of whole batches: the settings a recipe may have, and the function they make.

The settings need no framework; `build` does.
"""

import math
import numbers
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from kstyle.config import Also, Closed, Switched
from kstyle.errors import unknown
from kstyle.open_names import Names

# Keywords of ImageDataGenerator that change the values of pixels for good, which is not augmentation.
_NORMALISATION = (
    "rescale", "featurewise_center", "featurewise_std_normalization", "samplewise_center",
    "samplewise_std_normalization", "zca_whitening",
)  # fmt: skip
# Its other keywords. Posts that list every default have them too, as False, None or 0, which asks for nothing.
_ELSEWHERE = ("preprocessing_function", "data_format", "validation_split", "interpolation_order", "dtype")

# What says the same thing twice.
_ALTERNATIVES = (
    ("shift", "width_shift_range"), ("shift", "height_shift_range"), ("rotation", "rotation_range"),
    ("zoom", "zoom_range"), ("shear", "shear_range"), ("brightness", "brightness_range"),
)  # fmt: skip


def _number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _span(value, around, low, high, what):
    """`value`, or `around - value` to `around + value`, as `(low, high)` within `[low, high]`."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_number, value)):
        span = tuple(map(float, value))
    elif _number(value) and value >= 0:
        span = (max(around - value, low), float(around + value))
    else:
        raise ValueError(f"expected {what}, or [lowest, highest]; got {value!r}")
    if not low <= span[0] <= span[1] <= high:
        raise ValueError(f"expected {what}, or [lowest, highest] from {low:g} to {high:g}; got {value!r}")
    return span


def _factor(value):
    """A factor around 1: b means [max(0, 1 - b), 1 + b]."""
    return _span(value, 1, 0, math.inf, "a number of at least 0")


def _zoom(value):
    what = "a number from 0 up to but without 1"
    if _number(value) and value >= 1:
        raise ValueError(f"expected {what}, or [lowest, highest] factor; got {value!r}")
    return _span(value, 1, 0.01, 100, what)


def _degrees(limit):
    """A pair of degrees, or one number for both ways."""
    check = BeforeValidator(lambda v: _span(v, 0, -limit, limit, f"degrees from 0 to {limit:g}"))
    return Annotated[Pair, check, Also(type="number", minimum=0, maximum=limit)]


def _fractions(value):
    pair = value if isinstance(value, (list, tuple)) else [value, value]
    if len(pair) != 2 or not all(_number(v) and 0 <= v < 1 for v in pair):
        raise ValueError(
            f"expected a fraction of the picture from 0 up to but without 1, or [width, height]; got {value!r}"
        )
    return tuple(map(float, pair))


def _chance(value):
    """True is an even chance."""
    return 0.5 if value is True else 0.0 if value is False or value is None else value


def _fill(value):
    if value != "noise" and not (_number(value) and 0 <= value <= 1):
        raise ValueError(f"expected a value from 0 to 1 or 'noise'; got {value!r}")
    return value


Off = (0.0, 0.0)
Same = (1.0, 1.0)
Pair = tuple[float, float]
Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Flip = Annotated[Chance, BeforeValidator(_chance), Also(type="boolean")]
Factor = Annotated[Pair, BeforeValidator(_factor), Also(type="number", minimum=0)]
Zoom = Annotated[Pair, BeforeValidator(_zoom), Also(type="number", minimum=0, exclusiveMaximum=1)]
Shift = Annotated[Pair, BeforeValidator(_fractions), Also(type="number", minimum=0, exclusiveMaximum=1)]
Hue = Annotated[
    Pair,
    BeforeValidator(lambda v: _span(v, 0, -0.5, 0.5, "a fraction from 0 to 0.5")),
    Also(type="number", minimum=0, maximum=0.5),
]
Number = Also(type="number")  # beside a section
Level = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Alpha = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Pixels = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fill = Annotated[Level | Literal["noise"], BeforeValidator(_fill)]


def _ascending(high, what):
    def check(value):
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_number, value))
        if not (pair and 0 < value[0] <= value[1] <= high):
            raise ValueError(f"expected [lowest, highest] {what}; got {value!r}")
        return tuple(map(float, value))

    return BeforeValidator(check)


class ResizedCrop(Closed):
    """A part of the picture, of random size and shape, brought to the picture's size; `true`: of [0.08, 1] of the area.

    Attributes:
        scale: lowest and highest part of the picture's area; None: off.
        ratio: lowest and highest ratio of width to height.
    """

    scale: Annotated[Pair, _ascending(1, "part of the area, above 0 and at most 1")] | None = None
    ratio: Annotated[Pair, _ascending(math.inf, "ratio, above 0")] = (3 / 4, 4 / 3)


class Cutout(Closed):
    """A square is filled; the size alone may stand for it.

    Attributes:
        size: side in pixels; 0: off.
        probability: that a picture has one.
        fill: a value in [0, 1] or `noise`.
    """

    size: Annotated[int, Field(ge=0)] = 0
    probability: Chance = 1.0
    fill: Fill = 0.0


class Erasing(Closed):
    """A rectangle is filled; the probability alone may stand for it.

    Attributes:
        probability: that a picture has one; 0: off.
        area: lowest and highest part of the picture.
        ratio: lowest and highest ratio of height to width.
        fill: a value in [0, 1] or `noise`.
    """

    probability: Chance = 0.0
    area: Annotated[Pair, _ascending(1, "part of the area, above 0 and at most 1")] = (0.02, 0.33)
    ratio: Annotated[Pair, _ascending(math.inf, "ratio, above 0")] = (0.3, 3.3)
    fill: Fill = 0.0


class Mix(Closed):
    """Two pictures and their labels become one; alpha alone may stand for it.

    Attributes:
        alpha: of the distribution Beta(alpha, alpha) of their shares; None: off.
        probability: that a sample is mixed at all.
    """

    alpha: Alpha | None = None
    probability: Chance = 1.0


class RandAugment(Closed):
    """RandAugment (Cubuk et al. 2019, arXiv 1909.13719); the operations alone may stand for it.

    Attributes:
        ops: operations a sample; 0: off.
        magnitude: on the paper's scale.
    """

    ops: Annotated[int, Field(ge=0, le=10)] = 0
    magnitude: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 9.0


class AugmentSettings(Switched):
    """Random changes of training pictures, drawn anew for each picture of each batch. All are off by default.

    Where a number and a pair are possible, the pair is the lowest and highest value. Every range is drawn from
    uniformly. What moves pixels comes first, in one interpolation; then colour; then erasing; then mixing. In each
    group the order is that of this list.

    Attributes:
        random_resized_crop: `{scale: [0.08, 1], ratio: [0.75, 1.333]}`, parts of the area and width / height; a crop of
            that kind is resampled to the picture's size. `true`: those values.
        horizontal_flip, vertical_flip: probability; `true`: 0.5.
        zoom: factor of the picture's size, above 1 magnifies; z: [1 - z, 1 + z].
        shear: degrees by which upright lines lean, below 90; s: [-s, s].
        rotation: degrees, counter-clockwise; r: [-r, r].
        randaugment: `{ops: 2, magnitude: 9}`, or the number alone; operations of `colour.RANDAUGMENT`: rotation
            up to 30°, shears up to 0.3, translations up to 0.45 of the side, colours as in `colour.randaugment`. The
            geometric ones act here, the colour ones after grayscale.
        autoaugment: `imagenet`, `cifar10` or `svhn`: a pair of operations of that policy for each sample (arXiv
            1805.09501), in place of randaugment, and where it acts.
        trivialaugment: `true`: one operation at one level, both drawn (arXiv 2103.10158, the wide space: rotation up to
            135°, translations up to 32 pixels), likewise.
        shift: fraction of width and height, below 1, real-valued; f: [-f, f] for both; [w, h]: each its own.
        pad_crop: whole pixels; the picture moves by -p to p each way, as if padded by p and cropped.
        brightness, contrast, saturation: factors; b: [1 - b, 1 + b], not below 0.
        hue: fraction of the circle, at most 0.5; h: [-h, h].
        grayscale: probability.
        cutout: `{size, probability, fill}`, pixels; or the size alone.
        erasing: `{probability, area, ratio, fill}`; or the probability alone.
        mixup, cutmix: `{alpha, probability}`; or alpha alone. With both, a sample has an even chance of either.
        own: {name: arguments} of augmentations that were registered (`kstyle.augmentations.register`).
        fill_mode: how a picture goes on beyond its edges: `constant`, `nearest`, or `reflect` (mirrored, edge pixel
            repeated). None: `constant`, with the keywords below (`…_range`) `nearest`, as ImageDataGenerator has it.
            With flips and `pad_crop` alone, pixels move whole and are not interpolated.
        cval: value of `constant`, in [0, 1].
        rotation_range, shear_range: degrees; these and the following are ImageDataGenerator's, with its meanings.
        width_shift_range, height_shift_range: below 1 a fraction, else pixels.
        zoom_range: factor of the part that is seen, so above 1 makes things smaller; each axis its own.
        brightness_range: [lowest, highest] factor.
        channel_shift_range: added to all channels; up to 1 in units of [0, 1], above that of [0, 255].
    """

    truth_is_a_number: ClassVar[bool] = True

    random_resized_crop: Annotated[ResizedCrop, Also(type="boolean")] = ResizedCrop()
    horizontal_flip: Flip = 0.0
    vertical_flip: Flip = 0.0
    zoom: Zoom = Same
    shear: _degrees(89) = Off
    rotation: _degrees(360) = Off
    randaugment: Annotated[RandAugment, Number] = RandAugment()
    autoaugment: Literal["imagenet", "cifar10", "svhn"] | None = None
    trivialaugment: bool = False
    shift: Shift = Off
    pad_crop: Annotated[int, Field(ge=0)] = 0
    brightness: Factor = Same
    contrast: Factor = Same
    saturation: Factor = Same
    hue: Hue = Off
    grayscale: Chance = 0.0
    cutout: Annotated[Cutout, Number] = Cutout()
    erasing: Annotated[Erasing, Number] = Erasing()
    mixup: Annotated[Mix, Number] = Mix()
    cutmix: Annotated[Mix, Number] = Mix()
    own: dict[str, dict[str, Any]] = Field(default={})
    fill_mode: Literal["constant", "nearest", "reflect"] | None = None
    cval: Level = 0.0

    rotation_range: _degrees(360) = Off
    width_shift_range: Pixels = 0.0
    height_shift_range: Pixels = 0.0
    brightness_range: Factor = Same
    shear_range: _degrees(89) = Off
    zoom_range: Zoom = Same
    channel_shift_range: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _old_posts(cls, values):
        if not isinstance(values, dict):
            return values
        for key in _NORMALISATION:
            if values.get(key):
                raise ValueError(f"{key} is no augmentation: normalise pictures under data.normalize")
        unasked = {k for k in (*_NORMALISATION, *_ELSEWHERE) if k in values and not values[k]}
        # Nothing that is None asks for anything: `brightness_range=None` stands in many posts.
        return {k: v for k, v in values.items() if k not in unasked and k != "zca_epsilon" and v is not None}

    @model_validator(mode="after")
    def _once(self):
        for one, other in _ALTERNATIVES:
            if {one, other} <= self.model_fields_set:
                raise ValueError(f"{one} and {other} say the same thing: keep one of them")
        if bool(self.randaugment.ops) + bool(self.autoaugment) + self.trivialaugment > 1:
            raise ValueError("randaugment, autoaugment and trivialaugment exclude each other: keep one of them")
        return self

    @property
    def draws(self):
        """Whether operations are drawn by a published policy."""
        return bool(self.randaugment.ops or self.autoaugment or self.trivialaugment)

    @field_validator("own", mode="before")
    @classmethod
    def _registered(cls, value):
        value = {name: {} if arguments is None else arguments for name, arguments in dict(value or {}).items()}
        for name in value:
            if name not in NAMES.own:
                raise unknown("augmentation of your own", name, NAMES.own)
        return value

    @field_validator("random_resized_crop", mode="before")
    @classmethod
    def _default_crop(cls, value):
        if value is False:
            return {}
        value = {} if value is True else value
        return {"scale": (0.08, 1.0), **value} if isinstance(value, dict) else value

    @field_validator("cutout", "erasing", "mixup", "cutmix", "randaugment", mode="before")
    @classmethod
    def _short(cls, value, info):
        key = {"cutout": "size", "erasing": "probability", "randaugment": "ops"}.get(info.field_name, "alpha")
        return {key: value} if _number(value) else value


# What users add (`kstyle.augmentations.register`): {name: function}; none has the name of a setting.
NAMES = Names("augmentation", AugmentSettings.model_fields)


def build(settings):
    """The function that augments a batch, or None where `settings` ask for nothing.

    Args:
        settings: an `AugmentSettings`.

    Returns:
        `augment(images, targets, random, strength=1.0, mix=1.0, boxes=None) -> (images, targets, boxes)`:
            images: (B, H, W, C) float32 in [0, 1], C of 1 or 3; the same out.
            targets: (B, K) float32, rows that sum to 1; the same out.
            random: a `kstyle.backend.Random`, the only source of chance.
            strength: 0 to 1, a number or a 0-d tensor; multiplies every magnitude and every probability. 0 gives back
                the same bits.
            mix: likewise, for the probabilities of mixup and cutmix alone.
            boxes: None, or (B, 4) float32 x0 y0 x1 y1 in pixels, that move with what they enclose: the upright hull,
                clipped to [0, W] x [0, H]. Erasing and mixing leave them alone.
    """
    from kstyle import backend  # noqa: F401, I001  # it settles what Keras runs on
    from keras import ops

    from kstyle.training.augment import colour, geometry, mixing, policies

    stages = geometry.stage(settings), colour.stage(settings), mixing.erasing(settings), mixing.mixing(settings)
    move, paint, erase, blend = stages
    own = [(NAMES.own[name], arguments) for name, arguments in settings.own.items()]
    if not any((*stages, own)):
        return None
    choose = policies.choosing(settings)

    def augment(images, targets, random, strength=1.0, mix=1.0, boxes=None):
        strength, mix = (ops.cast(ops.convert_to_tensor(v), "float32") for v in (strength, mix))
        chosen = choose(random, images.shape[0], strength) if choose else []
        if move:
            images, boxes = move(images, boxes, random, strength, chosen)
        if paint:
            images = paint(images, random, strength, chosen)
        for function, arguments in own:
            images = ops.clip(function(images, random, strength, **arguments), 0.0, 1.0)
        if erase:
            images = erase(images, random, strength)
        if blend:
            images, targets = blend(images, targets, random, strength * mix)
        return images, targets, boxes

    return augment
