"""The HTML page of a sweep."""

import urllib.parse
from pathlib import Path

from kstyle.pages import render
from kstyle.style.jobs import sweep_files


def write(path, cells, vary, content, styles, folder):
    """An HTML page: the pictures in `folder` beside it as on the sheet, each one click from its full size, and the
    table of `sweep_files.row`s. DataError: it cannot be written."""
    title = f"{Path(content).stem} in the style of {', '.join(Path(path).stem for path in styles)}"
    rows = [sweep_files.row(cell) for cell in cells]
    names = [name for name in dict.fromkeys(name for one in rows for name in one) if name not in ("error", "command")]
    widest = max((cell.picture.shape[1] for cell in cells if cell.picture is not None), default=192)
    render.write(
        path, "sweep.html.jinja", title=title, columns=len(vary[-1][1]) if vary else 1, width=max(widest, 160),
        cells=[_cell(cell, folder) for cell in cells], names=[*names, "command"], rows=rows,
    )  # fmt: skip


def _cell(cell, folder):
    label = ", ".join(f"{key} {value}" for key, value in cell.varied.items())
    shown = {"number": cell.number, "label": label, "error": cell.error, "address": None, "link": True, "numbers": ""}
    if cell.picture is None:
        return shown
    height, width, _ = cell.picture.shape
    address = f"{urllib.parse.quote(Path(folder).name)}/{cell.number:03d}.png"
    numbers = f"loss {cell.losses['loss']:.4g}, {cell.seconds:.1f} s"
    return {**shown, "address": address, "width": width, "height": height, "numbers": numbers}
