"""The report of a painting: of its run's folder, or of a PNG with its recipe."""

import json
import os
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, KStyleError, UsageError
from kstyle.io.files import amount, one_line
from kstyle.pages import charts, pictures
from kstyle.pictures import bands, formats, images
from kstyle.reports.words import clock, yaml_text
from kstyle.style.jobs import again
from kstyle.style.keeping import folder as folders
from kstyle.style.keeping.sources import digest, numbered

TEMPLATE = "painting.html.jinja"
SIDE, STYLE, SIZE = 1280, 320, 360  # long sides in pixels: of the painting and its photograph, of a style, of a size
MOST = 2_500_000, 700_000, 500_000  # characters that these may take, so that a page is below 5 MB
ABOUT = ("preset", "precision", "device", "backend")  # of the recipe, at the top


def of_run(folder, compare=True, progress=None):
    """What the page of a painting's run folder is filled with. DataError: it is none, or damaged."""
    folder = Path(folder)
    record = folders.Folder(folder).record()
    made, given = record["made_with"], record["pictures"]
    if not isinstance(made, dict) or not isinstance(given, dict):
        raise DataError(f"{one_line(folder / folders.RECORD)}: was not written by this version of kstyle.")
    notes, read = [], {}
    names = ["content", *numbered(given, "style")]
    for name in names:
        read[name] = _picture_of(folder, name, given.get(name), notes)
    painted = images.read(folder / folders.PICTURE) if (folder / folders.PICTURE).is_file() else None
    if painted is None:
        notes.append("The painting is not finished: its picture is not there yet.")
    history = _history(folder / folders.HISTORY)
    numbers = {key: record.get(key) for key in ("size", "steps", "seed")}
    masks = {
        word: [_path(given[name]) for name in numbered(given, key)]
        for word, key in (("mask", "mask"), ("style-mask", "style_mask"))
    }
    styles = [(_path(given[name]), read[name]) for name in names[1:]]
    content = _path(given.get("content")), read["content"]
    values = _values(folder.resolve().name, painted, content, styles, made, notes)
    line = again.line(made, content[0], [path for path, _ in styles], numbers, masks)
    if record.get("extended"):
        notes.append(f"{record['extended']} steps were added to it later, which the command does not say.")
    recipe = {**made, **{key: record.get(key) for key in ("size", "steps", "seed", "extended", "plugins")}}
    figures = values["figures"] = [("steps", f"{len(history):,}"), *values["figures"]]
    if len(history):
        figures.append(("time", clock(float(history["seconds"].iloc[-1]))))
        figures.append(("loss", f"{history['loss'].iloc[-1]:.4g}"))
    if isinstance(record.get("peak"), int):
        figures.append(("memory, at most", amount(record["peak"])))
    values |= {
        "sizes": _sizes(folder, history),
        "charts": _curves(history),
        "recipe": yaml_text(recipe),
        "command": line,
    }
    if compare:
        values["compared"] = _compared(painted, read["content"], styles, notes, progress)
    return values


def of_picture(path, content=None, styles=(), compare=True, progress=None):
    """What the page of a PNG that kstyle painted is filled with. Its text may be a stranger's: it is shown, and names
    no file that is read.

    Raises:
        DataError: no PNG with a recipe.
    """
    path = Path(path)
    made = recipe_in(path)
    painted, notes = images.read(path), []
    read = None if content is None else images.read(content)
    shown = [(str(style), images.read(style)) for style in styles]
    if read is None:
        notes.append("The PNG does not hold its photograph: --content FILE shows it beside, --style FILE the style.")
    notes.append("A PNG holds no course of losses: a painting that was kept by --run DIR has one.")
    values = _values(path.name, painted, (str(content), read), shown, made, notes)
    size = made.get("size")
    long = max(size) if isinstance(size, list) and size and all(type(n) is int for n in size) else None
    numbers = {"size": long, "steps": made.get("steps"), "seed": made.get("seed")}
    words = [str(style) for style in styles] or ["STYLE.jpg"] * max(1, len(_list(made.get("blend"))))
    line = again.line(made, str(content or "CONTENT.jpg"), words, numbers, {}) if "style" in made else ""
    if made.get("steps"):
        values["figures"] = [("steps", str(made["steps"])), *values["figures"]]
    values |= {"recipe": yaml_text(made), "command": line}
    if compare:
        values["compared"] = _compared(painted, read, shown, notes, progress)
    return values


