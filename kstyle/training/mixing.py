"""What paints over pictures or blends two of them: cutout, mixup and cutmix. Pictures are (B, H, W, C) in [0, 1]."""


import math

import numpy as np
from keras import ops

CELLS = 4096


def beta_quantiles(alpha):
    """(CELLS + 1,) float64: x with P(X ≤ x) = 0 … 1/2, evenly spaced, for X of Beta(alpha, alpha).

    The backends share no generator of Beta numbers; the distribution is symmetric, so half a table turns uniform ones
    into it. Only in a cell at the end, 1 draw in 4096 on each side, is the straight line between entries a coarse one.
    """
    grid = np.linspace(0, 1, 200_001)
    if alpha < 1:
        # In v = x ** alpha, in which the density has no pole.
        top = 0.5**alpha
        x = (grid * top) ** (1 / alpha)
        density = (1 - x) ** (alpha - 1)
    else:
        x = grid / 2
        density = (4 * x * (1 - x)) ** (alpha - 1)
    mass = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return np.interp(np.linspace(0, 1, CELLS + 1), mass / mass[-1], x)


def draw_beta(random, batch, quantiles):
    """(B,) numbers of the distribution that `quantiles` describe."""
    place = random.uniform((batch,)) * (2 * CELLS)
    mirrored = place > CELLS
    place = ops.minimum(place, 2 * CELLS - place)
    cell = ops.minimum(ops.floor(place), CELLS - 1.0)
    number = ops.cast(cell, "int32")
    table = ops.convert_to_tensor(quantiles, "float32")
    low, high = ops.take(table, number, axis=0), ops.take(table, number + 1, axis=0)
    x = low + (high - low) * (place - cell)
    return ops.where(mirrored, 1 - x, x)


def _rectangle(top, left, bottom, right, height, width):
    """(B, H, W, 1) bool: the pixels from `top` and `left` up to, not with, `bottom` and `right`, each (B,)."""

    def span(start, end, length):
        numbers = ops.convert_to_tensor(np.arange(length, dtype="float32"))
        return ops.logical_and(numbers >= start[:, None], numbers < end[:, None])

    lines, columns = span(top, bottom, height), span(left, right, width)
    return ops.logical_and(lines[:, :, None, None], columns[:, None, :, None])


def build_cutout(settings):
    """None when cutout is off, otherwise `(images, random, strength) -> images`. `settings`: a `Cutout`."""
    if not settings.probability:
        return None

    def rectangle(random, batch, height, width, strength):
        if settings.size is not None:
            side = ops.floor(ops.convert_to_tensor(strength * settings.size, "float32") + 0.5)
            top = ops.floor(random.uniform((batch,)) * height) - ops.floor(side / 2)
            left = ops.floor(random.uniform((batch,)) * width) - ops.floor(side / 2)
            return top, left, top + side, left + side
        area = strength * random.uniform((batch,), *settings.area) * (height * width)
        ratio = ops.exp(random.uniform((batch,), *(math.log(r) for r in settings.ratio)))
        tall = ops.minimum(ops.round(ops.sqrt(area * ratio)), float(height))
        wide = ops.minimum(ops.round(ops.sqrt(area / ratio)), float(width))
        top = ops.floor(random.uniform((batch,)) * (height - tall + 1))
        left = ops.floor(random.uniform((batch,)) * (width - wide + 1))
        return top, left, top + tall, left + wide

    def erase(x, random, strength):
        batch, height, width, _ = x.shape
        top, left, bottom, right = rectangle(random, batch, height, width, strength)
        chosen = random.uniform((batch,)) < settings.probability * strength
        mask = _rectangle(top, left, ops.where(chosen, bottom, top), right, height, width)
        if settings.fill == "noise":
            paint = random.uniform(tuple(x.shape))
        elif settings.fill == "mean":
            paint = ops.mean(x, axis=(1, 2), keepdims=True)
        else:
            paint = ops.convert_to_tensor(settings.fill, "float32")
        return ops.where(mask, paint, x)

    return erase


def build_mix(settings):
    """None when neither mixup nor cutmix is on, otherwise `(images, targets, random, strength) -> (images, targets)`.

    `strength` multiplies both probabilities. `settings`: an `AugmentSettings`.
    """
    mixup, cutmix = settings.mixing
    if not (mixup or cutmix):
        return None
    shares = beta_quantiles(settings.mixup.alpha) if mixup else None
    areas = beta_quantiles(settings.cutmix.alpha) if cutmix else None

    def mix(images, targets, random, strength):
        batch, height, width, _ = images.shape
        partner = random.permutation(batch)
        others, other_targets = ops.take(images, partner, axis=0), ops.take(targets, partner, axis=0)
        # One number decides which of the two a picture gets.
        drawn = random.uniform((batch,))
        weight = ops.zeros((batch,))
        if mixup:
            chosen = ops.logical_and(drawn >= cutmix * strength, drawn < (cutmix + mixup) * strength)
            weight = ops.where(chosen, draw_beta(random, batch, shares), weight)
            blend = ops.reshape(weight, (-1, 1, 1, 1))
            images = _clip(images + (others - images) * blend)
        if cutmix:
            edges = _cutmix_box(random, batch, height, width, draw_beta(random, batch, areas))
            top, left, bottom, right = edges
            bottom = ops.where(drawn < cutmix * strength, bottom, top)
            images = ops.where(_rectangle(top, left, bottom, right, height, width), others, images)
            weight = weight + (bottom - top) * (right - left) / (height * width)
        weight = weight[:, None]
        return images, targets * (1 - weight) + other_targets * weight

    return mix


def _cutmix_box(random, batch, height, width, area):
    """Edges in whole pixels of a box of the picture's proportions whose share is `area` (B,), its centre uniform, cut
    off at the picture's edges as in the paper: the labels have to follow the box, not `area`."""
    side = ops.sqrt(area)

    def span(length):
        size = ops.floor(side * length)
        start = ops.floor(random.uniform((batch,)) * length) - ops.floor(size / 2)
        return ops.maximum(start, 0.0), ops.minimum(start + size, float(length))

    top, bottom = span(height)
    left, right = span(width)
    return top, left, bottom, right


def _clip(x):
    return ops.minimum(ops.maximum(x, 0.0), 1.0)


def erasing(settings):
    """Cutout and erasing of `AugmentSettings` as `erase(images, random, strength) -> images`, or None."""
    cut, rub = settings.cutout, settings.erasing
    steps = []
    if cut.size and cut.probability:
        steps.append((cutout, {"size": cut.size, "probability": cut.probability, "fill": cut.fill}))
    if rub.probability:
        steps.append((erase, dict(rub)))

    def run(images, random, strength):
        for fn, arguments in steps:
            images = fn(random, images, strength=strength, **arguments)
        return images

    return run if steps else None


def mixing(settings):
    """Mixup and cutmix of `AugmentSettings` as `blend(images, targets, random, strength) -> (images, targets)`, or
    None."""
    on = {name: getattr(settings, name) for name in ("mixup", "cutmix")}
    on = {name: (s.alpha, s.probability) for name, s in on.items() if s.alpha is not None and s.probability}

    def run(images, targets, random, strength):
        return mix(random, images, targets, strength=strength, **on)

    return run if on else None
