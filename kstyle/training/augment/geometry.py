"""Where the pixels of an augmented picture come from: affine maps, one a sample, and the interpolation under them.

A map is six numbers a sample, (a, b, c, d, e, f), each a tensor (B,) or a Python float. It takes a place in the result
to a place in the source, x = a x' + b y' + c and y = d x' + e y' + f, in pixels from the picture's centre, y downwards.
"""

import math

import numpy as np
from keras import ops

from kstyle import backend
from kstyle.training.augment import colour

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def compose(outer, inner):
    """The map that applies `inner` to a place in the result, then `outer`."""
    a, b, c, d, e, f = outer
    g, h, i, j, k, m = inner
    return (a * g + b * j, a * h + b * k, a * i + b * m + c, d * g + e * j, d * h + e * k, d * i + e * m + f)


def shift(x, y):
    """The picture moves x pixels to the right and y down."""
    return (1.0, 0.0, -x, 0.0, 1.0, -y)


def flip(horizontal, vertical):
    """`horizontal`, `vertical`: 1.0 where the picture is mirrored, 0.0 where it is not."""
    return (1.0 - 2.0 * horizontal, 0.0, 0.0, 0.0, 1.0 - 2.0 * vertical, 0.0)


def rotation(degrees):
    """Counter-clockwise as one looks at it, about the centre."""
    cos, sin = ops.cos(degrees * (math.pi / 180)), ops.sin(degrees * (math.pi / 180))
    return (cos, -sin, 0.0, sin, cos, 0.0)


def zoom(x, y):
    """The picture becomes x times as wide and y times as high, about the centre."""
    return (1.0 / x, 0.0, 0.0, 0.0, 1.0 / y, 0.0)


def shear(x, y=0.0):
    """A row moves to the right by x for each pixel below the centre, a column down by y for each to the right."""
    scale = 1.0 / (1.0 - x * y)
    return (scale, -x * scale, 0.0, -y * scale, scale, 0.0)


def resized_crop(random, batch, height, width, scale, ratio, strength):
    """A part of the picture, enlarged to the whole.

    As torchvision's RandomResizedCrop: area uniform on `scale`, width / height log-uniform on `ratio`, the first of ten
    draws that fits, or the largest centred crop of a permitted ratio where none does. Edges are not rounded to pixels.
    The method is that of Szegedy et al. 2014, "Going Deeper with Convolutions".
    """
    own = math.log(width / height)
    area = random.uniform((batch, 10), *scale)
    log_ratio = random.uniform((batch, 10), math.log(ratio[0]), math.log(ratio[1]))
    # Relative to the picture's own shape: exactly 1 at strength 0, where a way through pixels would round.
    area, log_ratio = 1.0 - strength * (1.0 - area), strength * (log_ratio - own)
    w, h = ops.sqrt(area * ops.exp(log_ratio)), ops.sqrt(area * ops.exp(-log_ratio))
    fits = ops.cast(ops.logical_and(w <= 1.0, h <= 1.0), "float32")
    first = ops.argmax(fits * backend.constant(np.arange(10, 0, -1)), axis=1)
    pick = ops.one_hot(first, 10, dtype="float32") * fits
    found = ops.sum(pick, axis=1)
    best = min(max(own, math.log(ratio[0])), math.log(ratio[1])) - own
    w = ops.sum(pick * w, axis=1) + (1.0 - found) * ops.exp(strength * min(best, 0.0))
    h = ops.sum(pick * h, axis=1) + (1.0 - found) * ops.exp(-strength * max(best, 0.0))
    x = random.uniform((batch,), -0.5, 0.5) * (1.0 - w) * width * found
    y = random.uniform((batch,), -0.5, 0.5) * (1.0 - h) * height * found
    return (w, 0.0, x, 0.0, h, y)


def _centred(length):
    return backend.constant(np.arange(length) - (length - 1) / 2)


def _per_sample(values, batch):
    zero = ops.zeros((batch,), "float32")
    return [zero + v for v in values]


