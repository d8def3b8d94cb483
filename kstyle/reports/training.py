"""The report of a training: of what its run's folder has, and of its pictures where they are asked for."""

import json
from pathlib import Path

import numpy as np

from kstyle import strict_yaml
from kstyle.errors import DataError, KStyleError
from kstyle.io import files, names, runs
from kstyle.io.files import one_line
from kstyle.pages import charts, pictures
from kstyle.reports.words import clock, percent, yaml_text

TEMPLATE = "training.html.jinja"
LARGEST = 1 << 26  # bytes of a file of a run
SIDE, MOST = 160, 2_500_000  # long side of a picture, and characters of all
CELLS = 100_000  # of a matrix of confusions, the largest
# {first column: the plot}, each with its val_ beside it.
CURVES = {"loss": "Loss", "accuracy": "Accuracy, %", "learning_rate": "Learning rate"}
UNDRAWN = ("epoch", "seconds", "images_per_second")


def of_run(folder, evaluate=False, data=None, progress=None):
    """What the page of a training's run folder is filled with.

    Args:
        evaluate: whether it is scored anew, for pictures of what is predicted right and wrong.
        data: its data set's folder, where that is elsewhere now.

    Raises:
        DataError: it is no run.
    """
    folder, notes, examples, ending = Path(folder), [], [], ""
    facts = runs.facts(folder)
    if not isinstance(facts, dict) or not isinstance(facts.get("classes"), list):
        raise DataError(f"{one_line(folder)}: its run.json was not written by kstyle.")
    if evaluate:
        from kstyle.training.results import evaluate as training

        told = training.evaluate(folder, data, progress, sheet=examples.extend)
        ending = told.data["file"].removeprefix("scores").removesuffix(".json")  # of other data than the run's own
        notes += [] if told.data["own"] else [f"The scores are of {told.data['origin']}, not of the run's own data."]
    recipe = recipe_of(folder)
    history, scores = _table(folder / "history.csv"), _json(folder / f"scores{ending}.json")
    if scores is None:
        notes.append("It has no scores yet: it goes on, or was stopped before its end.")
    elif not evaluate:
        notes.append("kstyle report RUN --evaluate scores it anew and shows what it gets right and wrong, in pictures.")
    values = {
        "title": folder.resolve().name,
        "description": recipe.get("description") or "",
        "live": False,
        "notes": notes,
        "figures": _figures(facts, recipe, history, scores or {}),
        "charts": curves(history, stages(recipe)),
        "confusion": _confusion(folder / f"confusion{ending}.csv", facts["classes"]),
        "per_class": _per_class(folder / f"per_class{ending}.csv"),
        "pairs": None,
        "examples": _examples(examples),
        "recipe": yaml_text(recipe),
        "command": names.command(["kstyle", "train", names.argument(folder / "recipe.yaml")]),
        "made_with": yaml_text({key: facts[key] for key in ("data", "parameters", "versions") if key in facts}),
    }
    pairs = (scores or {}).get("most_confused")
    if isinstance(pairs, list) and pairs:
        rows = [{**row, "share": percent(row.get("share"))} for row in pairs if isinstance(row, dict)]
        values["pairs"] = {"columns": ["true", "predicted", "count", "share"], "rows": rows}
    return values


def begun(recipe):
    """What the page of a training that has just begun is filled with."""
    data = recipe.get("data")
    title = f"Training on {data.get('name', '')}" if isinstance(data, dict) else "Training"
    empty = dict.fromkeys(("confusion", "per_class", "pairs", "made_with"))
    return {
        "title": title, "description": recipe.get("description") or "", "notes": [], "figures": [], "charts": [],
        "examples": [], "recipe": yaml_text(recipe), "command": "", **empty,
    }  # fmt: skip


def curves(history, marks=()):
    """The plots of a history, a list of dicts or a DataFrame of one row an epoch."""
    import pandas as pd

    history = pd.DataFrame(history)
    if "epoch" not in history or not len(history):
        return []
    history = history.select_dtypes("number")
    epochs, made = history["epoch"].tolist(), []
    further = [name for name in history if not name.startswith("val_") and name not in (*UNDRAWN, *CURVES)]
    alone = [name for name in history if name.startswith("val_") and name.removeprefix("val_") not in history]
    for name in [*(name for name in CURVES if name in history), *further, *alone]:
        scale = 100 if name == "accuracy" else 1
        lines = {
            label: (history[column] * scale).tolist()
            for label, column in (("training", name), ("validation", f"val_{name}"))
            if column in history
        }
        if len(lines) == 1:
            lines = {CURVES.get(name, name).lower().removesuffix(", %"): next(iter(lines.values()))}
        made.append(charts.chart(CURVES.get(name, name), "epoch", epochs, lines, marks=marks))
    return made