def begun(content, styles):
    """What the page of a painting that has just begun is filled with, of a content and styles: paths, or None."""
    notes, read = [], []
    for source in (content, *styles):
        try:
            read.append(None if source is None else images.read(source))
        except KStyleError as error:
            notes.append(f"Not shown: {one_line(error)}")
            read.append(None)
    shown = [(str(path), picture) for path, picture in zip(styles, read[1:]) if path is not None]
    values = _values("Painting", read[0], (str(content), read[0]), shown, {}, notes)
    if read[0] is None:
        values["painted"] = {"after": pictures.address(np.full((2, 3, 3), 128, "uint8")), "width": 3, "height": 2}
    return {**values, "recipe": "", "command": ""}


def recipe_in(path):
    """The recipe in a PNG's text, a dict. DataError: there is none."""
    label = one_line(path)
    with formats.one_line_errors(label), open(path, "rb") as stream:
        image = formats.open_image(stream, label)
        text = getattr(image, "text", {}).get("kstyle")
    if text is None:
        raise DataError(f"{label}: has no recipe in it: expected a PNG that kstyle painted, or the folder of a run.")
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        made = None
    if not isinstance(made, dict):
        raise DataError(f"{label}: its recipe is damaged.")
    return made


def _values(name, painted, content, styles, made, notes):
    """What both kinds have: the pictures, and what is said at the top."""
    path, photograph = content
    titled = photograph is not None or styles
    title = (
        f"{_stem(path)} in the style of {', '.join(_stem(each) for each, _ in styles)}" if titled and styles else name
    )
    values = {
        "title": title, "name": name, "notes": notes, "figures": [], "live": False, "slider": None, "painted": None,
        "sizes": [], "charts": [], "compared": None, "styles": [], "description": made.get("description") or "",
    }  # fmt: skip
    if painted is not None:
        height, width = painted.values.shape[:2]
        values["figures"].append(("size", f"{width} × {height}"))
        after = _at(painted, SIDE)
        if photograph is not None:
            before = images.resize_picture(photograph, after.shape[:2]).rgb
            (before, *_), (after, width, height) = pictures.within([before, after], SIDE, MOST[0])
            values["slider"] = {"before": before, "after": after, "width": width, "height": height}
        else:
            ((after, width, height),) = pictures.within([after], SIDE, MOST[0])
            values["painted"] = {"after": after, "width": width, "height": height}
    values["figures"] += [(key, made[key]) for key in ABOUT if isinstance(made.get(key), str) and made[key]]
    blend, there = _list(made.get("blend")), [(n, each) for n, (_, each) in enumerate(styles) if each is not None]
    small = pictures.within([_at(each, STYLE) for _, each in there], STYLE, MOST[1])
    shown = {n: one for (n, _), one in zip(there, small)}
    for number, (each, _) in enumerate(styles):
        weight = blend[number] if len(styles) > 1 and number < len(blend) else None
        values["styles"].append({"name": Path(each).name, "weight": weight, "picture": shown.get(number)})
    return values


def _picture_of(folder, name, entry, notes):
    """A picture of a run, as long as it is the one that the painting began with; else None, and a note."""
    if not isinstance(entry, dict):
        return None
    # A folder may be a stranger's: of what it names only that is read of which it knows what is in it.
    path = Path(entry["path"]) if "path" in entry else folder / Path(str(entry.get("kept"))).name
    called = name.replace("_", " ")
    try:
        if digest(path) != entry.get("sha256"):
            notes.append(f"The {called}, {one_line(path)}, has changed since, and is not shown.")
            return None
        if "path" in entry:
            return images.read(path)
        from kstyle.io import runs

        arrays, _ = runs.load_arrays(path)
        return images.Picture(arrays["rgb"], arrays.get("alpha"), called)
    except (DataError, UsageError, KeyError) as error:
        notes.append(f"The {called} is not shown: {one_line(error)}")
        return None


