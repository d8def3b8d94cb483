"""What a table says of a picture beside one label: a box, or several labels."""

import collections
import math
import re

from kstyle.data.photos import tables
from kstyle.errors import DataError
from kstyle.io.files import listed, one_line, plain

# {side: what its column may be called}, edges of the box in pixels from the picture's upper left corner.
SIDES = {
    "left": ("x1", "xmin", "left"), "top": ("y1", "ymin", "top"), "right": ("x2", "xmax", "right"),
    "bottom": ("y2", "ymax", "bottom"),
}  # fmt: skip
SEVERAL = ("labels", "label", "classes", "class", "tags")
SEPARATOR = "|"
_PRESENT = {"1": True, "1.0": True, "0": False, "0.0": False, "-1": False, "": False}


def add_box(boxes, file, path, number, row):
    """Adds the box that a row of a table has for a picture to {file: (left, top, right, bottom)}.

    Args:
        file: of the picture. path, number: of the table and the row's line, for errors.

    Raises:
        DataError: they are no numbers, not in order, or the picture has another box already.
    """
    box = tuple(float(row[side]) if _is_number(row[side]) else math.nan for side in SIDES)
    if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
        raise DataError(
            f"{path}: line {number}: expected a box x1, y1, x2, y2 in pixels, x1 less than x2 and y1 less than y2; got "
            f"{plain([row[side] for side in SIDES])}."
        )
    if boxes.setdefault(file, box) != box:
        raise DataError(
            f"{path}: line {number}: {one_line(file)} has another box already; a network tells one a picture."
        )


def _is_number(text):
    return re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text)


def columns(path, usual, several):
    """`(columns, marked)` to read of a table, as `kstyle.data.photos.tables.read` takes them.

    Args:
        usual: those of a table with one label a picture.
        several: whether it may have several. Then there is a column `labels`, `label`, `classes`, `class` or `tags`,
            with names between `|`; or none, and each column but those of the path, the split and a box is a class.

    Returns:
        `marked`: {class: its key in `columns`} of the columns that are classes; {} where there are none.

    Raises:
        DataError: there is no column of labels and none that could be a class, or one is there twice.
    """
    if not several:
        return usual, {}
    header = tables.header(path)
    if any(name.lower() in SEVERAL for name in header):
        return {**usual, "label": SEVERAL}, {}
    taken = {name for names in (usual["path"], usual["split"], *SIDES.values()) for name in names}
    names = [name for name in header if name and name.lower() not in taken]
    twice = [name for name, count in collections.Counter(map(str.lower, names)).items() if count > 1]
    if not names or twice:
        found = f"'{plain(twice[0])}' twice" if twice else plain(header)
        raise DataError(
            f"{path}: expected a column labels, with names between {SEPARATOR}, or a column of 0 and 1 for each class; "
            f"found {found}."
        )
    marked = {name: f"class {name}" for name in names}
    kept = {key: value for key, value in usual.items() if key != "label"}
    return {**kept, **{key: (name.lower(),) for name, key in marked.items()}}, marked


def labels(path, number, row, marked):
    """The classes of a row of a table, a frozenset of names; there may be none.

    Args: path, number: of the table and the row's line, for errors. marked: as `columns` gives it.

    Raises:
        DataError: what stands in a column of a class is neither 0 nor 1.
    """
    if not marked:
        return frozenset(name.strip() for name in row["label"].split(SEPARATOR) if name.strip())
    odd = [name for name, key in marked.items() if row[key] not in _PRESENT]
    if odd:
        raise DataError(
            f"{path}: line {number}: expected 0 or 1 for each class, got '{plain(row[marked[odd[0]]])}' for "
            f"{listed(odd)}: is that a class? Leave other columns out of the table."
        )
    return frozenset(name for name, key in marked.items() if _PRESENT[row[key]])


def gathered(found, marked):
    """The rows of a table with several labels, one a picture.

    Args:
        found: {part: [(path, names)]}; the names of the rows of one picture are put together.
        marked: as `columns` gives it.

    Returns:
        `(found, sets, known)`: {part: [(path, the rarest of its names, or "")]}, {path: its names}, and all names.
    """
    sets = {}
    for rows in found.values():
        for path, names in rows:
            sets[path] = sets.get(path, frozenset()) | names
    counts = collections.Counter(name for names in sets.values() for name in names)

    def rarest(path):
        return min(sets[path], key=lambda name: (counts[name], name), default="")

    found = {part: [(path, rarest(path)) for path in dict.fromkeys(path for path, _ in rows)]
             for part, rows in found.items()}  # fmt: skip
    return found, sets, set(marked) | set(counts)
