"""`kstyle.evaluate` and `kstyle.predict`: from a run folder to scores."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import json
import logging
from pathlib import Path

import numpy as np

from kstyle import images, runs
from kstyle.errors import DataError
from kstyle.training import build, checkpoint, metrics, plots, settings, steps

log = logging.getLogger("kstyle")


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


def evaluate(folder, data=None, progress=None):
    """Scores a run on the test split of its data; writes scores.json, per_class.csv, confusion.csv and confusion.png.

    Returns:
        See `kstyle.training.metrics.scores`.
    """
    recipe, facts, model, normalise = load(folder)
    dataset, _, _ = build.data(recipe, data, progress)
    if dataset.sha256 != facts["data"]["sha256"]:
        log.warning(
            "The data are not those of the run: %s now, %s then.", dataset.sha256[:12], facts["data"]["sha256"][:12]
        )
    return score(model, normalise, dataset, Path(folder))


def score(model, normalise, dataset, folder):
    """Scores a model on `dataset.test` and writes what `evaluate` writes."""
    found = steps.Predictor(model, normalise)(dataset.test.images)
    scores = metrics.scores(found, dataset.test.labels, dataset.classes)
    with runs.replacing(folder / "scores.json") as beside:
        beside.write_text(json.dumps(scores.as_json(), indent=2), "utf-8")
    for name, table in (("per_class", scores.classes), ("confusion", scores.confusion)):
        with runs.replacing(folder / f"{name}.csv") as beside:
            table.to_csv(beside)
    plots.confusion(scores.confusion, dataset.classes, folder / "confusion.png")
    return scores


def predict(folder, paths, top=5):
    """What a run sees in pictures.

    Args:
        folder: of the run.
        paths: picture files.
        top: so many classes a picture.

    Returns:
        A list, for each path a dict of `path` and either `predictions` (list of `{"class", "probability"}`, the most
        probable first) and `picture` ((H, W, C) uint8, as the network saw it), or `error`.
    """
    _, facts, model, normalise = load(folder)
    size, _, channels = facts["shape"]
    found = []
    for path in paths:
        try:
            found.append({"path": str(path), "picture": _square(images.read(path), size, channels)})
        except DataError as error:
            found.append({"path": str(path), "error": str(error)})
    seen = [entry for entry in found if "picture" in entry]
    if seen:
        for entry, p in zip(seen, steps.Predictor(model, normalise)(np.stack([e["picture"] for e in seen]))):
            best = np.argsort(-p, kind="stable")[:top]
            entry["predictions"] = [{"class": facts["classes"][k], "probability": float(p[k])} for k in best]
    return found


def _square(picture, size, channels):
    """The middle square of a picture, (size, size, channels) uint8."""
    rgb = picture.rgb
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    rgb = images.resize(rgb[top : top + side, left : left + side], (size, size))
    if channels == 1:
        rgb = rgb @ np.array([[0.299], [0.587], [0.114]], "float32")  # ITU-R 601, as Pillow's "L"
    return (np.clip(rgb, 0, 1) * 255).round().astype("uint8")
