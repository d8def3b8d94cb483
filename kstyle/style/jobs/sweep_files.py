"""What a sweep leaves beside its sheet: a table and the pictures; the page is in `sweep_page`."""

import contextlib
import csv
from pathlib import Path

from kstyle.errors import UsageError
from kstyle.io import files
from kstyle.io.files import one_line
from kstyle.style.target import put

LAST = ("seconds", "state", "error", "command")  # columns of the table
LARGEST, HEAD = 1 << 26, 1 << 16  # bytes of a page or table, and of a picture, that are looked into


def beside(target):
    """Paths of the page, the table and the folder of pictures that belong to a sheet."""
    return files.ending(target, "", ".html"), files.ending(target, "", ".csv"), files.ending(target, "-pictures", "")


def check_own(page, table, folder):
    """UsageError where one of them is there and no sweep wrote it: the user named the sheet only, and knows nothing of
    these."""
    # Not by the page's "generator": sweeps of older versions wrote none, but the same heading.
    _check(page, lambda text: "<h2>Settings and losses</h2>" in text)
    _check(table, lambda text: text.partition("\n")[0].strip().endswith(",".join(LAST)))
    for picture in folder.glob("[0-9][0-9][0-9].png"):
        with contextlib.suppress(OSError), open(picture, "rb") as file:
            if b"kstyle" in file.read(HEAD):  # its recipe, as `Result.write` puts it before the pixels
                continue
        raise UsageError(f"{one_line(picture)} would be replaced, and no sweep wrote it: give the sheet another name.")


def _check(path, is_own):
    if not path.exists():
        return
    with contextlib.suppress(OSError, files.DataError):
        if is_own(files.read_bytes(path, LARGEST).decode("utf-8", "replace")):
            return
    raise UsageError(f"{one_line(path)} would be replaced, and no sweep wrote it: give the sheet another name.")


def row(cell):
    """A combination as a line of the table: {column: value}."""
    return {
        "number": cell.number,
        **cell.varied,
        **cell.losses,
        "seconds": round(cell.seconds, 3),
        "state": cell.state,
        "error": cell.error,
        "command": cell.command,
    }


def write_csv(path, cells):
    """The table of `row`s, with a column for each term that any has. DataError: it cannot be written."""
    rows = [row(cell) for cell in cells]
    columns = [name for name in dict.fromkeys(name for one in rows for name in one) if name not in LAST] + [*LAST]
    with files.replacing(path) as beside, open(beside, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_picture(folder, cell):
    """A combination's picture as `folder/NUMBER.png`, with its recipe in it; its path."""
    folder = Path(folder)
    with contextlib.suppress(OSError):  # if there can be no folder, `put` finds another place and says why
        folder.mkdir(exist_ok=True)
    return put(cell.result, folder / f"{cell.number:03d}.png")
