"""Where a term looks: the features of a picture, positions drawn from them, columns read through all layers there.

Whatever several terms of one evaluation look at together is drawn and read once. What was drawn and read is kept by
what it was drawn from, a region or `Features`, which stand for themselves: two are never equal.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np

from kstyle import backend
from kstyle.style.losses.moments import rows

ops = keras.ops

# So many sets of random positions are drawn before the first step; step n looks at set n mod DRAWS.
DRAWS = 64


@dataclass(frozen=True, eq=False)
class Features(Mapping):
    """What a network sees in one picture: `features[layer]` is (1, H', W', C).

    Attributes:
        layers: {layer: that}, the picture itself too, by the name `kstyle.style.losses.scalings.PIXELS`.
        shape: (height, width) of the picture.
    """

    layers: dict
    shape: tuple[int, int]

    # A key of a dict for what was read of them. `Mapping` would compare what they hold, and have no hash.
    __hash__, __eq__ = object.__hash__, object.__eq__

    def __getitem__(self, layer):
        return self.layers[layer]

    def __iter__(self):
        return iter(self.layers)

    def __len__(self):
        return len(self.layers)


@dataclass(eq=False)
class Positions:
    """Where one evaluation looks: positions drawn from a seed with NumPy, so that they are the same on every backend.

    Args:
        seed: of the drawing.
        step: number of the step, a tensor; None: always the first set.
    """

    seed: int = 0
    step: object = None
    _kept: dict = field(default_factory=dict, repr=False)

    def draw(self, height, width, samples, redraw=True, region=None, rim=0):
        """(samples,) int32, none twice: positions of an (height, width) layer, counted row by row.

        Args:
            samples: how many; where there are no more, all that there are, of which None means every position.
            redraw: whether another step looks elsewhere.
            region: a `kstyle.style.passes.regions.Region`: only positions in it; None: anywhere.
            rim: so many rows and columns at each edge are left out, and positions counted without them.
        """
        among = None if region is None else region.inside(height, width, rim)
        available = (height - 2 * rim) * (width - 2 * rim) if among is None else len(among)
        if available <= samples:
            return None if among is None else region.placed_inside(height, width, rim)
        if not redraw or self.step is None:
            drawn = _sets(self.seed, available, samples, 1)[0]
            return backend.constant(drawn if among is None else among[drawn], "int32")

        def take():
            drawn = ops.take(_placed_sets(self.seed, available, samples, DRAWS), self._number(), axis=0)
            return drawn if region is None else ops.take(region.placed_inside(height, width, rim), drawn, axis=0)

        return self._once((height, width, samples, region, rim), take)

    def columns(self, features, layers, samples, redraw=True, region=None):
        """Activations of all layers at sampled positions of the picture.

        Args:
            features: `Features`.
            layers: {layer: factor}, by what its channels are multiplied.
            samples, redraw, region: as for `draw`, of the picture's positions.

        Returns:
            (n, D) float32, D the channels of all layers. A layer of half the size is read at half the position,
            bilinearly, as STROTSS does with the picture's columns (it rounds the style's positions down).
        """
        key = (features, tuple(layers.items()), samples, redraw, region)
        return self._once(key, lambda: _read(features, layers, self.draw(*features.shape, samples, redraw, region)))

    def _number(self):
        return ops.cast(self.step, "int32") % DRAWS

    def _once(self, key, make):
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


@functools.lru_cache(maxsize=64)
def _sets(seed, available, samples, count):
    rng = np.random.default_rng([seed, available, samples])
    return np.stack([rng.choice(available, samples, replace=False, shuffle=False) for _ in range(count)]).astype(
        "int32"
    )


@functools.lru_cache(maxsize=64)
def _placed_sets(seed, available, samples, count):
    return backend.placed(_sets(seed, available, samples, count))


def _read(features, layers, places):
    height, width = features.shape
    if places is None:
        places = ops.arange(height * width, dtype="int32")
    top, left = places // width, places % width
    parts = []
    for layer, factor in layers.items():
        x = features[layer]
        # How many pixels a feature is wide, a power of 2. Where pooling has left out an odd row, the ratio of the sides
        # is a little more: it is rounded, and taken of the longer side, where it is off by least.
        shrink = 2 ** round(np.log2(max(height, width) / max(x.shape[1:3])))
        part = _at(x, top, left, shrink)
        parts.append(part if factor == 1 else factor * part)
    return ops.concatenate(parts, axis=1)


def _at(features, top, left, shrink):
    """(n, C): features (1, H, W, C) at (top, left) / shrink, bilinearly."""
    _, height, width, _ = features.shape
    flat = rows(features)

    def pick(y, x):
        return ops.take(flat, ops.minimum(y, height - 1) * width + ops.minimum(x, width - 1), axis=0)

    y, x = top // shrink, left // shrink
    if shrink == 1:
        return pick(y, x)
    down, right = (ops.cast(p % shrink, "float32")[:, None] / shrink for p in (top, left))
    upper = pick(y, x) * (1 - right) + pick(y, x + 1) * right
    lower = pick(y + 1, x) * (1 - right) + pick(y + 1, x + 1) * right
    return upper * (1 - down) + lower * down


@dataclass(frozen=True)
class Look:
    """How features are looked at: by which term, where, and whether they are a style's.

    `region`: `kstyle.style.passes.regions.Region`, or None for all of the picture.
    """

    term: object
    positions: Positions
    style: bool
    region: object = None

    @property
    def redraw(self):
        return self.term.redraw and not self.style

    def inside(self, height, width):
        """Positions in the region; None: all."""
        return None if self.region is None else self.region.placed_inside(height, width)

    def of_layer(self, height, width, rim=0):
        """As `Positions.draw`, as many as the term takes of a layer."""
        return self.positions.draw(height, width, self.term.samples or 4096, self.redraw, self.region, rim)
