"""A style network on a picture that is too large for it, some rows at a time, with the same result but for rounding.

Instance normalisation needs the mean and variance of a layer over all of the picture before the next layer can begin.
So each normalised layer has a look at the whole picture, band after band of rows, in which they are gathered. The
layers as wide as the picture, or half as wide, are too large to be kept, and are made anew for each look that needs
them; from the quarter on, where most of the work is, rows are kept. That is 1.5 times the network's work, in 44 bytes a
pixel (half width, the photograph counted) where all layers at once take 1,200. Bands are as wide as the picture, so
that its left and right edges are mirrored as in the whole, and only the rows at their seams are made twice.
"""

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.io.files import amount
from kstyle.pictures import images
from kstyle.style.engine import memory
from kstyle.style.networks.network import BLOCKS, LEAST_SIDE

ops = keras.ops
LEAST_ROWS, MOST_ROWS = 8, 256
# Bytes that convolutions take beside what `_bytes` counts, whatever the picture: measured were 70 million in float32,
# 150 in bfloat16.
BESIDE = 150e6


def planned(model, shape, limit=None):
    """How many rows of a picture the network is to look at at a time, so that the process keeps within its memory.

    None: at all of it at once.

    Args:
        model: from `kstyle.style.networks.network.style_network`.
        shape: (height, width).
        limit: bytes that the process may hold; None: what is free, less a margin.

    Raises:
        UsageError: it does not fit whatever is done; the message says the nearest size that does.
    """
    limit = memory.available() if limit is None else limit
    free = (limit - memory.in_use() - BESIDE) / memory.SAFE
    at_once, _, _ = _bytes(model, shape)
    if at_once <= free:
        return None

    def fits(shape):
        _, kept, row = _bytes(model, shape)
        return int((free - kept) / row) // 4 * 4

    rows = fits(shape)
    if rows < LEAST_ROWS:
        sides = range(max(shape) // 64 * 64, LEAST_SIDE, -64)
        side = next((side for side in sides if fits(images.fit(shape, side)) >= LEAST_ROWS), None)
        near = f"--size {side} fits" if side else "no size fits"
        raise UsageError(f"{shape[1]}×{shape[0]} takes more than the {amount(limit)} that there are: {near}.")
    return min(rows, MOST_ROWS)


def _bytes(model, shape):
    """Bytes at the most of such a picture: looked at all at once; kept while it is looked at by rows; and for a row
    of these."""
    fine, middle, coarse = (model.get_layer(f"{name}_conv").filters for name in ("whole", "half", "quarter"))
    size, pixels = 2 if model.get_layer("change").compute_dtype == "bfloat16" else 4, shape[0] * shape[1]
    # Keras holds what each layer gives until the last one has, and beside them there is the largest with its mirrored
    # edges, and what comes of it: numbers for a pixel.
    layers = 15 + 4 * fine + 2 * middle + (2 + 5 * BLOCKS + 4) * coarse / 16 + middle + fine
    # Photographs are there already; two arrays of a quarter, or one and the painting.
    kept = 4 * pixels * max(2 * coarse / 16, coarse / 16 + 3)
    return size * pixels * layers, kept, size * shape[1] * 5 * (middle + fine)


def paint(model, rgb, condition, rows):
    """What `model([rgb, condition])` gives.

    Args:
        model: from `kstyle.style.networks.network.style_network`.
        rgb: (H, W, 3) float32 in [0, 1].
        condition: (K,) float32.
        rows: of the picture at a time, at least 4.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    told, width = np.asarray(condition, "float32"), rgb.shape[1]

    def layer(name, below):
        return _Layer(model, name, below, told)

    photograph = _Kept(rgb, before=lambda x: x - 0.5)
    whole = layer("whole", photograph)
    half = layer("half", whole)
    quarter = layer("quarter", half)
    sides = half.height, -(-width // 2)
    shape = quarter.height, -(-sides[1] // 2), quarter.channels
    for each in (whole, half):
        each.look(rows // each.stride)
    x = np.empty(shape, "float32")
    quarter.look(rows // 4, x)
    for band in _bands(len(x), rows):
        x[band] = _Kept(x, quarter.normalised).array(band)
    y = np.empty(shape, "float32")
    for block in range(1, BLOCKS + 1):
        first = layer(f"block{block}_1", _Kept(x))
        first.look(rows, y)
        second = layer(f"block{block}_2", _Kept(y, first.normalised))
        second.look(rows, y)
        for band in _bands(len(x), rows):
            x[band] += _Kept(y, second.normalised).array(band)
    del y
    half_again = layer("half_again", _Doubled(_Kept(x), *sides))
    half_again.look(rows // 2)
    whole_again = layer("whole_again", _Doubled(half_again, *rgb.shape[:2]))
    whole_again.look(rows)
    base, change, painted = _Base(model, "base", _Kept(rgb), told), layer("change", whole_again), np.empty_like(rgb)
    base.look(rows)
    for band in _bands(len(rgb), rows):
        change_there = ops.cast(change.raw(band.start, band.stop), "float32")
        painted[band] = backend.as_numpy(ops.sigmoid(base.rows(band.start, band.stop) + change_there))[0]
    return painted


def _bands(height, rows):
    for start in range(0, height, max(1, rows)):
        yield slice(start, min(start + max(1, rows), height))


class _Kept:
    """An array (H, W, C) of which rows are given, after `before(rows)`."""

    def __init__(self, array, before=lambda x: x):
        self._array, self.height, self._before = array, len(array), before

    def rows(self, start, stop):
        return self._before(backend.uploaded(self._array[None, start:stop]))

    def array(self, band):
        return backend.as_numpy(self.rows(band.start, band.stop))[0]


class _Doubled:
    """`kstyle.nn.image_layers.Doubled` of `below`, cut to this height and width."""

    def __init__(self, below, height, width):
        self._below, self.height, self._width = below, height, width

    def rows(self, start, stop):
        first = start // 2
        x = backend.doubled(self._below.rows(first, -(-stop // 2)))
        return x[:, start - 2 * first : stop - 2 * first, : self._width]


class _Layer:
    """A convolution of `below` and the normalisation after it, which `look` has to settle before `rows` gives any."""

    def __init__(self, model, name, below, told):
        found = {each.name: each for each in model.layers}
        self._conv, self._norm = found.get(f"{name}_conv") or found[name], found.get(f"{name}_norm")
        self._below, self._told = below, told
        self.stride, self.channels = self._conv.strides[0], self._conv.filters
        self.height = -(-below.height // self.stride)

    def raw(self, start, stop):
        """Rows of the convolution alone."""
        around = self._conv.kernel_size[0] // 2
        first, last = start * self.stride - around, (stop - 1) * self.stride + around + 1
        x = self._below.rows(max(first, 0), min(last, self._below.height))
        beyond = max(-first, 0), max(last - self._below.height, 0), around, around
        return ops.stop_gradient(self._conv(x, around=beyond))

    def look(self, rows, keep=None):
        """Settles mean and variance of all rows; `keep`: an array for the rows themselves, which may be the one that
        they are made of: rows are put there once those after them are made, which look at the last."""
        count, mean, squares, waiting = 0, 0.0, 0.0, None
        for band in _bands(self.height, rows):
            found = self.raw(band.start, band.stop)
            wide = ops.cast(found, "float32")
            own = ops.mean(wide, (0, 1, 2))
            spread = np.float64(backend.as_numpy(ops.mean(ops.square(wide - own), (0, 1, 2))))
            more, own = wide.shape[1] * wide.shape[2], np.float64(backend.as_numpy(own))
            # Of two parts put together (Chan, Golub and LeVeque 1983), in which no digits cancel.
            squares = squares + more * spread + (own - mean) ** 2 * count * more / (count + more)
            mean = mean + (own - mean) * more / (count + more)
            count += more
            if keep is not None:
                if waiting is not None:
                    keep[waiting[0]] = backend.as_numpy(waiting[1])[0]
                waiting = band, found
        if keep is not None:
            keep[waiting[0]] = backend.as_numpy(waiting[1])[0]
        rows = (backend.as_numpy(ops.stop_gradient(each.value)) for each in (self._norm.gamma, self._norm.beta))
        gamma, beta = (np.float64(self._told @ each) for each in rows)
        scale = gamma / np.sqrt(squares / count + self._norm.epsilon)
        self._scale, self._shift = (backend.constant(each) for each in (scale, beta - mean * scale))

    def normalised(self, x):
        """`x`, rows of the convolution, scaled, shifted and with the ReLU that comes after it."""
        x = backend.affine(x, self._scale, self._shift)
        return ops.cast(ops.relu(x) if self._norm.relu else x, self._conv.compute_dtype)

    def rows(self, start, stop):
        """Rows of the layer after its normalisation."""
        return self.normalised(self.raw(start, stop))


class _Base(_Layer):
    """What is added to the photograph's colours before they are normalised: a convolution of the same."""

    def raw(self, start, stop):
        return super().raw(start, stop) + self._below.rows(start, stop)
