"""Which pictures a batch is of: those that paths and folders name, in natural order."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kstyle.errors import UsageError
from kstyle.io.files import one_line
from kstyle.pictures import folders

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class Content:
    """A picture to paint.

    Attributes:
        path: of its file.
        name: of its result, below the results' folder, with / and without a suffix: `"cat"`, `"holiday/cat"`.
        key: what the record calls it: its absolute path.
        error: why it cannot be read, "" where that is not known yet.
    """

    path: Path
    name: str
    key: str
    error: str = ""


def collect(paths: Paths, recursive: bool = False, folder: str | os.PathLike[str] | None = None) -> list[Content]:
    """The contents that paths name, in natural order: frame2 before frame10.

    Args:
        paths: of files, and of folders: the pictures directly in them, as `kstyle.pictures.folders.pictures` finds
            them.
        recursive: those in folders below too; results keep the tree.
        folder: where results go; it is not looked into.

    Returns:
        List of `Content`, each file once. A folder that cannot be read, and a link to nothing, is one with an error.

    Raises:
        UsageError: a path that does not exist, no picture at all, or a folder of contents that is also `folder`.
    """
    return survey(paths, recursive, folder)[0]


def survey(paths, recursive=False, folder=None):
    """As `collect`, but `(contents, left)`: also the `kstyle.pictures.folders.Left` of what is in the folders and no
    content."""
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    results = None if folder is None else os.path.realpath(folder)
    for given in paths:
        if not os.path.lexists(given):
            raise UsageError(f"{one_line(given)}: there is no such file or folder.")
        if os.path.isdir(given) and os.path.realpath(given) == results:
            raise UsageError(
                f"{one_line(given)} is to be read and written: the next run would paint its own results. "
                "Give another folder for results; one inside it will do."
            )
    seen = folders.pictures(paths, recursive, skip=[] if results is None else [results])
    found = []
    for picture in seen.pictures:
        below = Path(picture.path).relative_to(picture.folder).as_posix() if picture.folder else ""
        name = os.path.splitext(below)[0] or Path(picture.path).stem
        found.append(Content(Path(picture.path), name, os.path.abspath(picture.path)))
    for left in seen.left:
        if left.fault:
            found.append(Content(Path(left.path), Path(left.path).stem, os.path.abspath(left.path), f"{left.why}."))
    if not found:
        where = ", ".join(one_line(path) for path in paths) or "what was given"
        raise UsageError(
            f"There is no picture in {where}{'' if recursive else '; folders below it are looked into if recursive'}."
        )
    contents = sorted(found, key=lambda content: _natural(content.key))
    return contents, [left for left in seen.left if not left.fault]


def _natural(text):
    """A sort key by which frame2 comes before frame10, and parts of a path count one by one."""
    parts = [
        [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", level) if part]
        for level in Path(text.casefold()).parts
    ]
    return parts, text
