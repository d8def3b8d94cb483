"""What a training starts from: the weights that `model.weights` of a recipe names."""

import logging
import re
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, KStyleError
from kstyle.io import checkpoints, runs
from kstyle.io.files import plain
from kstyle.models import classifiers, finetune
from kstyle.training.boxes.heads import without_box
from kstyle.training.setup import head as heads
from kstyle.training.setup import settings

log = logging.getLogger("kstyle")

_OWN = re.compile(r"model/(\d{4}) .*")  # how `kstyle.nn.state.named` calls a model's arrays


def give_weights(model, weights, classes=None, progress=None, usual=None):
    """Gives a model the weights that `model.weights` of a recipe names; the log says which.

    Args:
        model: from `kstyle.models.classifiers.build`.
        weights: `"imagenet"`; a run's folder, or the weights or state in it; or a file of Keras' or PyTorch's, as
            `kstyle.models.classifiers.load_file` takes it.
        classes: names of the model's; the head of a run is taken by them, whatever their order there.
        progress: `progress(done, total or None)` in bytes, during a download.
        usual: a function that makes the same network with its usual head, where the model has one of the recipe's own:
            files of weights are for that.

    Returns:
        What pictures were prepared with: a key of `kstyle.models.preprocessing.PREPROCESSINGS`, or (mean, std), of a
        run; None where it does not say.

    Raises:
        UsageError, DataError: as `kstyle.models.classifiers`; or a folder that is no run, or a run of another network.
    """
    if weights != "imagenet":
        path = Path(weights)
        if path.is_dir():
            runs.facts(path)  # or an error: it is no run
            path = runs.result_file(path)
        if any(map(_OWN.fullmatch, checkpoints.tensor_names(path))):
            return _from_run(model, path, classes)
    target = usual() if usual else without_box(model)
    if weights != "imagenet":
        loaded = classifiers.load_file(target, path, progress=progress)
    else:
        loaded = classifiers.load_imagenet(target, progress=progress)
    log.info(loaded.message)
    if usual:
        heads.take(model, target)
        log.info("The head that the recipe lists is new.")
    return loaded.preprocessing


def _from_run(model, path, classes):
    facts, network = _told(path.parent)
    if network not in (None, model.name):
        raise DataError(f"{path}: holds weights of {network}; the recipe's network is {model.name}.")
    read = checkpoints.read(path, only=_OWN.fullmatch)
    arrays = [read[name] for name in sorted(read)]
    if len(arrays) not in (len(model.weights), len(model.variables)):
        model = without_box(model)  # the run may have told classes alone
    variables = model.weights if len(arrays) == len(model.weights) else model.variables  # a state has all
    if len(arrays) != len(variables):
        raise DataError(
            f"{path}: holds weights of another {model.name}: {len(arrays)} arrays for {len(variables)}; give the "
            "model the options that it had there."
        )
    # The classes' layer: what a head of the recipe's has before it is taken as the rest is.
    *_, last = (
        layer
        for layer in finetune.from_part(model, "head")
        if layer.weights and not layer.name.startswith(finetune.BOX)
    )
    head = {id(weight) for weight in last.weights}
    theirs = facts.get("classes")
    order = [theirs.index(c) for c in classes] if classes and theirs and set(classes) <= set(theirs) else None
    whole = order is not None or not (classes and theirs)
    for number, (variable, array) in enumerate(zip(variables, arrays)):
        if id(variable) in head and order is not None:
            arrays[number] = array = array[..., order] if array.shape[-1:] == (len(theirs),) else array
        fits = tuple(array.shape) == tuple(variable.shape)
        if not fits and id(variable) not in head:
            raise DataError(
                f"{path}: holds weights of another {model.name}: {plain(variable.path)} is {tuple(array.shape)} there "
                f"and {tuple(variable.shape)} here; give the model the options that it had there."
            )
        if not np.isfinite(array).all():
            raise DataError(f"{path}: {plain(variable.path)} holds values that are no numbers (NaN or infinity).")
        whole = whole and fits
    known = {id(weight) for weight in model.weights}  # not a generator of random numbers
    for variable, array in zip(variables, arrays):
        if id(variable) in known and (whole or id(variable) not in head):
            variable.assign(array)
    said = "the head's are among them" if whole else "the head is new, as its classes are"
    log.info("Weights of the run %s (%s): %s.", path.parent, path.name, said)
    return (facts["mean"], facts["std"]) if "mean" in facts and "std" in facts else None


def _told(folder):
    """(run.json, name of the network) of a run's folder; {} and None where the weights lie elsewhere."""
    try:
        facts = runs.facts(folder)
    except KStyleError:
        return {}, None
    try:
        return facts, settings.load(str(folder / "recipe.yaml")).model.row.name
    except KStyleError:  # its network is in a file that may not run, say
        return facts, None
