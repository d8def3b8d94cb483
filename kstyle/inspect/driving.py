"""`kstyle.inspect.patches`: the parts of photographs that excite a channel most."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.inspect import fields
from kstyle.inspect import subject as subjects
from kstyle.io.files import one_line
from kstyle.pictures import folders, images

ops = keras.ops

LONG_SIDE = 384  # pixels, of photographs for a network that takes any size
AT_ONCE = 8  # photographs


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a photograph.

    Attributes:
        path: of the photograph's file.
        value: the channel's activation at the place that sees this part.
        box: (top, left, bottom, right), of the part in pixels of the photograph as the network saw it.
        picture: (h, w, 3) uint8, the part.

    >>> import keras, numpy, PIL.Image, kstyle
    >>> PIL.Image.fromarray(numpy.full((8, 9, 3), 99, "uint8")).save("grey.png")
    >>> layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="one")]
    >>> found = kstyle.inspect.patches(keras.Sequential(layers), "grey.png", "one", 2)
    >>> found[2][0].path, found[2][0].picture.shape
    ('grey.png', (3, 3, 3))
    """

    path: str
    value: float
    box: tuple[int, int, int, int]
    picture: np.ndarray


def patches(
    model: Any,
    photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    layer: str,
    channels: int | Iterable[int],
    count: int = 9,
    *,
    progress: Callable[[int, int, str], Any] | None = None,
    **options: Any,
) -> dict[int, list[Patch]]:
    """The parts of photographs that excite channels of a layer most, as in Zeiler and Fergus 2014 (arXiv 1311.2901):
    what the place with the highest activation can see, of each photograph one.

    Args:
        model, options: as for `kstyle.inspect.open`.
        photos: a folder, a file, or several.
        layer: its name; it gives maps of channels.
        channels: numbers from 0.
        count: so many a channel.
        progress: `progress(done, total, "pictures")`.

    Returns:
        {channel: `Patch`es, the most exciting first}. A network that takes any size sees photographs with a long side
        of 384 px at most.

    Raises:
        UsageError: no such layer or channel. DataError: no photograph that can be read; those that cannot are passed
            over. Others as `kstyle.inspect.open`.

    >>> import kstyle
    >>> found = kstyle.inspect.patches("vgg19", "photos", "relu4_2", [417])  # doctest: +SKIP
    >>> found[417][0].picture.shape, found[417][0].path  # doctest: +SKIP
    ((92, 92, 3), 'photos/cat.jpg')
    """
    if count < 1:
        raise UsageError(f"count: expected at least 1 part a channel; got {count}.")
    subject = subjects.open(model, **options)
    wanted = [channels] if isinstance(channels, (int, np.integer)) else [int(each) for each in channels]
    return of_layers(subject, photos, {layer: wanted}, count, progress)[layer]


def of_layers(subject, photos, wanted, count=9, progress=None):
    """As `patches`, of several layers in one walk through the photographs.

    Args:
        wanted: {layer: channels}.

    Returns:
        {layer: {channel: `Patch`es}}.
    """
    for layer, channels in wanted.items():
        there = subject.outputs[subject.maps(layer)].shape[-1]
        for channel in channels:
            if not 0 <= channel < there:
                raise UsageError(f"{layer} of {subject.name} has channels 0 to {there - 1}; got {channel}.")
    paths = [picture.path for picture in folders.pictures(photos).pictures]
    look, best = subject.look(wanted), {layer: [[] for _ in channels] for layer, channels in wanted.items()}
    seen, fault = 0, None
    for group in _groups(subject, paths, progress):
        if isinstance(group, DataError):
            fault = group
            continue
        names, rgb = group
        seen += len(names)
        given = look(rgb)
        for layer, channels in wanted.items():
            maps = given.pop(layer)
            width, flat = maps.shape[2], ops.reshape(maps, (len(names), -1, maps.shape[3]))
            flat = ops.take(flat, np.array(channels, "int32"), axis=2)
            values = backend.as_numpy(ops.cast(ops.max(flat, axis=1), "float32"))
            places = backend.as_numpy(ops.argmax(flat, axis=1))
            for number, kept in enumerate(best[layer]):
                for k, path in enumerate(names):
                    if len(kept) < count or values[k, number] > kept[-1][0]:
                        y, x = divmod(int(places[k, number]), width)
                        kept.append((float(values[k, number]), path, y, x, rgb[k].shape))
                kept.sort(key=lambda each: -each[0])
                del kept[count:]
    if not seen:
        raise fault or DataError(f"{one_line(photos)}: there is no picture.")
    found = fields.of(subject.graph)
    return {
        layer: {
            channel: [_patch(subject, found[subject.layer(layer)], *each) for each in kept]
            for channel, kept in zip(channels, best[layer])
        }
        for layer, channels in wanted.items()
    }


def shown(subject, path):
    """A photograph as `patches` shows it to a network: (h, w, 3) float32 in [0, 1]."""
    if None not in subject.shape[:2]:
        return subject.picture(path)
    picture = images.read(path)
    size = images.fit(picture.size, min(LONG_SIDE, max(picture.size)))
    return images.resize_picture(picture, size).rgb


def _groups(subject, paths, progress):
    """`(paths, (n, h, w, 3))` of photographs of one size after another, or the `DataError` of one that cannot be
    read."""
    waiting = {}
    for number, path in enumerate(paths, 1):
        try:
            rgb = shown(subject, path)
        except DataError as error:
            yield error
            continue
        finally:
            if progress:
                progress(number, len(paths), "pictures")
        names, pictures = waiting.setdefault(rgb.shape, ([], []))
        names.append(path)
        pictures.append(rgb)
        if len(names) == AT_ONCE:
            del waiting[rgb.shape]
            yield names, np.stack(pictures)
        elif len(waiting) > AT_ONCE:  # of many sizes few each
            names, pictures = waiting.pop(next(iter(waiting)))
            yield names, np.stack(pictures)
    for names, pictures in waiting.values():
        yield names, np.stack(pictures)


def _patch(subject, field, value, path, y, x, shape):
    top, left, bottom, right = field.box(y, x) if field else (0, 0, *shape[:2])
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, shape[0]), min(right, shape[1])
    part = shown(subject, path)[top:bottom, left:right]
    return Patch(path, value, (top, left, bottom, right), (part * 255).round().astype("uint8"))
