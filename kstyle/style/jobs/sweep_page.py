"""The HTML page of a sweep."""

import html
import string
import urllib.parse
from pathlib import Path

from kstyle.io import files
from kstyle.style.jobs import sweep_files

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


def write(path, cells, vary, content, styles, folder):
    """An HTML page: the pictures in `folder` beside it as on the sheet, each one click from its full size, and the
    table of `sweep_files.row`s. DataError: it cannot be written."""
    title = f"{Path(content).stem} in the style of {', '.join(Path(path).stem for path in styles)}"
    figures = [_figure(cell, folder) for cell in cells]
    rows = [sweep_files.row(cell) for cell in cells]
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
