"""The settings of a training: those of a recipe, and those that a run goes on with. No framework is needed."""

import os
from collections.abc import Mapping
from pathlib import Path

from kstyle import config
from kstyle.errors import UsageError, unknown
from kstyle.io import runs
from kstyle.io.files import expanded, one_line
from kstyle.training.setup import foreign, own_file
from kstyle.training.setup.sections import Count, TrainSettings

AUTO = "auto"  # as a network's name in a recipe


def load(recipe, overrides=None):
    """The checked settings of a recipe.

    Args:
        recipe: a name that comes with kstyle, the path of a YAML file, a mapping of what such a file says, or what this
            function gave; or a folder of photographs, for the recipe `folder` of that folder.
        overrides: {dotted key: value}. `epochs` of a recipe with stages is how many in all: they share them in the
            recipe's proportions.

    Raises:
        UsageError: an unknown recipe or key (with the nearest match), a wrong type, an impossible value.
    """
    from kstyle.data import DATASETS, PHOTOGRAPHS

    if isinstance(recipe, TrainSettings) and not overrides:
        return recipe
    read, overrides = _of_a_folder(recipe, overrides or {})
    said = {}  # what the recipe says, for errors

    def adjust(settings):
        said.update(settings)
        return _adjusted(settings, overrides, recipe)

    try:
        checked, where = config.load("train", TrainSettings, read, overrides, adjust)
        if "dtype" in checked.model.options:
            raise UsageError(f"{where}: 'model.dtype' is settled by 'precision'.")
        # The number of classes and the size are the data's: these are some that every network takes.
        row = checked.model.row
        row.check(2, 512, 3, checked.model.options)
    except UsageError as error:
        if (better := foreign.explained(error, said)) is not error:
            raise better from error
        raise
    for kind, name, known in [
        ("data set", checked.data.name, [*DATASETS, *PHOTOGRAPHS]),
        *((f"part of {row.name}", stage.train, row.part_names) for stage in checked.plan),
    ]:
        if name not in known:
            raise unknown(kind, name, known)
    if checked.data.size and checked.data.name in PHOTOGRAPHS:
        raise UsageError(f"{where}: 'data.size' is of sets of small pictures; write 'data.photographs.size'.")
    checked._called = "recipe" if isinstance(recipe, Mapping) else os.fsdecode(recipe)
    if read is not recipe:
        checked._called = os.path.abspath(checked.data.path)
    return checked


def _of_a_folder(recipe, overrides):
    """`(recipe, overrides)`, and where a folder is named in place of a recipe, the recipe `folder` of what is in it."""
    if not isinstance(recipe, (str, os.PathLike)) or os.fspath(recipe) in config.names("train"):
        return recipe, overrides
    path = expanded(recipe)
    if not os.path.isdir(path):
        return recipe, overrides
    if os.path.exists(os.path.join(path, "run.json")):
        raise UsageError(f"{one_line(recipe)} is a run. --resume --run goes on with it; its recipe.yaml makes it anew.")
    return "folder", {"data.path": path, **overrides}


def _adjusted(settings, overrides, recipe):
    """The settings of a recipe, changed by `overrides`, with what is left open in them settled."""
    model = settings.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    if name == AUTO:
        settings = {**settings, "model": {**model, **_network_at_hand()}}
    elif own_file.names_one(name):
        settings = {**settings, "model": {**model, "name": _own_network(name, overrides, recipe)}}
    return _share_epochs(settings, overrides)


def _own_network(name, overrides, recipe):
    """The name of a network in a file, with the file's whole path: beside the recipe; where whoever starts kstyle names
    it, from where they are, and then it is run."""
    changed = overrides.get("model.name", overrides.get("model"))
    if changed == name or (isinstance(changed, Mapping) and changed.get("name") == name):
        own_file.run(name := own_file.absolute(name, os.curdir))
        return name
    file = expanded(recipe) if isinstance(recipe, (str, os.PathLike)) else ""
    return own_file.absolute(name, os.path.dirname(file) if os.path.isfile(file) else os.curdir)


def _network_at_hand():
    """What `model.name: auto` stands for: EfficientNet-Lite0 where its weights are on this machine, else SqueezeNet,
    whose weights are found or downloaded."""
    from kstyle.models import registry, weights

    if weights.at_hand(registry.get("efficientnet_lite0")):
        return {"name": "efficientnet_lite0"}
    return {"name": "squeezenet1.1", "head": "gap"}


