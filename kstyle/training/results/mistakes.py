"""What a classifier gets wrong: the pairs of classes it confuses, and a contact sheet. No framework."""

import numpy as np
import pandas as pd

from kstyle.errors import DataError
from kstyle.pictures import sheet as contact


def pairs(confusion, top=5):
    """The most frequent kinds of mistake.

    Args:
        confusion: (K, K) DataFrame of counts, rows the true class, columns the predicted one, indexed by name; as
            `Scores.confusion` or confusion.csv (`index_col=0`).
        top: so many.

    Returns:
        A DataFrame of true, predicted, count and share (of the true class), the most frequent first, equal ones in the
        order of the classes; fewer rows where there are fewer kinds.
    """
    matrix, names = confusion.to_numpy(), list(confusion.index)
    support = matrix.sum(axis=1)
    wrong = matrix - np.diag(np.diag(matrix))
    # Stable, so that equal counts come in the order of the classes, on every machine.
    order = np.argsort(-wrong, axis=None, kind="stable")[:top]
    found = [(t, p) for t, p in zip(*np.unravel_index(order, wrong.shape)) if wrong[t, p]]
    rows = [(names[t], names[p], int(wrong[t, p]), float(wrong[t, p] / support[t])) for t, p in found]
    return pd.DataFrame(rows, columns=["true", "predicted", "count", "share"])


def sheet(images, labels, probabilities, classes, path, *, wrong=24, right=12, title="", boxes=None):
    """Writes a contact sheet of predictions: the wrong ones in red, the surest first, then right ones, the least sure
    first.

    Each caption has the true class with its probability, and the predicted one with its.

    Args:
        images: (N, H, W, C) uint8, C 1 or 3. labels: (N,) int. probabilities: (N, K). classes: K names.
        path: a .png or .jpg; replaced once the new one is complete; or a function, which is called with the entries of
            `kstyle.pictures.sheet.sheet` in its place.
        wrong, right: at most so many of each.
        title: what stands before the number of mistakes.
        boxes: (told, true, IoU), which are drawn in and said: twice (N, 4) parts of the picture's sides, and (N,).

    Raises:
        DataError: arrays of unequal length, or whatever `kstyle.pictures.sheet.sheet` says.
    """
    if not len(images) == len(labels) == len(probabilities):
        raise DataError(
            f"Expected as many labels and predictions as pictures; got {len(images)} pictures, {len(labels)} labels "
            f"and {len(probabilities)} predictions."
        )
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    missed, hit = np.flatnonzero(predicted != labels), np.flatnonzero(predicted == labels)
    chosen = [
        *missed[np.argsort(-sure[missed], kind="stable")][:wrong],
        *hit[np.argsort(sure[hit], kind="stable")][:right],
    ]

    def caption(i):
        parts = (("is", labels[i]), ("said", predicted[i]))
        lines = [f"{word} {classes[k]}: {100 * probabilities[i, k]:.1f} %" for word, k in parts]
        return lines if boxes is None else [*lines, f"IoU {boxes[2][i]:.2f}"]

    entries = [(images[i], caption(i), bool(predicted[i] == labels[i])) for i in chosen]
    said = f"{len(missed)} of {len(labels)} wrong"
    if boxes is not None:
        entries = [(*entry, contact.outlines(boxes[0][i], boxes[1][i])) for entry, i in zip(entries, chosen)]
        said += f"; {contact.LEGEND}"
    contact.sheet(entries, path, title=f"{title}: {said}" if title else said)
