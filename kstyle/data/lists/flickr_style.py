"""Flickr Style: 80,000 photographs in 20 styles, a published list of URLs: downloaded, checked and sorted into folders.

S. Karayev et al., "Recognizing Image Style", 2014; the list, its labels and its split are those of Caffe's example
finetune_flickr_style. Many of its photographs have been deleted since; what is left of a subset has a checksum.
"""

import collections
import contextlib
import csv
import gzip
import hashlib
import io
import os
import re
import urllib.parse
import zlib
from pathlib import Path

import numpy as np

from kstyle.data.lists.gather import SPLITS, SUFFIXES, Collection, Row
from kstyle.data.photos import tree as photos
from kstyle.data.sets import find
from kstyle.errors import DataError, UsageError
from kstyle.io import locks
from kstyle.io.files import expanded, plain

URL = "https://raw.githubusercontent.com/BVLC/caffe/master/examples/finetune_flickr_style/flickr_style.csv.gz"
STYLES = (
    "Detailed", "Pastel", "Melancholy", "Noir", "HDR", "Vintage", "Long Exposure", "Horror", "Sunny", "Bright",
    "Hazy", "Bokeh", "Serene", "Texture", "Ethereal", "Macro", "Depth of Field", "Geometric Composition", "Minimal",
    "Romantic",
)  # fmt: skip
UNWANTED = {"6a92790b1c2a301c6e7ddef645dca1f53ea97ac2": "Flickr says that the photo is unavailable"}  # by SHA-1

MOST_COMMAS = 1000  # of its first line: each row would be given as many fields
MOST_LIST = 1 << 27  # bytes of the list unpacked; the official one has 11 million


def read_list(path):
    """Reads the list, a CSV with the columns image_url, label and _split, plain or gzipped.

    The names of the styles are those in `style_names.txt` beside it, a line each, or the official 20.

    Returns:
        `(rows, names, sha256)`: list of `Row`, tuple of str, and the checksum of the unpacked list.

    Raises:
        DataError: there is no such file, it is damaged or too large, or a row cannot be.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            raw = file.read(MOST_LIST + 1)
        beside = path.with_name("style_names.txt")
        names = tuple(beside.read_text("utf-8").split("\n")) if beside.is_file() else STYLES
        text = raw.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = plain(getattr(error, "strerror", None) or error, 160).rstrip(".")
        raise DataError(f"{path}: cannot be read as a list of URLs ({reason}).") from error
    if len(raw) > MOST_LIST:
        raise DataError(f"{path}: refused: it has more than {MOST_LIST} bytes.")
    if (commas := raw.partition(b"\n")[0].count(b",")) > MOST_COMMAS:
        raise DataError(f"{path}: expected a list of URLs; its first line has {commas:,} commas.")
    names = tuple(name.strip() for name in names if name.strip())
    for name in names:  # they become folders
        if not re.fullmatch(r"\w[\w .&+-]{0,60}(?<![ .])", name) or names.count(name) > 1:
            raise DataError(f"{beside}: expected names of styles, each once and fit for a folder; got '{plain(name)}'.")
    return _rows(text, len(names), path), names, hashlib.sha256(raw).hexdigest()


def _rows(text, styles, path):
    lines = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"image_url", "label", "_split"} - set(lines.fieldnames or ())
    if missing:
        raise DataError(f"{path}: expected the columns image_url, label and _split; {', '.join(missing)} is missing.")
    rows = []
    try:
        for line in lines:
            url, label, split = line["image_url"], line["label"] or "", line["_split"]
            if not re.fullmatch(r"\d{1,4}", label) or int(label) >= styles or split not in SPLITS or not url:
                raise DataError(
                    f"{path}: row {len(rows) + 1}: expected a URL, a label from 0 to {styles - 1} and train or test; "
                    f"got '{plain(url)}', '{plain(label)}', '{plain(split)}'."
                )
            rows.append(Row(url, int(label), split))
    except csv.Error as error:
        raise DataError(f"{path}: row {len(rows) + 1}: is no CSV ({plain(error)}).") from error
    if not rows:
        raise DataError(f"{path}: lists no picture.")
    return rows


def choose(rows, images=0, seed=0, labels=0):
    """The indices of a subset: the one that Caffe's assemble_data.py takes for the same arguments.

    Args:
        rows: list of `Row`.
        images: how many; 0 or less: all.
        seed: of NumPy's RandomState, whose permutation the rows are taken in.
        labels: keep the first so many labels; 0 or less: all.

    Raises:
        UsageError: the seed is not from 0 to 2³² - 1.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"A seed is a whole number from 0 to {2**32 - 1}; got {seed}.")
    order = np.random.RandomState(seed).permutation(len(rows)).tolist()
    if labels > 0:
        order = [index for index in order if rows[index].label < labels]
    return order[:images] if images > 0 else order