def _rows(index, batch, rows):
    """`index` within one picture to an index within the batch of pictures of `rows` rows."""
    first = np.arange(batch) * rows
    return index + backend.constant(first.reshape(-1, *[1] * (len(index.shape) - 1)), "int32")


def _fold(x, length):
    """Coordinates as `reflect` continues the picture: d c b a | a b c d | d c b a."""
    u = ops.mod(x + 0.5, 2.0 * length)
    return length - ops.abs(u - length) - 0.5


def _rim(images, mode, value):
    """The pictures with one more pixel on each side: `value`, or the nearest pixel."""
    if mode == "constant":
        return ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)
    images = ops.concatenate([images[:, :1], images, images[:, -1:]], axis=1)
    return ops.concatenate([images[:, :, :1], images, images[:, :, -1:]], axis=2)


def sample(images, matrix, mode="constant", value=0.0):
    """The pictures under a map, interpolated bilinearly, once.

    Args:
        images: (B, H, W, C) float32.
        matrix: the map, result to source.
        mode: how the picture goes on beyond its edges: `constant` (`value`), `nearest` pixel, or `reflect` (mirrored
            with the edge repeated, as Keras and SciPy have it; NumPy calls it symmetric).

    Returns:
        (B, H, W, C) float32; the map that moves nothing changes nothing.
    """
    batch, height, width, channels = images.shape
    a, b, c, d, e, f = _per_sample(matrix, batch)
    if backend.sample_affine is not None:
        return backend.sample_affine(images, (a, b, c, d, e, f), mode, value)
    across, down = _centred(width), _centred(height)

    def taps(scale, other, offset, length):
        row = other[:, None] * down + (offset + (length - 1) / 2)[:, None]
        at = scale[:, None, None] * across + row[:, :, None]
        # In the picture with its rim, places start at 0, so that the cast is a floor.
        at = (_fold(at, length) if mode == "reflect" else ops.clip(at, -1.0, float(length))) + 1.0
        low = ops.minimum(ops.cast(at, "int32"), length)
        return low, ops.reshape(at - ops.cast(low, "float32"), (-1, 1))

    x, right = taps(a, b, c, width)
    y, below = taps(d, e, f, height)
    line = width + 2
    table = ops.reshape(_rim(images, mode, value), (-1, channels))
    index = ops.reshape(_rows(y, batch, height + 2) * line + x, (-1,))

    # Four gathers that share an index: a table with the four neighbours side by side costs more than it saves.
    def neighbours(start):
        return ops.take(table[start:], index, axis=0)

    # a + (b - a) t is exactly a where t is 0.
    left = neighbours(0)
    left = left + (neighbours(line) - left) * below
    other = neighbours(1)
    other = other + (neighbours(line + 1) - other) * below
    return ops.reshape(left + (other - left) * right, images.shape)


def move(images, matrix, mode="constant", value=0.0):
    """`sample` for maps of whole pixels along the axes (flips, crops): a gather of pixels, no arithmetic on them."""
    batch, height, width, channels = images.shape
    a, _, c, _, e, f = _per_sample(matrix, batch)

    def places(scale, offset, length):
        at = scale[:, None] * _centred(length) + offset[:, None] + (length - 1) / 2
        inside = ops.logical_and(at >= 0.0, at <= length - 1.0)
        at = _fold(at, length) if mode == "reflect" else ops.clip(at, 0.0, length - 1.0)
        return ops.cast(ops.round(at), "int32"), inside

    x, inside_x = places(a, c, width)
    y, inside_y = places(e, f, height)
    index = (_rows(y, batch, height) * width)[:, :, None] + x[:, None, :]
    table = ops.reshape(images, (-1, channels))
    if mode == "constant":
        # One more row, of the fill value, is cheaper than a mask over the result.
        table = ops.concatenate([table, backend.constant(np.full((1, channels), value))], axis=0)
        inside = ops.logical_and(inside_y[:, :, None], inside_x[:, None, :])
        index = ops.where(inside, index, batch * height * width)
    return ops.reshape(ops.take(table, ops.reshape(index, (-1,)), axis=0), images.shape)


