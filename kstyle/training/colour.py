"""Colour augmentation: what changes the values of pixels where they are. Pictures are (B, H, W, C) in [0, 1]."""


from keras import ops

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, with torchvision's digits

# RandAugment's operations and what magnitude 10 is; below, they are in proportion. Each is drawn equally often.
# Cubuk et al. 2019, with torchvision's ranges. Equalize, the fourteenth there, needs a histogram of each picture,
# which would cost more than the other thirteen together.
RANDAUGMENT = {
    "identity": "nothing",
    "rotate": "30 degrees, either way",
    "shear_x": "0.3 pixels sideways for each pixel of height, either way",
    "shear_y": "0.3 pixels up or down for each pixel of width",
    "translate_x": "150/331 of the width, either way",
    "translate_y": "150/331 of the height, either way",
    "brightness": "factor 0.1 or 1.9 of the values",
    "color": "factor 0.1 or 1.9 of the distance to the pixel's grey",
    "contrast": "factor 0.1 or 1.9 of the distance to the picture's mean grey",
    "sharpness": "factor 0.1 or 1.9 of the distance to a blurred picture; the rim of one pixel stays",
    "posterize": "4 of 8 bits remain",
    "solarize": "values above 0, that is all, inverted; at magnitude 0 those above 1, that is none",
    "autocontrast": "each channel stretched to [0, 1], at any magnitude",
}


def choose(settings, random, batch, strength):
    """RandAugment's draws.

    Args:
        settings: a `kstyle.training.augment.RandAugment`.

    Returns:
        For each step {operation: (B,) level}. At most one level of a picture is not 0: the one of the operation drawn,
        in [-1, 1], of random sign where it has two ways. With `strength` below 1 it may be none.
    """
    level = strength * (settings.magnitude / 10)
    steps = []
    for _ in range(settings.ops):
        drawn = random.integers((batch,), 0, len(RANDAUGMENT))
        active = ops.cast(random.uniform((batch,)) < strength, "float32")
        signed = active * level * (1 - 2 * ops.cast(random.uniform((batch,)) < 0.5, "float32"))
        levels = {}
        for number, name in enumerate(RANDAUGMENT):
            # These are on or off: their level is read where they are applied.
            size = active if name in ("posterize", "solarize", "autocontrast") else signed
            levels[name] = ops.cast(drawn == number, "float32") * size
        levels["level"] = level
        steps.append(levels)
    return steps


def _each(values):
    """(B,) as (B, 1, 1, 1)."""
    return ops.reshape(values, (-1, 1, 1, 1))


def _clip(x):
    return ops.minimum(ops.maximum(x, 0.0), 1.0)


def grey(x):
    """(B, H, W, 1): the brightness of each pixel."""
    if x.shape[-1] == 1:
        return x
    return sum(weight * x[..., i : i + 1] for i, weight in enumerate(GREY))


def _mean_grey(x):
    """(B, 1, 1, 1)."""
    return grey(ops.mean(x, axis=(1, 2), keepdims=True))


def adjust_brightness(x, factor):
    """The values times `factor` (B,)."""
    return ops.minimum(x * _each(factor), 1.0)


def adjust_contrast(x, factor):
    """The distance to the picture's mean grey times `factor` (B,)."""
    return _clip(x * _each(factor) + _each(1 - factor) * _mean_grey(x))


def adjust_saturation(x, factor):
    """The distance to each pixel's grey times `factor` (B,)."""
    if x.shape[-1] == 1:
        return x
    return _clip(x * _each(factor) + _each(1 - factor) * grey(x))


def adjust_hue(x, turn):
    """The hue turned by `turn` (B,), 1 the whole circle; lightness and saturation in HSV stay."""
    if x.shape[-1] == 1:
        return x
    red, green, blue = (x[..., i] for i in range(3))
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    per_chroma = 1 / ops.where(chroma > 0, chroma, ops.ones_like(chroma))
    sixth = ops.where(
        value == red,
        (green - blue) * per_chroma,
        ops.where(value == green, 2 + (blue - red) * per_chroma, 4 + (red - green) * per_chroma),
    )
    sixth = sixth + 6 * turn[:, None, None]

    def channel(start):
        k = sixth + start
        k = k - 6 * ops.floor(k * (1 / 6))
        return value - chroma * _clip(ops.minimum(k, 4 - k))

    turned = _clip(ops.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1))
    return ops.where(_each(turn) == 0, x, turned)


def shift_channels(x, amount):
    """`amount` (B,) added to all channels, within the picture's own lowest and highest value."""
    low, high = ops.min(x, axis=(1, 2, 3), keepdims=True), ops.max(x, axis=(1, 2, 3), keepdims=True)
    return ops.minimum(ops.maximum(x + _each(amount), low), high)


def to_grey(x, chosen):
    """The pictures for which `chosen` (B,) is true, with the same grey in all channels."""
    if x.shape[-1] == 1:
        return x
    return ops.where(_each(chosen), _clip(grey(x)), x)


