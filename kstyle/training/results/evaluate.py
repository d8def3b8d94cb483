"""`kstyle.evaluate` and `kstyle.predict`: from a run folder to scores."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kstyle import backend
from kstyle import data as datasets
from kstyle.backend import distribute
from kstyle.data.batches import opening
from kstyle.data.photos.classes import matched
from kstyle.errors import DataError, UsageError
from kstyle.io import locks, names, runs
from kstyle.io.files import expanded, json_text, listed
from kstyle.nn import state as checkpoint
from kstyle.pictures import images
from kstyle.training.aims import aim
from kstyle.training.boxes import heads, truth
from kstyle.training.boxes import scores as of_boxes
from kstyle.training.loop import ranks, steps
from kstyle.training.results import metrics, mistakes, plots, pretrained, several
from kstyle.training.results import tta as ttas
from kstyle.training.setup import build, own_file, settings

log = logging.getLogger("kstyle")

# Pictures in memory at a time.
AT_ONCE = 256


def load(folder):
    """A finished run, as `(recipe, facts, model, normalise)`."""
    facts = runs.facts(folder)
    recipe = settings.load(str(Path(folder) / "recipe.yaml"))
    own_file.unchanged(folder, recipe.model.name, facts)
    precision = backend.precision(recipe.precision)
    model = build.network(recipe, len(facts["classes"]), facts["shape"], precision, folder)
    path = runs.result_file(folder)
    found, _ = runs.load_arrays(path)
    # A state holds random generators among the variables; a result only weights. Both keep the model's order.
    checkpoint.assign(model.variables if path.name == runs.STATE else model.weights, found, "model", path)
    return recipe, facts, model, steps.Normalise(facts["mean"], facts["std"])


def evaluate(
    folder: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    sheet: str | os.PathLike[str] | Callable[[list[tuple]], Any] | None = None,
    tta: str | None = None,
) -> metrics.Scores:
    """Scores a run on the test split of its data, or of others, whose classes are matched by their names.

    Writes scores.json, per_class.csv, confusion.csv and confusion.png; of data that are not the run's own, which their
    checksum tells, scores-SUM.json and so on, so that the run's stay as they are; likewise with `tta`, scores-TTA.json.

    Args:
        folder: of the run.
        data, progress: as for `kstyle.train`; it may be another set: the name of a published one (`"cifar10"`), or
            photographs in another layout than those of the run. Pictures are brought to the size and the colours that
            the network takes.
        sheet: a .png or .jpg, to be written as `kstyle.training.results.mistakes.sheet` does; or a function, which is
            called with what would be on it, a list of (picture, lines, right).
        tta: test-time augmentation: probabilities are the mean over a picture and its mirror image, `"flip"`; over its
            four corners and its middle, `"five_crop"`; or over those and their mirror images, `"ten_crop"`. Crops are
            taken from the square of the side that photographs are brought to before they are cut.

    Returns:
        A `Scores`: `.count`, `.top1`, `.top5`, `.loss`, tables by class and of confusions; of several classes a picture
        a `kstyle.training.results.several.Scores`.

    Raises:
        DataError: it is no run, the data cannot be had or used, or have no class that the run has.
        UsageError: it is being trained or evaluated meanwhile.

    >>> import kstyle
    >>> scores = kstyle.evaluate("runs/digits")  # doctest: +SKIP
    >>> scores.top1, scores.most_confused(3)  # doctest: +SKIP
    """
    folder, data, sheet = expanded(folder), expanded(data), sheet if callable(sheet) else expanded(sheet)
    facts = runs.facts(folder)  # before anything is written there
    with locks.held(folder, "evaluation"):
        return _evaluated(folder, facts, data, progress, sheet, tta)


def _evaluated(folder, facts, data, progress, sheet, way):
    """What `evaluate` does, in a folder that nobody else writes into."""
    side = ttas.side(way, facts)
    recipe, _, model, normalise = load(folder)
    found = build.find(recipe, data, progress, others=True)
    own = found.sha256 == facts["data"]["sha256"]
    numbers = _matched(found, facts["classes"])  # before pictures are decoded
    if not callable(sheet):
        names.check_spares([sheet], [path for part in (found.train, found.test) for path in getattr(part, "paths", ())])
    if not own:
        log.warning(
            "The data are not those of the run: %s now, %s then. The scores go to %s.",
            found.sha256[:12], facts["data"]["sha256"][:12], Path(folder) / f"scores{_ending(found.sha256)}.json",
        )  # fmt: skip
        if getattr(found, "drawn", False):
            log.warning(
                "%s: has no test split: %s of %s pictures are scored, the part that a training would set apart. "
                "To score all, put the class folders into a folder test/ (or mark the rows of the table).",
                found.origin, f"{len(found.test):,}", f"{len(found.train) + len(found.test):,}",
            )  # fmt: skip
    parts = build.testing(recipe, found, facts["shape"], limited=own, progress=progress, side=side)
    return score(recipe, model, normalise, parts, Path(folder), facts, numbers, own, sheet, way)


def score(recipe, model, normalise, parts, folder, facts=None, numbers=None, own=True, sheet=None, way=None):
    """Scores a model on the test pictures of a `kstyle.data.parts.Parts` and writes what `evaluate` writes.

    Args:
        recipe: a `TrainSettings`, whose metrics are measured.
        folder: of the run.
        facts, numbers: run.json, where the pictures' classes may be others than the model's, and for each of the
            pictures' the number of the model's that it is, or -1. None: they are the same.
        own: whether the pictures are the run's own.
        sheet: where to write the sheet of mistakes, if one is wanted.
        way: one of `kstyle.training.results.tta.WAYS`, or None.

    Returns:
        `kstyle.training.results.metrics.Scores` (of several classes a picture `several.Scores`) with `data`: `{"name",
            "origin", "sha256", "own"`: whether they are the run's own, `"file"`: the name of what was written, `"tta"`:
            where there is one`}`.
    """
    classes, (ending, about) = parts.classes if facts is None else facts["classes"], _said_of(parts, own, way)
    if recipe.data.several:
        side = way, way and facts["shape"][0]
        return several.score(
            recipe, model, normalise, parts, folder, classes, numbers, about, ending, sheet, side
        )  # fmt: skip
    labels, images = parts.test.labels if numbers is None else numbers[parts.test.labels], parts.test.images
    views = _views(model, way, way and facts["shape"][0])
    predictor = steps.Predictor(model, normalise, output=heads.told(model, len(classes)), views=views)
    outputs, known, boxes, measured = ranks.predicted(predictor, images), labels >= 0, None, None
    probabilities = outputs[:, : len(classes)]
    if heads.has_box(model) and parts.test.boxes is not None:
        told, true = outputs[known, len(classes) :], truth.fractions(parts.test)[known]
        boxes = told, true, of_boxes.each(told, true)
        measured = of_boxes.scores(told, true, np.array(runs.facts(folder)["boxes"]["mean"], "float32"))
    unknown = {}
    for number in np.unique(parts.test.labels[~known]):
        seen = np.bincount(probabilities[parts.test.labels == number].argmax(axis=1), minlength=len(classes))
        taken = {classes[k]: int(seen[k]) for k in np.argsort(-seen, kind="stable") if seen[k]}
        unknown[parts.classes[number]] = {"pictures": int(seen.sum()), "taken_for": taken}
    if unknown:
        probabilities, labels, images = probabilities[known], labels[known], images[known]
    scores = metrics.scores(probabilities, labels, classes)
    scores = dataclasses.replace(scores, unknown=unknown, data=about, boxes=measured)
    if not distribute.first():
        return scores
    scores = dataclasses.replace(scores, metrics=aim.measured(recipe, probabilities, labels))
    with runs.replacing(folder / about["file"]) as beside:
        beside.write_text(json_text(scores.as_json(), indent=2), "utf-8")
    for name, table in (("per_class", scores.classes), ("confusion", scores.confusion)):
        with runs.replacing(folder / f"{name}{ending}.csv") as beside:
            table.to_csv(beside)
    if sheet is not None:
        mistakes.sheet(images, labels, probabilities, classes, sheet, title=folder.resolve().name, boxes=boxes)
    plots.confusion(scores.confusion, classes, folder / f"confusion{ending}.png")
    return scores


def _said_of(parts, own, way):
    """`(ending, about)`: what the names of files of scores end in, and their `data`, see `score`."""
    ending = ("" if own else _ending(parts.sha256)) + (f"-{way}" if way else "")
    about = {"origin": parts.origin, "sha256": parts.sha256, "own": own, "file": f"scores{ending}.json"}
    return ending, about | ({"tta": way} if way else {})


def _ending(sha256):
    return f"-{sha256[:12]}"


def _matched(found, classes):
    """For each of `found.classes` the number of the one of `classes` that it is by its name, or -1: (K,) int.

    Raises:
        DataError: no test picture is of any of `classes`.
    """
    if list(found.classes) == list(classes):  # of which two may share a name
        return np.arange(len(classes))
    same, places = matched(found.classes, classes), {name: place for place, name in enumerate(classes)}
    numbers = np.array([places.get(same[name], -1) for name in found.classes])
    present = np.unique(found.test.labels)
    if (numbers[present] < 0).all():
        raise DataError(
            f"{found.origin}: no test picture is of a class that the run knows: expected some of {listed(classes)}; "
            f"got {listed(found.classes[label] for label in present)}."
        )
    return numbers


def predict(
    folder: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str] | np.ndarray],
    top: int = 5,
    keep_pictures: bool = True,
    progress: Callable[[int, int], Any] | None = None,
    tta: str | None = None,
) -> list[dict[str, Any]]:
    """What a run, or a network with its ImageNet head, sees in pictures.

    Args:
        folder: of the run; or the name of a network, which then tells ImageNet's 1000 classes apart.
        paths: picture files; or arrays, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8, or floats in [0, 1].
            Floats from 0 to 255, as `keras.utils.img_to_array` gives, are refused: divide them by 255.
        top: so many classes a picture.
        keep_pictures: whether they are in the result, 150 kB each at 224 px.
        progress: `progress(done, total or None)` in bytes, during a download of a network's weights.
        tta: as for `kstyle.evaluate`; `picture` is then what crops are taken of.

    Returns:
        A list, for each path a dict of `path` (of an array "array" and its place, from 1) and either `predictions`
            (list of `{"class", "probability"}`, the most probable first) and `picture` ((H, W, C) uint8, as the network
            saw it), or `error`. Of a run on several classes a picture also `present`, those with a probability of at
            least a half, which need not be one, in the classes' order. Of a run with boxes also `box`, [left, top,
            right, bottom] in pixels of the whole picture; `picture_box`, the same in parts of the sides of `picture`;
            and `true_box`, as `picture_box`, of a picture that lies in a data set of boxes.

    Raises:
        DataError: it is no run, its weights are damaged, or a network's cannot be had. A picture that cannot be read is
            no error of the call.
        UsageError: a network that has no ImageNet head.

    >>> import kstyle
    >>> (seen,) = kstyle.predict("runs/ants", ["bee.jpg"], top=2)  # doctest: +SKIP
    >>> [(guess["class"], guess["probability"]) for guess in seen["predictions"]]  # doctest: +SKIP
    [('bees', 0.97), ('ants', 0.03)]
    >>> (seen,) = kstyle.predict("efficientnet_lite0", ["tench.jpg"], top=2)  # doctest: +SKIP
    >>> [guess["class"] for guess in seen["predictions"]]  # doctest: +SKIP
    ['tench', 'goldfish']
    """
    row = pretrained.network(folder)
    facts, model, normalise = pretrained.load(row, progress) if row else load(expanded(folder))[1:]
    side, classes, found = ttas.side(tta, facts), len(facts["classes"]), []
    views = _views(model, tta, facts["shape"][0])
    output = heads.told(model, classes, facts.get("several"))
    predictor = steps.Predictor(model, normalise, output=output, views=views)
    paths = [path if isinstance(path, np.ndarray) else expanded(path) for path in paths]
    given = [(f"array {n}" if isinstance(path, np.ndarray) else path, path) for n, path in enumerate(paths, 1)]
    for first in range(0, len(given), AT_ONCE):
        seen = []
        for name, path in given[first : first + AT_ONCE]:
            try:
                entry = {"path": name, "picture": read(path, facts, side)}
                seen.append((entry, path))
            except DataError as error:
                entry = {"path": name, "error": str(error).replace("array:", f"{name}:", 1)}
            found.append(entry)
        if not seen:
            continue
        for (entry, path), p in zip(seen, predictor(np.stack([entry["picture"] for entry, _ in seen]))):
            if heads.has_box(model):
                entry |= _boxes(path, p[classes:], facts, keep_pictures)
            best = np.argsort(-p[:classes], kind="stable")[:top]
            entry["predictions"] = [{"class": facts["classes"][k], "probability": float(p[k])} for k in best]
            if facts.get("several"):
                entry["present"] = [facts["classes"][k] for k in range(classes) if p[k] >= several.PRESENT]
            if not keep_pictures:
                del entry["picture"]
    return found


def _views(model, way, side):
    if way and heads.has_box(model):
        raise UsageError("tta: boxes of several views are no one box: leave it out.")
    return ttas.views(way, side)


def _boxes(path, told, facts, keep_pictures):
    """What `predict` says of the box of a picture, a file or an array.

    Args:
        told: (4,) parts of the sides of what the network saw.
    """
    left, top, right, bottom = opening.seen(path, facts["shape"][0], facts.get("resize"))
    corner, sides = np.array([left, top, left, top]), np.array([right - left, bottom - top] * 2)
    found = {"box": (corner + told * sides).round(2).tolist()}
    if keep_pictures:
        found["picture_box"] = told.tolist()
        true = None if isinstance(path, np.ndarray) else datasets.true_box(facts["data"]["name"], path)
        if true is not None:
            found["true_box"] = ((np.array(true) - corner) / sides).tolist()
    return found


def read(path, facts, side=None):
    """A picture, a file or an array, as the network of a run wants it, (H, W, C) uint8.

    A run on photographs brings it to size as it did those; one on a set of small pictures takes the middle square.
    For both it is read as photographs are in training: `kstyle.data.batches.opening`.

    Args:
        path, facts: the picture, and run.json.
        side: of the square that is cut out of a photograph; None: what the network takes.

    Raises:
        DataError: it cannot be read.
    """
    size, _, channels = facts["shape"]
    if facts.get("resize"):
        return opening.centre(path, side or size, facts["resize"], facts.get("resample", "bilinear"))
    rgb = images.resize(opening.middle(path) / np.float32(255), (size, size))
    if channels == 1:
        rgb = rgb @ np.array([[0.299], [0.587], [0.114]], "float32")  # ITU-R 601, as Pillow's "L"
    return (np.clip(rgb, 0, 1) * 255).round().astype("uint8")
