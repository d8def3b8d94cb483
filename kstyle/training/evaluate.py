"""`kstyle.evaluate` and `kstyle.predict`: from a run folder to scores."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import json
import logging
from pathlib import Path

import numpy as np

from kstyle import images, runs
from kstyle.data import opening
from kstyle.errors import DataError
from kstyle.files import expanded
from kstyle.training import build, checkpoint, metrics, mistakes, plots, settings, steps

log = logging.getLogger("kstyle")

# Pictures in memory at a time.
AT_ONCE = 256


def load(folder):
    """A finished run, as `(recipe, facts, model, normalise)`."""
    facts = runs.facts(folder)
    recipe = settings.load(str(Path(folder) / "recipe.yaml"))
    model = build.network(recipe, len(facts["classes"]), facts["shape"])
    path = runs.result_file(folder)
    found, _ = runs.load_arrays(path)
    # A state holds random generators among the variables; a result only weights. Both keep the model's order.
    checkpoint.assign(model.variables if path.name == runs.STATE else model.weights, found, "model", path)
    return recipe, facts, model, steps.Normalise(facts["mean"], facts["std"])


def evaluate(folder, data=None, progress=None, sheet=None):
    """Scores a run on the test split of its data; writes scores.json, per_class.csv, confusion.csv and confusion.png.

    Args:
        folder: of the run.
        data, progress: as for `kstyle.train`.
        sheet: a .png or .jpg, to be written as `kstyle.training.mistakes.sheet` does.

    Returns:
        See `kstyle.training.metrics.scores`.
    """
    folder, data, sheet = expanded(folder), expanded(data), expanded(sheet)
    recipe, facts, model, normalise = load(folder)
    parts = build.data(recipe, data, progress)
    if parts.sha256 != facts["data"]["sha256"]:
        log.warning(
            "The data are not those of the run: %s now, %s then.", parts.sha256[:12], facts["data"]["sha256"][:12]
        )
    return score(model, normalise, parts, Path(folder), sheet)


def score(model, normalise, parts, folder, sheet=None):
    """Scores a model on the test pictures of a `build.Parts` and writes what `evaluate` writes."""
    found = steps.Predictor(model, normalise)(parts.test.images)
    scores = metrics.scores(found, parts.test.labels, parts.classes)
    with runs.replacing(folder / "scores.json") as beside:
        beside.write_text(json.dumps(scores.as_json(), indent=2), "utf-8")
    for name, table in (("per_class", scores.classes), ("confusion", scores.confusion)):
        with runs.replacing(folder / f"{name}.csv") as beside:
            table.to_csv(beside)
    plots.confusion(scores.confusion, parts.classes, folder / "confusion.png")
    if sheet is not None:
        mistakes.sheet(parts.test.images, parts.test.labels, found, parts.classes, sheet, title=folder.resolve().name)
    return scores


def predict(folder, paths, top=5, keep_pictures=True):
    """What a run sees in pictures.

    Args:
        folder: of the run.
        paths: picture files.
        top: so many classes a picture.
        keep_pictures: whether they are in the result, 150 kB each at 224 px.

    Returns:
        A list, for each path a dict of `path` and either `predictions` (list of `{"class", "probability"}`, the most
        probable first) and `picture` ((H, W, C) uint8, as the network saw it), or `error`.
    """
    _, facts, model, normalise = load(expanded(folder))
    predictor, found = steps.Predictor(model, normalise), []
    paths = [expanded(path) for path in paths]
    for first in range(0, len(paths), AT_ONCE):
        seen = []
        for path in paths[first : first + AT_ONCE]:
            try:
                entry = {"path": str(path), "picture": read(path, facts)}
                seen.append(entry)
            except DataError as error:
                entry = {"path": str(path), "error": str(error)}
            found.append(entry)
        if not seen:
            continue
        for entry, p in zip(seen, predictor(np.stack([entry["picture"] for entry in seen]))):
            best = np.argsort(-p, kind="stable")[:top]
            entry["predictions"] = [{"class": facts["classes"][k], "probability": float(p[k])} for k in best]
            if not keep_pictures:
                del entry["picture"]
    return found


def read(path, facts):
    """A picture file as the network of a run wants it, (H, W, C) uint8.

    A run on photographs brings it to size as it did those; one on a set of small pictures takes the middle square.

    Raises:
        DataError: it cannot be read.
    """
    size, _, channels = facts["shape"]
    if facts.get("resize"):
        return opening.centre(path, size, facts["resize"])
    rgb = images.read(path).rgb
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    rgb = images.resize(rgb[top : top + side, left : left + side], (size, size))
    if channels == 1:
        rgb = rgb @ np.array([[0.299], [0.587], [0.114]], "float32")  # ITU-R 601, as Pillow's "L"
    return (np.clip(rgb, 0, 1) * 255).round().astype("uint8")
