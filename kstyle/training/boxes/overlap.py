"""Boxes against boxes: how much they overlap, and the losses of boxes, in Keras ops.

A box is (left, top, right, bottom), parts of the picture's width and height from its upper left corner. All functions
take (B, 4) float32 and give (B,).
"""

import keras
import numpy as np

from kstyle import backend

ops = keras.ops

# Where the division by an area ends: a millionth of a pixel of a picture of 1,000 × 1,000.
LEAST = 1e-12


def corners(centred):
    """Boxes from (B, 4) centre x, centre y, width, height: (B, 4). Parts of them may lie outside of the picture."""
    middle, half = centred[:, :2], centred[:, 2:] / 2
    return ops.concatenate([middle - half, middle + half], axis=-1)


def _areas(told, true):
    """Areas of what is told, what is true, what both share, and the smallest box around both: (4, B), 0 of a box whose
    sides are turned round."""
    turned = backend.constant(np.array([1, 1, -1, -1]))  # so that one maximum is the inner side of all four, …
    told, true = told * turned, true * turned
    every = ops.stack([told, true, ops.maximum(told, true), ops.minimum(told, true)])
    sides = ops.relu(-(every[..., :2] + every[..., 2:]))
    return sides[..., 0] * sides[..., 1]


def _iou(areas):
    """IoU and the area of both together."""
    both = areas[0] + areas[1] - areas[2]
    return areas[2] / ops.maximum(both, LEAST), both


def iou(told, true):
    """The area of what two boxes share by that of both together, in [0, 1]; 0 of two boxes without area."""
    return _iou(_areas(told, true))[0]


def giou(told, true):
    """Generalised IoU, in [−1, 1]: IoU less the part of the smallest box around both that is in neither.

    Unlike IoU it says of boxes that do not touch how far they are apart (Rezatofighi et al. 2019, arXiv 1902.09630).

    >>> a, b = (ops.convert_to_tensor([box]) for box in ([0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]))
    >>> float(iou(a, b)[0]), float(giou(a, b)[0])
    (0.0, -0.5)
    """
    areas = _areas(told, true)
    found, both = _iou(areas)
    return found - (areas[3] - both) / ops.maximum(areas[3], LEAST)


def smooth_l1(told, true, beta):
    """The sum over the four sides of x² / (2 beta) where |x| < beta, else |x| − beta / 2; x: by how much a side is off.

    Girshick 2015, Fast R-CNN (arXiv 1504.08083), with torch's `beta`.
    """
    off = ops.abs(told - true)
    return ops.sum(ops.where(off < beta, 0.5 * off * off / beta, off - 0.5 * beta), axis=-1)


def there(boxes):
    """1 where a box has an area, 0 where it has left the picture; float32."""
    return ops.cast(ops.min(boxes[:, 2:] - boxes[:, :2], axis=-1) > 0.0, "float32")


def losses(section, told, true):
    """What boxes add to the loss, each by itself; 0 where the true box has left the picture.

    Args:
        section: a `kstyle.training.boxes.settings.Boxes`.
    """
    found = section.giou * (1.0 - giou(told, true)) if section.giou else 0.0
    if section.smooth_l1:
        found = found + section.smooth_l1 * smooth_l1(told, true, section.beta)
    return found * there(true)


def sums(told, true):
    """Of the boxes that are there: Σ IoU, how many have an IoU of at least 0.5, how many there are; three scalars."""
    seen, known = iou(ops.clip(told, 0.0, 1.0), true), there(true)
    return [ops.sum(seen * known), ops.sum(ops.cast(seen >= 0.5, "float32") * known), ops.sum(known)]


SUMS = 3  # how many numbers `sums` gives


def means(values):
    """{"iou", "iou_50"} from what `sums` gave, three floats."""
    total, half, count = values
    return {"iou": total / max(count, 1.0), "iou_50": half / max(count, 1.0)}