def move_boxes(boxes, matrix, height, width):
    """Boxes under a map: the upright hull of the moved corners, within the picture.

    Args:
        boxes: (B, 4) float32, x0 y0 x1 y1 in pixels, the picture being [0, W] x [0, H].

    Returns:
        (B, 4) float32; of no area where the box has left the picture.
    """
    boxes = ops.convert_to_tensor(boxes, "float32")
    a, b, c, d, e, f = (v[:, None] for v in _per_sample(matrix, boxes.shape[0]))
    x = ops.stack([boxes[:, i] for i in (0, 2, 0, 2)], axis=1)
    y = ops.stack([boxes[:, i] for i in (1, 1, 3, 3)], axis=1)
    u, v = x - width / 2 - c, y - height / 2 - f
    determinant = a * e - b * d
    # What is added to the old place is exactly 0 where nothing moves; the way to the centre and back would round.
    x = ops.clip(x + ((e / determinant - 1.0) * u - b / determinant * v - c), 0.0, float(width))
    y = ops.clip(y + ((a / determinant - 1.0) * v - d / determinant * u - f), 0.0, float(height))
    return ops.stack([ops.min(x, axis=1), ops.min(y, axis=1), ops.max(x, axis=1), ops.max(y, axis=1)], axis=1)


def _whole_shift(random, batch, most, strength):
    """(B,): each whole number from -n to n equally often, n the rounded `most` x `strength`."""
    most = ops.floor(most * strength + 0.5)
    drawn = ops.floor(random.uniform((batch,)) * (2.0 * most + 1.0))
    return ops.minimum(drawn, 2.0 * most) - most  # the product may round up to the end of the interval


def _randaugment(choice, level, sign, reach, height, width):
    """The map of the policies' geometric operations, of which each sample has at most one."""

    def amount(name, most):
        return ops.where(choice == colour.OPERATIONS.index(name), sign * level * most, 0.0)

    moved = shift(*(
        amount(f"translate_{axis}", reach.share * side + reach.pixels) for axis, side in (("x", width), ("y", height))
    ))  # fmt: skip
    leaning = compose(shear(amount("shear_x", reach.shear)), shear(0.0, amount("shear_y", reach.shear)))
    return compose(compose(rotation(amount("rotate", reach.degrees)), leaning), moved)


def stage(settings):
    """What moves pixels in `AugmentSettings`, or None where nothing does.

    Returns:
        `run(images, boxes, random, strength, chosen) -> (images, boxes)`, `chosen` from `policies.choosing`.
    """
    s = settings
    crop, across, down, pad = s.random_resized_crop, s.horizontal_flip, s.vertical_flip, s.pad_crop
    rotations = [span for span in (s.rotation, s.rotation_range) if span != (0.0, 0.0)]
    shears = [span for span in (s.shear, s.shear_range) if span != (0.0, 0.0)]
    one_zoom, two_zooms = s.zoom != (1.0, 1.0), s.zoom_range != (1.0, 1.0)
    old = s.rotation_range, s.shear_range, s.width_shift_range or (0.0, 0.0), s.height_shift_range or (0.0, 0.0)
    shifts = any(s.shift) or s.width_shift_range or s.height_shift_range
    mode = s.fill_mode or ("nearest" if two_zooms or any(v != (0.0, 0.0) for v in old) else "constant")
    smooth = crop.scale or one_zoom or two_zooms or rotations or shears or s.draws or shifts
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
        for choice, level, sign, most in chosen:
            matrix = compose(matrix, _randaugment(choice, level, sign, most, height, width))
        if shifts:
            x, y = reach(s.shift[0], s.width_shift_range, width), reach(s.shift[1], s.height_shift_range, height)
            matrix = compose(matrix, shift(strength * drawn(-x, x), strength * drawn(-y, y)))
        if pad:
            x, y = (_whole_shift(random, batch, pad, strength) for _ in range(2))
            matrix = compose(matrix, shift(x, y))
        images = (sample if smooth else move)(images, matrix, mode, s.cval)
        return images, None if boxes is None else move_boxes(boxes, matrix, height, width)

    return run
