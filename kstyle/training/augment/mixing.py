"""Rectangles erased from pictures (cutout, random erasing), and pictures mixed with others (mixup, cutmix)."""

import math

import numpy as np
from keras import ops

from kstyle import backend


def beta(random, alpha, shape):
    """Numbers of the distribution Beta(alpha, alpha), without rejection.

    With Student's t of 2 alpha degrees of freedom by the polar method (Bailey 1994), (1 + t / sqrt(2 alpha + t²)) / 2
    (Devroye 1996, "Random variate generation in one line of code").
    """
    u, angle = random.uniform(shape), random.uniform(shape) * (2 * math.pi)
    # The bounds keep both factors finite: their product is then a number.
    square = ops.minimum(ops.expm1(-ops.log(ops.maximum(u, 1e-30)) / alpha), 1e30)
    cos = ops.cos(angle)
    square = square * cos * cos
    return 0.5 + 0.5 * ops.sign(cos) * ops.sqrt(square / (1.0 + square))


def _between(length, low, high):
    """(B, length) float32: 1 for pixels from `low` (B,) up to but without `high` (B,)."""
    at = backend.constant(np.arange(length))
    return ops.cast(ops.logical_and(at >= low[:, None], at < high[:, None]), "float32")


def _rectangle(random, batch, height, width, h, w, *, clipped):
    """Rectangles of whole pixels, as two masks: rows (B, H) and columns (B, W) float32.

    Args:
        h, w: (B,) or 0-d, sides in pixels, whole numbers.
        clipped: the centre is any pixel, and what lies outside is lost; if not, all of it lies inside.
    """
    u, v = random.uniform((batch,)), random.uniform((batch,))
    if clipped:
        top, left = ops.floor(u * height) - ops.floor(h / 2), ops.floor(v * width) - ops.floor(w / 2)
    else:
        top, left = ops.floor(u * (height - h + 1.0)), ops.floor(v * (width - w + 1.0))
    return _between(height, top, top + h), _between(width, left, left + w)


def _erase(random, images, rows, columns, happens, fill):
    mask = (rows * ops.cast(happens, "float32")[:, None])[:, :, None, None] * columns[:, None, :, None]
    if fill == "noise":
        fill = random.uniform(tuple(images.shape))
    return ops.where(mask > 0.0, fill, images)


def cutout(random, images, *, size, probability, fill, strength):
    """A square of `size` pixels is set to `fill`; its centre is any pixel, so that part of it may lie outside.

    DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".
    """
    batch, height, width, _ = images.shape
    side = ops.floor(size * strength + 0.5)
    rows, columns = _rectangle(random, batch, height, width, side, side, clipped=True)
    return _erase(random, images, rows, columns, random.uniform((batch,)) < probability * strength, fill)


def erase(random, images, *, area, ratio, probability, fill, strength):
    """A rectangle inside the picture is set to `fill`.

    Zhong et al. 2017, "Random Erasing Data Augmentation": area uniform on `area` (fraction of the picture), height /
    width log-uniform on `ratio` as in torchvision. A side that would be longer than the picture is the picture's.
    """
    batch, height, width, _ = images.shape
    pixels = random.uniform((batch,), *area) * strength * (height * width)
    ratio = ops.exp(random.uniform((batch,), math.log(ratio[0]), math.log(ratio[1])))
    h = ops.minimum(ops.round(ops.sqrt(pixels * ratio)), height * 1.0)
    w = ops.minimum(ops.round(ops.sqrt(pixels / ratio)), width * 1.0)
    rows, columns = _rectangle(random, batch, height, width, h, w, clipped=False)
    return _erase(random, images, rows, columns, random.uniform((batch,)) < probability * strength, fill)


def mix(random, images, targets, *, mixup=None, cutmix=None, strength):
    """Mixes each sample with another of the batch, pictures and labels alike.

    mixup (Zhang et al. 2017): lam x + (1 - lam) x', lam of Beta(alpha, alpha). cutmix (Yun et al. 2019): a rectangle of
    about 1 - lam of the area, clipped at the edges, comes from the other picture; the labels have the weight of the
    pixels that it really holds. Each sample has its own lam. With both, a sample has an even chance of either.

    Args:
        images: (B, H, W, C); targets: (B, K), rows that sum to 1.
        mixup, cutmix: `(alpha, probability)` or None.
        strength: multiplies the probabilities.

    Returns:
        `(images, targets)` of the same shapes.
    """
    batch, height, width, channels = images.shape
    partner = random.permutation(batch)
    happens, which = random.uniform((batch,)), random.uniform((batch,))
    share, keep = ops.ones((batch,)), 1.0  # of the sample itself: in its label, in each of its pixels
    if mixup:
        alpha, probability = mixup
        chosen = happens < probability * strength
        if cutmix:
            chosen = ops.logical_and(chosen, which < 0.5)
        share = ops.where(chosen, beta(random, alpha, (batch,)), 1.0)
        keep = ops.reshape(share, (batch, 1, 1, 1))
    if cutmix:
        alpha, probability = cutmix
        chosen = happens < probability * strength
        if mixup:
            chosen = ops.logical_and(chosen, which >= 0.5)
        side = ops.sqrt(1.0 - beta(random, alpha, (batch,))) * ops.cast(chosen, "float32")
        h, w = ops.floor(height * side), ops.floor(width * side)
        rows, columns = _rectangle(random, batch, height, width, h, w, clipped=True)
        share = share - ops.sum(rows, axis=1) * ops.sum(columns, axis=1) / (height * width)
        keep = keep - rows[:, :, None, None] * columns[:, None, :, None]
    others = ops.take(ops.reshape(images, (batch, height * width * channels)), partner, axis=0)
    mixed = images * keep + ops.reshape(others, images.shape) * (1.0 - keep)
    share = share[:, None]
    targets = targets * share + ops.take(targets, partner, axis=0) * (1.0 - share)
    return ops.minimum(mixed, 1.0), targets


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
