"""A grid of settings, each painted small: a contact sheet, a page and a table to choose from."""

import contextlib
import itertools
import json
import logging
import math
import os
import pickle
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kstyle import plugins, strict_yaml
from kstyle.errors import DataError, UsageError
from kstyle.io import crew
from kstyle.io.files import one_line
from kstyle.models import features, registry
from kstyle.pictures import images
from kstyle.pictures import sheet as sheets
from kstyle.style import arguments, transfer
from kstyle.style.engine import memory
from kstyle.style.engine.loop import Step
from kstyle.style.jobs import command

log = logging.getLogger("kstyle")

# What may be varied beside the settings of a preset.
OPTIONS = ("preset", "size", "steps", "seed", "precision")
GREY = (236, 236, 236)  # of a cell without a picture


@dataclass
class Cell:
    """A combination and what became of it.

    Attributes:
        number: from 1.
        varied: {key: value as it was written} of what varies.
        options: of `kstyle.stylize`: preset, size, steps, seed, precision.
        settings: {dotted key: value} of all that is set.
        command: the `kstyle stylize` command that makes it at full size; "" where Python alone can say what it takes.
        picture: (H, W, 3) uint8; None where there is none.
        losses: {"loss": …, each weighted term: …} of the last step; empty where there is none.
        seconds: that it took.
        error: why it could not be painted, in one line; "" otherwise.
        result: what `kstyle.stylize` gives; None where there is no picture.
    """

    number: int
    varied: dict[str, str]
    options: dict[str, Any]
    settings: dict[str, Any]
    command: str
    picture: np.ndarray | None = None
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    result: transfer.Result | None = field(default=None, repr=False)

    @property
    def state(self) -> str:
        """`"done"`, `"failed"` or, as long as it has not been tried, `"open"`."""
        return "done" if self.picture is not None else "failed" if self.error else "open"


def grid(content, styles, vary, options=None, overrides=None, given=None, objects=None):
    """Every combination, checked: whatever is wrong with a setting is said before anything is painted.

    Args:
        content, styles: paths, for the commands.
        vary: list of `(key, values)`, each key once; the last one changes fastest. A key is a setting of the preset, or
            one of `OPTIONS`; values are texts, as YAML has them: they are shown as they are written.
        options: of `OPTIONS`, those that all have.
        overrides: {dotted key: value, likewise a text} of settings that all have.
        given: {option of `kstyle stylize`: value} that all have, by its name in Python: `{"weights": "vgg.npz"}`.
        objects: {argument of `kstyle.Painter`: value} that all have and no command line can say: `extractor`, `terms`.

    Returns:
        List of `Cell`.

    Raises:
        UsageError: an unknown key, an impossible value.
    """
    options = {"preset": "kstyle", "size": 192, "steps": None, "seed": 0, "precision": "auto", **(options or {})}
    keys, overrides, given, objects = [key for key, _ in vary], overrides or {}, given or {}, objects or {}
    cells = []
    for number, values in enumerate(itertools.product(*(texts for _, texts in vary)), 1):
        varied = dict(zip(keys, values))
        mine = {**options, **{key: _parsed(key, varied[key]) for key in keys if key in OPTIONS}}
        mine["preset"] = varied.get("preset", options["preset"])  # as it is written: a preset may be called 1
        own = {key: text for key, text in varied.items() if key not in OPTIONS}
        settings = {key: _parsed(key, text) for key, text in {**overrides, **own}.items()}
        extractor = {"extractor": given["extractor"]} if given.get("extractor") else {}
        told, written = _worth_saying(mine, varied, options), [*overrides.items(), *own.items()]
        beyond_words = objects or isinstance(mine["preset"], Mapping)
        line = "" if beyond_words else command.stylize(content, styles, told, given, written)
        cell = Cell(number, varied, mine, {**extractor, **settings}, line)
        try:
            _check(cell, objects, given.get("weights"))
        except UsageError as error:
            where = ", ".join(f"{key}={value}" for key, value in varied.items())
            raise UsageError(f"{where}: {error}" if varied else str(error)) from error
        cells.append(cell)
    return cells


def _check(cell, objects, weights):
    """All that a painter and its network would refuse, without the network."""
    settings = arguments.checked(cell.options["preset"], arguments.as_overrides(cell.settings, **objects))
    arguments.check_numbers(*(cell.options[key] for key in ("size", "steps", "seed")))
    transfer.backend.precision(cell.options["precision"])
    if "extractor" in objects:
        objects["extractor"].check_alone({"weights": weights, "precision": cell.options["precision"]})
        objects["extractor"].check(settings.taps)
    else:
        row = registry.extractor(settings.network.extractor).row
        for tap in settings.taps:
            features.tap_name(row, tap)
    arguments.check_init(settings.init)


