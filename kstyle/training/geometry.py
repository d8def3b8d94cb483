"""Geometric augmentation: one map of the plane for each picture, one look-up for the batch.

Positions are in pixels from the picture's centre, x to the right and y down; the edges lie at ±W/2 and ±H/2.
"""


import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops


class Map(NamedTuple):
    """Where each picture's new pixels come from: (a·u + b·v + x, c·u + d·v + y) for the pixel at (u, v).

    Each entry is a tensor (B,). The steps below take a map and return the map of a picture that is moved once more.
    """

    a: Any
    b: Any
    c: Any
    d: Any
    x: Any
    y: Any


def identity(batch):
    one, zero = ops.ones((batch,)), ops.zeros((batch,))
    return Map(one, zero, zero, one, zero, zero)


def scaled(m, x, y):
    """Magnified by 1 / x and 1 / y; negative: mirrored."""
    return Map(m.a * x, m.b * y, m.c * x, m.d * y, m.x, m.y)


def sheared(m, slope):
    """What lies v below the centre slides to the right by slope · v."""
    return Map(m.a, m.b - m.a * slope, m.c, m.d - m.c * slope, m.x, m.y)


def rotated(m, radians):
    """Counter-clockwise, as seen."""
    cos, sin = ops.cos(radians), ops.sin(radians)
    return Map(m.a * cos + m.b * sin, m.b * cos - m.a * sin, m.c * cos + m.d * sin, m.d * cos - m.c * sin, m.x, m.y)


def shifted(m, x, y):
    """To the right by x and down by y, in pixels."""
    return Map(m.a, m.b, m.c, m.d, m.x - m.a * x - m.b * y, m.y - m.c * x - m.d * y)


def _randaugmented(m, levels, height, width):
    """One step of RandAugment. At most one level of a picture is not zero, so the matrices of the others are the
    identity and their sum, less what they share, is their product."""
    angle = levels["rotate"] * math.radians(30)
    cos, sin = ops.cos(angle), ops.sin(angle)
    b, c = -sin - 0.3 * levels["shear_x"], sin - 0.3 * levels["shear_y"]
    m = Map(m.a * cos + m.b * c, m.a * b + m.b * cos, m.c * cos + m.d * c, m.c * b + m.d * cos, m.x, m.y)
    return shifted(m, levels["translate_x"] * (width * 150 / 331), levels["translate_y"] * (height * 150 / 331))


def _cropped(crop, random, batch, height, width, strength):
    """`crop`: a `RandomResizedCrop`. The area is exactly what was drawn: the ratio gives way where it does not fit."""
    chosen = _chance(random, batch, crop.probability, strength)
    strength = chosen * strength
    area = 1 - strength * (1 - random.uniform((batch,), *crop.scale))
    # Of the picture's own proportions, so that a strength of 0 is the whole picture.
    low, high = (math.log(r * height / width) for r in crop.ratio)
    most = -ops.log(area)
    ratio = ops.minimum(ops.maximum(strength * random.uniform((batch,), low, high), -most), most)
    side = ops.sqrt(area)
    w, h = ops.minimum(side * ops.exp(0.5 * ratio), 1.0), ops.minimum(side * ops.exp(-0.5 * ratio), 1.0)
    m = scaled(identity(batch), w, h)
    x = random.uniform((batch,), -0.5, 0.5) * (1 - w) * width
    return m._replace(x=x, y=random.uniform((batch,), -0.5, 0.5) * (1 - h) * height)


def _chance(random, batch, probability, strength):
    """(B,) of 1 with `probability` × `strength`, else 0."""
    return ops.cast(random.uniform((batch,)) < probability * strength, "float32")


def _whole_offset(random, batch, pixels, strength):
    """(B,): every whole number from -n to n equally often, n the rounded `pixels` × `strength`."""
    most = ops.floor(ops.convert_to_tensor(pixels * strength, "float32") + 0.5)
    drawn = ops.floor(random.uniform((batch,)) * (2 * most + 1))
    return ops.minimum(drawn, 2 * most) - most  # the product may round up to the end of the interval


def draw(settings, random, batch, height, width, strength, chosen=()):
    """The map of each picture of a batch. `chosen`: RandAugment's steps, from `kstyle.training.colour.choose`."""
    if settings.random_resized_crop.probability:
        m = _cropped(settings.random_resized_crop, random, batch, height, width, strength)
    else:
        m = identity(batch)
    if settings.horizontal_flip or settings.vertical_flip:
        sides = (settings.horizontal_flip, settings.vertical_flip)
        m = scaled(m, *(1 - 2 * _chance(random, batch, p, strength) if p else 1.0 for p in sides))
    if settings.zoom:
        zoom = 1 / (1 + strength * (random.uniform((batch,), *settings.zoom) - 1))
        m = scaled(m, zoom, zoom)
    if settings.zoom_range:
        m = scaled(m, *(1 + strength * (random.uniform((batch,), *settings.zoom_range) - 1) for _ in "xy"))
    if degrees := settings.shear or settings.shear_range:
        m = sheared(m, ops.tan(strength * math.radians(degrees) * random.uniform((batch,), -1.0, 1.0)))
    if degrees := settings.rotation or settings.rotation_range:
        m = rotated(m, strength * math.radians(degrees) * random.uniform((batch,), -1.0, 1.0))
    shift = [
        0.0 if not most else strength * (most * side if most < 1 else most) * random.uniform((batch,), -1.0, 1.0)
        for most, side in ((settings.width_shift_range, width), (settings.height_shift_range, height))
    ]
    if settings.shift:
        shift = [strength * settings.shift * side * random.uniform((batch,), -1.0, 1.0) for side in (width, height)]
    if settings.pad_crop:
        shift = [s + _whole_offset(random, batch, settings.pad_crop, strength) for s in shift]
    m = shifted(m, *shift)
    for levels in chosen:
        m = _randaugmented(m, levels, height, width)
    return m


