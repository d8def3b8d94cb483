"""Scores of a classifier from its probabilities: NumPy, scikit-learn and pandas, no framework."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kstyle.errors import DataError
from kstyle.training.results import mistakes

# Where the logarithm of a probability stops, as in Keras' cross-entropy: one picture costs at most 16.1.
SMALLEST = 1e-7
BINS = 15


@dataclass(frozen=True)
class Scores:
    """What a classifier is worth on N pictures of K classes. Shares are in [0, 1].

    Attributes:
        count: N.
        top1: share of pictures whose most probable class is right.
        top5: share whose class is among the five most probable; None for K <= 5, where it says nothing.
        loss: mean cross-entropy in nats.
        calibration_error: see `calibration_error`.
        classes: one row a class, in order, indexed by name: precision, recall, f1 (floats, 0 where undefined) and
            support (int, pictures of that class).
        macro: means of precision, recall and f1 over the classes with support.
        confusion: (K, K) int, rows the true class, columns the predicted one.
        metrics: {name: float} of those that the run's recipe names.
        unknown: {class of the data that the classifier does not know: `{"pictures": int, "taken_for": {class: int}}`};
            these pictures are in no other number here.
        boxes: {"count", "iou", "iou_50", "mean_box"} of told boxes (`kstyle.training.boxes.scores.scores`), or None.
        data: what they were scored on, see `kstyle.training.results.evaluate.score`; None of plain arrays.
    """

    count: int
    top1: float
    top5: float | None
    loss: float
    calibration_error: float
    classes: pd.DataFrame
    macro: dict[str, float]
    confusion: pd.DataFrame
    metrics: dict = field(default_factory=dict)
    unknown: dict = field(default_factory=dict)
    boxes: dict | None = None
    data: dict | None = None

    @property
    def headline(self) -> str:
        """The one number that says most, in words."""
        boxes = f", mean IoU {self.boxes['iou']:.4f}" if self.boxes else ""
        return f"top-1 {100 * self.top1:.2f} %{boxes}"

    def most_confused(self, n: int = 10) -> pd.DataFrame:
        """The `n` most frequent mistakes: a DataFrame of true, predicted, count and share (of the true class), the
        most frequent first; fewer rows where there are fewer kinds of mistake."""
        return mistakes.pairs(self.confusion, n)

    def as_json(self, n: int = 10) -> dict[str, Any]:
        """Everything but the confusion matrix in JSON's types, with the `n` most confused pairs."""
        per_class = self.classes.rename_axis("class").reset_index()
        return {
            "count": self.count,
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "macro": dict(self.macro),
            "classes": per_class.to_dict("records"),
            "most_confused": self.most_confused(n).to_dict("records"),
            "unknown": self.unknown,
        } | {key: value for key in ("metrics", "boxes", "data") if (value := getattr(self, key))}


def scores(probabilities, labels, classes):
    """The scores of predictions.

    Args:
        probabilities: (N, K) float, rows that sum to 1.
        labels: (N,) int in [0, K), the true classes.
        classes: K names, in the order of the columns.

    Returns:
        `Scores`. Of equally probable classes the first counts as the more probable, for top1 (as argmax has it) and
        top5 alike, so that a constant output is right for the first classes only.

    Raises:
        DataError: shapes that do not fit, no pictures, NaN, numbers that are no probabilities, labels out of range.
    """
    probabilities, labels, classes = _checked(probabilities, labels, classes)
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    ranks = _ranks(probabilities, labels)
    columns = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), columns)), index=classes)
    seen = table[table["support"] > 0]
    matrix = confusion_matrix(labels, predicted, labels=every)
    return Scores(
        count=len(labels),
        top1=float(np.mean(ranks == 0)),
        top5=float(np.mean(ranks < 5)) if len(classes) > 5 else None,
        loss=_cross_entropy(probabilities, labels),
        calibration_error=calibration_error(probabilities, labels),
        classes=table,
        macro={key: float(seen[key].mean()) for key in ("precision", "recall", "f1")},
        confusion=pd.DataFrame(matrix, index=classes, columns=classes),
    )


def quick(probabilities, labels):
    """`(loss, top1)` of `scores`, of arrays that are known to be sound."""
    return _cross_entropy(probabilities, labels), float(np.mean(probabilities.argmax(axis=1) == labels))


def _cross_entropy(probabilities, labels):
    return float(-np.log(np.clip(_of_label(probabilities, labels), SMALLEST, 1)).mean())


def calibration_error(probabilities, labels):
    """Expected calibration error: how far the confidence of the predictions is from their accuracy.

    Predictions are sorted by the probability of the predicted class into 15 bins of equal width, each with its upper
    edge; the result is the mean of |accuracy - mean confidence| over the bins, weighted by their pictures (Guo et al.
    2017, arXiv 1706.04599, ECE).

    Args:
        probabilities: (N, K) float. labels: (N,) int.

    Returns:
        A float in [0, 1]; 0 is perfect.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    # Per bin, pictures * |accuracy - confidence| is |pictures right - sum of confidences|.
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _of_label(probabilities, labels):
    return probabilities[np.arange(len(labels)), labels]


def _ranks(probabilities, labels):
    """(N,) int: how many classes come before the true one."""
    own = _of_label(probabilities, labels)[:, None]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)


def _checked(probabilities, labels, classes):
    probabilities, labels, classes = np.asarray(probabilities, "float64"), np.asarray(labels), list(classes)
    if probabilities.ndim != 2 or not probabilities.size:
        raise DataError(
            f"Expected probabilities of shape (pictures, classes), none of them 0; got {probabilities.shape}."
        )
    count, width = probabilities.shape
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(f"Expected {count} integer labels; got {labels.dtype} of shape {labels.shape}.")
    if len(classes) != width:
        raise DataError(f"Expected {width} class names, one a column; got {len(classes)}.")
    if labels.min() < 0 or labels.max() >= width:
        raise DataError(f"Expected labels from 0 to {width - 1}; got {labels.min()} to {labels.max()}.")
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        wrong = int(np.sum(~finite))
        raise DataError(f"{wrong} of {count} predictions are NaN or infinite: the training diverged; lower its rate.")
    # 1 %: a softmax in bfloat16 is off by that much.
    off = np.abs(probabilities.sum(axis=1) - 1).max()
    if off > 0.01 or probabilities.min() < 0:
        raise DataError(
            f"Expected probabilities, rows of sum 1; got values from {probabilities.min():.3g} to "
            f"{probabilities.max():.3g}, sums off by {off:.3g}: are these logits?"
        )
    return probabilities, labels, classes
