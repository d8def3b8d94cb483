"""What a sweep leaves beside its sheet: a page, a table and the pictures."""

import contextlib
import csv
import html
import string
import urllib.parse
from pathlib import Path

from kstyle.errors import UsageError
from kstyle.io import files
from kstyle.io.files import one_line
from kstyle.style.jobs import rescue

LAST = ("seconds", "state", "error", "command")  # columns of the table
LARGEST, HEAD = 1 << 26, 1 << 16  # bytes of a page or table, and of a picture, that are looked into


def beside(target):
    """Paths of the page, the table and the folder of pictures that belong to a sheet."""
    return files.ending(target, "", ".html"), files.ending(target, "", ".csv"), files.ending(target, "-pictures", "")


def check_own(page, table, folder):
    """UsageError where one of them is there and no sweep left it: only the sheet itself was named by the user."""
    # Pages of older sweeps have no generator, but the same heading.
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
    with contextlib.suppress(OSError):  # where it cannot be made the picture goes elsewhere, and that says why
        folder.mkdir(exist_ok=True)
    return rescue.write(cell.result, folder / f"{cell.number:03d}.png")


PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<meta name="generator" content="kstyle sweep">
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }
.grid { display: grid; grid-template-columns: repeat($columns, minmax(0, ${width}px)); gap: 1rem; }
figure { margin: 0; }
img { width: 100%; height: auto; display: block; }
.none { background: #ececec; padding: 3rem 1rem; }
figcaption, td, th { font-size: 13px; text-align: left; vertical-align: top; padding: 0.2rem 0.6rem 0.2rem 0; }
.scroll { overflow-x: auto; }
code { white-space: nowrap; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } .none { background: #333; } }
</style>
</head>
<body>
<h1>$title</h1>
<div class="grid">
$figures
</div>
<h2>Settings and losses</h2>
<div class="scroll"><table>
$table
</table></div>
</body>
</html>
""")


def write_page(path, cells, vary, content, styles, folder):
    """An HTML page: the pictures in `folder` beside it as on the sheet, each one click from its full size, and the
    table of `row`s. DataError: it cannot be written."""
    title = f"{Path(content).stem} in the style of {', '.join(Path(path).stem for path in styles)}"
    figures = [_figure(cell, folder) for cell in cells]
    rows = [row(cell) for cell in cells]
    columns = [name for name in dict.fromkeys(name for one in rows for name in one) if name not in ("error", "command")]
    table = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in [*columns, "command"]) + "</tr>"]
    for one in rows:
        plain = "".join(f"<td>{html.escape(_cell_text(one.get(name, '')))}</td>" for name in columns)
        table.append(f"<tr>{plain}<td><code>{html.escape(one['command'])}</code></td></tr>")
    widest = max((cell.picture.shape[1] for cell in cells if cell.picture is not None), default=192)
    page = PAGE.substitute(
        title=html.escape(title),
        columns=len(vary[-1][1]) if vary else 1,
        width=max(widest, 160),
        figures="\n".join(figures),
        table="\n".join(table),
    )
    with files.replacing(path) as beside:
        Path(beside).write_text(files.legible(page), "utf-8")


def _figure(cell, folder):
    label = html.escape(", ".join(f"{key} {value}" for key, value in cell.varied.items()))
    if cell.picture is None:
        said = html.escape(cell.error or "not painted")
        return f'<figure><div class="none">{said}</div><figcaption>{cell.number}. {label}</figcaption></figure>'
    address = html.escape(f"{urllib.parse.quote(Path(folder).name)}/{cell.number:03d}.png")
    height, width, _ = cell.picture.shape
    image = f'<a href="{address}"><img src="{address}" alt="{label}" width="{width}" height="{height}"></a>'
    numbers = f"loss {cell.losses['loss']:.4g}, {cell.seconds:.1f} s"
    return f"<figure>{image}<figcaption>{cell.number}. {label}<br>{numbers}</figcaption></figure>"


def _cell_text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