def _within(position, length, mode):
    """Positions in pixel numbers, moved to where the value there is found: in the picture, or, with `constant`, up to
    one pixel beyond."""
    if mode == "constant":
        return ops.minimum(ops.maximum(position, -1.0), float(length))
    if mode == "reflect":
        edge = position + 0.5
        edge = edge - ops.floor(edge * (0.5 / length)) * (2.0 * length)
        position = length - ops.abs(length - edge) - 0.5
    return ops.minimum(ops.maximum(position, 0.0), length - 1.0)


def _framed(images, mode, value):
    """The pictures as rows (B·H'·W', C), with a rim of one pixel of `value` where the mode needs it; first pixel of
    each picture (B, 1, 1); H'; W'; width of the rim."""
    rim = 1 if mode == "constant" else 0
    if rim:
        images = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)
    batch, height, width, channels = images.shape
    first = (np.arange(batch, dtype="int32") * (height * width))[:, None, None]
    return ops.reshape(images, (batch * height * width, channels)), ops.convert_to_tensor(first), height, width, rim


def _centres(length):
    return ops.convert_to_tensor(np.arange(length, dtype="float32") - (length - 1) / 2)


def sample(images, m, mode, value):
    """The pictures (B, H, W, C) moved by the map `m`, bilinear, same shape. Pixels that do not move keep every bit."""
    batch, height, width, channels = images.shape
    u, v = _centres(width), _centres(height)

    def positions(along_u, along_v, offset, length):
        row = along_v[:, None] * v + (offset[:, None] + (length - 1) / 2)
        return _within(along_u[:, None, None] * u + row[:, :, None], length, mode)

    x, y = positions(m.a, m.b, m.x, width), positions(m.c, m.d, m.y, height)
    left, top = ops.floor(x), ops.floor(y)
    rows, first, tall, wide, rim = _framed(images, mode, value)
    x0, y0 = ops.cast(left, "int32") + rim, ops.cast(top, "int32") + rim
    x1, y1 = ops.minimum(x0 + 1, wide - 1), ops.minimum(y0 + 1, tall - 1)
    upper, lower = y0 * wide + first, y1 * wide + first

    def at(line, column):
        return ops.take(rows, ops.reshape(line + column, (-1,)), axis=0)

    # a + (b - a) · t: it keeps a where t is 0.
    t = ops.reshape(x - left, (-1, 1))
    above, below = at(upper, x0), at(lower, x0)
    above = above + (at(upper, x1) - above) * t
    below = below + (at(lower, x1) - below) * t
    mixed = above + (below - above) * ops.reshape(y - top, (-1, 1))
    return ops.reshape(ops.minimum(ops.maximum(mixed, 0.0), 1.0), (batch, height, width, channels))


def rearrange(images, m, mode, value):
    """As `sample`, for maps that only mirror and move by whole pixels: each pixel is another one, exactly."""
    batch, height, width, channels = images.shape
    rows, first, _, wide, rim = _framed(images, mode, value)

    def numbers(factor, offset, length):
        position = factor[:, None] * _centres(length) + (offset[:, None] + (length - 1) / 2)
        return ops.cast(_within(position, length, mode), "int32") + rim

    line, column = numbers(m.d, m.y, height) * wide, numbers(m.a, m.x, width)
    index = (line[:, :, None] + first) + column[:, None, :]
    return ops.reshape(ops.take(rows, ops.reshape(index, (-1,)), axis=0), (batch, height, width, channels))


def move_boxes(boxes, m, height, width):
    """boxes: (B, 4), x0, y0, x1, y1 in pixels from the picture's corner. The hull of each moved box, cut off at the
    picture's edges."""
    x = ops.stack([boxes[:, 0], boxes[:, 2], boxes[:, 0], boxes[:, 2]], axis=1)
    y = ops.stack([boxes[:, 1], boxes[:, 1], boxes[:, 3], boxes[:, 3]], axis=1)
    a, b, c, d, dx, dy = (entry[:, None] for entry in m)
    area = a * d - b * c
    u, v = x - width / 2 - dx, y - height / 2 - dy
    # As what is added to the old corners, which is exactly 0 for a picture that stays.
    x = ops.clip(x + ((d / area - 1) * u - b / area * v - dx), 0, width)
    y = ops.clip(y + ((a / area - 1) * v - c / area * u - dy), 0, height)
    return ops.stack([ops.min(x, 1), ops.min(y, 1), ops.max(x, 1), ops.max(y, 1)], axis=1)


