"""From a run's folder to the teacher of another training."""

import logging
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.io.files import listed, one_line, sha256
from kstyle.training.aims import distil
from kstyle.training.results import evaluate

log = logging.getLogger("kstyle")


def opened(recipe, parts, normalise):
    """The teacher that a recipe names, and what run.json says of it.

    Its folder is opened as `kstyle.evaluate` opens one: settings and arrays, and nobody's code.

    Args:
        recipe: a `kstyle.training.setup.sections.TrainSettings`, with full paths.
        parts: a `kstyle.data.parts.Parts`, of the pupil's pictures.
        normalise: the pupil's `kstyle.training.loop.steps.Normalise`.

    Returns:
        `(teacher, facts)`: a `kstyle.training.aims.distil.Teacher`, and a dict for JSON; None and {} of a recipe that
        names none.

    Raises:
        UsageError: its pictures are of another shape, or it does not know a class.
        DataError: it is no run, or is damaged.
    """
    if recipe.distil is None:
        return None, {}
    folder = Path(recipe.distil.teacher)
    _, facts, model, theirs = evaluate.load(folder)
    where = f"distil.teacher {one_line(folder)}"
    if list(facts["shape"]) != list(parts.shape):
        raise UsageError(
            f"{where}: it takes pictures of shape {tuple(facts['shape'])}, and these are {tuple(parts.shape)}: "
            "set data.photographs.size and resize as there, or take a teacher for these."
        )
    numbers = {name: number for number, name in enumerate(facts["classes"])}
    missing = [name for name in parts.classes if name not in numbers]
    if missing:
        raise UsageError(f"{where}: it does not know {listed(missing)}; it knows {listed(facts['classes'])}.")
    path = runs.result_file(folder)
    found = distil.teacher(
        model, normalise.mean, normalise.std, theirs.mean, theirs.std, [numbers[name] for name in parts.classes],
        recipe.distil,
    )  # fmt: skip
    log.info("Teacher: the run %s (%s, %s parameters).", folder, path.name, f"{model.count_params():,}")
    return found, {"distil": {"teacher": str(folder), "file": path.name, "sha256": sha256(path)}}


def same(facts, began, folder):
    """DataError unless the teacher is the one, by its weights, that a run began with.

    Args:
        facts: as `opened` gives them.
        began: run.json of the run.
        folder: of the run.
    """
    now, then = (each.get("distil", {}).get("sha256") for each in (facts, began))
    if now != then:
        raise DataError(
            f"{one_line(folder)} began with another teacher: the weights in {began['distil']['teacher']} are others "
            f"now (SHA-256 {now[:12]}, then {then[:12]}): put back those of then, or start a new run."
        )