def stages(recipe):
    """Where the stages of a fine-tuning begin, as marks of plots: `(epoch, label)`."""
    marks, before = [], 0
    for number, stage in enumerate(recipe.get("stages") or [], 1):
        if not isinstance(stage, dict) or not isinstance(stage.get("epochs"), int):
            return []
        marks.append((before + 1, f"{number}: {one_line(stage.get('train', ''))[:24]}"))
        before += stage["epochs"]
    return marks


def _figures(facts, recipe, history, scores):
    model, data = (recipe.get(key) if isinstance(recipe.get(key), dict) else {} for key in ("model", "data"))
    found = [(what, percent(scores[key])) for what, key in (("top-1", "top1"), ("top-5", "top5")) if scores.get(key)]
    if scores.get("mean_average_precision"):
        found.append(("mean average precision", percent(scores["mean_average_precision"])))
    if isinstance(scores.get("boxes"), dict):
        found.append(("mean IoU", f"{scores['boxes'].get('iou', float('nan')):.4f}"))
    found += [("test pictures", f"{scores['count']:,}")] if isinstance(scores.get("count"), int) else []
    found += [("network", str(model.get("name", ""))), ("data", str(data.get("name", "")))]
    if isinstance(facts.get("parameters"), int):
        found.append(("parameters", f"{facts['parameters']:,}"))
    if len(history):
        found.append(("epochs", str(len(history))))
        if "seconds" in history:
            found.append(("time", clock(float(history["seconds"].sum()))))
    found += [(key, str(facts[key])) for key in ("device", "backend") if facts.get(key)]
    return [(what, value) for what, value in found if value]


def _confusion(path, classes):
    """The matrix for confusion.js: classes and [true, predicted, count] of all cells that are not 0, largest first."""
    table = _table(path, index_col=0)
    if table.shape != (len(classes), len(classes)) or not len(classes):
        return None
    matrix = np.nan_to_num(table.to_numpy("float64")).astype("int64")
    at = np.argwhere(matrix > 0)
    order = np.argsort(-matrix[at[:, 0], at[:, 1]], kind="stable")[:CELLS]
    cells = [[int(t), int(p), int(matrix[t, p])] for t, p in at[order]]
    right = int(np.trace(matrix))
    said = f"Of {int(matrix.sum()):,} pictures {right:,} are told right; the most frequent mistakes are in the table."
    support = matrix.sum(axis=1).tolist()
    return {"classes": [str(each) for each in classes], "cells": cells, "support": support, "said": said}


def _per_class(path):
    table = _table(path, index_col=0)
    if not len(table):
        return None
    rows = []
    for name, row in table.iterrows():
        figures = {key: None if value != value else float(value) for key, value in row.items()}  # NaN is none
        if figures.get("support") is not None:
            figures["support"] = int(figures["support"])
        rows.append({"class": str(name), **figures})
    return {"columns": ["class", *map(str, table.columns)], "rows": rows}


def _examples(entries):
    """Right and wrong predictions, with pictures."""
    shown = []
    for picture, *_ in entries:
        array = np.asarray(picture)
        shown.append(np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array)
    found = pictures.within([_enlarged(each) for each in shown], SIDE, MOST)
    return [
        {"address": address, "width": width, "height": height, "lines": lines, "right": right}
        for (address, width, height), (_, lines, right, *_) in zip(found, entries)
    ]


def _enlarged(picture):
    """Pictures of a few pixels by a whole number, so that their pixels stay pixels."""
    times = max(1, SIDE // 2 // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def recipe_of(folder):
    """recipe.yaml of a run, a dict. DataError: it cannot be read."""
    try:
        found = strict_yaml.parse(files.read_bytes(folder / "recipe.yaml", LARGEST).decode("utf-8"))
    except (OSError, ValueError, KStyleError) as error:
        raise DataError(f"{one_line(folder / 'recipe.yaml')}: cannot be read ({one_line(error)}).") from error
    return found if isinstance(found, dict) else {}


def _table(path, **options):
    import pandas as pd

    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError):
        return pd.DataFrame()


def _json(path):
    try:
        found = json.loads(files.read_bytes(path, LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
