"""Pictures side by side in figures, against the content and the style they were made from."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from kstyle.errors import DataError, UsageError, unknown
from kstyle.io.files import expanded
from kstyle.models import registry
from kstyle.models import weights as weight_files
from kstyle.pictures import images
from kstyle.pictures.images import Source
from kstyle.style.judge import measures

log = logging.getLogger("kstyle")

# {extractor: (layers for style, layer for content)}. A painting should not be judged by what it was optimised for, so
# these are layers that the presets kstyle, gatys and neural-style do not use. In blocks 3 and 4 of VGG19 no preset uses
# them; in blocks 1 and 2 each layer is used by some preset.
_VGG = (("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3"), "block4_conv3")
_SQUEEZENET = (("conv1", "fire3", "fire5", "fire7"), "fire5")
# The first of these whose weights are on this machine is the judge. Best is another network than the VGG19 of most
# presets, next VGG19 with weights of another training, and last the same VGG19, at other layers.
EXTRACTORS = {
    "squeezenet1.1": _SQUEEZENET,
    "squeezenet1.1-torchvision": _SQUEEZENET,
    "vgg16": _VGG,
    "vgg16-torchvision": _VGG,
    "vgg19-torchvision": _VGG,
    "vgg19": _VGG,
}
LARGEST = 4096
# How far a picture's proportions may be from the content's, as a part of its long side: sizes are rounded to pixels.
TOLERANCE = 0.02


def compare(
    paths: Sequence[Source],
    content: Source | None = None,
    style: Source | None = None,
    *,
    size: int = 512,
    extractor: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> pd.DataFrame:
    """Measures pictures, and where content and style are given, how much of each is in them.

    All are first brought to one long side, on which most figures depend: `size`, or the smallest picture's, so that
    none of them is enlarged. With a content they get its shape to the pixel. Opacity is ignored.

    Args:
        paths: two or more pictures, each a path, `PIL.Image` or array, as for `kstyle.pictures.images.read`.
        content, style: one such each, or None.
        size: long side in pixels, 32 to 4096.
        extractor: the network that judges, a key of `EXTRACTORS`; best one that the pictures were not made with. None:
            the first of `EXTRACTORS` whose weights are on this machine.
        weights: a file to take its weights from; `extractor` must then be given.
        progress: `progress(done_bytes, total_bytes)` during a download; only a named `extractor` is downloaded.

    Returns:
        A DataFrame, one row a measure. Columns: `better` ("higher" or "lower"), then a float one for each picture,
        named as its file (as its path where two are of one name). Rows, as `kstyle.style.judge.measures` defines them:
        `ssim`, `content.LAYER`, `colour.content` with a content; `gram.LAYER`, `w2.LAYER`, `colour.style` with a style;
        `grain`, `border`, `haze`. Its `.attrs` have `size` and, with a content or style, `extractor`, `origin` and
        `sha256` (of the weights).

    Raises:
        UsageError: fewer than two pictures, an unknown extractor, an impossible size.
        DataError: a picture or weights that cannot be used, or a picture of another shape than the content.

    >>> import kstyle, numpy
    >>> noise = numpy.random.default_rng(0).random((64, 64, 3))
    >>> table = kstyle.compare([noise, noise / 2])
    >>> bool(table.loc["grain", "array"] > table.loc["grain", "array (2)"])
    True
    """
    sources: list[Any] = list(paths) if isinstance(paths, (list, tuple)) else [paths]
    if len(sources) < 2:
        raise UsageError(f"Comparing takes two or more pictures, got {len(sources)}.")
    if isinstance(size, bool) or not isinstance(size, int) or not measures.SMALLEST <= size <= LARGEST:
        raise UsageError(f"size must be a whole number of pixels from {measures.SMALLEST} to {LARGEST}; got {size!r}.")
    if extractor is not None and extractor not in EXTRACTORS:
        raise unknown("extractor", extractor, EXTRACTORS)
    if weights is not None and extractor is None:
        raise UsageError("A file of weights needs the name of its network too, the extractor.")
    weights = expanded(weights)
    pictures = [images.read(source) for source in sources]
    content, style = (None if source is None else images.read(source) for source in (content, style))
    for picture in filter(None, (*pictures, content, style)):
        for note in picture.notes:
            log.info("%s: %s", picture.name, note)
    size = min(size, *(max(picture.size) for picture in pictures))
    shape = None if content is None else _fit(content, size)
    labels = _labels(sources, pictures)
    pictures = [_brought_to(picture, size, shape, content) for picture in pictures]
    content = None if content is None else images.resize_picture(content, shape).rgb
    style = None if style is None else images.resize_picture(style, _fit(style, size)).rgb
    look: Any = None
    style_layers: tuple[str, ...] = ()
    facts, content_layer = {}, ""
    if content is not None or style is not None:
        look, facts = _judge(extractor, weights, progress)
        style_layers, content_layer = EXTRACTORS[facts["extractor"]]
    of_content = None if content is None else look(content)[content_layer]
    of_style = None if style is None else look(style)

    def figures(rgb):
        seen, rows = look(rgb) if look else {}, {}
        if content is not None:
            rows["ssim"] = measures.ssim(rgb, content)
            rows[f"content.{content_layer}"] = measures.feature_distance(seen[content_layer], of_content)
            rows["colour.content"] = measures.colour_distance(rgb, content)
        if style is not None:
            rows |= {f"gram.{name}": measures.gram_distance(seen[name], of_style[name]) for name in style_layers}
            rows |= {f"w2.{name}": measures.w2_distance(seen[name], of_style[name]) for name in style_layers}
            rows["colour.style"] = measures.colour_distance(rgb, style)
        return {**rows, "grain": measures.grain(rgb), "border": measures.border(rgb), "haze": measures.haze(rgb)}

    columns = {label: figures(rgb) for label, rgb in zip(labels, pictures)}
    rows = list(columns[labels[0]])
    better = {row: "higher" if row == "ssim" else "lower" for row in rows}
    table = pd.DataFrame({"better": better, **columns}, index=rows)
    table.attrs = {"size": size, **facts}
    return table


def _judge(extractor, weights, progress):
    """`(look, facts)`: `look(rgb)` -> {layer: (1, H, W, C) float32 NumPy}, and what is to be known of the network."""
    name = extractor or _at_hand()
    # Not before: all that is wrong with the call has been said, and a framework takes seconds to load.
    from kstyle import backend  # noqa: F401  (first: it says what is wrong with KERAS_BACKEND)
    from kstyle.models import features

    ops = features.ops

    style_layers, content_layer = EXTRACTORS[name]
    network = features.load(name, dict.fromkeys([*style_layers, content_layer]), weights=weights, progress=progress)

    def look(rgb):
        return {tap: ops.convert_to_numpy(seen) for tap, seen in network(ops.convert_to_tensor(rgb)).items()}

    return look, {"extractor": name, "origin": network.origin, "sha256": network.sha256}


def _at_hand():
    """The first of `EXTRACTORS` whose weights are on this machine. DataError, with ways to get the last's, if none."""
    for name in EXTRACTORS:
        row, source, _ = registry.extractor(name)
        try:
            found, first = weight_files.obtain(row, source, offline=True), next(iter(row.layers))
            weight_files.layer_arrays(found.path, row.name, {first: row.layers[first]})
        except DataError as error:
            problem = error
        else:
            return name
    raise problem


