"""`kstyle.learn`: a network that paints in one style, or several, from photographs; kept in a folder as it learns."""

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.io.files import expanded, one_line, sha256, shown
from kstyle.models import features
from kstyle.pictures import images
from kstyle.style.learning import settings as network_settings
from kstyle.style.learning.arbitrary import ArbitraryLearner
from kstyle.style.learning.course import Course, Look
from kstyle.style.learning.learner import Learner
from kstyle.style.learning.photographs import Pairs, Photographs
from kstyle.style.networks import shipped, style_facts, style_file
from kstyle.style.networks.arbitrary_file import ArbitraryFile, load_extractor
from kstyle.style.networks.style_file import StyleFile
from kstyle.style.passes.styles import Styles

KINDS = "style network", "arbitrary style network"  # what run.json calls them
ARBITRARY = "arbitrary"  # name of the recipe, and of a run of it
BEGUN_WITH = f"{shipped.PREFIX}night"  # where a recipe leaves it to kstyle
SECONDS = 60.0  # between two states that are saved


@dataclass(frozen=True)
class Learned:
    """What `learn` gives.

    Attributes:
        network: a `kstyle.style.networks.style_file.StyleFile`, or of any style a
            `kstyle.style.networks.arbitrary_file.ArbitraryFile`; `network.write("night.keras")` keeps it.
        history: list of {"step", "seconds", "loss", each term; "held_out" where it was looked at}.
        folder: of the run, which holds network.keras too.
        interrupted: whether it was stopped; `learn(resume=folder)` goes on.
    """

    network: StyleFile | ArbitraryFile
    history: list[dict[str, float]]
    folder: Path
    interrupted: bool