def _share_epochs(settings, overrides):
    """`epochs` among `overrides` of a recipe with stages: so many in all, in the recipe's proportions."""
    total, stages = overrides.get("epochs"), settings.get("stages")
    if total is None or not stages or "stages" in overrides:  # both contradict each other, which is said later
        return settings
    own = [stage.get("epochs") if isinstance(stage, dict) else None for stage in stages]
    if not all(isinstance(n, int) and n > 0 for n in (*own, total)):
        return {**settings, "epochs": None} if isinstance(total, int) and total > 0 else {**settings, "stages": []}
    if named := [key for key in overrides if key.startswith("stages.") and key.endswith(".epochs")]:
        raise UsageError(f"epochs is how many in all, and {named[0]} how many of one stage: give one of them.")
    if total < len(own):
        raise UsageError(f"epochs: {total} in all, and there are {len(own)} stages: give one each at least.")
    shares = config.share(total, own)
    stages = [{**stage, "epochs": count} for stage, count in zip(stages, shares)]
    return {**settings, "epochs": None, "stages": stages}


def resumed(folder, name=None, overrides=None):
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
    own = load(str(path))
    epochs = overrides.pop("epochs", None)
    same = own
    if name is not None or overrides:
        plain = {} if epochs is None or own.stages else {"epochs": epochs}
        same = load(str(path) if name is None else name, {**plain, **overrides})
        _compare(folder, own, same, overrides)
    if epochs is None:
        return with_functions(own, same), False
    wanted = resolved(own)
    wanted["model"]["name"] = own.model.name  # of a file the whole path
    if own.stages:
        config.check(_Epochs, {"epochs": epochs}, "--resume")
        before = sum(stage.epochs for stage in own.stages[:-1])
        if epochs <= before:
            raise UsageError(f"epochs: {epochs} in all leaves none of the last stage; those before have {before}.")
        wanted["stages"][-1]["epochs"] = epochs - before
    else:
        wanted["epochs"] = epochs
    changed = config.check(TrainSettings, wanted, "--resume")
    position = runs.load_notes(Path(folder) / runs.STATE)["position"]
    done = position["epoch"] + bool(position["batch"])
    if sum(stage.epochs for stage in changed.plan) < done:
        raise UsageError(f"epochs: {epochs} in all, and {one_line(folder)} is in epoch {done} already: give more.")
    return with_functions(changed, same), resolved(changed) != resolved(own)


class _Epochs(config.Closed):
    epochs: Count


def _compare(folder, own, wanted, overrides):
    """UsageError: `wanted` says something else than `own`, a run's; epochs count where `overrides` have them."""
    mine, theirs = (config.flat(resolved(absolute(each))) for each in (own, wanted))
    for said, each in ((mine, own), (theirs, wanted)):
        if own_file.names_one(each.model.name):
            said["model.name"] += f" (SHA-256 {own_file.checksum(each.model.name)[:12]})"
    for key in {**mine, **theirs}:
        free = key in ("description", "data.path", "epochs") or (key.startswith("stages.") and key.endswith(".epochs"))
        if mine.get(key) != theirs.get(key) and not (free and key not in overrides):
            raise UsageError(
                f"'{key}' is {theirs.get(key)!r} now, and was {mine.get(key)!r} when {one_line(folder)} began: a run "
                "goes on with its own recipe, and only --epochs N, in all, may be another. Leave the rest out, or "
                "start a new run (without --resume)."
            )


def resolved(settings):
    """A `TrainSettings` as plain types, defaults and all, that `load` reads back as the same.

    Of augmentation only what was set: some of its keys, unset, exclude each other.
    """
    found = {
        **settings.model_dump(mode="json"),
        "augment": settings.augment.model_dump(mode="json", exclude_unset=True),
    }
    if own_file.names_one(settings.model.name):  # of which the run's folder has a copy
        found["model"]["name"] = own_file.beside(settings.model.name)
    return found


def check_functions(settings):
    """Raises a UsageError where a `TrainSettings` was read from a file and had a function that only Python can give."""
    for stage in settings.plan:
        if stage.schedule.given:
            _ = stage.schedule.rates


def with_functions(settings, given):
    """A `TrainSettings` that was read from a file, with the functions of `given`, which says the same in Python."""
    stages = [
        stage if stage.schedule is None else stage.model_copy(update={"schedule": other.schedule})
        for stage, other in zip(settings.stages, given.stages)
    ]
    found = settings.model_copy(update={"schedule": given.schedule, "stages": stages})
    check_functions(found)
    return found


def absolute(settings, data=None):
    """A `TrainSettings` that means the same files from any folder.

    Args:
        data: the folder that was named for the data set, in place of the recipe's `data.path`; None: there was none.
    """

    def full(path):
        return os.path.abspath(path) if path is not None and os.path.exists(path) else path

    model = settings.model.model_copy(update={"weights": full(settings.model.weights)})
    data = settings.data.model_copy(update={"path": full(settings.data.path if data is None else data)})
    distil = settings.distil
    if distil:
        distil = distil.model_copy(update={"teacher": full(distil.teacher)})
    return settings.model_copy(update={"model": model, "data": data, "distil": distil})
