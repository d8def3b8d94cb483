"""`kstyle.inspect.dream`: a picture in which a network's layers see more and more of what they know.

Gradient ascent on the picture, octave after octave, small to large: what was dreamt at one size is enlarged and put on
the photograph at the next, so that large forms are filled with small ones (Mordvintsev, Olah & Tyka 2015,
"Inceptionism: Going deeper into neural networks"). Where another picture guides it, each place is drawn to what it
resembles most there.

Of a large picture tiles are looked at one after the other, which begin elsewhere at each step, so that no seam lasts.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pandas as pd

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.inspect import subject as subjects
from kstyle.pictures import images
from kstyle.style.engine.loop import Step
from kstyle.style.result import Interrupted, Result

ops = keras.ops

# What is dreamt where no layers are named: of VGG the last two blocks, of others the layer at this part of the depth.
LAYERS = {"vgg16": ("block4_conv3", "block5_conv2"), "vgg19": ("block4_conv4", "block5_conv3")}
DEPTH = 0.75
SMALLEST = 48  # pixels of the short side at the first octave
GUIDE = 224  # long side at which a guide is looked at, pixels
RATE = 0.01  # the standard deviation of what a step adds to colours of [0, 1]
TILE = 512  # pixels a side of the largest part that is looked at once
JITTER = 32  # pixels by which the picture is moved on at most, at each step
LEVELS = 3  # of the pyramid that divides a gradient by what is fine and what is coarse

Layers = str | Iterable[str] | Mapping[str, float]


class Dreamer:
    """A network, the layers that dream and what guides them; a film's frames are all given to one.

    Args:
        model, layers, guide, rate, tile, **opening: as for `dream`.
    """

    def __init__(self, model, layers=None, guide=None, rate=RATE, tile=TILE, **opening):
        self.looked = subjects.open(model, **opening)
        self.layers = _weights(self.looked, layers)
        if not 0 < rate <= 1:
            raise UsageError(f"dream: rate must be above 0 and at most 1; got {rate}.")
        if not 64 <= tile <= 4096:
            raise UsageError(f"dream: tile must be from 64 to 4096 pixels; got {tile}.")
        self._rate, self._tile = rate, tile
        backend.configure(deterministic=False, pixels=tile**2)
        self._watched = self.looked.watch(self.layers)
        self._guides = {} if guide is None else self._seen(guide)
        self._slope = backend.compile(backend.value_and_grad(self._excitement), [])

    def _seen(self, guide):
        """{layer: (M, C)}: what the layers give at each place of the guide."""
        picture = images.read(guide)
        shape = images.fit(picture.size, min(GUIDE, max(picture.size)))
        pixels = ops.convert_to_tensor(images.resize_picture(picture, shape).rgb)
        found = backend.compile(lambda x: self._watched(self.looked.prepare(x[None])), [])(pixels)
        return {name: ops.cast(ops.reshape(each, (-1, each.shape[-1])), "float32") for name, each in found.items()}

    def _excitement(self, pixels):
        """(what is to be raised, {layer: its excitement}) of (h, w, 3)."""
        found, score, parts = self._watched(self.looked.prepare(pixels[None])), 0.0, {}
        for name, weight in self.layers.items():
            features = ops.cast(found[name], "float32")
            if name in self._guides:
                flat = ops.reshape(features, (-1, features.shape[-1]))
                # Of all places of the guide the one that answers most draws the place to itself.
                value = ops.mean(ops.max(ops.matmul(flat, ops.transpose(self._guides[name])), axis=1))
            else:
                value = ops.mean(ops.square(features))
            # Layers differ a thousandfold in how loud they are. Each counts by how much louder it grows.
            score = score + weight * value / (ops.stop_gradient(ops.abs(value)) + 1e-8)
            parts[name] = value
        return score, parts

    def octave(self, rgb, steps, rng, told):
        """Dreams at one size.

        Args:
            rgb: (H, W, 3) float32 NumPy in [0, 1].
            steps: of gradient ascent.
            rng: a NumPy generator: where tiles begin.
            told: called after each step with the picture and {layer: its excitement}.

        Returns:
            (H, W, 3) float32, another array.
        """
        rgb, (rows, columns) = rgb.copy(), [_cuts(length, self._tile) for length in rgb.shape[:2]]
        tiled = len(rows) > 2 or len(columns) > 2
        for _ in range(steps):
            # The picture is moved on, and what leaves it at one side comes in at the other.
            offset = [int(rng.integers(side if tiled else JITTER)) for side in rgb.shape[:2]]
            moved, grad, found = np.roll(rgb, offset, (0, 1)), np.empty_like(rgb), []
            for top, bottom in pairwise(rows):
                for left, right in pairwise(columns):
                    pixels = ops.convert_to_tensor(np.ascontiguousarray(moved[top:bottom, left:right]))
                    (_, parts), slope = self._slope(pixels)
                    slope = backend.as_numpy(slope)
                    # A tile of clear sky is brought forward as much as one that is full of things.
                    grad[top:bottom, left:right] = slope / (slope.std() + 1e-12)
                    found.append({name: float(backend.as_numpy(value)) for name, value in parts.items()})
            rgb += np.float32(self._rate) * evened(np.roll(grad, [-pixels for pixels in offset], (0, 1)))
            np.clip(rgb, 0, 1, out=rgb)
            told(rgb, {name: float(np.mean([each[name] for each in found])) for name in self.layers})
        return rgb


def _weights(looked, layers):
    """{layer: weight} of what the caller named."""
    if layers is None:
        layers = LAYERS.get(looked.name)
    if layers is None:
        maps = [name for name, output in looked.outputs.items() if len(getattr(output, "shape", ())) == 4]
        if not maps:
            raise UsageError(f"{looked.name} has no layer that gives maps, so it cannot dream.")
        layers = [maps[int(DEPTH * (len(maps) - 1))]]
    if not isinstance(layers, Mapping):
        layers = dict.fromkeys([layers] if isinstance(layers, str) else layers, 1.0)
    found = {looked.maps(name): float(weight) for name, weight in layers.items()}
    if not found or not all(np.isfinite(weight) for weight in found.values()) or not any(found.values()):
        raise UsageError("dream: name at least one layer, with a weight other than 0.")
    return found


def _cuts(length, side):
    """Where tiles of at most `side` pixels begin and end; about equal, so that a compiler sees few shapes."""
    parts = -(-length // side)
    return [length * i // parts for i in range(parts + 1)]


def evened(grad, levels=LEVELS):
    """A gradient whose fine and coarse parts are equally strong: without this the finest, noise to the eye, outweigh
    all others ("Laplacian pyramid gradient normalization" in Mordvintsev's notebook of 2016).

    Args:
        grad: (H, W, C) float32.
        levels: that the pyramid has, each half as large as the one before; 1: the gradient is divided by its standard
            deviation, no more.

    Returns:
        (H, W, C) float32, a new array of standard deviation 1.
    """
    parts, rest = [], grad
    for _ in range(levels - 1):
        if min(rest.shape[:2]) < 16:
            break
        half = images.resize(rest, [-(-side // 2) for side in rest.shape[:2]], "bilinear")
        parts.append(rest - images.resize(half, rest.shape[:2], "bilinear"))
        rest = half
    found = rest / (rest.std() + 1e-12)
    for part in reversed(parts):
        found = images.resize(found, part.shape[:2], "bilinear") + part / (part.std() + 1e-12)
    return found / (found.std() + 1e-12)


def sizes(size, octaves, scale):
    """[(height, width)] of the octaves of a picture (height, width), small to large, each `scale` times the one before.
    Those whose short side would be under 48 pixels are left out."""
    found = [tuple(max(1, round(side / scale**number)) for side in size) for number in reversed(range(octaves))]
    return [each for each in found if min(each) >= min(SMALLEST, *size)]


def dream(
    image: images.Source,
    model: "str | os.PathLike[str] | keras.Model | subjects.Subject" = "vgg19",
    layers: Layers | None = None,
    *,
    guide: images.Source | None = None,
    size: int | None = 512,
    octaves: int = 4,
    octave_scale: float = 1.4,
    steps: int = 10,
    rate: float = RATE,
    tile: int = TILE,
    seed: int = 0,
    callback: Callable[[Step], Any] | None = None,
    **opening: Any,
) -> Result:
    """Deep Dream: what layers see in a picture is amplified until everybody sees it.

    Args:
        image: a picture, as `kstyle.pictures.images.read` takes it.
        model: as for `kstyle.inspect.open`.
        layers: what is to be excited: layers that give maps, or {layer: weight}; a negative weight calms one. None: of
            VGG the deeper blocks, of other networks the layer at three quarters of the depth.
        guide: another picture: each place is drawn to what it resembles most there.
        size: long side of the result in pixels; None: the picture's own.
        octaves: sizes at which it dreams, 1 to 12.
        octave_scale: how much larger each is than the one before, above 1, at most 4.
        steps: of gradient ascent at each size.
        rate: how far a step moves colours of [0, 1], as a standard deviation.
        tile: side in pixels of what the network sees at once, 64 to 4096: a larger picture is seen in parts.
        seed: of how the picture is moved from step to step.
        callback: called after each step with a `kstyle.style.engine.loop.Step`; its losses are the layers' excitement,
            negative. The dream ends where it returns something true.
        **opening: `weights`, `allow_code`, `head`, `preprocessing`, `progress`, for `kstyle.inspect.open`.

    Returns:
        A `kstyle.Result`: the picture, `history` with a row a step, `settings`.

    Raises:
        UsageError: there is no such layer, it gives no maps, or a number that cannot be. DataError: as
            `kstyle.inspect.open`, or a picture that cannot be read. KeyboardInterrupt: Ctrl-C, with the dream so far as
            its `result`.

    >>> import kstyle
    >>> result = kstyle.inspect.dream("photo.jpg", guide="flowers.jpg", size=256)  # doctest: +SKIP
    >>> result.write("dream.png")  # doctest: +SKIP
    PosixPath('dream.png')
    """
    check(octaves, octave_scale, steps, size)
    picture = images.read(image)
    dreamer = Dreamer(model, layers, guide, rate, tile, **opening)
    shape = images.fit(picture.size, size) if size else picture.size
    given = picture if shape == picture.size else images.resize_picture(picture, shape)
    settings = {
        "model": dreamer.looked.name, "layers": dreamer.layers, "guided": guide is not None, "size": max(shape),
        "octaves": octaves, "octave_scale": octave_scale, "steps": steps, "rate": rate, "tile": tile, "seed": seed,
        "backend": backend.NAME, "versions": backend.versions(),
    }  # fmt: skip
    course = Course(len(sizes(shape, octaves, octave_scale)) * steps, callback, given.alpha)
    try:
        rgb = dreamt(dreamer, given.rgb, octaves, octave_scale, steps, seed, course.told)
    except _Ended:
        rgb = course.picture(shape)
    except KeyboardInterrupt as stop:
        raise Interrupted(Result(course.picture(shape, given.rgb), given.alpha, course.frame(), settings)) from stop
    return Result(rgb, given.alpha, course.frame(), settings)


def check(octaves, octave_scale, steps, size):
    """UsageError: a number that `dream` does not take."""
    for what, value, low, high in (
        ("octaves", octaves, 1, 12), ("steps", steps, 1, 10_000), ("size", size or 512, 32, 100_000),
    ):  # fmt: skip
        if int(value) != value or not low <= value <= high:
            raise UsageError(f"dream: {what} must be a whole number from {low} to {high:,}; got {value}.")
    if not 1 < octave_scale <= 4:
        raise UsageError(f"dream: octave_scale must be above 1 and at most 4; got {octave_scale}.")


def dreamt(dreamer, rgb, octaves, octave_scale, steps, seed, told=lambda picture, parts: None):
    """A dream of a picture at its own size, octave after octave.

    Args:
        dreamer: `Dreamer`.
        rgb: (H, W, 3) float32 in [0, 1].
        octaves, octave_scale, steps, seed: as for `dream`.
        told: as for `Dreamer.octave`.

    Returns:
        (H, W, 3) float32.
    """
    rng, detail = np.random.default_rng(seed), None
    for shape in sizes(rgb.shape[:2], octaves, octave_scale):
        ground = rgb if shape == rgb.shape[:2] else np.clip(images.resize(rgb, shape), 0, 1)
        begun = ground if detail is None else np.clip(ground + images.resize(detail, shape, "bicubic"), 0, 1)
        found = dreamer.octave(begun, steps, rng, told)
        detail = found - ground
    return found


class _Ended(Exception):
    """The callback has had enough."""


class Course:
    """The rows of a dream's history, and who is told of each.

    Args:
        total: steps planned.
        callback, alpha: as `dream` has them.
    """

    def __init__(self, total, callback, alpha=None):
        self._total, self._callback, self._alpha = total, callback, alpha
        self._rows, self._rgb, self._since = [], None, time.perf_counter()

    def told(self, rgb, parts):
        self._rgb, seconds, number = rgb, time.perf_counter() - self._since, len(self._rows)
        losses = {"loss": -sum(parts.values()), **{name: -value for name, value in parts.items()}}
        self._rows.append({"scale": max(rgb.shape[:2]), "step": number, **losses, "seconds": seconds})
        if self._callback is not None:
            step = Step(max(rgb.shape[:2]), number, self._total, seconds, losses, self._rgb.copy, self._opacity)
            if self._callback(step):
                raise _Ended

    def _opacity(self):
        return None if self._alpha is None else np.clip(images.resize(self._alpha, self._rgb.shape[:2]), 0, 1)

    def picture(self, shape, otherwise=None):
        """The dream so far at a size; `otherwise` where there is none yet."""
        rgb = otherwise if self._rgb is None else self._rgb
        return rgb if rgb.shape[:2] == tuple(shape) else np.clip(images.resize(rgb, shape), 0, 1)

    def frame(self):
        return pd.DataFrame(self._rows)
