"""`kstyle.inspect.neighbours`: the pictures of a folder that a network finds most alike."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kstyle.data.batches import verdicts
from kstyle.errors import DataError, UsageError
from kstyle.inspect import subject as subjects
from kstyle.inspect.near import features_of
from kstyle.io.files import expanded, one_line
from kstyle.io.names import same_file


def neighbours(
    model: Any,
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    layer: str | None = None,
    count: int = 8,
    *,
    workers: int | None = None,
    progress: Callable[..., Any] | None = None,
    **opening: Any,
) -> Any:
    """The pictures of a folder that are nearest to others: those whose features point the same way.

    Nearness is the cosine of the angle between two vectors of features, found by scikit-learn's `NearestNeighbors`. A
    picture that lies in the folder itself is not its own neighbour.

    Args:
        model: as for `kstyle.inspect.open`: a run's folder, a `.keras` file, a `keras.Model`, a network's name.
        folder: of pictures, in folders by class too.
        images: the files whose neighbours are looked for, one or several.
        layer: whose output the features are; maps are averaged over their places. None: what a classifier tells its
            classes from, or an extractor's last layer.
        count: neighbours of each, at least 1.
        workers: processes that decode pictures; None: as many as there are processors, at most 8.
        progress: `progress(done, total)` in bytes during a download; with `what="pictures"`, in pictures.
        opening: further arguments of `kstyle.inspect.open`: weights, allow_code, preprocessing.

    Returns:
        A DataFrame with a row for each pair, the nearest first: `image`, `rank` from 1, `path`, `class` (the folder
        within `folder`, "" where there is none) and `similarity`, -1 to 1. `.attrs["layer"]` is the layer.

    Raises:
        UsageError: no such layer, or a count below 1; see also `kstyle.inspect.open`.
        DataError: no such folder, no pictures in it, or one of `images` that cannot be read.

    >>> import kstyle
    >>> near = kstyle.inspect.neighbours("efficientnet_lite0", "photos", "cat.jpg", count=2)  # doctest: +SKIP
    >>> near[["path", "similarity"]].values.tolist()  # doctest: +SKIP
    [['photos/cats/7.jpg', 0.81], ['photos/cats/2.jpg', 0.78]]
    """
    import pandas as pd
    from sklearn.neighbors import NearestNeighbors

    if count < 1:
        raise UsageError(f"count: expected 1 neighbour or more; got {count}.")
    asked = [os.fspath(expanded(path)) for path in ([images] if isinstance(images, (str, os.PathLike)) else images)]
    there = features_of.of_folder(expanded(folder))
    features = features_of.Features(subjects.open(model, progress=progress, **opening), layer)
    for path, (_, reason) in verdicts.examine(asked, workers=workers).items():
        if reason:
            raise DataError(f"{one_line(path)}: {reason}.")
    theirs, _ = features(asked, workers)
    known, places = features(there.paths, workers, progress)
    if not len(places):
        raise DataError(f"{one_line(there.folder)}: none of its pictures can be read.")
    # One more, as the picture itself may be among them.
    nearest = NearestNeighbors(n_neighbors=min(count + 1, len(places)), metric="cosine").fit(known)
    rows = []
    for path, distances, found in zip(asked, *nearest.kneighbors(theirs)):
        others = [
            (1 - far, places[at]) for far, at in zip(distances, found) if not same_file(there.paths[places[at]], path)
        ]
        for rank, (similarity, at) in enumerate(others[:count], 1):
            rows.append((path, rank, there.paths[at], there.labels[at], float(similarity)))
    table = pd.DataFrame(rows, columns=["image", "rank", "path", "class", "similarity"])
    table.attrs["layer"] = features.layer
    return table


def sheet(table, path, size=160):
    """Writes a picture of what `neighbours` found: a row for each picture, itself first.

    Args:
        table: from `neighbours`.
        path: a .png or .jpg, see `kstyle.pictures.sheet.sheet`.
        size: pixels of a picture on it.
    """
    from kstyle.data.batches import opening
    from kstyle.pictures import sheet as contact

    columns, entries = 1 + int(table["rank"].max()), []
    for image, rows in table.groupby("image", sort=False):
        line = [(image, "", "")] + [(row.path, row[4], f"{row.similarity:.3f}") for row in rows.itertuples()]
        for file, label, said in line:
            entries.append((opening.centre(file, size, size), [os.path.basename(file), label, said], None))
        # One that lies in a small folder has a neighbour less.
        entries += [(np.full((size, size, 3), 255, "uint8"), [], None)] * (columns - len(line))
    contact.sheet(entries, path, columns=columns, size=size, title="Pictures and their neighbours")