def learn(
    styles: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    photographs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    recipe: str | os.PathLike[str] | dict[str, Any] | None = None,
    *,
    paintings: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    minutes: float | None = None,
    seed: int = 0,
    precision: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    deterministic: bool = False,
    run: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    extend: int = 0,
    save_seconds: float = SECONDS,
    workers: int | None = None,
    callback: Callable[[Look], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **overrides: Any,
) -> Learned:
    """Learns a network that paints any photograph in the style of a picture at once (Johnson et al. 2016, arXiv
    1603.08155), by the losses of a preset; or, from `paintings`, one that paints in the style of any picture (Huang &
    Belongie 2017, arXiv 1703.06868).

    Args:
        styles: a picture, or several: a network then paints in each, and in blends.
        photographs: folders of photographs to learn from, a few hundred at least, and files.
        recipe: a name in `configs/networks`, the path of a YAML file or a mapping of what one says; None: "half", of
            `paintings` "arbitrary".
        paintings: folders of paintings, thousands, and files, in place of `styles`: each teaches something of any
            style, none is learned by itself.
        minutes: how long it may take, in place of the recipe's steps. What is learned then depends on the machine.
        seed: of the first weights, of the order of photographs and of their parts.
        precision: of the features and of products: `"auto"`, `"float32"` or `"bfloat16"`.
        weights: a file to take the extractor's weights from.
        deterministic: the same bits every time on the same machine, at the cost of speed.
        run: folder that keeps it, for `resume`; None: `runs/STYLE-date-time`.
        resume: a folder to go on in, as it was begun; pictures and settings are then those it has.
        extend: with `resume`: so many steps more, the rate beginning again where half of its fall is done.
        save_seconds: between two states that are saved.
        workers: processes that decode; None: as many as there are cores to spare, 0: none.
        callback: called every tenth step with a `Look`; what it returns, if true, ends the learning there.
        progress: `progress(done_bytes, total_bytes)` while weights are downloaded.
        **overrides: keys of the recipe: `steps=1000`, `losses={"style": {"weight": 80}}`, `width=1.0`.

    Returns:
        `Learned`.

    Raises:
        UsageError: an argument that cannot be; losses that no network can learn by.
        DataError: pictures that cannot be read, fewer than two photographs or paintings, a folder that cannot be
            written to, or a run whose pictures have changed.

    >>> import kstyle
    >>> learned = kstyle.learn("night.jpg", "photographs", minutes=30)  # doctest: +SKIP
    >>> learned.network.write("night.keras")  # doctest: +SKIP
    """
    if resume is not None:
        given = [styles, photographs, paintings, recipe, run, minutes, *overrides.values()]
        if any(value not in ((), None) for value in given):
            raise UsageError("resume goes on with what the run says: give nothing but extend beside it.")
        record = runs.facts(expanded(resume))
        if record.get("kind") not in KINDS:
            raise DataError(f"{one_line(resume)}: is no run of `kstyle learn`.")
    else:
        learning = _settings(recipe or (ARBITRARY if paintings else "half"), overrides, bool(paintings))[0]
        record = _record(learning, (styles, photographs, paintings), minutes, seed, precision, weights, deterministic)
    if isinstance(extend, bool) or not isinstance(extend, int) or extend < 0 or (extend and resume is None):
        raise UsageError(f"extend is a number of steps for a run that goes on, 0 or more; got {shown(extend)}.")
    arbitrary = bool(record.get("paintings"))
    learning, losses = _settings(record["recipe"], {}, arbitrary)
    folder = resume if resume is not None else run
    name = ARBITRARY if arbitrary else Path(record["styles"][0]["path"]).stem
    with (
        runs.taken(folder and expanded(folder), name, resume is not None, "learning", (runs.STATE,)) as folder,
        runs.logged(folder),
        contextlib.ExitStack() as opened,
    ):
        pictures = _pictures(record, learning, workers)
        opened.callback(pictures.close)
        if record.setdefault("photographs_sha256", pictures.sha256) != pictures.sha256:
            kinds = " or ".join(pictures.counts)
            raise DataError(f"{one_line(folder)}: the {kinds} are not those that this run began with.")
        backend.configure(record["deterministic"])
        backend.seed(record["seed"])
        if arbitrary:
            learner = _arbitrary_learner(record, learning, pictures.shown(), progress)
        else:
            learner = _learner(record, learning, losses, progress)
            if resume is None and record["start"] is not None:
                learner.begin_with(style_file.read(record["start"]["path"]))
        course = Course(folder, record, learner, pictures, save_seconds, extend)
        network, interrupted = course.go(callback, resume is not None)
        return Learned(network, course.rows, folder, interrupted)


def _settings(recipe, overrides, arbitrary):
    """Of a recipe, and the losses that it names or None."""
    if arbitrary:
        return network_settings.load_arbitrary(recipe, overrides), None
    if recipe == ARBITRARY:
        raise UsageError("The recipe arbitrary is for a network for any style: give paintings to learn from.")
    return network_settings.load(recipe, overrides)


def _record(learning, pictures, minutes, seed, precision, weights, deterministic):
    """What a run is made of, for run.json."""
    one = (str, os.PathLike)
    styles, photographs, paintings = ([each] if isinstance(each, one) else list(each) for each in pictures)
    if bool(styles) == bool(paintings):
        raise UsageError("learn: give either style pictures, which are learned, or paintings, for a network for any.")
    if not photographs:
        raise UsageError("learn: no photographs to learn from.")
    if minutes is not None and not (isinstance(minutes, (int, float)) and 0 < minutes < math.inf):
        raise UsageError(f"minutes must be a number above 0; got {shown(minutes)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise UsageError(f"seed must be a whole number from 0 to 2³¹ − 1; got {shown(seed)}.")
    backend.precision(precision)
    for each in (*styles, *photographs, *paintings):
        if not Path(expanded(each)).exists():
            raise DataError(f"{one_line(each)}: there is no such file or folder.")
    return {
        "kind": KINDS[bool(paintings)],
        "recipe": learning.model_dump(mode="json"),
        "styles": [{"path": os.path.abspath(expanded(s)), "sha256": sha256(expanded(s))} for s in styles],
        "photographs": [os.path.abspath(expanded(p)) for p in photographs],
        "paintings": [os.path.abspath(expanded(p)) for p in paintings],
        "minutes": minutes,
        "steps": None if minutes is not None else learning.steps,  # in all; of minutes it is known once some are added
        "seed": seed,
        "precision": precision,
        "weights": None if weights is None else os.path.abspath(expanded(weights)),
        "deterministic": deterministic,
        "extended": 0,
        "start": None if paintings else _start(learning),
    }


def _start(learning):
    """The file whose weights are begun with, or None."""
    if learning.start is None:
        return None
    auto = learning.start == network_settings.AUTO
    path = shipped.located(BEGUN_WITH if auto else learning.start)
    width = style_facts.read(path)["width"]
    if width == learning.width:
        return {"path": os.path.abspath(path), "sha256": sha256(path)}
    if auto:
        return None
    raise UsageError(f"start: {one_line(path)} has a width of {width:g}, the recipe of {learning.width:g}.")


def _pictures(record, learning, workers):
    if record.get("paintings"):
        return Pairs(record["photographs"], record["paintings"], learning, record["seed"], workers)
    return Photographs(record["photographs"], learning, record["seed"], workers)


def _learner(record, learning, losses, progress):
    for style in record["styles"]:
        if not Path(style["path"]).is_file() or sha256(style["path"]) != style["sha256"]:
            raise DataError(f"{one_line(style['path'])}: is not the style picture that this run began with.")
    extractor = features.load(
        losses.network.extractor, losses.taps, weights=record["weights"],
        precision=backend.precision(record["precision"]), progress=progress,
        **losses.network.model_dump(exclude={"extractor"}),
    )  # fmt: skip
    styles = Styles([images.read(style["path"]) for style in record["styles"]])
    return Learner(learning, losses, extractor, styles, record["seed"])


def _arbitrary_learner(record, learning, shown, progress):
    extractor = load_extractor(
        learning.extractor, learning.layers, learning.pool, weights=record["weights"],
        precision=backend.precision(record["precision"]), progress=progress,
    )  # fmt: skip
    return ArbitraryLearner(learning, extractor, shown)
