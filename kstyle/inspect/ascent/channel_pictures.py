"""`kstyle.inspect.filters`: pictures that excite one channel of a network, made from noise.

Gradient ascent on a picture's spectrum (`kstyle.inspect.ascent.spectrum`), which at each step is looked at moved,
turned and enlarged a little, and at first blurred: only what excites the channel all the same is left (Erhan et al.
2009; Olah et al. 2017, doi 10.23915/distill.00007; in Keras Chollet 2016, "How convolutional neural networks see the
world").
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from kstyle import backend
from kstyle.backend import Tensor
from kstyle.errors import UsageError
from kstyle.inspect import subject as subjects
from kstyle.inspect.ascent.spectrum import Spectrum
from kstyle.pictures import images, sheet
from kstyle.training.augment import geometry

ops = keras.ops

SIZE = 128  # pixels a side where the network takes any size
RATE = 0.2  # of Adam, in units of a spectrum's amplitudes
# How far a picture is moved at each step: as a part of its side, in degrees, and how many times it is enlarged.
SHIFT, TURN, ENLARGED = 1 / 16, 5.0, (0.95, 1.1)
# The deviation of the blur that the first step begins with, as a part of the side; none is left after half the steps.
BLUR = 1 / 64
FIRST = 16  # channels, where none are named
TOGETHER = 8  # pictures that are made at once
TRIES = 4  # noises that a channel is begun from, at most, until it speaks
AGAIN = 1009  # between the seeds of two of these, more than there are pictures in one call


@dataclass(frozen=True, eq=False)
class Filters:
    """What `filters` gives.

    Attributes:
        layer: the layer's name.
        pictures: (K, N, H, W, 3) float32 in [0, 1], RGB: N pictures of each of K channels.
        table: one row a picture: `channel`, `class` (of a classifier's output), `number` of the picture from 0,
            `activation`: the channel's, mean over the layer's places, of the picture as it is; `before`: of the noise.

    >>> import keras, kstyle
    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="one")])
    >>> found = kstyle.inspect.filters(model, "one", [2], size=16, steps=1)
    >>> found.pictures.shape, list(found.table)
    ((1, 1, 16, 16, 3), ['channel', 'number', 'activation', 'before'])
    """

    layer: str
    pictures: np.ndarray
    table: pd.DataFrame

    def write(self, path: str | os.PathLike[str], size: int | None = None) -> Path:
        """Writes a sheet of the pictures with captions, .png or .jpg, each `size` pixels wide; None: as it is. Returns
        the path."""
        flat = self.pictures.reshape(-1, *self.pictures.shape[2:])
        columns = self.pictures.shape[1] if self.pictures.shape[1] > 1 else None
        entries = [
            (np.asarray(images.to_pil(rgb)), _caption(row), None)
            for rgb, row in zip(flat, self.table.to_dict("records"))
        ]
        size = min(max(size or flat.shape[1], 32), 1024)
        sheet.sheet(entries, path, columns, size, f"{self.layer}: what excites a channel")
        return Path(path)


def _caption(row):
    named = f" {row['class']}" if "class" in row else ""
    return [f"{row['channel']}{named}", f"{row['before']:.3g} → {row['activation']:.3g}"]


def filters(
    model: "str | os.PathLike[str] | keras.Model | subjects.Subject",
    layer: str,
    channels: int | Sequence[int] | None = None,
    *,
    steps: int = 64,
    size: int | None = None,
    diversity: int = 1,
    spread: float = 1.0,
    seed: int = 0,
    callback: Callable[[int, int], Any] | None = None,
    **opening: Any,
) -> Filters:
    """Pictures that excite channels of a layer, each made from noise to raise the channel's mean activation.

    Args:
        model: as for `kstyle.inspect.open`.
        layer: whose channels: one that gives maps (batch, height, width, channels), or numbers (batch, channels), as
            `"logits"` of a classifier does, of which a channel is a class.
        channels: their numbers from 0; None: the first 16.
        steps: of gradient ascent.
        size: side of the pictures in pixels, 16 to 1024; None: the network's, or 128 where it takes any.
        diversity: how many different pictures of each channel, 1 to 8: what they have in common, the mean cosine
            between the Gram matrices of the layer for any two, costs as much as `spread` says.
        spread: 1: pictures that are all alike cost as much activation as they have.
        seed: of the noise and of how pictures are moved.
        callback: `callback(done, total)` after each step of each batch.
        **opening: `weights`, `allow_code`, `head`, `preprocessing`, `progress`, for `kstyle.inspect.open`.

    Returns:
        `Filters`.

    Raises:
        UsageError: there is no such layer or channel, or a number that cannot be. DataError: as `kstyle.inspect.open`.

    >>> import kstyle
    >>> found = kstyle.inspect.filters("vgg19", "relu3_1", [0, 1], size=64, steps=4)  # doctest: +SKIP
    >>> found.pictures.shape, found.write("filters.png")  # doctest: +SKIP
    ((2, 1, 64, 64, 3), PosixPath('filters.png'))
    """
    looked = subjects.open(model, **opening)
    name = looked.layer(layer)
    side = _checked(looked, size, steps, diversity, spread)
    numbers = _channels(looked, name, channels)
    backend.configure(deterministic=False, pixels=side[0] * side[1])
    rows = [(channel, number) for channel in numbers for number in range(diversity)]
    batch = max(diversity, TOGETHER // diversity * diversity)
    all_steps, found = -(-len(rows) // batch) * steps, []
    for begin in range(0, len(rows), batch):

        def made(channels, again=0, begin=begin):
            own = (seed + begin + again * AGAIN) % 2**31
            ascent = _Ascent(looked, name, channels, diversity, side, spread, own)
            before = ascent.activation()
            for step in range(steps):
                ascent.step(step, steps)
                if callback is not None and not again:
                    callback(begin // batch * steps + step + 1, all_steps)
            return ascent.pictures(), ascent.activation(), before

        found.append(_spoken(made, [channel for channel, _ in rows[begin : begin + batch]], diversity))
    pictures, after, starts = (np.concatenate(each) for each in zip(*found))
    table = pd.DataFrame(rows, columns=["channel", "number"])
    if looked.classes and name == subjects.LOGITS:
        table.insert(1, "class", [looked.classes[channel] for channel, _ in rows])
    table["activation"], table["before"] = after, starts
    return Filters(layer, pictures.reshape(len(numbers), diversity, *side, 3), table)


def _spoken(made, channels, diversity):
    """What `made(channels)` gives. A channel behind a ReLU may be silent to the last step, where no gradient reaches
    it: its pictures are then those of `made(channels, again)`, from another noise."""
    found, channels = [np.array(each) for each in made(channels)], np.array(channels)  # JAX's cannot be written to
    for again in range(1, TRIES):
        silent = np.repeat((found[1].reshape(-1, diversity) == 0).all(1), diversity)
        if not silent.any():
            break
        for kept, other in zip(found, made(channels[silent].tolist(), again)):
            kept[silent] = other
    return found


def _checked(looked, size, steps, diversity, spread):
    """(height, width) of the pictures."""
    for what, value, low, high in (
        ("steps", steps, 1, 100_000), ("size", size or SIZE, 16, 1024), ("diversity", diversity, 1, 8),
    ):  # fmt: skip
        if not low <= value <= high or int(value) != value:
            raise UsageError(f"filters: {what} must be a whole number from {low} to {high:,}; got {value}.")
    if not 0 <= spread <= 1000:
        raise UsageError(f"filters: spread must be from 0 to 1000; got {spread}.")
    return tuple(size or side or SIZE for side in looked.shape[:2])


def _channels(looked, name, channels):
    count = getattr(looked.outputs[name], "shape", (None,))[-1]
    if len(getattr(looked.outputs[name], "shape", ())) not in (2, 4) or not count:
        looked.maps(name)  # which says what layers have channels
    if channels is None:
        return list(range(min(FIRST, count)))
    numbers = [channels] if isinstance(channels, (int, np.integer)) else list(channels)
    for number in numbers:
        if int(number) != number or not 0 <= number < count:
            raise UsageError(f"{looked.name}: '{name}' has the channels 0 to {count - 1}; there is no {number}.")
    if not numbers:
        raise UsageError(f"{looked.name}: name at least one channel of '{name}'.")
    return [int(number) for number in numbers]


def mean_activation(looked: subjects.Subject, layer: str, pictures: Tensor) -> Tensor:
    """(B, C) float32: the mean of each channel over a layer's places.

    Args:
        looked: the network.
        layer: its name.
        pictures: (B, H, W, 3) float32 RGB in [0, 1].
    """
    return _means(_features(looked, layer, pictures))


def _features(looked, layer, pictures):
    return ops.cast(looked.watch([layer])(looked.prepare(pictures))[layer], "float32")


def _means(features):
    return ops.mean(features, axis=(1, 2)) if len(features.shape) == 4 else features


class _Ascent:
    """Pictures that are made at once, one for each of `channels`; `diversity` of them in a row are of one channel."""

    def __init__(self, looked, layer, channels, diversity, side, spread, seed):
        self._looked, self._layer, self._diversity, self._spread = looked, layer, diversity, spread
        self._side, self._seed, self._spectrum = side, seed, Spectrum(*side)
        count = looked.outputs[layer].shape[-1]
        self._chosen = backend.placed(np.eye(count, dtype="float32")[channels])
        self._values = keras.Variable(self._spectrum.start(len(channels), seed), dtype="float32", name="spectrum")
        self._optimizer = keras.optimizers.Adam(RATE)
        self._optimizer.build([self._values])
        self._step = backend.compile(self._ascend, [self._values, *self._optimizer.variables])
        self._look = backend.compile(self._activation, [])

    def step(self, number, steps):
        left = max(0.0, 1 - 2 * number / steps)
        blur = BLUR * max(self._side) * left
        self._step(ops.convert_to_tensor(self._seed + number, "int32"), ops.convert_to_tensor(blur, "float32"))

    def pictures(self):
        """(B, H, W, 3) float32 in [0, 1]."""
        return backend.as_numpy(self._spectrum.picture(self._values.value))

    def activation(self):
        """Of each picture in the 256 levels in which it is written, its channel's mean activation: (B,) float32."""
        levels = np.rint(self.pictures() * 255) / np.float32(255)
        return backend.as_numpy(self._look(ops.convert_to_tensor(levels)))

    def _activation(self, pictures):
        return ops.sum(mean_activation(self._looked, self._layer, pictures) * self._chosen, axis=1)

    def _ascend(self, seed, blur):
        matrix = self._moved(backend.Random(seed))

        def loss(values):
            pictures = geometry.sample(self._spectrum.picture(values, blur), matrix, "reflect")
            features = _features(self._looked, self._layer, pictures)
            return -ops.sum(self._score(features)), {}

        _, grad = backend.value_and_grad(loss)(self._values.value)
        self._optimizer.apply([grad], [self._values])

    def _moved(self, random):
        batch, (height, width) = self._chosen.shape[0], self._side
        shift = [random.uniform((batch,), -SHIFT * side, SHIFT * side) for side in (width, height)]
        factor = random.uniform((batch,), *ENLARGED)
        turn = geometry.rotation(random.uniform((batch,), -TURN, TURN))
        return geometry.compose(geometry.compose(geometry.zoom(factor, factor), turn), geometry.shift(*shift))

    def _score(self, features):
        """(B,): what is to be raised."""
        found = ops.sum(_means(features) * self._chosen, axis=1)
        # Behind a ReLU a channel may be silent everywhere, and then has no gradient: until it speaks, all others are
        # raised, which gives the picture forms of some kind.
        axes = tuple(range(1, len(features.shape)))
        loudness = ops.sqrt(ops.mean(ops.square(features), axis=axes) + 1e-12)
        score = ops.where(found == 0, loudness, found)
        if self._diversity > 1:
            score = score - self._spread * ops.abs(ops.stop_gradient(found)) * likeness(features, self._diversity)
        return score


def likeness(features, count):
    """(B,): how much each picture has in common with the others of its group, the mean cosine between their Gram
    matrices, 0 to 1 behind a ReLU.

    Args:
        features: (B, h, w, C), or (B, C).
        count: pictures of a group; those of a group follow one another.
    """
    batch, channels = features.shape[0], features.shape[-1]
    flat = ops.reshape(features, (batch, -1, channels))
    grams = ops.reshape(ops.matmul(ops.transpose(flat, (0, 2, 1)), flat), (batch // count, count, channels**2))
    grams = grams / ops.sqrt(ops.sum(ops.square(grams), axis=-1, keepdims=True) + 1e-12)
    cosines = ops.matmul(grams, ops.transpose(grams, (0, 2, 1)))
    return ops.reshape((ops.sum(cosines, axis=2) - 1) / (count - 1), (batch,))
