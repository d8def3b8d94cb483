"""Scores of pictures that may be of several classes, or of none: each class is told by a probability of its own."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kstyle.backend import distribute
from kstyle.errors import DataError
from kstyle.io import runs
from kstyle.io.files import json_text
from kstyle.pictures import sheet as contact
from kstyle.training.aims import aim
from kstyle.training.boxes import heads
from kstyle.training.loop import ranks, steps
from kstyle.training.results import tta

PRESENT = 0.5  # from which probability on a class is said to be in a picture
SMALLEST = 1e-7  # where the logarithm of a probability stops
PARTS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Scores:
    """What a network is worth on N pictures of any of K classes. Shares are in [0, 1].

    Attributes:
        count: N.
        mean_average_precision: the mean over the classes with support of the area under each one's curve of precision
            by recall, as scikit-learn has it; of every order of the pictures by probability 1 is perfect.
        exact: share of pictures of which every class is told right, at a probability of a half.
        loss: mean binary cross-entropy over pictures and classes, in nats.
        classes: one row a class, in order, indexed by name: average_precision (NaN without support), precision, recall,
            f1 (floats, 0 where undefined) and support (int, pictures of that class).
        macro: means of precision, recall and f1 over the classes with support; micro: those of all marks together.
        metrics: {name: float} of those that the run's recipe names.
        unknown: names of classes of the data that the network does not know; they are in no number here.
        data: what they were scored on, see `kstyle.training.results.evaluate.score`; None of plain arrays.
    """

    count: int
    mean_average_precision: float
    exact: float
    loss: float
    classes: pd.DataFrame
    macro: dict[str, float]
    micro: dict[str, float]
    metrics: dict = field(default_factory=dict)
    unknown: tuple = ()
    data: dict | None = None

    @property
    def headline(self) -> str:
        """The one number that says most, in words."""
        return f"mean average precision {100 * self.mean_average_precision:.2f} %"

    def as_json(self) -> dict[str, Any]:
        """Everything in JSON's types; NaN is null."""
        table = self.classes.rename_axis("class").reset_index()
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        own = {
            key: getattr(self, key) for key in ("count", "mean_average_precision", "exact", "loss", "macro", "micro")
        }
        more = {key: value for key in ("metrics", "data") if (value := getattr(self, key))}
        return {**own, "classes": rows, "unknown_classes": list(self.unknown), **more}


def scores(probabilities, marks, classes):
    """The `Scores` of predictions.

    Args:
        probabilities: (N, K) float in [0, 1].
        marks: (N, K), 1 where a picture is of a class, else 0.
        classes: K names.

    Raises:
        DataError: shapes that do not fit, no pictures, NaN, no probabilities.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    probabilities, marks = np.asarray(probabilities, "float64"), np.asarray(marks).astype(bool)
    if probabilities.shape != marks.shape or probabilities.shape[1:] != (len(classes),) or not len(marks):
        raise DataError(
            f"Expected probabilities and marks of shape (pictures, {len(classes)}); got {probabilities.shape} and "
            f"{marks.shape}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # NaN fails too
        raise DataError("Expected probabilities from 0 to 1: did the training diverge, or are these logits?")
    said, support = probabilities >= PRESENT, marks.sum(axis=0)
    columns = precision_recall_fscore_support(marks, said, average=None, zero_division=0)[:3]
    precisions = [
        average_precision_score(marks[:, k], probabilities[:, k]) if support[k] else np.nan for k in range(len(classes))
    ]
    table = pd.DataFrame(
        {"average_precision": precisions, **dict(zip(PARTS, columns)), "support": support}, index=list(classes)
    )
    seen, clipped = table[table["support"] > 0], np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    micro = precision_recall_fscore_support(marks, said, average="micro", zero_division=0)[:3]
    return Scores(
        count=len(marks),
        mean_average_precision=float(seen["average_precision"].mean()) if len(seen) else 0.0,
        exact=float((said == marks).all(axis=1).mean()),
        loss=float(-np.where(marks, np.log(clipped), np.log1p(-clipped)).mean()),
        classes=table,
        macro={key: float(seen[key].mean()) if len(seen) else 0.0 for key in PARTS},
        micro=dict(zip(PARTS, map(float, micro))),
    )


def score(recipe, model, normalise, parts, folder, classes, numbers, about, ending, sheet, side):
    """Scores a model on the test pictures of a `kstyle.data.parts.Parts`, and writes scores.json and per_class.csv;
    there is no matrix of confusions, as classes do not exclude each other.

    Args:
        classes: the model's. numbers: for each of the pictures' classes which of those it is, or -1; None: the same.
        about: the scores' `data`. ending: what the names of the files end in.
        sheet: where to write a sheet of mistakes, if one is wanted.
        side: `(way, pixels)` of test-time augmentation.

    Returns:
        `Scores`.
    """
    test = parts.test
    theirs = np.eye(len(parts.classes), dtype=np.uint8)[test.labels] if test.several is None else test.several
    marks, unknown = theirs, ()
    if numbers is not None:
        marks = np.zeros((len(test), len(classes)), np.uint8)
        marks[:, numbers[numbers >= 0]] = theirs[:, numbers >= 0]
        unknown = tuple(name for name, number in zip(parts.classes, numbers) if number < 0)
    output = heads.told(model, len(classes), several=True)
    probabilities = ranks.predicted(steps.Predictor(model, normalise, output, tta.views(*side)), test.images)
    found = scores(probabilities, marks, classes)
    if not distribute.first():
        return found
    measured = aim.measured(recipe, probabilities, marks.astype("float32"))
    found = dataclasses.replace(found, metrics=measured, unknown=unknown, data=about)
    with runs.replacing(folder / about["file"]) as beside:
        beside.write_text(json_text(found.as_json(), indent=2), "utf-8")
    with runs.replacing(folder / f"per_class{ending}.csv") as beside:
        found.classes.to_csv(beside)
    if sheet is not None:
        write_sheet(test.images, marks, probabilities, classes, sheet, folder.resolve().name)
    return found


def write_sheet(images, marks, probabilities, classes, path, title, wrong=24, right=12):
    """Writes a contact sheet: pictures with the most wrong classes first, in red, then right ones, in green.

    Args:
        images: (N, H, W, C) uint8. marks, probabilities: (N, K). classes: K names.
        path: a .png or .jpg; replaced once the new one is complete; or a function that takes the entries.
        wrong, right: at most so many of each.
    """
    said = probabilities >= PRESENT
    # By how many classes are wrong; of equal ones first where the probabilities are furthest from what is so.
    mistakes, off = (said != marks.astype(bool)).sum(axis=1), np.abs(probabilities - marks).max(axis=1)
    order = np.lexsort((-off, -mistakes))
    missed, hit = order[mistakes[order] > 0], order[mistakes[order] == 0]

    def named(row):
        return ", ".join(name for name, there in zip(classes, row) if there) or "none"

    entries = [
        (images[i], [f"is {named(marks[i])}", f"said {named(said[i])}"], bool(mistakes[i] == 0))
        for i in (*missed[:wrong], *hit[:right])
    ]
    contact.sheet(entries, path, title=f"{title}: {len(missed)} of {len(marks)} with a wrong class")
