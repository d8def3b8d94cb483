"""`kstyle.inspect.zoom`: the endless zoom, a film that goes deeper and deeper into a dream.

Each frame is the one before it, enlarged and turned a little about its middle, dreamt on: what was a detail becomes a
scene, and new details come of it (Mordvintsev, Olah & Tyka 2015, "Inceptionism").
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.inspect.ascent import dream as dreams
from kstyle.inspect.ascent.dream import Dreamer, Layers
from kstyle.inspect.subject import Subject
from kstyle.io import names, scratch
from kstyle.pictures import images
from kstyle.pictures.films import files
from kstyle.style.engine.loop import Step
from kstyle.training.augment import geometry

ops = keras.ops


def zoom(
    image: images.Source,
    output: str | os.PathLike[str],
    frames: int = 60,
    model: "str | os.PathLike[str] | keras.Model | Subject" = "vgg19",
    layers: Layers | None = None,
    *,
    guide: images.Source | None = None,
    size: int = 320,
    octaves: int = 2,
    octave_scale: float = 1.4,
    steps: int = 4,
    rate: float = dreams.RATE,
    tile: int = dreams.TILE,
    enlarge: float = 1.04,
    turn: float = 0.0,
    fps: float = 12,
    seed: int = 0,
    callback: Callable[[Step], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **opening: Any,
) -> Path:
    """A film of a dream that comes nearer all the time.

    Args:
        image: what it begins with.
        output: the film's path: .gif, .webp, .png, or with ffmpeg .mp4, .mov, .mkv, .webm. Animations run for ever.
        frames: how many, from 2 on.
        model, layers, guide, size, octaves, octave_scale, steps, rate, tile, seed, callback: as for
            `kstyle.inspect.dream`, for each frame; what the callback returns is not looked at.
        enlarge: how much larger a frame is than the one before, above 1, at most 2.
        turn: by how many degrees it is turned, counter-clockwise.
        fps: frames a second, above 0, at most 100.
        progress: `progress(done, frames)` after each frame.
        **opening: as for `kstyle.inspect.dream`.

    Returns:
        The film's path.

    Raises:
        UsageError, DataError: as `kstyle.inspect.dream`, or a film that cannot be written. KeyboardInterrupt: Ctrl-C;
            the frames so far are a film then.

    >>> import kstyle
    >>> kstyle.inspect.zoom("photo.jpg", "deeper.gif", frames=24)  # doctest: +SKIP
    PosixPath('deeper.gif')
    """
    dreams.check(octaves, octave_scale, steps, size)
    for what, value, low, high in (("enlarge", enlarge, 1, 2), ("fps", fps, 0, 100)):
        if not low < value <= high:
            raise UsageError(f"zoom: {what} must be above {low} and at most {high}; got {value}.")
    if int(frames) != frames or not 2 <= frames <= 100_000:
        raise UsageError(f"zoom: frames must be a whole number from 2 to 100,000; got {frames}.")
    target = files.check_target(output)
    names.check_spares([target], [each for each in (image, guide) if isinstance(each, (str, os.PathLike))])
    picture = images.read(image)
    dreamer = Dreamer(model, layers, guide, rate, tile, **opening)
    rgb = images.resize_picture(picture, images.fit(picture.size, size)).rgb
    colours, made = colours_of(rgb), []
    told = None if callback is None else lambda step: callback(step) and None
    with scratch.folder("dreaming a film") as folder:
        try:
            for number in range(frames):
                rgb = rgb if number == 0 else nearer(rgb, enlarge, turn)
                course = dreams.Course(len(dreams.sizes(rgb.shape[:2], octaves, octave_scale)) * steps, told)
                rgb = dreams.dreamt(dreamer, rgb, octaves, octave_scale, steps, seed + number, course.told)
                rgb = recoloured(rgb, colours)
                path = images.write(Path(folder, f"{number:06d}.png"), rgb)
                made.append(path)
                if progress is not None:
                    progress(number + 1, frames)
        except KeyboardInterrupt:
            if len(made) > 1:
                files.make(made, target, fps)
            raise
        files.make(made, target, fps)
    return target


def nearer(rgb, factor, degrees):
    """A picture enlarged and turned about its middle, at the same size.

    Args:
        rgb: (H, W, 3) float32 in [0, 1].
        factor: how many times, from 1 on.
        degrees: counter-clockwise.
    """
    turned = geometry.rotation(ops.convert_to_tensor(np.float32(degrees)))
    matrix = geometry.compose(geometry.zoom(factor, factor), turned)
    return backend.as_numpy(geometry.sample(ops.convert_to_tensor(rgb[None]), matrix, "reflect"))[0]


def colours_of(rgb):
    """`(means, standard deviations)` of the three channels, (3,) each."""
    return rgb.mean((0, 1)), rgb.std((0, 1))


def recoloured(rgb, colours):
    """A picture with the mean of each channel, and at most the contrast, that `colours_of` another gave: dreamt on for
    a hundred frames it would become ever more glaring."""
    (mean, deviation), (wanted, most) = colours_of(rgb), colours
    return np.clip((rgb - mean) * np.minimum(1, most / (deviation + 1e-6)) + wanted, 0, 1).astype("float32")
