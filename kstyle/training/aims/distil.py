"""Knowledge distillation: a network learns from what another says of the same pictures."""

from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend

ops = keras.ops


@dataclass(frozen=True)
class Teacher:
    """A trained network beside the one that is trained, after Hinton et al. 2015 (arXiv 1503.02531).

    Attributes:
        model: gives (B, K') logits; it is not trained.
        order: for each class of the pupil the teacher's number of it, (K,) int32.
        scale, shift: what makes of the pupil's normalised pixels the teacher's, (C,) float32 each.
        temperature: T, which both softmaxes are taken at.
        weight: of what the teacher says, in [0, 1]; the recipe's loss has the rest.
    """

    model: keras.Model
    order: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    temperature: float
    weight: float

    @property
    def variables(self):
        return self.model.variables

    def logits(self, x):
        """(B, K) float32 of a batch that was augmented and normalised for the pupil, in inference."""
        x = backend.affine(x, backend.constant(self.scale), backend.constant(self.shift))
        logits = ops.cast(self.model(x, training=False), "float32")
        return ops.take(logits, backend.constant(self.order, "int32"), axis=-1)

    def gain(self, hard, logits, theirs):
        """What is made larger: the sum over a batch of (1 − w) · hard − w · T² · KL(teacher ‖ pupil).

        Args:
            hard: the same of the recipe's loss, a scalar.
            logits, theirs: (B, K), the pupil's and the teacher's.
        """
        own, aims = (ops.log_softmax(each / self.temperature, axis=-1) for each in (logits, theirs))
        apart = ops.sum(ops.exp(aims) * (aims - own))
        return (1 - self.weight) * hard - self.weight * self.temperature**2 * apart


def teacher(model, mean, std, their_mean, their_std, order, settings):
    """A `Teacher` by what each of the two normalises with.

    Args:
        model: the teacher's.
        mean, std, their_mean, their_std: in [0, 1], a number for each channel: the pupil's and the teacher's.
        order: as the attribute.
        settings: a `kstyle.training.setup.goals.Distil`.
    """
    model.trainable = False
    mean, std, their_mean, their_std = (np.asarray(each, "float64") for each in (mean, std, their_mean, their_std))
    scale, shift = std / their_std, (mean - their_mean) / their_std
    return Teacher(
        model, np.asarray(order, "int32"), scale.astype("float32"), shift.astype("float32"), settings.temperature,
        settings.weight,
    )  # fmt: skip
