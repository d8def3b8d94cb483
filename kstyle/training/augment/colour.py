"""Colour of batches of pictures (B, H, W, C) float32 in [0, 1], C of 1 or 3; one amount a sample, (B, 1, 1, 1).

Meanings and units are torchvision's (`torchvision.transforms.v2.functional`), whose results are clipped to [0, 1] after
each function, as here. An amount that changes nothing (factor 1, hue 0) gives back the same bits.
"""

import numpy as np
from keras import ops

from kstyle import backend

# RandAugment's operations (Cubuk et al. 2019) but for equalize, which needs a histogram of each picture; then those of
# other policies.
RANDAUGMENT = (
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "brightness", "contrast", "colour",
    "sharpness", "posterize", "solarize", "autocontrast",
)  # fmt: skip
OPERATIONS = (*RANDAUGMENT, "equalize", "invert")


def grey(x):
    """(B, H, W, 1): ITU-R 601 luma, 0.2989 R + 0.587 G + 0.114 B; a picture of one channel is its own."""
    if x.shape[-1] == 1:
        return x
    return 0.2989 * x[..., 0:1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:3]


def brightness(x, factor):
    """0 is black, 1 the picture."""
    return ops.clip(x * factor, 0.0, 1.0)


def contrast(x, factor):
    """0 is the mean grey of the picture, 1 the picture."""
    mean = grey(ops.mean(x, axis=(1, 2), keepdims=True))
    return ops.clip(x * factor + mean * (1.0 - factor), 0.0, 1.0)


def saturation(x, factor):
    """0 is the grey picture, 1 the picture. One channel has none."""
    if x.shape[-1] == 1:
        return x
    return ops.clip(x * factor + grey(x) * (1.0 - factor), 0.0, 1.0)


def hue(x, turn):
    """Hue moved by `turn`, a fraction of the circle (0.5: opposite colours), in HSV. One channel has none."""
    if x.shape[-1] == 1:
        return x
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    value = ops.maximum(ops.maximum(r, g), b)
    chroma = value - ops.minimum(ops.minimum(r, g), b)
    scale = 1.0 / ops.where(chroma > 0.0, chroma, 1.0)
    green_or_blue = ops.where(value == g, (b - r) * scale + 2.0, (r - g) * scale + 4.0)
    sixth = ops.where(value == r, (g - b) * scale, green_or_blue) + turn[..., 0] * 6.0

    def channel(n):
        k = sixth + n
        k = k - 6.0 * ops.floor(k * (1 / 6))
        return value - chroma * ops.clip(ops.minimum(k, 4.0 - k), 0.0, 1.0)

    # The way to HSV and back rounds; a picture whose hue stays is to stay itself.
    return ops.where(turn == 0.0, x, ops.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1))


def choose_grey(x, chosen):
    """The grey picture where `chosen` (B, 1, 1, 1) bool. One channel is grey already."""
    return x if x.shape[-1] == 1 else ops.where(chosen, grey(x), x)


def lift(x, amount):
    """`amount` is added to every channel, within the picture's own lowest and highest value, as Keras had it."""
    low, high = ops.min(x, axis=(1, 2, 3), keepdims=True), ops.max(x, axis=(1, 2, 3), keepdims=True)
    return ops.minimum(ops.maximum(x + amount, low), high)


def _smoothing(x):
    """What PIL's 3×3 smoothing (1 1 1 / 1 5 1 / 1 1 1, over 13) adds to each pixel; 0 on the rim."""
    if min(x.shape[1:3]) < 3:
        return ops.zeros_like(x)
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return ops.pad(box * (1 / 13) - x[:, 1:-1, 1:-1] * (9 / 13), ((0, 0), (1, 1), (1, 1), (0, 0)))


