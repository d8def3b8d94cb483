"""Image-classification data sets: small pictures read from their published files into NumPy arrays, and photographs
in folders and lists, which are decoded when they are needed. No framework is needed.

dataset = kstyle.data.load("mnist")
train, validation = kstyle.data.hold_out(dataset.train, 0.1, seed=0)
mine = kstyle.data.photographs("folder", "my_pictures")
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kstyle.data import report
from kstyle.data.batches.arrays import Dataset, Split, channel_statistics, hold_out, order, take
from kstyle.data.lists import flickr_style
from kstyle.data.photos import tree as photos
from kstyle.data.sets import cifar10, cifar100, digits, fashion_mnist, find, hymenoptera, mnist, tiny_imagenet
from kstyle.errors import DataError, UsageError, unknown
from kstyle.io.files import expanded

__all__ = [
    "DATASETS",
    "PHOTOGRAPHS",
    "Dataset",
    "Split",
    "channel_statistics",
    "check",
    "download",
    "hold_out",
    "load",
    "locate",
    "order",
    "photographs",
    "take",
]

# {name: kstyle.data.sets.find.Source}
DATASETS = {
    "mnist": mnist.SOURCE,
    "fashion_mnist": fashion_mnist.SOURCE,
    "cifar10": cifar10.SOURCE,
    "cifar100": cifar100.SOURCE,
    "tiny_imagenet": tiny_imagenet.SOURCE,
    "digits": digits.SOURCE,
}

# {name: kstyle.data.sets.find.Source, or None where the user's own pictures are meant}
PHOTOGRAPHS = {
    "folder": None,
    "list": None,
    "csv": None,
    "hymenoptera": hymenoptera.SOURCE,
    "flickr_style": flickr_style.SOURCE,
}
_READERS = {"folder": photos.read_folder, "list": photos.read_list, "csv": photos.read_csv}


def published():
    """{name: `Source`} of arrays and photographs, without one's own."""
    return {name: source for name, source in {**DATASETS, **PHOTOGRAPHS}.items() if source}


def _source(name, known=DATASETS):
    if name not in known:
        raise unknown("data set", name, known)
    return known[name]


def load(name, folder=None, download=True, progress=None):
    """Reads a data set.

    Looked for in `folder`; without one, in the folder that the environment's `KSTYLE_DATA` names, in Keras' own
    (`$KERAS_HOME/datasets` or `~/.keras/datasets`), and at last downloaded into the latter. `digits` comes with
    scikit-learn and is looked for nowhere.

    Args:
        name: a key of `DATASETS`.
        folder: of the data set, or one that holds a folder for each data set, or the data set's file. If it is given,
            no other place is looked at.
        download: whether a data set that is not there is downloaded.
        progress: `progress(done, total or None)` in bytes, during a download.

    Returns: a `Dataset`.

    Raises:
        UsageError: no such data set.
        DataError: it is nowhere, or a file in it is damaged, refused or not what it should be.
    """
    _source(name)
    return named(name, expanded(folder), download=download, progress=progress)


def photographs(name, folder=None, test_fraction=0.2, seed=0, *, workers=None, download=True, progress=None):
    """Reads what picture files there are; none is decoded.

    Args:
        name: a key of `PHOTOGRAPHS`: a published set, or the layout of one's own: `folder`, a folder for each class;
            `list`, lists of `path label` lines; `csv`, a table.
        folder: of the pictures, or of their lists. A published set is looked for as `load` does.
        test_fraction, seed: of one's own pictures, where they are not divided: see
            `kstyle.data.photos.tree.read_folder`.
        workers: processes that open the pictures to see whether they can be.
        download: whether a published set that is not there is downloaded.
        progress: `progress(done, total)` in bytes; with `what="pictures"`, in files looked at.

    Returns: a `kstyle.data.photos.tree.PhotoSet`.

    Raises:
        UsageError: no such data set, or no folder for one's own pictures.
        DataError: it is nowhere, or there is no picture in it.
    """
    _source(name, PHOTOGRAPHS)
    return named(
        name, expanded(folder), test_fraction, seed, workers=workers, download=download, progress=progress
    )  # fmt: skip


def named(
    name, folder=None, test_fraction=0.2, seed=0, *, workers=None, download=True, progress=None, boxes=False,
    several=False,
):  # fmt: skip
    """What `load` or `photographs` gives, whichever the name is of, from a folder whose `~` is written out; `boxes` and
    `several`: what is to be read of a table, as `kstyle.data.photos.tree.read_csv` has it."""
    source, path = _source(name, {**DATASETS, **PHOTOGRAPHS}), None
    if source and source.marks:
        path = find.find_or_download(name, source, folder, download and bool(source.url), progress)
    if name in DATASETS:
        origin = find.shown(path) if path else f"the installed package {digits.package()}"
        try:
            return Dataset(name, *source.read(path), origin)
        except DataError as error:
            raise DataError(f"{error}{find.again(path, source)}" if path else str(error)) from error
        except OSError as error:
            raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from error
    looked = functools.partial(progress, what="pictures") if progress else None
    if source:
        return source.read(path, workers=workers, progress=looked)
    if folder is None:
        raise UsageError(f"Where are the pictures? Name the folder with --data (or data.path) for data '{name}'.")
    more = {"boxes": boxes, "several": several} if name == "csv" else {}
    return _READERS[name](folder, test_fraction=test_fraction, seed=seed, workers=workers, progress=looked, **more)


