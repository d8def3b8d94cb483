"""`kstyle.inspect.embedding`: a folder's pictures on a map, those beside each other that a network finds alike."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from kstyle.errors import UsageError, unknown
from kstyle.inspect import subject as subjects
from kstyle.inspect.near import features_of
from kstyle.io.files import expanded, plain, replacing

METHODS = ("pca", "t-sne")
MARGIN, LINE = 24, 22  # pixels of a map: its rim, and a line of the legend
COLOURS = "tab20"  # Matplotlib's, of the classes' frames
MOST_CLASSES = 20  # that have a colour of their own
GREY = (128, 128, 128)


def embedding(
    model: Any,
    folder: str | os.PathLike[str],
    method: str = "pca",
    layer: str | None = None,
    *,
    perplexity: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[..., Any] | None = None,
    **opening: Any,
) -> Any:
    """A folder of pictures in two dimensions, by the features that a network has of them.

    Args:
        model, folder, layer, workers, progress, opening: as for `kstyle.inspect.neighbours`; three pictures or more.
        method: `"pca"`, the two directions in which the features differ most; or `"t-sne"` (van der Maaten & Hinton
            2008), which keeps neighbours together and says nothing of larger distances. Both are scikit-learn's;
            features are brought to length 1 before, so that nearness is the cosine's.
        perplexity: of t-SNE, about how many neighbours each picture has; None: 30, or a third of the pictures.
        seed: of t-SNE.

    Returns:
        A DataFrame with a row for each picture: `path`, `class` (the folder within `folder`), `x` and `y`.
        `.attrs` has `layer`, `method` and of PCA `explained`, the two directions' parts of the variance, of t-SNE
        `perplexity`.

    Raises:
        UsageError: an unknown method or layer, or a perplexity that the pictures are too few for.
        DataError: no such folder, or fewer than three pictures.

    >>> import kstyle
    >>> table = kstyle.inspect.embedding("efficientnet_lite0", "photos", "t-sne")  # doctest: +SKIP
    >>> list(table.columns)  # doctest: +SKIP
    ['path', 'class', 'x', 'y']
    """
    import pandas as pd
    from sklearn.preprocessing import normalize

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    there = features_of.of_folder(expanded(folder), least=3)
    features = features_of.Features(subjects.open(model, progress=progress, **opening), layer)
    found, places = features(there.paths, workers, progress)
    if len(places) < 3:
        raise UsageError(f"A map is of 3 pictures or more; {len(places)} can be read.")
    points, facts = _points(normalize(found), method, perplexity, seed)
    table = pd.DataFrame({
        "path": [there.paths[at] for at in places], "class": [there.labels[at] for at in places],
        "x": points[:, 0], "y": points[:, 1],
    })  # fmt: skip
    table.attrs |= {"layer": features.layer, "method": method, **facts}
    return table


def _points(features, method, perplexity, seed):
    """`((N, 2), facts)`."""
    if method == "pca":
        from sklearn.decomposition import PCA

        way = PCA(2, svd_solver="full")
        points = way.fit_transform(features)
        # The sign of a direction is nobody's choice: the largest share of each points right, or up.
        points *= np.where(way.components_[range(2), np.abs(way.components_).argmax(axis=1)] < 0, -1, 1)
        return points, {"explained": way.explained_variance_ratio_.tolist()}
    from sklearn.manifold import TSNE

    perplexity = min(30.0, len(features) / 3) if perplexity is None else perplexity
    if not 0 < perplexity < len(features):
        raise UsageError(f"perplexity: expected above 0 and below the {len(features)} pictures; got {perplexity}.")
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features), {
        "perplexity": perplexity
    }


def picture(table, path, size=1600, thumbnail=64):
    """Writes what `embedding` found as a map of thumbnails, each in the colour of its class, with a legend.

    Args:
        table: from `embedding`.
        path: a .png or .jpg.
        size: pixels of the map's side, 256 to 8192.
        thumbnail: pixels of a picture on it, 8 to 256.

    Raises:
        UsageError: a size out of range. DataError: the file cannot be written.
    """
    from PIL import Image, ImageDraw

    from kstyle.data.batches import opening
    from kstyle.pictures import sheet

    if not 256 <= size <= 8192 or not 8 <= thumbnail <= 256:
        raise UsageError(
            f"Expected a map of 256 to 8192 pixels and thumbnails of 8 to 256; got {size} and {thumbnail}."
        )
    kind, classes = sheet.kind(path), [label for label in dict.fromkeys(sorted(table["class"])) if label]
    colours = _colours(classes)
    canvas = Image.new("RGB", (size, size + (LINE * -(-len(colours) // 5) + MARGIN if colours else 0)), "white")
    draw, frame = ImageDraw.Draw(canvas), max(2, thumbnail // 20)
    points = table[["x", "y"]].to_numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    room = size - 2 * MARGIN - thumbnail - 2 * frame
    at = MARGIN + np.rint((points - low) / np.maximum(high - low, 1e-12) * room).astype(int)
    at[:, 1] = size - at[:, 1] - thumbnail - 2 * frame  # y goes up
    for (x, y), row in zip(at.tolist(), table.itertuples()):
        tile = opening.centre(row.path, thumbnail, thumbnail)
        colour = colours.get(row[2], GREY)
        draw.rectangle((x, y, x + thumbnail + 2 * frame - 1, y + thumbnail + 2 * frame - 1), fill=colour)
        canvas.paste(Image.fromarray(tile), (x + frame, y + frame))
    font = sheet.font_of(14)
    for number, (label, colour) in enumerate(colours.items()):
        x, y = MARGIN + number % 5 * (size - 2 * MARGIN) // 5, size + number // 5 * LINE
        draw.rectangle((x, y + 2, x + 14, y + 16), fill=colour)
        draw.text((x + 20, y), sheet.fitted(plain(label), font, (size - 2 * MARGIN) // 5 - 28), "black", font=font)
    with replacing(path) as beside:
        canvas.save(beside, kind)


def _colours(classes):
    """{class: (red, green, blue)}, of the first `MOST_CLASSES`."""
    import matplotlib

    colours = matplotlib.colormaps[COLOURS].colors
    colours = colours[::2] + colours[1::2]  # the light ones, each beside its dark one, last
    named = zip(classes[:MOST_CLASSES], colours)
    return {label: tuple(round(255 * part) for part in colour) for label, colour in named}