def equalize(x):
    """Each channel's histogram made flat, in bytes and by Pillow's rule (`ImageOps.equalize`)."""
    batch, height, width, channels = x.shape
    flat = ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (batch * channels, height * width))
    flat = ops.cast(ops.floor(flat * 255.0 + 0.5), "int32")
    where = ops.reshape(flat + backend.constant(256 * np.arange(batch * channels)[:, None], "int32"), (-1,))
    counts = ops.reshape(backend.tally(where, batch * channels * 256), (-1, 256))
    brightest = ops.take_along_axis(counts, ops.max(flat, axis=1, keepdims=True), axis=1)
    step = ops.floor((height * width - brightest) / 255.0)
    table = ops.floor((ops.cumsum(counts, axis=1) - counts + ops.floor(step / 2.0)) / ops.maximum(step, 1.0))
    table = ops.where(step > 0.0, ops.minimum(table, 255.0), backend.constant(np.arange(256)[None]))
    found = backend.take(ops.reshape(table, (-1,)), where) / 255.0
    return ops.transpose(ops.reshape(found, (batch, channels, height, width)), (0, 2, 3, 1))


def randaugment(x, choice, level, sign, factor=0.9, bits=4.0, others=False):
    """One of the policies' colour operations on each sample; the geometric ones change nothing here.

    Brightness, contrast, colour (saturation) and sharpness have factor 1 ± 0.9 level; posterize drops round(4 level)
    of 8 bits; solarize inverts what is at least 1 - level; autocontrast stretches each channel to [0, 1]. What is
    linear in the picture is one expression, with the coefficients of the operation that was chosen.

    Args:
        choice: (B,) int32 index in `OPERATIONS`.
        level: 0-d or (B,), in [0, 1].
        sign: (B,) float32, -1 or 1.
        factor, bits: in place of 0.9 and 4.
        others: whether operations that are not RandAugment's may be among them.
    """
    choice, level = ops.reshape(choice, (-1, 1, 1, 1)), ops.reshape(level, (-1, 1, 1, 1))
    amount = ops.reshape(sign, (-1, 1, 1, 1)) * (factor * level)

    def chosen(name):
        return choice == OPERATIONS.index(name)

    bright, contrasty, colour, sharp = (
        ops.where(chosen(name), amount, 0.0) for name in ("brightness", "contrast", "colour", "sharpness")
    )
    low, high = ops.min(x, axis=(1, 2), keepdims=True), ops.max(x, axis=(1, 2), keepdims=True)
    stretched = ops.logical_and(chosen("autocontrast"), high > low)
    stretch = 1.0 / ops.where(stretched, high - low, 1.0)
    offset = -contrasty * grey(ops.mean(x, axis=(1, 2), keepdims=True)) - ops.where(stretched, low * stretch, 0.0)
    y = x * (stretch + bright + contrasty) + offset - sharp * _smoothing(x)
    if x.shape[-1] == 3:
        y = y + colour * (x - grey(x))
    y = ops.clip(y, 0.0, 1.0)
    step = 2.0 ** ops.round(bits * level)
    posterized = ops.floor(ops.floor(x * 255.0 + 0.5) / step) * (step / 255.0)
    y = ops.where(chosen("posterize"), posterized, y)
    y = ops.where(ops.logical_and(chosen("solarize"), x >= 1.0 - level), 1.0 - x, y)
    if others:
        y = ops.where(chosen("equalize"), equalize(x), ops.where(chosen("invert"), 1.0 - x, y))
    # TensorFlow's graphs rearrange the expression above, and then a factor of 1 rounds.
    return ops.where(chosen("identity"), x, y)


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
    if not (spans or settings.grayscale or settings.draws):
        return None

    def paint(images, random, strength, chosen):
        batch = images.shape[0]
        for fn, (low, high), rest in spans:
            drawn = random.uniform((batch, 1, 1, 1), low, high)
            images = fn(images, rest + strength * (drawn - rest))
        if settings.grayscale:
            images = choose_grey(images, random.uniform((batch, 1, 1, 1)) < settings.grayscale * strength)
        others = not settings.randaugment.ops
        for choice, level, sign, reach in chosen:
            images = randaugment(images, choice, level, sign, reach.colour, reach.bits, others)
        return images

    return paint