def _labels(sources, pictures):
    """A name for each column, none of them twice."""
    names = [picture.name for picture in pictures]
    labels = []
    for source, name in zip(sources, names):
        label = name
        if names.count(name) > 1 and isinstance(source, (str, os.PathLike)):
            label = " ".join(os.fsdecode(source).split())
        number = 1
        while label in ("better", *labels):
            number += 1
            label = f"{name} ({number})"
        labels.append(label)
    return labels


def _fit(picture, size):
    height, width = images.fit(picture.size, size)
    if min(height, width) < measures.SMALLEST:
        raise DataError(
            f"{picture.name} is {picture.size[1]}×{picture.size[0]}: at a long side of {size} its short side is "
            f"{min(height, width)} pixels, and the measures need {measures.SMALLEST}. Crop it."
        )
    return height, width


def _brought_to(picture, size, shape, content):
    """(H, W, 3) at the long side `size`; at `shape`, the content's, where there is one."""
    own = _fit(picture, size)
    if shape is not None and max(abs(a - b) for a, b in zip(own, shape)) > max(1, TOLERANCE * size):
        raise DataError(
            f"{picture.name} is {picture.size[1]}×{picture.size[0]}, the content {content.name} "
            f"{content.size[1]}×{content.size[0]}: of another shape. Crop one, or leave the content out."
        )
    return images.resize_picture(picture, shape or own).rgb
