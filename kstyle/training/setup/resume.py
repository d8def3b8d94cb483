"""What a run goes on with: its own recipe, and as many epochs as are asked for now. No framework is needed."""

from pathlib import Path

from kstyle import config
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.io.files import one_line
from kstyle.training.setup import settings


def recipe(folder, name=None, overrides=None):
    """The settings that a run goes on with.

    Args:
        folder: of the run.
        name: a recipe, or its file, that was named beside `--resume`: it must say what the run's own says. None: none.
        overrides: {dotted key: value}. `epochs` may be others, in all; the last stage, if there are stages, gets more
            or fewer. All else must be as it was.

    Returns:
        `(settings, more)`: a `TrainSettings`, and whether its epochs are others than before.

    Raises:
        UsageError: another recipe or setting than the run's, or fewer epochs than are done.
    """
    overrides, path = dict(overrides or {}), Path(folder) / "recipe.yaml"
    own = settings.load(str(path))
    epochs = overrides.pop("epochs", None)
    same = own
    if name is not None or overrides:
        plain = {} if epochs is None or own.stages else {"epochs": epochs}
        same = settings.load(str(path) if name is None else name, {**plain, **overrides})
        _compare(folder, own, same, overrides)
    if epochs is None:
        return settings.with_functions(own, same), False
    wanted = settings.resolved(own)
    if own.stages:
        config.check(_Epochs, {"epochs": epochs}, "--resume")
        before = sum(stage.epochs for stage in own.stages[:-1])
        if epochs <= before:
            raise UsageError(f"epochs: {epochs} in all leaves none of the last stage; those before have {before}.")
        wanted["stages"][-1]["epochs"] = epochs - before
    else:
        wanted["epochs"] = epochs
    changed = config.check(settings.TrainSettings, wanted, "--resume")
    position = runs.load_notes(Path(folder) / runs.STATE)["position"]
    done = position["epoch"] + bool(position["batch"])
    if sum(stage.epochs for stage in changed.plan) < done:
        raise UsageError(f"epochs: {epochs} in all, and {one_line(folder)} is in epoch {done} already: give more.")
    return settings.with_functions(changed, same), settings.resolved(changed) != settings.resolved(own)


def begun(folder, parts):
    """What run.json says of a run that goes on; what a killed process was writing into its folder is removed.

    Args:
        folder: of the run.
        parts: the `kstyle.training.setup.build.Parts` that there are now.

    Raises:
        DataError: they are not those it began with.
    """
    facts = runs.facts(folder)
    if facts["data"]["sha256"] != parts.sha256:
        raise DataError(f"{folder}: the data are not those it began with ({parts.origin}).")
    runs.clear(folder)
    return facts


class _Epochs(config.Closed):
    epochs: settings.Count


def _compare(folder, own, wanted, overrides):
    """UsageError: `wanted` says something else than `own`, a run's; epochs count where `overrides` have them."""
    mine, theirs = (_flat(settings.resolved(settings.absolute(each))) for each in (own, wanted))
    for key in {**mine, **theirs}:
        free = key in ("description", "data.path", "epochs") or (key.startswith("stages.") and key.endswith(".epochs"))
        if mine.get(key) != theirs.get(key) and not (free and key not in overrides):
            raise UsageError(
                f"'{key}' is {theirs.get(key)!r} now, and was {mine.get(key)!r} when {one_line(folder)} began: a run "
                "goes on with its own recipe, and only --epochs N, in all, may be another. Leave the rest out, or "
                "start a new run (without --resume)."
            )


def _flat(value, key=""):
    """{dotted key: value} of what nested dicts and lists hold; empty ones are values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = {k: v for name, each in inner for k, v in _flat(each, f"{key}.{name}" if key else str(name)).items()}
    return below or {key: value}