def _path(entry):
    """What a command calls a picture of a run."""
    if isinstance(entry, dict):
        return os.fsdecode(entry["path"]) if "path" in entry else str(entry.get("kept"))
    return "CONTENT.jpg" if entry is None else str(entry)


def _stem(path):
    return Path(path).stem


def _list(value):
    return value if isinstance(value, list) else []


def _at(picture, side):
    return bands.levels(pictures.small(picture, side))


def _history(path):
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError):
        table = pd.DataFrame()
    needed = {"scale", "step", "loss", "seconds"}
    return table if needed <= set(table.columns) and len(table) else pd.DataFrame(columns=sorted(needed))


def _curves(history):
    if not len(history):
        return []
    seconds = charts.chart("Seconds", "step", history["step"].tolist(), {"seconds": history["seconds"].tolist()})
    return [loss_chart(history.to_dict("records")), seconds]


def loss_chart(rows):
    """The plot of losses by term: rows of `scale`, `step`, `loss` and the terms, at least one."""
    terms = dict.fromkeys(name for row in rows for name in row if name not in ("scale", "step", "loss", "seconds"))
    lines = {name: [row.get(name) for row in rows] for name in ("loss", *terms)}
    marks = {}
    for row in rows:
        marks.setdefault(row["scale"], int(row["step"]))
    named = [(step, f"{scale} px") for scale, step in marks.items()]
    return charts.chart("Loss, by term", "step", [row["step"] for row in rows], lines, log=True, marks=named)


def _sizes(folder, history):
    """A row for each size that was painted, with the picture at its end where the folder has it."""
    rows, before = [], 0.0
    last = history["scale"].iloc[-1] if len(history) else None
    for scale, taken in history.groupby("scale", sort=False):
        ended = float(taken["seconds"].iloc[-1])
        path = folder / (folders.PICTURE if scale == last else folders.SIZE.format(scale))
        rows.append({
            "scale": int(scale), "steps": len(taken), "seconds": ended - before, "loss": float(taken["loss"].iloc[-1]),
            "path": path if path.is_file() else None, "picture": None,
        })  # fmt: skip
        before = ended
    there = [row for row in rows if row["path"]]
    found = pictures.within([_at(images.read(row["path"]), SIZE) for row in there], SIZE, MOST[2])
    for row, one in zip(there, found):
        row["picture"] = one
    return rows


def _compared(painted, content, styles, notes, progress):
    """`kstyle.compare` of the photograph and the painting, for each style; None where something for that is missing."""
    known = [(path, style) for path, style in styles if style is not None]
    if painted is None or content is None or not known:
        return None
    from kstyle.style.judge import compare

    try:
        plain = images.Picture(painted.values[..., :3], None, "painting")
        tables = [
            compare.compare(
                [images.Picture(content.values[..., :3], None, "photograph"), plain], content, style, progress=progress
            )
            for _, style in known
        ]
    except KStyleError as error:
        notes.append(f"Not compared with photograph and style: {one_line(error)}")
        return None
    return [compared_table(table, _stem(path) if len(known) > 1 else "") for (path, _), table in zip(known, tables)]


def compared_table(table, of=""):
    """A table of `kstyle.compare` for templates: `of`, `judge`, `columns` and `rows`."""
    better = {"higher": "↑ higher", "lower": "↓ lower"}
    columns = [label for label in table if label != "better"]
    rows = [
        {"measure": name, **{label: float(row[label]) for label in columns}, "better": better[row["better"]]}
        for name, row in table.iterrows()
    ]
    judge = f", judged by {table.attrs['extractor']} ({table.attrs['origin']})" if "extractor" in table.attrs else ""
    about = f"at a long side of {table.attrs['size']} pixels{judge}"
    return {"of": of, "about": about, "columns": ["measure", *columns, "better"], "rows": rows}