def _worth_saying(options, varied, common):
    """Which of a cell's options its `kstyle stylize` command says: the preset, what varies, and what is no default. The
    size only where it varies: the command is for a larger picture than a sweep's."""
    unsaid = (None, 0, "auto")
    return {
        key: options[key]
        for key in OPTIONS
        if key == "preset" or key in varied or (key != "size" and common[key] not in unsaid)
    }


def _parsed(key, text):
    try:
        return strict_yaml.parse(text)
    except UsageError as error:
        raise UsageError(f"{key}={one_line(text)}: {error}") from error
    except ValueError as error:
        raise UsageError(f"{key}={one_line(text)}: the value is not YAML ({one_line(error)}).") from error


def paint(cells, content, styles, callback=None, jobs=1, cluster=None, **options):
    """Paints them one after another, or at the same time: a generator of the cells, each with its picture or its error.

    Networks are loaded once for all combinations that look at the same layers; in several processes, once in each.

    Args:
        cells: from `grid`.
        content, styles: as for `kstyle.stylize`.
        callback: called after every step with a `kstyle.style.engine.loop.Step`, where this process paints.
        jobs, cluster: who paints, as for `kstyle.io.crew.chosen`.
        **options: for `kstyle.Painter`: weights, deterministic, progress, and the `objects` of `grid`.

    Raises:
        UsageError: other processes do not know an object that was given; a cluster that does not answer.
        DataError: a picture that cannot be read. Interrupted: Ctrl-C.
    """
    others = crew.chosen(jobs, cluster)
    content, styles = images.read(content), [images.read(style) for style in styles]
    if others is None:
        tools = content, styles, options, {}
        for cell in cells:
            yield _paint(tools, cell, callback)
        return
    if {"extractor", "terms"} & options.keys():
        raise UsageError(
            "Other processes do not know an extractor or terms given as objects: give names, or paint here."
        )
    options = {key: value for key, value in options.items() if key != "progress"}
    data = pickle.dumps((plugins.loaded(), content, styles, options))
    tasks = {number: (cell,) for number, cell in enumerate(cells)}
    with contextlib.closing(others(crew.Work(_prepare, data, _paint), tasks)) as results:
        for number, result in results:
            if isinstance(result, crew.Lost):
                cells[number].error = f"the process that painted it was ended, and so was the next ({result.why})"
            else:
                vars(cells[number]).update(vars(result))
            yield cells[number]


