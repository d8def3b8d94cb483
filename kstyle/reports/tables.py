"""The reports of what is a table: a sweep, a study, a comparison."""

import math
from pathlib import Path

from kstyle.errors import DataError
from kstyle.io import runs
from kstyle.io.files import one_line
from kstyle.pages import charts, pictures
from kstyle.pictures import images
from kstyle.reports.words import clock
from kstyle.style.jobs import sweep_files

SWEEP, TABLES = "sweep.html.jinja", "tables.html.jinja"
SIDE, COMPARED, MOST = 384, 480, 3_500_000  # long sides of pictures, and characters of all
LARGEST = 1 << 26  # bytes of a table
UNSHOWN = ("error", "command")


def of_sweep(path):
    """What the page of a sweep's table is filled with; its pictures are in it."""
    path = Path(path)
    rows = _rows(path)
    if not rows or tuple(rows[0])[-len(sweep_files.LAST) :] != sweep_files.LAST or "number" not in rows[0]:
        raise DataError(f"{one_line(path)}: is no table of `kstyle sweep` or of a study.")
    names = [name for name in rows[0] if name not in UNSHOWN]
    varied = names[1 : names.index("loss")] if "loss" in names else []
    folder = path.with_name(f"{path.stem}-pictures")
    there, cells = [], []
    for row in rows:
        label = ", ".join(f"{key} {_said(row[key])}" for key in varied)
        cell = {"number": row["number"], "label": label, "error": row["error"], "address": None, "link": False}
        numbers = f"loss {row['loss']:.4g}, {row['seconds']:.1f} s" if _is_number(row.get("loss")) else ""
        cells.append({**cell, "numbers": numbers})
        file = folder / f"{row['number']:03d}.png" if type(row["number"]) is int else None
        if row["state"] == "done" and file is not None and file.is_file():
            there.append((cells[-1], pictures.small(images.read(file), SIDE)))
    for (cell, _), (address, width, height) in zip(there, pictures.within([rgb for _, rgb in there], SIDE, MOST)):
        cell |= {"address": address, "width": width, "height": height}
    across = len(dict.fromkeys(_said(row[varied[-1]]) for row in rows)) if varied else 1
    widest = max((cell["width"] for cell in cells if cell["address"]), default=192)
    return {
        "title": f"Sweep: {path.stem}", "columns": across, "width": max(160, widest), "cells": cells,
        "names": [*names, "command"], "rows": rows,
    }  # fmt: skip


def of_study(folder):
    """What the page of a study's folder is filled with."""
    folder = Path(folder)
    rows = _rows(folder / runs.STUDY)
    summary = _rows(folder / runs.SUMMARY) if (folder / runs.SUMMARY).is_file() else []
    names = list(rows[0]) if rows else []
    if "seed" not in names or "state" not in names:
        raise DataError(f"{one_line(folder / runs.STUDY)}: is no table of a study.")
    varied = names[: names.index("seed")]
    done = [row for row in rows if row["state"] == "done"]
    figures = [("trainings", f"{len(done)} of {len(rows)}")]
    if best := max((row for row in summary if _is_number(row.get("top1"))), key=lambda row: row["top1"], default=None):
        figures.append(("best", ", ".join(f"{key} {_said(best[key])}" for key in varied) or "all alike"))
        figures.append(("its top-1", f"{100 * best['top1']:.2f} %"))
        figures.append(("time", clock(sum(row["seconds"] for row in done if _is_number(row.get("seconds"))))))
    tables = [{"title": "Means over the seeds", "rows": summary}] if summary else []
    tables.append({"title": "Each training", "rows": rows})
    tables = [{**each, "columns": list(each["rows"][0]), "about": ""} for each in tables]
    return {
        "title": f"Study: {folder.resolve().name}", "figures": figures, "pictures": [], "tables": tables, "notes": [],
        "charts": _by_first(summary, varied),
    }  # fmt: skip


def of_comparison(table, compared, content=None, style=None):
    """What the page of `kstyle.compare` is filled with.

    Args:
        table: what it gave. compared: the pictures' paths. content, style: theirs.
    """
    from kstyle.reports.painting import compared_table

    labels = [label for label in table if label != "better"]
    given = [*zip(labels, compared), *((n, p) for n, p in (("content", content), ("style", style)) if p is not None)]
    small = [pictures.small(images.read(path), COMPARED) for _, path in given]
    shown = [*zip((name for name, _ in given), pictures.within(small, COMPARED, MOST))]
    made = compared_table(table)
    made |= {"title": "In figures", "about": f"Compared {made['about']}."}
    return {
        "title": " and ".join(labels) if len(labels) < 4 else f"{len(labels)} pictures", "figures": [],
        "pictures": shown, "charts": [], "tables": [made], "notes": [],
    }  # fmt: skip


def _by_first(summary, varied):
    """Top-1 by the first key that varies, where its values are numbers; a line for each combination of the others."""
    if not varied or not summary or not all(_is_number(row[varied[0]]) for row in summary):
        return []
    x = sorted({row[varied[0]] for row in summary})
    lines = {}
    for row in summary:
        name = ", ".join(f"{key} {_said(row[key])}" for key in varied[1:]) or "top-1"
        lines.setdefault(name, dict.fromkeys(x))[row[varied[0]]] = 100 * row["top1"]
    values = {name: list(found.values()) for name, found in lines.items()}
    return [charts.chart("Top-1, %", varied[0], x, values)]


def _rows(path):
    """A CSV file as a list of dicts, numbers as numbers, empty cells as None."""
    import pandas as pd

    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{one_line(path)}: is too large for a table of kstyle.")
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DataError(f"{one_line(path)}: cannot be read as a table ({one_line(error)}).") from error
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    whole = [name for name in table if table[name].dtype.kind == "i"]
    return [{**row, **{name: int(row[name]) for name in whole}} for row in rows]


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _said(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
