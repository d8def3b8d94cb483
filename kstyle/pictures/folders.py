"""Which pictures a folder holds: the one walk of every command that is given a folder. No framework is needed."""

import errno
import functools
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

# Files of these names are not even opened. Those of other names, or without a suffix, are pictures if they begin so.
NOT_PICTURES = frozenset((
    ".avi", ".bak", ".bin", ".cfg", ".crdownload", ".csv", ".db", ".doc", ".docx", ".eps", ".gz", ".h5", ".html",
    ".ini", ".ipynb", ".json", ".log", ".mat", ".md", ".mov", ".mp3", ".mp4", ".npy", ".npz", ".part", ".pdf", ".pkl",
    ".ps", ".pt", ".pth", ".py", ".pyc", ".safetensors", ".sh", ".svg", ".tar", ".thm", ".tmp", ".tsv", ".txt", ".wav",
    ".webm", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip",
))  # fmt: skip

# First bytes of PNG, JPEG, GIF, JPEG 2000, PSD, QOI. Not of TIFF, as which the raw files of cameras begin too.
_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"\0\0\0\x0cjP  \r\n\x87\n", b"8BPS\0\1", b"qoif",
)  # fmt: skip
_UNSEEN = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}  # what systems leave beside people's pictures, previews and all


@dataclass(frozen=True)
class Picture:
    """A picture's file.

    Attributes:
        path: as text.
        folder: the one that was given and holds it, perhaps some levels up; None where the file itself was given.
    """

    path: str
    folder: str | None = None


@dataclass(frozen=True)
class Left:
    """Something in a folder that was left out.

    Attributes:
        path: of the file or folder.
        why: in words that follow its name and a colon: `"files called .txt are not read as pictures"`.
        kind: `"hidden file"`, `"hidden folder"`; `"name"`: of its suffix; `"content"`: it has no picture's suffix and
            does not begin as one; `"special"`: a pipe, a socket, a device; `"again"`: a link to a folder that is read
            anyhow, or is above it; `"link"`: one that leads nowhere; `"folder"`: one that cannot be read.
        fault: whether a picture may be missing that was meant: a folder that cannot be read, a link to nothing that is
            called a picture.
    """

    path: str
    why: str
    kind: str
    fault: bool = False


@dataclass(frozen=True)
class Found:
    """What `pictures` found.

    Attributes:
        pictures: each `Picture` once; of a folder in the order of their names, level by level.
        left: a `Left` for everything else that was seen.
    """

    pictures: tuple[Picture, ...]
    left: tuple[Left, ...]


def pictures(paths: str | os.PathLike | Iterable, recursive: bool = True, skip: Iterable = ()) -> Found:
    """The pictures that paths name.

    A file that is given counts as a picture, there or not, whatever its name. Of a folder all that counts is what is
    called a picture, in any case of letters, or begins as one. Hidden files and folders are left out. Links to folders
    are followed, so that each folder is read once, where it can be without a link.

    Args:
        paths: one, or several, of files and folders.
        recursive: also the folders below.
        skip: folders that are not looked into and not spoken of.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("b.JPG", "a.jfif", "._a.jfif", "notes.txt"): (folder / name).touch()
    >>> found = pictures(folder)
    >>> [os.path.basename(picture.path) for picture in found.pictures]
    ['a.jfif', 'b.JPG']
    >>> [left.why for left in found.left]
    ['is a hidden file', 'files called .txt are not read as pictures']
    """
    paths = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
    unseen = {os.path.realpath(os.fsdecode(folder)) for folder in skip}
    found, left = {}, {}
    for path in map(os.fsdecode, paths):
        if os.path.isdir(path):
            inside, out = _walk(path, recursive, unseen)
            for file in inside:
                found.setdefault(os.path.abspath(file), Picture(file, path))
            left |= {os.path.abspath(each.path): each for each in out}
        else:
            found.setdefault(os.path.abspath(path), Picture(path))
    return Found(tuple(found.values()), tuple(each for path, each in left.items() if path not in found))


@functools.cache
def _suffixes():
    from kstyle.pictures.formats import SUFFIXES_READ  # here: it loads Pillow

    return SUFFIXES_READ


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name in _UNSEEN


def is_folder(entry: os.DirEntry) -> bool:
    """`entry.is_dir()`, but False of a link to itself, at which that raises."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(root, recursive, unseen):
    """(paths of pictures, `Left`s) in and below a folder, both in order."""
    found, left, links, folders = [], [], [], [(root, os.path.realpath(root))]
    seen, above = set(), os.path.join(folders[0][1], "")
    while folders or links:
        if folders:
            path, real = folders.pop()
        else:  # links last: a folder that is also there without a link is read by that path
            path, real, within = links.pop()
            if above.startswith(os.path.join(real, "")) or within.startswith(os.path.join(real, "")):
                left.append(Left(path, "is a link to a folder above it", "again"))
                continue
        if real in unseen:
            continue
        if real in seen:
            left.append(Left(path, "is a folder that is read in another place", "again"))
            continue
        seen.add(real)
        try:
            with os.scandir(path) as entries:
                entries = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            left.append(Left(path, f"cannot be read as a folder ({error.strerror})", "folder", True))
            continue
        for entry in entries:
            if not is_folder(entry):
                why = _why_not(entry)
                left.append(why) if why else found.append(entry.path)
            elif hidden(entry.name):
                left.append(Left(entry.path, "is a hidden folder", "hidden folder"))
            elif not recursive:
                continue
            elif entry.is_symlink():
                links.append((entry.path, os.path.realpath(entry.path), os.path.join(real, "")))
            else:
                folders.append((entry.path, os.path.join(real, entry.name)))
    return sorted(found, key=_levels), sorted(left, key=lambda each: _levels(each.path))


def _levels(path):
    return path.split(os.sep)


def _why_not(entry):
    """A `Left`, or None of a picture."""
    if hidden(entry.name):
        return Left(entry.path, "is a hidden file", "hidden file")
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in NOT_PICTURES:
        return Left(entry.path, f"files called {suffix} are not read as pictures", "name")
    try:
        regular = entry.is_file() or stat.S_ISREG(os.stat(entry.path).st_mode)
    except OSError as error:
        itself = error.errno == errno.ELOOP
        why = f"is a link to {'itself' if itself else 'nothing'}" if entry.is_symlink() else error.strerror
        return Left(entry.path, why, "link", suffix in _suffixes())
    if not regular:  # to open a pipe is to wait for ever
        return Left(entry.path, "is no file", "special")
    if suffix in _suffixes() or _begins_as_picture(entry.path):
        return None
    ending = f"is called {suffix} and" if suffix else "has no suffix and"
    return Left(entry.path, f"{ending} does not begin as a picture", "content")


def _begins_as_picture(path):
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return (
        head.startswith(_BEGINNINGS)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"))
    )
