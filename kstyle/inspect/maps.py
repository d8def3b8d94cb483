"""`kstyle.inspect.activations`: what the channels of a layer say of a picture."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.inspect import fields
from kstyle.inspect import subject as subjects
from kstyle.pictures import images

# Pixels of the input that a network that takes any size sees at a time, what a layer sees beyond them not counted; of a
# larger picture the rows are computed in bands. VGG19's first layers take 256 bytes a pixel each.
AT_ONCE = 1_000_000
SIDE = 256  # pixels of a map's long side, unless another is asked for


@dataclass(frozen=True, eq=False)
class Activations:
    """What a layer gives of a picture.

    Attributes:
        layer: its name.
        maps: (h, w, C) float32; what is larger than was asked for is averaged over squares of `factor` places.
        factor: how many places a side of `maps` averages, 1: as the layer gives them.
        channels: DataFrame, a row a channel, the strongest first. Index `channel`; `strength`, the deviation over the
            places of what is above 0: one that is high everywhere says nothing of this picture, and is none of the
            strongest; `mean`; `highest`; `y` and `x` of the highest place, of the layer's own places.

    >>> import keras, numpy, kstyle
    >>> layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="one")]
    >>> found = kstyle.inspect.activations(keras.Sequential(layers), numpy.zeros((8, 9, 3)), "one")["one"]
    >>> found.maps.shape, list(found.channels)
    ((6, 7, 4), ['strength', 'mean', 'highest', 'y', 'x'])
    """

    layer: str
    maps: np.ndarray
    factor: int
    channels: Any


def activations(
    model: Any,
    image: images.Source,
    layers: str | Iterable[str] | None = None,
    *,
    side: int | None = SIDE,
    progress: Callable[[int, int, str], Any] | None = None,
    **options: Any,
) -> dict[str, Activations]:
    """What the channels of a network's layers say of a picture.

    A large picture is computed in bands, where the network takes any size, so that it is exact in little memory; each
    band's maps are made small at once.

    Args:
        model, options: as for `kstyle.inspect.open`.
        image: as `kstyle.pictures.images.read` takes it. A network that takes one size sees it as in its evaluation,
            one that takes any sees it as it is.
        layers: names, `relu4_2` and such too; None: of each size of maps the last layer (`stages`).
        side: the long side of the maps that are given back is at most so many places; None: as the layers give them.
        progress: `progress(done, total, "bands")`, where there are several.

    Returns:
        {name asked for: `Activations`}.

    Raises:
        UsageError: no such layer, or one without maps of channels; a size below 1.
        DataError: the picture cannot be read. Others as `kstyle.inspect.open`.

    >>> import kstyle
    >>> found = kstyle.inspect.activations("vgg19", "cat.jpg", "relu4_2")["relu4_2"]  # doctest: +SKIP
    >>> found.maps.shape, found.channels.index[0]  # doctest: +SKIP
    ((64, 43, 512), 417)
    """
    if side is not None and side < 1:
        raise UsageError(f"side: expected at least 1 place; got {side}.")
    subject = subjects.open(model, **options)
    names = [layers] if isinstance(layers, str) else list(stages(subject) if layers is None else layers)
    return of_picture(subject, subject.picture(image), names, side, progress)


def stages(subject: subjects.Subject) -> list[str]:
    """The layers that `activations` looks at unless told: of each size of maps the last one."""
    found, step = fields.of(subject.graph), {}
    for node in subject.graph.nodes:
        shape = tuple(getattr(node.output, "shape", ()))
        if node.name in subject.outputs and len(shape) == 4 and shape[1:3] != (1, 1):
            field = found[node.name]
            step[field.step if field and None in shape[1:3] else shape[1:3]] = node.name
    return [*step.values()]


def of_picture(subject, rgb, names, side=SIDE, progress=None):
    """As `activations`, of a `Subject` and a picture (h, w, 3) in [0, 1] of a size that it takes."""
    keys = {name: subject.maps(name) for name in names}
    found = fields.of(subject.graph)
    look, bands, sums = subject.look(names), _bands(subject, rgb.shape, [found[key] for key in keys.values()]), {}
    for number, (top, bottom, start, stop) in enumerate(bands, 1):
        given = look(rgb[None, top:bottom])
        for name, key in keys.items():
            piece, first = np.asarray(backend.as_numpy(given.pop(name))[0], "float32"), 0
            if len(bands) > 1:
                step, offset = int(found[key].step[0]), top // int(found[key].step[0])
                first = -(-start // step)
                piece = piece[first - offset : None if stop is None else -(-stop // step) - offset]
            if name not in sums:
                sums[name] = _Sums(
                    side, max(piece.shape[1], 1 if len(bands) == 1 else rgb.shape[0] // step, len(piece))
                )
            sums[name].add(piece, first)
        if progress and len(bands) > 1:
            progress(number, len(bands), "bands")
    return {name: each.result(name) for name, each in sums.items()}


def _bands(subject, shape, found):
    """[(top, bottom, start, stop)]: the rows of the picture that are looked at at a time, and of those the rows whose
    places count; stop None: to the end. One of all rows where that is little, or cannot be divided."""
    height, width, _ = shape
    whole = [(0, height, 0, None)]
    if height * width <= AT_ONCE * 2 or None in found or subject.shape[:2] != (None, None):
        return whole
    if any(field.step[0] != int(field.step[0]) for field in found):
        return whole
    step = math.lcm(*(int(field.step[0]) for field in found))
    above = max(-field.low[0] for field in found)
    below = max(field.high[0] for field in found) + 1
    rows, bands = max(AT_ONCE // width // step, 1) * step, []
    for start in range(0, height, rows):
        # From a multiple of all strides on, so that each window lies where it does in the whole picture.
        top = max(math.floor((start - above) / step) * step, 0)
        stop = start + rows if start + rows < height else None
        bottom = height if stop is None else min(math.ceil(stop + below), height)
        bands.append((top, bottom, start, stop))
    return bands


class _Sums:
    """What is known of a layer's maps as its rows come, (h, w, C) some at a time."""

    def __init__(self, side, long):
        self.factor = 1 if side is None else max(-(-long // side), 1)
        self.rows, self.count, self.total, self.above, self.squares = [], 0, 0.0, 0.0, 0.0
        self.highest = self.place = None

    def add(self, piece, first):
        """piece: (n, w, C), the rows from `first` on."""
        if not len(piece):
            return
        n, width, channels = piece.shape
        flat = piece.reshape(-1, channels)
        self.count += len(flat)
        self.total = self.total + flat.sum(0, dtype="float64")
        above = np.maximum(flat, 0)
        self.above = self.above + above.sum(0, dtype="float64")
        self.squares = self.squares + np.square(above).sum(0, dtype="float64")
        place = flat.argmax(0)
        highest, place = flat[place, np.arange(channels)], place + first * width
        if self.highest is None:
            self.highest, self.place = highest, place
        else:
            self.place = np.where(highest > self.highest, place, self.place)
            self.highest = np.maximum(highest, self.highest)
        self.width = width
        if self.factor == 1:
            self.rows.append((first, 1, piece))
            return
        across = np.add.reduceat(piece, np.arange(0, width, self.factor), axis=1)
        starts = np.unique(
            np.maximum(np.arange(first // self.factor, -(-(first + n) // self.factor)) * self.factor, first)
        )
        sums = np.add.reduceat(across, starts - first, axis=0)
        counts = np.diff([*starts, first + n])
        self.rows += [(start // self.factor, count, row) for start, count, row in zip(starts, counts, sums)]

    def _strength(self):
        above = self.above / self.count
        return above if self.count == 1 else np.sqrt(np.maximum(self.squares / self.count - above**2, 0))

    def result(self, name):
        """The `Activations`."""
        import pandas as pd

        if self.factor == 1:
            maps = np.concatenate([piece for _, _, piece in self.rows])
        else:
            height = self.rows[-1][0] + 1
            maps, counts = np.zeros((height, *self.rows[0][2].shape), "float32"), np.zeros(height, "float32")
            for row, count, sums in self.rows:
                maps[row] += sums
                counts[row] += count
            across = np.diff([*range(0, self.width, self.factor), self.width]).astype("float32")
            maps /= counts[:, None, None] * across[None, :, None]
        y, x = np.divmod(self.place, self.width)
        columns = {
            "strength": self._strength(),
            "mean": self.total / self.count,
            "highest": self.highest,
            "y": y,
            "x": x,
        }
        table = pd.DataFrame(columns, index=pd.RangeIndex(len(y), name="channel"))
        order = np.argsort(-columns["strength"], kind="stable")
        return Activations(name, maps, self.factor, table.iloc[order])
