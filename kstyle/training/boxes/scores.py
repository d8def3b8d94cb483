"""How good told boxes are, on the host: what a validation and an evaluation say of them."""

import keras
import numpy as np

from kstyle.training.boxes import overlap

ops = keras.ops


def each(told, true):
    """(N,) float32 IoU of NumPy boxes, (N, 4) each or (4,) for one that stands for all."""
    told, true = (ops.convert_to_tensor(box, "float32") for box in np.broadcast_arrays(told, true))
    return ops.convert_to_numpy(overlap.iou(told, true))


def scores(told, true, mean):
    """What scores.json says of boxes.

    Args:
        told, true: (N, 4) NumPy.
        mean: (4,) the mean of the training pictures' boxes.

    Returns:
        {"count": of the true boxes that are in the picture, "iou": the mean, "iou_50": share of at least 0.5,
        "mean_box": the same two where the mean of the training pictures' boxes is told of each picture, which takes no
        network}.
    """
    there = (true[:, 2:] > true[:, :2]).all(axis=1)
    told, true = told[there], true[there]
    return {"count": len(true), **_means(each(told, true)), "mean_box": _means(each(mean, true))}


def quick(section, outputs, classes, true):
    """Of a validation: (mean loss of the boxes, {"val_iou", "val_iou_50"}).

    Args:
        section: a `kstyle.training.boxes.settings.Boxes`.
        outputs: (N, K + 4) NumPy, of a network with a box head; `classes`: K.
        true: (N, 4) NumPy.
    """
    true, told = ops.convert_to_tensor(true), overlap.corners(ops.convert_to_tensor(outputs[:, classes:]))
    loss = ops.mean(overlap.losses(section, told, true))
    found = overlap.means([float(ops.convert_to_numpy(x)) for x in overlap.sums(told, true)])
    return float(ops.convert_to_numpy(loss)), {f"val_{name}": value for name, value in found.items()}


def _means(found):
    return {"iou": float(found.mean()), "iou_50": float((found >= 0.5).mean())}