def _blur_change(x):
    """What blurring adds to each pixel: PIL's SMOOTH filter, 5 in the middle and 1 around, except at the rim."""
    lines = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    block = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]
    change = block * (1 / 13) - x[:, 1:-1, 1:-1] * (9 / 13)
    return ops.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0)))


def apply(x, levels):
    """One step of RandAugment: the colour operations among `levels`, as `choose` returns them.

    Five of them are the picture, its grey, its blur and a constant in other proportions, so one sum serves all.
    """
    blends = {name: _each(0.9 * levels[name]) for name in ("brightness", "color", "contrast", "sharpness")}
    low, high = ops.min(x, axis=(1, 2), keepdims=True), ops.max(x, axis=(1, 2), keepdims=True)
    stretch = _each(levels["autocontrast"]) * ops.cast(high > low, "float32")
    span = stretch * (high - low) + (1 - stretch)
    gain = (1 + blends["brightness"] + blends["contrast"]) / span
    constant = -stretch * low / span - blends["contrast"] * _mean_grey(x)
    if x.shape[-1] == 3:
        gain = gain + blends["color"]
        mixed = x * gain + constant - blends["color"] * grey(x)
    else:
        mixed = x * gain + constant
    if min(x.shape[1:3]) > 2:
        mixed = mixed - blends["sharpness"] * _blur_change(x)
    mixed = _clip(mixed)

    grain = 2 ** ops.round(ops.convert_to_tensor(4 * levels["level"], "float32"))
    coarse = ops.floor(ops.round(mixed * 255) / grain) * (grain / 255)
    mixed = ops.where(_each(levels["posterize"]) > 0, coarse, mixed)
    threshold = 2 - _each(levels["solarize"]) * (1 + levels["level"])
    return ops.where(mixed > threshold, 1 - mixed, mixed)


def build(settings):
    """None when no colour is on, otherwise `(images, random, strength, chosen) -> images`."""
    brightness = settings.brightness or settings.brightness_range
    factors = [
        (adjust, interval)
        for adjust, interval in (
            (adjust_brightness, brightness),
            (adjust_contrast, settings.contrast),
            (adjust_saturation, settings.saturation),
        )
        if interval
    ]
    amount = settings.channel_shift_range
    amount = amount / 255 if amount > 1 else amount
    if not (factors or amount or settings.hue or settings.grayscale or settings.randaugment.ops):
        return None

    def paint(x, random, strength, chosen):
        batch = x.shape[0]
        for levels in chosen:
            x = apply(x, levels)
        if amount:
            x = shift_channels(x, strength * amount * random.uniform((batch,), -1.0, 1.0))
        for adjust, interval in factors:
            x = adjust(x, 1 + strength * (random.uniform((batch,), *interval) - 1))
        if settings.hue:
            x = adjust_hue(x, strength * random.uniform((batch,), *settings.hue))
        if settings.grayscale:
            x = to_grey(x, random.uniform((batch,)) < settings.grayscale * strength)
        return x

    return paint


def choose(random, draws, batch, magnitude, strength):
    """What RandAugment does to each sample: `draws` times `(choice (B,) int32, level 0-d, sign (B,))`.

    `level` is `magnitude` / 10 times `strength`, which is also the probability that a sample is touched at all.
    """
    chosen, level = [], strength * (magnitude / 10)
    for _ in range(draws):
        choice = random.integers((batch,), 0, len(RANDAUGMENT))
        choice = ops.where(random.uniform((batch,)) < strength, choice, 0)
        chosen.append((choice, level, 2.0 * ops.cast(random.uniform((batch,)) < 0.5, "float32") - 1.0))
    return chosen


def stage(settings):
    """The colours of `AugmentSettings` as `paint(images, random, strength, chosen) -> images`, or None."""
    spans = [(fn, getattr(settings, fn.__name__), 1.0) for fn in (brightness, contrast, saturation)]
    if settings.brightness_range != (1.0, 1.0):
        spans[0] = (brightness, settings.brightness_range, 1.0)
    spans.append((hue, settings.hue, 0.0))
    shift = settings.channel_shift_range
    shift = shift if shift <= 1 else shift / 255
    spans.append((lift, (-shift, shift), 0.0))
    spans = [(fn, span, rest) for fn, span, rest in spans if span != (rest, rest)]
    if not (spans or settings.grayscale or settings.randaugment.ops):
        return None

    def paint(images, random, strength, chosen):
        batch = images.shape[0]
        for fn, (low, high), rest in spans:
            drawn = random.uniform((batch, 1, 1, 1), low, high)
            images = fn(images, rest + strength * (drawn - rest))
        if settings.grayscale:
            images = choose_grey(images, random.uniform((batch, 1, 1, 1)) < settings.grayscale * strength)
        for choice, level, sign in chosen:
            images = randaugment(images, choice, level, sign)
        return images

    return paint
