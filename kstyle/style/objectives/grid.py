"""How a picture is divided into tiles so that a network sees each place of a tile as it would see it in the whole.

A convolution looks beyond the edge of a tile. So a tile is shown with what lies around it, as far as the deepest layer
looks (`reach`), and begins where all poolings begin a window (a multiple of `stride`). At the edges of the picture
itself nothing is added: there the padding is the picture's own.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import keras

from kstyle.errors import UsageError
from kstyle.models.features import BETWEEN
from kstyle.nn.layers import Conv2D, Pool2D


class Box(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self):
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Tile(NamedTuple):
    """A part of a picture: `core` is its own, no other tile has that; `around` is what the network is shown for it."""

    core: Box
    around: Box


@dataclass(frozen=True)
class Grid:
    """What dividing a picture for an extractor has to respect.

    Attributes:
        reach: pixels that the deepest tap looks beyond the edge of its tile, a multiple of `stride`.
        stride: pixels of the picture to one of the deepest tap.
        strides: {tap: pixels of the picture to one of it}; of the picture itself, by any other name, 1.
        partial: whether poolings keep a last window that the picture does not fill.
    """

    reach: int
    stride: int
    strides: dict
    partial: bool

    def tiles(self, shape, side):
        """The `Tile`s of a picture, (height, width), row by row; cores of at most `side` pixels a side.

        Cores are about equal, so that none is a sliver whose surroundings cost more than itself.
        """
        rows, columns = (self._cuts(length, side) for length in shape)
        boxes = [Box(t, le, b, r) for t, b in pairwise(rows) for le, r in pairwise(columns)]
        return [Tile(box, self._around(box, shape)) for box in boxes]

    def _cuts(self, length, side):
        units = -(-length // self.stride)  # the last may be less than a whole one
        parts = -(-units // max(1, side // self.stride))
        return [min(length, self.stride * (units * i // parts)) for i in range(parts)] + [length]

    def _around(self, box, shape):
        top, left = max(0, box.top - self.reach), max(0, box.left - self.reach)
        return Box(top, left, min(shape[0], box.bottom + self.reach), min(shape[1], box.right + self.reach))

    def size(self, shape, tap):
        """(height, width) of a tap's features of a picture (height, width)."""
        step, found = 1, shape
        while step < self.strides.get(tap, 1):
            found = tuple(-(-side // 2) if self.partial else side // 2 for side in found)
            step *= 2
        return found

    def inner(self, tile, tap, shape):
        """Where in a tap's features of `tile.around` those of its core are, and where in those of the whole picture.

        Args:
            shape: (height, width) of the picture.

        Returns:
            Two pairs of slices.
        """
        step, whole = self.strides.get(tap, 1), self.size(shape, tap)
        core = [(tile.core.top, tile.core.bottom), (tile.core.left, tile.core.right)]
        # A core that ends at the picture's edge has the last window too, whether it is whole or partial.
        ends = [size if last == side else last // step for (_, last), side, size in zip(core, shape, whole)]
        starts = [first // step for first, _ in core]
        before = [begin // step for begin in (tile.around.top, tile.around.left)]
        own = tuple(slice(a - o, b - o) for a, b, o in zip(starts, ends, before))
        return own, tuple(slice(a, b) for a, b in zip(starts, ends))


def of(extractor):
    """The `Grid` of a `kstyle.models.features.Extractor`.

    Raises:
        UsageError: its network cannot be divided: it is not a chain of convolutions of stride 1 and of poolings whose
            windows of 2 × 2 lie side by side, as VGG is.
    """
    reach, stride, steps, partial, padded = 0, 1, {}, False, False
    for layer in extractor.model.layers:
        if isinstance(layer, Conv2D):
            around = (layer.kernel_size[0] - 1) // 2
            if layer.strides != (1, 1) or layer.pad != (0 if padded else around) or len(set(layer.kernel_size)) > 1:
                raise _undivided(extractor)
            reach, padded = reach + around * stride, False
        elif isinstance(layer, Pool2D):
            if (layer.size, layer.strides, layer.pad) != (2, 2, 0):
                raise _undivided(extractor)
            stride, partial = 2 * stride, partial or layer.partial
        elif layer.name == "edge":
            padded = True
        elif not isinstance(layer, (keras.layers.InputLayer, keras.layers.ReLU)):
            raise _undivided(extractor)
        steps[layer.name] = stride
    steps[BETWEEN] = stride  # of the first of two halves, its end
    strides = {tap: steps[layer.removesuffix("_pre")] for tap, layer in extractor.taps.items()}
    return Grid(-(-reach // stride) * stride, stride, strides, partial)


def _undivided(extractor):
    return UsageError(
        f"The network {extractor.name} cannot look at a picture tile by tile: vgg16 and vgg19 can. Paint at a smaller "
        "size, or with one of those."
    )