def places(rows, names):
    """Where each row's picture goes: `split/style/file`, relative. Rows that are equal share a place, no others do.

    The file has the last part of the URL for a name. Where another row has the same, or where it is no plain file name
    of a picture, it is named by a checksum of its row. All of it follows from the whole list, not from the subset.
    """
    ends = [_end(row.url) for row in rows]
    # Without regard to case or split: not every file system tells them apart, nor does who joins the folders again.
    owners = collections.defaultdict(set)
    for row, end in zip(rows, ends):
        owners[end.lower()].add(row)
    found = []
    for row, end in zip(rows, ends):
        if not end or len(owners[end.lower()]) > 1:
            suffix = os.path.splitext(end)[1].lower() or ".jpg"
            end = hashlib.sha256("\t".join(map(str, row)).encode()).hexdigest()[:24] + suffix
        found.append(f"{row.split}/{names[row.label]}/{end}")
    return found


def _end(url):
    """The last part of a URL if it is a plain name of a picture, else nothing."""
    with contextlib.suppress(ValueError):
        end = urllib.parse.urlsplit(url).path.rpartition("/")[2]
        # Windows opens a device for aux.jpg.
        if re.fullmatch(r"(?i)(?!(con|prn|aux|nul|com\d|lpt\d)\.)[a-z0-9][a-z0-9_.-]{0,99}", end):
            return end if end.lower().endswith(SUFFIXES) else ""
    return ""


def download(
    folder=None,
    *,
    list_file=None,
    images=0,
    seed=0,
    labels=0,
    workers=None,
    per_host=None,
    retry_failed=False,
    progress=None,
):
    """Downloads a subset into `train/STYLE/` and `test/STYLE/` of a folder; a run that was ended is continued.

    Pictures are decoded before they are kept. Beside them:

        train.txt, test.txt  lines of path and label
        failed.csv           url, label, split and reason
        style_names.txt      the styles in the order of their labels
        subset.json          how the subset was chosen, how many pictures are here and failed, and `sha256`, of the
                             sorted lines of url, label, split and SHA-1 of the file, with tabs between: where it is
                             equal, so are the pictures
        journal.jsonl        what is here and what is gone for good; see `kstyle.data.lists.gather`

    Args:
        folder: default `flickr_style` in Keras' own folder.
        list_file: the list; default: the official one, downloaded.
        images, seed, labels: the subset, see `choose`. More images of the same choice may go into the same folder.
        workers, per_host: threads, connections to one host; default: those of `kstyle.data.lists.crowd`.
        retry_failed: ask again for what was gone for good.
        progress: called as `progress(State)`, see `kstyle.data.lists.gather`, several times a second.

    Returns:
        `(folder, facts)`: a `Path`, and what is in subset.json.

    Raises:
        UsageError: a setting is out of range, the folder holds pictures that are not in the subset, or another process
            is at work in it.
        DataError: the list cannot be had, the folder not be written, or not one picture is there in the end.
        KeyboardInterrupt: after the lists have been written.
    """
    from kstyle.data.lists import crowd

    workers, per_host = (
        default if n is None else n for n, default in ((workers, crowd.WORKERS), (per_host, crowd.PER_HOST))
    )
    if min(workers, per_host) < 1:
        raise UsageError(f"Workers and connections to a host are 1 or more; got {workers} and {per_host}.")
    root = Path(expanded(folder)) if folder else find.keras_folder() / "flickr_style"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locks.held(root, "download"):
            rows, names, sha256 = read_list(expanded(list_file) or _official(root))
            paths = places(rows, names)
            chosen = {paths[index]: rows[index] for index in choose(rows, images, seed, labels)}
            if not chosen:
                raise UsageError(f"The subset is empty: no row has a label below {labels}.")
            facts = {"list_sha256": sha256, "seed": seed, "images": max(images, 0), "labels": max(labels, 0)}
            with Collection(
                root, chosen, facts, names, UNWANTED, retry_failed=retry_failed, progress=progress
            ) as collection:
                facts = collection.complete(workers, per_host)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be written ({error.strerror or error}).") from error
    if not collection.here:
        ((reason, _),) = collections.Counter(collection.failed.values()).most_common(1)
        raise DataError(
            f"{root}: not one of {len(chosen)} pictures could be had, mostly as {reason}. See failed.csv there."
        )
    return root, facts


def _official(root):
    from kstyle.net import download

    try:
        return download.fetch(URL, root / "flickr_style.csv.gz")
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}. Without a network, a list can be given with --list.") from error


def read(path, *, workers=None, progress=None):
    """Reads what `download` left in the folder of `path`, as its train.txt and test.txt list it.

    Args:
        path: of a file in the folder.
        workers, progress: as for `kstyle.data.photos.tree.read_list`.

    Returns: a `kstyle.data.photos.tree.PhotoSet`, classes in the order of the labels; those without a picture are left
        out.

    Raises:
        DataError: a list is missing, damaged, or lists no picture.
    """
    return photos.read_list(Path(path).parent, name="flickr_style", workers=workers, progress=progress)


SOURCE = find.Source(
    title="Flickr Style",
    pictures=(64000, 16000),
    classes=len(STYLES),
    shape=(),
    read=read,
    marks=("subset.json",),
)
