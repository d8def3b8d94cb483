"""`kstyle.inspect.page`: a network to click through, with what it makes of a picture, in one file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kstyle.errors import UsageError
from kstyle.inspect import driving, maps, sheets, table
from kstyle.inspect import subject as subjects
from kstyle.inspect.ascent import channel_pictures
from kstyle.inspect.pages.strips import TILE, strip
from kstyle.inspect.why.attribution import attribution
from kstyle.io import names
from kstyle.io.files import expanded, one_line
from kstyle.pages import pictures, render
from kstyle.pictures import folders, images

TEMPLATE = "inspect/pages/page.html.jinja"
SHOWN = 384  # pixels of the picture's long side on the page
PATCHES = 6  # parts of photographs a channel
FILTER = 96  # pixels a side of the picture that is made for a channel


def page(
    model: Any,
    image: images.Source,
    path: str | os.PathLike[str],
    *,
    layers: str | Iterable[str] | None = None,
    most: int = 16,
    photos: str | os.PathLike[str] | None = None,
    filters: int = 0,
    top: int = 3,
    methods: str | Iterable[str] = "grad-cam",
    size: int = 512,
    progress: Callable[..., Any] | None = None,
    **opening: Any,
) -> Path:
    """Writes a page of a network: its layers in a column, of each the maps that a picture makes there, the strongest
    first, what a channel looks for, what the network takes the picture for and where it sees that.

    One file, with all pictures in it: it asks for nothing else and works without a network.

    Args:
        model, opening: as for `kstyle.inspect.open`.
        image: a picture, as `kstyle.pictures.images.read` takes it.
        path: of the .html file.
        layers: those whose channels are shown with `photos` and `filters`; None: of each size of maps the last. Maps
            are shown of all layers.
        most: channels a layer.
        photos: a folder of photographs: the parts of them that excite a channel most are shown.
        filters: so many channels of each of `layers`, the strongest, are shown with a picture made to excite them.
            Takes seconds a channel.
        top: so many classes, of a classifier; 0: none.
        methods: of `kstyle.inspect.attribution`, how heat is found for each of them.
        size: a network that takes any size sees the picture with this long side at most.
        progress: `progress(done, total, what)`.

    Returns:
        The path.

    Raises:
        UsageError, DataError: as the functions whose results are shown; the page cannot be written.

    >>> import kstyle
    >>> kstyle.inspect.page("efficientnet_lite0", "cat.jpg", "cat.html")  # doctest: +SKIP
    PosixPath('cat.html')
    """
    path, photos = Path(expanded(path)), expanded(photos)
    paths = [picture.path for picture in folders.pictures(photos).pictures] if photos else []
    if photos and not paths:
        raise UsageError(f"photos: no picture in {one_line(photos)}.")
    names.check_spares([path], [image if isinstance(image, (str, os.PathLike)) else None, *paths])
    subject = subjects.open(model, progress=progress, **opening)
    rgb = subject.picture(image)
    if max(rgb.shape[:2]) > size and None in subject.shape[:2]:
        rgb = np.clip(images.resize(rgb, images.fit(rgb.shape[:2], size)), 0, 1)
    chosen = [layers] if isinstance(layers, str) else list(maps.stages(subject) if layers is None else layers)
    chosen = list(dict.fromkeys(subject.maps(name) for name in chosen))
    rows = table.records(table.layers(subject))
    shown = _maps(subject, rgb, rows, chosen, most)
    _explain(subject, shown, chosen, paths, filters, progress)
    seen = rgb if None in subject.shape[:2] else image  # which is brought to the network's size once
    called = Path(image).name if isinstance(image, (str, os.PathLike)) else "a picture"
    about = {
        "model": Path(subject.name).name, "image": called, "size": list(rgb.shape[:2]),
        "picture": pictures.address(pictures.fitted(rgb, SHOWN)), "layers": rows, "shown": shown,
        "classes": _classes(subject, rgb, seen, top, methods) if subject.classes else [],
    }  # fmt: skip
    return render.write(path, TEMPLATE, about=about)


def _maps(subject, rgb, rows, chosen, most):
    """{layer: what is shown of its channels}, of all layers; what a layer without maps gives as numbers."""
    shapes = {row["name"]: row["shape"] for row in rows}
    flat = [name for name, shape in shapes.items() if len(shape) == 3]
    shown = {}
    # In parts, so that of a network with many layers the maps of a few are in memory.
    for first in range(0, len(flat), 8):
        for name, found in maps.of_picture(subject, rgb, flat[first : first + 8], TILE).items():
            channels = sheets.strongest(found, most)
            side_by_side = strip(found.maps, channels)
            figures = found.channels.loc[channels, ["strength", "highest"]].astype(float)
            told = [
                {"channel": channel, "strength": float(f"{strength:.3g}"), "highest": float(f"{highest:.3g}")}
                for channel, strength, highest in zip(channels, figures["strength"], figures["highest"])
            ]
            shown[name] = {**side_by_side, "channels": told, "of": found.maps.shape[-1]}
    return shown


def _explain(subject, shown, chosen, paths, filters, progress):
    """Adds to the channels of the chosen layers the parts of photographs and the pictures that excite them."""
    wanted = {name: [each["channel"] for each in shown[name]["channels"]] for name in chosen}
    driven = driving.of_layers(subject, paths, wanted, PATCHES, progress) if paths else {}
    for layer, channels in driven.items():
        for each in shown[layer]["channels"]:
            parts = channels[each["channel"]]
            each["patches"] = [pictures.address(pictures.fitted(part.picture, TILE)) for part in parts]
    for number, layer in enumerate(chosen if filters else ()):
        some = wanted[layer][:filters]
        made = channel_pictures.filters(subject, layer, some, size=FILTER if None in subject.shape[:2] else None)
        for each, pair in zip(shown[layer]["channels"], made.pictures):
            each["filter"] = pictures.address(pictures.fitted(pair[0], FILTER * 2))
        if progress:
            progress(number + 1, len(chosen), "filters")


def _classes(subject, rgb, seen, top, methods):
    """The most probable classes, and where they are seen."""
    if not top:
        return []
    best = subject.top(rgb, top)
    found = attribution(subject, seen, methods, [number for number, _ in best])
    classes = []
    for number, probability in best:
        heats = [each for each in found if each.number == number]
        classes.append({
            "name": subject.classes[number], "probability": float(probability),
            "heats": [
                {"method": each.method, "image": pictures.address(pictures.fitted(each.shown(), SHOWN))}
                for each in heats
            ],
        })  # fmt: skip
    return classes
