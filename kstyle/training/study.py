"""A study: a recipe trained with every combination of settings, each on several seeds; `kstyle train --vary`.

Every training is a run of its own in the study's folder, called by what it varies. What is there already is not trained
again, so a study that was stopped, or is to have more values or seeds, goes on by the same call.
"""

import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kstyle import config
from kstyle.backend import distribute
from kstyle.errors import KStyleError, UsageError
from kstyle.io import runs
from kstyle.io.files import cut, expanded, one_line, replacing
from kstyle.training import train
from kstyle.training.results import plots
from kstyle.training.setup import settings

log = logging.getLogger("kstyle")

TABLE, SUMMARY, PLOT = runs.STUDY, runs.SUMMARY, "study.png"


@dataclass
class Cell:
    """One training of a study.

    Attributes:
        varied: {key: its value as a text}.
        seed: of the training, and of what is drawn of its data.
        overrides: {dotted key: value} of the recipe.
        folder: of the run.
        state: `"waiting"`, `"done"` or `"failed"`.
        error: why it failed.
        facts: what the table says of it, once it is done.
    """

    varied: dict[str, str]
    seed: int
    overrides: dict[str, Any]
    folder: Path
    state: str = "waiting"
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """Its row of the table."""
        return {**self.varied, "seed": self.seed, "state": self.state, **self.facts, "run": str(self.folder),
                "error": self.error}  # fmt: skip


