"""`kstyle.report`: of a run, or a picture, one HTML file that shows all that is known of it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kstyle.errors import DataError, UsageError
from kstyle.io import files, names, runs
from kstyle.io.files import expanded, one_line
from kstyle.pages import render
from kstyle.pictures import formats
from kstyle.pictures.images import Source
from kstyle.reports import painting, tables, training
from kstyle.style.keeping import folder as paintings

OURS, HEAD = b'<meta name="generator" content="kstyle ', 2048


def report(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    content: Source | None = None,
    styles: Sequence[Source] = (),
    compare: bool = True,
    evaluate: bool = False,
    data: str | os.PathLike[str] | None = None,
    progress: Callable[..., Any] | None = None,
) -> Path:
    """Writes a page of what became of a run: one HTML file under 5 MB, with all pictures and plots in it, that asks for
    nothing else and works without a network.

    Of a painting: photograph and painting under a slider, styles, the picture of each size, losses by term, time and
    memory, figures of `kstyle.compare`, recipe, and the command that paints it again. Of a training: curves, what is
    taken for what, scores of each class, recipe, command. Of a sweep: its pictures and table; of a study: its tables.

    Args:
        source: the folder of a painting (`kstyle.stylize(…, run=…)`), of a training or of a study; a PNG that kstyle
            painted; or the table or the sheet of a sweep.
        path: of the .html file; None: `report.html` in the run's folder, or `PICTURE-report.html` beside the picture,
            where no other page than one of kstyle's is replaced.
        content, styles: of a PNG, what it was painted of, which it does not hold; of a run they are known.
        compare: whether a painting is measured, which takes a network and seconds.
        evaluate: of a training, whether it is scored anew, as `kstyle.evaluate` does, for pictures of what is told
            right and wrong.
        data: with `evaluate`, as for it.
        progress: `progress(done, total)` of a download or an evaluation.

    Returns:
        The path.

    Raises:
        DataError: nothing that kstyle made; files that are damaged; the page cannot be written.
        UsageError: an option that is for something else than `source`, or a page that would replace what is read.

    >>> import kstyle, numpy
    >>> content, style = numpy.full((48, 64, 3), 0.5), numpy.random.default_rng(0).random((48, 64, 3))
    >>> result = kstyle.stylize(content, style, "gatys", size=64, steps=2, run="reported")
    >>> kstyle.report("reported", compare=False).name
    'report.html'
    """
    source = Path(expanded(source))
    kind = _kind(source)
    if evaluate and kind != "training":
        raise UsageError(f"evaluate is about a training; {one_line(source)} is a {kind}.")
    if data is not None and not evaluate:
        raise UsageError("data says what is evaluated: it needs evaluate.")
    if (content is not None or styles) and kind != "picture":
        raise UsageError(f"content and style are about a PNG; of a {kind} they are known, or there are none.")
    target = _target(source, path)
    given = [each for each in (content, *styles) if isinstance(each, (str, os.PathLike))]
    names.check_spares([target], [*([source] if source.is_file() else _read_in(source)), *given])
    if kind == "painting":
        template, values = painting.TEMPLATE, painting.of_run(source, compare, progress)
    elif kind == "picture":
        template, values = painting.TEMPLATE, painting.of_picture(source, content, styles, compare, progress)
    elif kind == "training":
        template, values = training.TEMPLATE, training.of_run(source, evaluate, data, progress)
    elif kind == "study":
        template, values = tables.TABLES, tables.of_study(source if source.is_dir() else source.parent)
    else:
        template, values = tables.SWEEP, tables.of_sweep(source.with_suffix(".csv"))
    return render.write(target, template, **values)


def _kind(source):
    if source.is_dir():
        kinds = ((paintings.RECORD, "painting"), (runs.STUDY, "study"), ("run.json", "training"))
        for name, kind in kinds:
            if (source / name).is_file():
                return kind
        wanted = ", ".join(name for name, _ in kinds)
        raise DataError(f"{one_line(source)}: is no run's folder: it has none of {wanted}.")
    if not source.is_file():
        raise DataError(f"{one_line(source)}: there is no such file or folder.")
    if source.suffix.lower() == ".csv":
        return "study" if source.name == runs.STUDY else "sweep"
    if source.suffix.lower() in formats.SUFFIXES_READ and source.with_suffix(".csv").is_file():
        try:
            painting.recipe_in(source)
        except DataError:
            return "sweep"  # its sheet
    return "picture"


def _target(source, path):
    if path is not None:
        target = Path(expanded(path))
        if target.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{one_line(target)}: a report is a page, FILE.html.")
        return target
    target = source / "report.html" if source.is_dir() else files.ending(source, "-report", ".html")
    if target.exists():
        with files.parsing(one_line(target)), open(target, "rb") as stream:
            ours = OURS in stream.read(HEAD)
        if not ours:
            raise UsageError(
                f"{one_line(target)} would be replaced, and kstyle did not write it: name another, -o FILE."
            )
    return Path(target)


def _read_in(folder):
    return [each for each in folder.iterdir() if each.is_file() and each.name != "report.html"]
