"""What a style network's file says of itself, read without a framework, and what its network is told."""

import json
import zipfile
from typing import Any

import numpy as np

from kstyle import config
from kstyle.errors import DataError
from kstyle.io.files import one_line, parsing, read_member
from kstyle.style.networks import shipped

FACTS = "kstyle.json"  # beside what Keras puts into the archive, and passes over when it reads
MOST_FACTS = 1 << 20  # bytes
VERSION = 2
STYLES, ARBITRARY = "styles", "arbitrary"  # what a network paints in: those that it learned, or any picture's
BRUSH = 2  # numbers of a condition for the size of strokes: its logarithm, and that squared
MOST_STYLES = 256

OTHER = (
    "has learned its own styles: give it in the place of the style picture, not as --network.",
    "paints after any picture: give pictures as the style, and this file as --network.",
)


def styles() -> dict[str, dict[str, Any]]:
    """The style networks that come with kstyle: `style:NAME` stands for one wherever its file may stand.

    Returns:
        {name: what its file says of it}, sorted by name: `description`, `size` (long side in pixels of the photographs
        that it is meant for), `width`, `styles` (the pictures it learned from), `brush`, `bits`, and `learned`: recipe,
        photographs, steps, seconds, the losses on photographs that were held out (`held_out`), versions.

    >>> import kstyle
    >>> kstyle.styles()["night"]["size"]
    384
    >>> kstyle.stylize("photo.jpg", "style:night").write("painted.png")  # doctest: +SKIP
    """
    recipes = config.descriptions("networks")  # of each the one that it was learned by
    return {name: {"description": recipes[name], **read(f"{shipped.PREFIX}{name}")} for name in shipped.names()}


def is_one(path):
    """Whether a file is a style network's, by what is in it. UsageError: none of this name comes with kstyle."""
    path = shipped.located(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return FACTS in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read(path, kind=STYLES):
    """The facts of a style network's file, a dict, see `kstyle.style.networks.style_file.StyleFile`, or of one for any
    style, see `kstyle.style.networks.arbitrary_file.ArbitraryFile`. `kind`: which of them; None: either.

    Args:
        path: of the file, or `style:NAME`.

    Raises:
        UsageError: no network of this name comes with kstyle.
        DataError: no such file, none of a style network, damaged, of a later version of kstyle, or of the other kind.
    """
    path, label = shipped.located(path), one_line(path)
    if not path.is_file():
        raise DataError(f"{label}: there is no such file.")
    with parsing(label), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if FACTS not in entries:
            raise DataError(f"{label}: is no style network of `kstyle learn`.")
        facts = json.loads(read_member(archive, entries[FACTS], MOST_FACTS, label))
        if facts.get("version") != VERSION:
            raise DataError(f"{label}: was written by another version of kstyle.")
        if (found := facts.get("kind", STYLES)) != kind and kind is not None:
            raise DataError(f"{label}: {OTHER[found == ARBITRARY]}")
        if found == ARBITRARY:
            return facts
        if not 0.1 <= facts["width"] <= 2 or not 1 <= len(facts["styles"]) <= MOST_STYLES:
            raise DataError(f"{label}: says that it is {facts['width']} wide, of {len(facts['styles'])} styles.")
    return facts


def condition(facts, blend=None, brush=1.0):
    """What the network is told beside the photograph: (K,) float32.

    Args:
        facts: of a `StyleFile`.
        blend: a weight for each style, of any sum above 0; None: equal.
        brush: size of the strokes, times that of `size`.

    Raises:
        DataError: not as many weights as styles, a network that knows one size of strokes, or a size beyond what it
            learned.
    """
    count, learned = len(facts["styles"]), facts["brush"]
    blend = np.ones(count) if blend is None else np.asarray(blend, float)
    if len(blend) != count or not (blend >= 0).all() or not blend.sum() > 0:
        raise DataError(f"expected {count} weights of styles, 0 or more, and one above 0; got {[*map(float, blend)]}.")
    weights = blend / blend.sum()
    if learned is None:
        if brush != 1:
            raise DataError(f"this network knows one size of strokes: style.scale {brush:g} needs `brush`.")
        return weights.astype("float32")
    if not learned[0] <= brush <= learned[1]:
        raise DataError(
            f"this network knows strokes of {learned[0]:g} to {learned[1]:g} times their size; got {brush:g}."
        )
    size = np.log2(brush)
    return np.array([*weights, size, size**2], "float32")