def grid(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    vary: Sequence[tuple[str, Sequence[str]]],
    folder: str | os.PathLike[str],
    seeds: int = 1,
    overrides: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """The trainings of a study, each checked before the first begins.

    Args:
        recipe, overrides: as for `kstyle.train`.
        vary: [(dotted key, its values as texts, YAML)], the last key changing fastest.
        folder: of the study.
        seeds: so many of each combination, from the recipe's own seed on.

    Raises:
        UsageError: a combination that the recipe cannot be, or the folder is a run's.
    """
    overrides, folder = dict(overrides or {}), Path(expanded(folder))
    if (folder / "run.json").exists():
        raise UsageError(f"{one_line(folder)} is a run: give the study a folder of its own.")
    if any(key == "seed" for key, _ in vary):
        raise UsageError("--vary seed: how many seeds there are is --seeds N, and the first is --seed.")
    checked, cells = settings.load(recipe, overrides), []
    if checked.data.several:
        raise UsageError("data.labels: a study compares top-1, which pictures of several classes do not have.")
    first = checked.seed
    for texts in itertools.product(*(values for _, values in vary)):
        varied = dict(zip((key for key, _ in vary), texts))
        for seed in range(first, first + seeds):
            values = dict(config.parse_override(f"{key}={text}") for key, text in varied.items())
            changed = {**overrides, **values, "seed": seed}
            settings.load(recipe, changed)
            called = "-".join([*(f"{key}={text}" for key, text in varied.items()), f"seed={seed}"])
            cells.append(Cell(varied, seed, changed, folder / cut(re.sub(r"[^\w.=,+-]+", "_", called), 200)))
    if len({cell.folder for cell in cells}) < len(cells):
        raise UsageError("--vary: two combinations would have one folder: their values differ in punctuation only.")
    return cells


def run(
    cells: Sequence[Cell],
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    data: str | os.PathLike[str] | None = None,
    **options: Any,
):
    """Trains what is not trained yet, and yields each `Cell` as it is done or failed.

    Args:
        cells: from `grid`, of the same recipe.
        data, options: as for `kstyle.train`.

    Raises:
        kstyle.training.train.Interrupted: Ctrl-C; the training in work is saved.
    """
    for number, cell in enumerate(cells, 1):
        log.info("%d of %d: %s", number, len(cells), cell.folder.name)
        try:
            if _is_done(cell, recipe):
                log.info("%s is there already.", cell.folder)
            else:
                going_on = (cell.folder / runs.STATE).is_file()
                train.train(recipe, data, cell.folder, going_on, overrides=cell.overrides, **options)
            cell.state, cell.facts = "done", _facts(cell.folder)
        except train.Interrupted:
            raise
        except KStyleError as error:
            cell.state, cell.error = "failed", str(error)
            log.warning("%s: %s", cell.folder.name, error)
        yield cell


def _is_done(cell, recipe):
    """Whether the run is there, finished. UsageError: it is another recipe's."""
    if not (cell.folder / runs.STATE).is_file():
        return False
    _, more = settings.resumed(cell.folder, recipe, cell.overrides)
    return not more and (cell.folder / runs.RESULT).is_file() and (cell.folder / "scores.json").is_file()


def _facts(folder):
    scores, facts = json.loads((folder / "scores.json").read_text("utf-8")), runs.facts(folder)
    history = pd.read_csv(folder / "history.csv")
    return {
        **{name: scores[name] for name in ("top1", "top5", "loss", "calibration_error")},
        "epochs": len(history),
        "seconds": round(float(history["seconds"].sum()), 1),
        "train_pictures": facts["pictures"]["train"],
        "test_pictures": scores["count"],
        "parameters": facts["parameters"],
    }


def summary(cells: Sequence[Cell]) -> pd.DataFrame:
    """Means over the seeds: a row for each combination, of those that are done.

    Returns:
        A DataFrame: the keys that vary, `seeds`, `top1`, `lowest` and `highest` (shares), `loss`, `seconds` (means).

    >>> facts = {"loss": 1.0, "seconds": 2.0}
    >>> done = [Cell({"batch": "8"}, n, {}, Path(), "done", "", {"top1": 0.5 + n / 4, **facts}) for n in (0, 1)]
    >>> summary(done)[["batch", "seeds", "top1", "lowest", "highest"]].to_dict("records")
    [{'batch': '8', 'seeds': 2, 'top1': 0.625, 'lowest': 0.5, 'highest': 0.75}]
    """
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.state == "done":
            found.setdefault(tuple(cell.varied.values()), []).append(cell)
    rows = []
    for same in found.values():
        tops = [cell.facts["top1"] for cell in same]
        mean = {name: sum(cell.facts[name] for cell in same) / len(same) for name in ("loss", "seconds")}
        top = {"top1": sum(tops) / len(tops), "lowest": min(tops), "highest": max(tops)}
        rows.append({**same[0].varied, "seeds": len(same), **top, **mean})
    return pd.DataFrame(rows)


def write(folder: str | os.PathLike[str], cells: Sequence[Cell]) -> list[Path]:
    """Writes study.csv, a row a training; summary.csv, a row a combination; and study.png, top-1 by the first key.

    Returns:
        The paths of what was written; the plot only where something varies and is done.
    """
    folder = Path(expanded(folder))
    if not distribute.first() or not any(cell.state != "waiting" for cell in cells):
        return []
    tables, written = {TABLE: pd.DataFrame([cell.row for cell in cells]), SUMMARY: summary(cells)}, []
    for name, table in tables.items():
        with replacing(folder / name) as beside:
            table.to_csv(beside, index=False)
        written.append(folder / name)
    done = [(cell.varied, cell.facts["top1"]) for cell in cells if cell.state == "done" and cell.varied]
    if done:
        plots.study(done, folder / PLOT)
        written.append(folder / PLOT)
    return written


def study(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    vary: Mapping[str, Sequence[Any]],
    folder: str | os.PathLike[str],
    seeds: int = 1,
    data: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[..., Any] | None = None,
) -> pd.DataFrame:
    """Trains a recipe with every combination of settings, and writes what `write` does into the study's folder.

    Args:
        recipe, data, overrides, progress: as for `kstyle.train`.
        vary: {dotted key: values}.
        folder: of the study; what is there already is not trained again.
        seeds: so many of each combination, from the recipe's own seed on.

    Returns:
        A DataFrame, a row a training.

    >>> from kstyle.training.study import study
    >>> sizes = {"data.train_limit": [100, 300, 1000]}
    >>> study("digits_cnn", sizes, "runs/sizes", seeds=3)[["data.train_limit", "top1"]]  # doctest: +SKIP
    """
    texts = [
        (key, [each if isinstance(each, str) else json.dumps(each) for each in values]) for key, values in vary.items()
    ]
    cells = grid(recipe, texts, folder, seeds, overrides)
    try:
        for _ in run(cells, recipe, data, progress=progress):
            pass
    finally:
        write(folder, cells)
    return pd.DataFrame([cell.row for cell in cells])