def as_tensors(images, targets, boxes):
    """The three as float32 tensors; boxes may be None."""
    boxes = None if boxes is None else ops.convert_to_tensor(boxes, "float32")
    return ops.convert_to_tensor(images, "float32"), ops.convert_to_tensor(targets, "float32"), boxes


def build(settings):
    """None when no geometry is on, otherwise `(images, boxes, random, strength, chosen) -> (images, boxes)`."""
    whole = settings.horizontal_flip or settings.vertical_flip or settings.pad_crop
    real = (
        settings.random_resized_crop.probability or settings.shift or settings.rotation or settings.rotation_range
        or settings.width_shift_range or settings.height_shift_range or settings.shear or settings.shear_range
        or settings.zoom or settings.zoom_range or settings.randaugment.ops
    )  # fmt: skip
    if not (whole or real):
        return None
    fetch = sample if real else rearrange

    def move(images, boxes, random, strength, chosen):
        batch, height, width, _ = images.shape
        m = draw(settings, random, batch, height, width, strength, chosen)
        images = fetch(images, m, *settings.fill)
        return images, None if boxes is None else move_boxes(boxes, m, height, width)

    return move


def _randaugment(choice, level, sign, height, width):
    """The map of RandAugment's geometric operations, of which each sample has at most one."""

    def amount(name, most):
        return ops.where(choice == colour.RANDAUGMENT.index(name), sign * level * most, 0.0)

    moved = shift(amount("translate_x", 0.45 * width), amount("translate_y", 0.45 * height))
    leaning = compose(shear(amount("shear_x", 0.3)), shear(0.0, amount("shear_y", 0.3)))
    return compose(compose(rotation(amount("rotate", 30.0)), leaning), moved)


def stage(settings):
    """What moves pixels in `AugmentSettings`, or None where nothing does.

    Returns:
        `run(images, boxes, random, strength, chosen) -> (images, boxes)`, `chosen` from `colour.choose`.
    """
    s = settings
    crop, across, down, pad = s.random_resized_crop, s.horizontal_flip, s.vertical_flip, s.pad_crop
    rotations = [span for span in (s.rotation, s.rotation_range) if span != (0.0, 0.0)]
    shears = [span for span in (s.shear, s.shear_range) if span != (0.0, 0.0)]
    one_zoom, two_zooms = s.zoom != (1.0, 1.0), s.zoom_range != (1.0, 1.0)
    old = s.rotation_range, s.shear_range, s.width_shift_range or (0.0, 0.0), s.height_shift_range or (0.0, 0.0)
    shifts = any(s.shift) or s.width_shift_range or s.height_shift_range
    mode = s.fill_mode or ("nearest" if two_zooms or any(v != (0.0, 0.0) for v in old) else "constant")
    smooth = crop.scale or one_zoom or two_zooms or rotations or shears or s.randaugment.ops or shifts
    if not (smooth or across or down or pad):
        return None

    def run(images, boxes, random, strength, chosen):
        batch, height, width, _ = images.shape

        def drawn(low, high):
            return random.uniform((batch,), low, high)

        def happens(probability):
            return ops.cast(random.uniform((batch,)) < probability * strength, "float32") if probability else 0.0

        def reach(fraction, old, length):
            return (fraction or (old if old < 1 else old / length)) * length

        # From the source to the result, in the order of the settings: the last is applied first to a place.
        matrix = IDENTITY
        if crop.scale:
            matrix = resized_crop(random, batch, height, width, crop.scale, crop.ratio, strength)
        if across or down:
            matrix = compose(matrix, flip(happens(across), happens(down)))
        if one_zoom:
            factor = 1.0 + strength * (drawn(*s.zoom) - 1.0)
            matrix = compose(matrix, zoom(factor, factor))
        if two_zooms:
            x, y = (1.0 / (1.0 + strength * (drawn(*s.zoom_range) - 1.0)) for _ in range(2))
            matrix = compose(matrix, zoom(x, y))
        for span in shears:
            matrix = compose(matrix, shear(ops.tan(strength * drawn(*span) * (math.pi / 180))))
        for span in rotations:
            matrix = compose(matrix, rotation(strength * drawn(*span)))
        for choice, level, sign in chosen:
            matrix = compose(matrix, _randaugment(choice, level, sign, height, width))
        if shifts:
            x, y = reach(s.shift[0], s.width_shift_range, width), reach(s.shift[1], s.height_shift_range, height)
            matrix = compose(matrix, shift(strength * drawn(-x, x), strength * drawn(-y, y)))
        if pad:
            x, y = (ops.cast(random.integers((batch,), -pad, pad + 1), "float32") * strength for _ in range(2))
            matrix = compose(matrix, shift(ops.round(x), ops.round(y)))
        images = (sample if smooth else move)(images, matrix, mode, s.cval)
        return images, None if boxes is None else move_boxes(boxes, matrix, height, width)

    return run