def layout(name, folder):
    """What photographs that were named in place of those of `name` are to be read as, a key of `PHOTOGRAPHS`.

    A table is `csv`, a folder `name` where it holds what that needs, and else `folder`. Of a set of arrays it is
    `name`, unless there are folders of photographs in its place.
    """
    place, source = Path(expanded(folder)), _source(name, {**DATASETS, **PHOTOGRAPHS})
    pictures = ("*/*.[jJpP]*[gG]", "*/*/*.[jJpP]*[gG]")  # a folder for each class, with or without test/ above
    if name in DATASETS and not any(next(place.glob(pattern), None) for pattern in pictures):
        return name
    if place.is_file():
        return "csv" if place.suffix.lower() in (".csv", ".tsv") else name
    if source:
        try:
            find.find(name, source, place)
        except DataError:
            return "folder"
    needed = {"list": "train.txt", "csv": "*.csv"}.get(name)
    return "folder" if needed and not any(place.glob(needed)) else name


def true_box(name, path):
    """The box that a data set has for a picture that lies in its own folder, [left, top, right, bottom] in pixels; None
    where it has none, or lists none for this file.

    Args:
        name: of a data set.
        path: of the picture.
    """
    return tiny_imagenet.true_box(path) if name == "tiny_imagenet" else None


def locate(name, folder=None):
    """Where `load` would read from: a path, the name of a package, or None where it would have to be downloaded.

    Raises: as `load`; nothing is read.
    """
    source = _source(name, published())
    if not source.marks:
        return digits.package()
    path, _ = find.find(name, source, expanded(folder))
    return None if path is None else find.shown(path)


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[..., Any] | None = None,
    **choice: Any,
) -> Path:
    """Downloads a data set; a download that broke off goes on where it ended.

    Args:
        name: a key of `published()`: `"mnist"`, `"fashion_mnist"`, `"cifar10"`, `"cifar100"`, `"tiny_imagenet"`,
            `"hymenoptera"`, `"flickr_style"`.
        folder: where to; None: Keras' own.
        progress: `progress(done_bytes, total_bytes)`; of flickr_style as for `kstyle.data.lists.flickr_style.download`.
        **choice: of flickr_style only, which of its pictures, and how: images, seed, labels, list_file, workers,
            per_host, retry_failed.

    Returns:
        The path of the official file; of flickr_style the folder of its pictures, whose `subset.json` says how many
        there are, and their checksum.

    Raises:
        UsageError: no such data set, it comes with a package, or it has no such choice.
        DataError: the download failed.

    >>> import kstyle
    >>> kstyle.download("mnist", "data/mnist")  # doctest: +SKIP
    PosixPath('data/mnist/mnist.npz')
    >>> kstyle.download("flickr_style", "data/flickr_style", images=2000, seed=831486)  # doctest: +SKIP
    PosixPath('data/flickr_style')
    """
    if name == "flickr_style":
        return flickr_style.download(folder, progress=progress, **choice)[0]
    if choice:
        raise UsageError(f"Of '{name}' there is nothing to choose; got {', '.join(choice)}.")
    return find.fetch(_source(name, published()), folder, progress)


def check(name, folder=None):
    """Reads all of a data set and reports what is in it; nothing is downloaded.

    Args:
        name: a key of `DATASETS` or `PHOTOGRAPHS`.
        folder: as for `load` and `photographs`.

    Returns:
        A dict for JSON: `name`, `origin`, `sha256`, `classes`; `splits`, `{"train" and "test": {"pictures", "per_class"
        by class, "grey" pictures with three equal channels (None where that is not known), "boxes"}}`; and `problems`,
        a list of sentences: what differs from the official set, and what is warned of in one's own. Of arrays `shape`,
        (H, W, C), and `mean` and `std` of the training pictures' channels in [0, 1]. Of photographs `skipped`, [path,
        reason] of files that are left out, and `drawn`: whether the pictures to test on are set apart by kstyle.

    Raises: as `load` and `photographs`.
    """
    source = _source(name, {**DATASETS, **PHOTOGRAPHS})
    if name in PHOTOGRAPHS:
        return report.of_photographs(functools.partial(photographs, name, folder, download=False), source)
    return report.of_arrays(load(name, folder, download=False), source)
