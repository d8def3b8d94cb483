"""Where a data set is: the user's folder, KSTYLE_DATA, Keras' own folder, or the official download."""

import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io.files import expanded

# What zipfile raises of a damaged download: of a zip by a later version a kind of RuntimeError, of a name that is said
# to be UTF-8 and is not a kind of ValueError.
ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is read.

    Attributes:
        title: its name as people write it.
        pictures: (train, test), how many the official set has.
        classes: how many.
        shape: (H, W, C) of a picture; empty where pictures differ.
        read: `read(path) -> (class names, train Split, test Split)`; `path` is what `find` found.
        marks: files, any of which shows that the data set is in a folder, the preferred first.
        file, url, sums, size: the official download: its name, address, checksums as `kstyle.net.download.misfit` takes
            them, and bytes. Empty where the data set comes with an installed package, or not as files.
        more: further files that are beside that one, {name: checksums}, at the address of their last part.
    """

    title: str
    pictures: tuple[int, int]
    classes: int
    shape: tuple[int, int, int]
    read: Callable
    marks: tuple[str, ...] = ()
    file: str = ""
    url: str = ""
    sums: dict | None = None
    size: int = 0
    more: dict = field(default_factory=dict)


def keras_folder():
    """Where Keras keeps data sets: `$KERAS_HOME/datasets`, or `~/.keras/datasets`."""
    return Path(expanded(os.environ.get("KERAS_HOME") or "~/.keras")) / "datasets"


def find(name, source, folder=None):
    """The data set's file or folder on this machine.

    Args:
        name: as in `kstyle.data.DATASETS`; a folder may hold one folder of that name for each data set.
        source: its `Source`.
        folder: where to look, and nowhere else: a folder, or the data set's file itself, `~` written out. Default: the
            folder that the environment's `KSTYLE_DATA` names, then Keras' own.

    Returns:
        `(path, places)`: the path, or None where it is in none of the places looked at.

    Raises:
        DataError: `folder` or the one in `KSTYLE_DATA` does not exist, or `folder` does not hold the data set.
    """
    if folder is not None:
        place = Path(folder)
        if not place.exists():
            raise DataError(f"{folder}: there is no such folder to read {source.title} from.")
        if path := _within(place, name, source):
            return path, [place]
        raise DataError(f"{folder}: holds no {source.title}; expected {_expected(source)} there or in {name}/.")
    places = []
    if given := os.environ.get("KSTYLE_DATA"):
        place = Path(expanded(given))
        if not place.exists():
            raise DataError(f"KSTYLE_DATA names {given}, which does not exist.")
        places.append(place)
    places.append(keras_folder())
    for place in places:
        if path := _within(place, name, source):
            return path, places
    return None, places


def _within(place, name, source):
    if place.is_file():
        return place
    for prefix in ("", name):
        for mark in source.marks:
            if (path := place / prefix / mark).is_file():
                return path
    return None


def _expected(source):
    return " or ".join(source.marks[:3])


def find_or_download(name, source, folder=None, download=True, progress=None):
    """As `find`, and the official download where nothing was found; returns the path.

    Raises:
        DataError: as `find`; or it is nowhere and cannot be downloaded: the places looked at, the reason, the way out.
    """
    path, places = find(name, source, folder)
    if path:
        return path
    looked = f"{source.title} is not in {' or '.join(map(str, places))}"
    way = f"a folder with {_expected(source)} can be given with --data or KSTYLE_DATA"
    if not download:
        size = f" ({source.size / 1e6:.0f} MB)" if source.size else ""
        raise DataError(f"{looked}: run 'kstyle data download {name}'{size}, or {way}.")
    try:
        return fetch(source, progress=progress)
    except DataError as error:
        raise DataError(f"{looked}, and {str(error).rstrip('.')}. Without a network, {way}.") from error


def fetch(source, folder=None, progress=None):
    """Downloads the official file into `folder` (default: Keras' own) and returns its path; see `kstyle.net.download`.
    Where there are several, the path of the first.

    A file of that name that is there with another checksum is replaced.

    Raises:
        UsageError: the data set is not downloaded, but comes with a package.
        DataError: the download failed.
    """
    if not source.url:
        raise UsageError(f"{source.title} comes with an installed package: there is nothing to download.")
    from kstyle.net import download  # requests takes longer to import than this whole package

    root, most = Path(expanded(folder)) if folder else keras_folder(), source.size or download.MOST_BYTES
    for name, sums in source.more.items():  # first: that the main file is there says that all are
        address = f"{source.url.rpartition('/')[0]}/{name.rpartition('/')[2]}"
        download.fetch(address, root / name, progress=progress, most=most, **sums)
    return download.fetch(source.url, root / source.file, progress=progress, most=most, **source.sums)


def shown(path):
    """What the user knows it by: the archive, or the folder of many files."""
    return str(path if path.name.endswith((".npz", ".zip", ".tar.gz")) else path.parent)


def again(path, source):
    """What to add to an error in a file that a download would replace."""
    return " Delete it, and it is downloaded again." if path == keras_folder() / source.file else ""