def _prepare(data, sharing):
    """In another process: what `_paint` needs, with its share of the memory."""
    files, content, styles, options = pickle.loads(data)
    plugins.load(files)
    return content, styles, {**options, "max_memory": memory.available() // sharing}, {}


def _paint(tools, cell, callback=None):
    """`cell` with its picture or its error.

    `tools`: content, styles, options for the painter, and the networks that are loaded so far.
    """
    content, styles, options, extractors = tools
    begun = time.perf_counter()
    size, steps, seed = (cell.options[key] for key in ("size", "steps", "seed"))
    painter = transfer.Painter(
        styles, cell.options["preset"], precision=cell.options["precision"], **{**options, **cell.settings}
    )
    key = (painter.settings.network, tuple(painter.settings.taps), painter.precision)
    extractors[key] = painter.load(extractors.get(key))
    try:
        result = painter.paint(content, size, steps, seed, callback)
    except Exception as error:
        log.debug("%s", cell.varied, exc_info=True)
        cell.error = one_line(error)[:300] or type(error).__name__
        if not isinstance(error, (DataError, UsageError)):
            cell.error = f"unexpected {type(error).__name__}: {cell.error}"
    else:
        cell.losses, cell.result = result.losses, result
        cell.picture = np.asarray(result.image.convert("RGB"))
    cell.seconds = time.perf_counter() - begun
    return cell


def write_sheet(path, cells, vary, content, styles, size=192):
    """Content and styles, then every combination, as a table on one PNG or JPEG: a column for each value of the key
    that varies last.

    Args:
        cells, vary: from and of `grid`.
        content, styles: paths of the pictures.
        size: long side of a picture on the sheet, pixels; less where the sheet would be too large.

    Raises:
        DataError: the file cannot be written.
    """
    columns = len(vary[-1][1]) if vary else 1
    shown = [(f"content: {Path(content).name}", content)] + [(f"style: {Path(path).name}", path) for path in styles]
    columns = max(columns, min(len(shown), 2))
    # A sheet may have so many pixels only; captions and gaps add about 150 to the side of each cell.
    most = math.sqrt(sheets.LARGEST / (len(cells) + len(shown) + 2 * columns)) - 150
    size = int(min(max(size, 96), 1024, most))
    entries = [(_bytes(source, size), [label], None) for label, source in shown]
    blank = np.full((1, size, 3), 255, "uint8")
    entries += [(blank, [], None)] * (-len(entries) % columns)
    width = len(vary[-1][1]) if vary else 1
    for row in range(0, len(cells), width):
        entries += [_entry(cell, size) for cell in cells[row : row + width]]
        entries += [(blank, [], None)] * (columns - min(width, len(cells) - row))
    title = f"{Path(content).stem} in the style of {', '.join(Path(path).stem for path in styles)}"
    sheets.sheet(entries, path, columns=columns, size=size, title=title)


def _entry(cell, size):
    # Characters that fit under a picture, in the sheet's font.
    room = int((size + 8) / (0.58 * max(11, min(size // 12, 18))))
    lines = [_short(key, value, room) for key, value in cell.varied.items()]
    if cell.picture is None:
        empty = np.full((size * 2 // 3, size, 3), GREY, "uint8")
        return empty, [*lines, *textwrap.wrap(cell.error or "not painted", room)[:4]], None
    terms = [f"{name} {value:.3g}" for name, value in cell.losses.items() if name != "loss"]
    return cell.picture, [*lines, f"loss {cell.losses['loss']:.4g}, {cell.seconds:.1f} s", *terms], None


def _short(key, value, room):
    """`style.weight 10`. Of a key that is too long for the sheet only the last parts, so that the value fits."""
    room -= len(value) + 1
    while len(key) > room and "." in key:
        key = key.partition(".")[2]
    return f"{key} {value}"


def _bytes(source, size):
    picture = images.read(source)
    return np.asarray(images.to_pil(images.resize_picture(picture, images.fit(picture.size, size)).rgb))


def sweep(
    content: str | os.PathLike[str],
    styles: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    vary: Mapping[str, Sequence[Any]],
    sheet: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    preset: arguments.Preset = "kstyle",
    size: int = 192,
    steps: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    callback: Callable[[Step], Any] | None = None,
    extractor: arguments.Extractor | None = None,
    terms: arguments.Term | Sequence[arguments.Term] | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    **painting: Any,
) -> list[Cell]:
    """Paints every combination of settings, to choose from.

    Args:
        content: path of the picture.
        styles: path of the style picture, or a list.
        vary: {setting: its values}; the last setting changes fastest. A setting is one of the preset by its dotted key,
            or `preset`, `size`, `steps`, `seed`, `precision`. Values are as in a preset file.
        sheet: a .png or .jpg, on which all are put side by side; None: none is written.
        overrides: {dotted key: value} of settings that all have.
        preset, size, steps, seed, precision, callback, extractor, terms: as for `kstyle.stylize`.
        jobs, cluster: as for `kstyle.batch`.
        **painting: for `kstyle.Painter`: weights, deterministic, progress.

    Returns:
        A `Cell` for each combination: what is varied, the picture and its losses, or why there is none.

    Raises:
        UsageError: an unknown setting, an impossible value, an unknown suffix, a cluster that does not answer; before
            anything is painted.
        DataError: a picture that cannot be read, weights that cannot be had, a sheet that cannot be written.
        Interrupted: Ctrl-C.

    >>> import kstyle
    >>> cells = kstyle.sweep("photo.jpg", "night.jpg", {"style.weight": [3, 30]}, "sheet.png")  # doctest: +SKIP
    >>> [(cell.varied, cell.losses["loss"]) for cell in cells]  # doctest: +SKIP
    [({'style.weight': '3'}, 0.42), ({'style.weight': '30'}, 1.97)]
    """
    styles = [styles] if isinstance(styles, (str, os.PathLike)) else list(styles)
    if sheet is not None:
        sheets.kind(images.check_target(sheet))
    options = {"preset": preset, "size": size, "steps": steps, "seed": seed, "precision": precision}
    written = [(key, [_text(value) for value in values]) for key, values in vary.items()]
    common = {key: _text(value) for key, value in (overrides or {}).items()}
    told, objects = {"extractor": extractor, "weights": painting.get("weights")}, {}
    if isinstance(extractor, features.Extractor):
        objects["extractor"] = told.pop("extractor")
    if terms is not None:
        try:
            common = {"terms": _text(list(terms) if isinstance(terms, (list, tuple)) else [terms]), **common}
        except TypeError:  # a function is among them
            objects["terms"] = terms
    cells = grid(content, styles, written, options, common, told, objects)
    for _ in paint(cells, content, styles, callback, jobs, cluster, **painting, **objects):
        pass
    if sheet is not None:
        write_sheet(sheet, cells, written, content, styles, size)
    return cells


def _text(value):
    """A value as it is written in YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
