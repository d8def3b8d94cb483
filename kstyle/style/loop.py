"""The loop at one size: steps of an optimiser on a picture, with averaging and guards."""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import logging
from dataclasses import dataclass, field

import keras
import numpy as np

from kstyle.style import pyramid

ops = keras.ops
log = logging.getLogger("kstyle")

# A loss above this many times the first one at its size counts as divergence.
DIVERGED = 10.0
# After so many halvings of the step the best picture is kept as it is.
MOST_HALVINGS = 10


@dataclass
class Step:
    """What a callback is told after every step.

    Attributes:
        scale: long side in pixels of the picture in work.
        step: running number over all scales, from 0; its loss is that of the picture before the step.
        total: steps planned in all.
        seconds: since the first scale began. On a GPU the queue may lag behind.
    """

    scale: int
    step: int
    total: int
    seconds: float
    _losses: dict = field(repr=False)
    _picture: object = field(repr=False)

    @property
    def losses(self):
        """{"loss": total, each weighted term}: floats. Reading them waits for the device."""
        return {k: float(ops.convert_to_numpy(v)) for k, v in self._losses.items()}

    @property
    def loss(self):
        return float(ops.convert_to_numpy(self._losses["loss"]))

    def image(self):
        """The picture after the step, averaged if the preset averages: (H, W, 3) float32 in [0, 1]."""
        return self._picture()


class Canvas:
    """The picture of one size, and all that changes with it: what a step reads and writes.

    Args:
        start: (H, W, 3) float32 NumPy, in the space of `settings`.
        settings: `kstyle.style.settings.StyleSettings`.
        optimizer: built here, for this picture.
        margin: pixels on each side of `start` that are not part of the picture.
        fresh: a function that makes another such optimiser; None: `optimizer.from_config`, for which Keras imports
            TensorFlow where the rate is a schedule.
    """

    def __init__(self, start, settings, optimizer, margin=0, fresh=None):
        def scalar(value):
            return keras.Variable(np.float32(value), trainable=False, dtype="float32")

        self.settings = settings
        self.optimizer = optimizer
        self.fresh = fresh or (lambda: type(optimizer).from_config(optimizer.get_config()))
        self.margin = margin
        self.shape = start.shape
        if settings.pyramid:
            start = pyramid.split(start, settings.pyramid)
        self.image = keras.Variable(start, dtype="float32")
        self.best = keras.Variable(start, trainable=False, dtype="float32")
        self.best_loss = scalar(np.inf)
        self.mean = keras.Variable(np.zeros_like(start), trainable=False, dtype="float32")
        self.mean_weight = scalar(0)
        self.shrink = scalar(1)
        optimizer.build([self.image])

    @property
    def pixels(self):
        return self.shape[0] * self.shape[1]

    @property
    def variables(self):
        own = [self.image, self.best, self.best_loss, self.mean, self.mean_weight, self.shrink]
        return own + list(self.optimizer.variables)

    def picture(self, values):
        """(H, W, 3) of values like `image`'s, which are the picture, or a pyramid of it."""
        return pyramid.join(values, self.shape, self.settings.pyramid) if self.settings.pyramid else values

    def step(self, gradient):
        """One step, in Keras ops only, so that it can be compiled whole.

        Args:
            gradient: `values -> ((loss, parts), d loss / d values)`, values like `image`'s.

        Returns:
            {"loss": total, each term}, of the picture before the step.
        """
        before = self.image.value
        (loss, parts), grad = gradient(before)
        better = loss < self.best_loss.value  # false for NaN
        self.best.assign(ops.where(better, before, self.best.value))
        self.best_loss.assign(ops.where(better, loss, self.best_loss.value))
        before = before + 0.0  # torch's optimisers write into the picture itself
        self.optimizer.apply([grad], [self.image])
        after = before + self.shrink.value * (self.image.value - before)
        self.image.assign(self._clamp(after))
        decay = self.settings.average
        if decay:
            self.mean.assign(decay * self.mean.value + (1 - decay) * self.image.value)
            self.mean_weight.assign(decay * self.mean_weight.value + (1 - decay))
        return {"loss": loss, **parts}

    def _clamp(self, image):
        if self.settings.clamp is None:
            return image
        clipped = ops.clip(image, *self.settings.clamp)
        if self.settings.clamp_until is None:
            return clipped
        return ops.where(self.optimizer.iterations.value <= self.settings.clamp_until, clipped, image)

    def restore(self):
        """Back to the best picture, with half the step and an optimiser that remembers nothing."""
        self.image.assign(self.best.value)
        self.mean.assign(ops.zeros_like(self.mean.value))
        self.mean_weight.assign(0.0)
        self.shrink.assign(self.shrink.value / 2)
        fresh = self.fresh()
        fresh.build([self.image])
        for old, new in zip(self.optimizer.variables, fresh.variables):
            if old is not self.optimizer.iterations:
                old.assign(new.value)

    def result(self):
        """(H, W, 3) NumPy in the picture's space: the average if there is one, else the last picture; the best if
        those are not finite."""
        weight = float(ops.convert_to_numpy(self.mean_weight.value))
        value = self.mean.value / weight if weight else self.image.value
        value = ops.convert_to_numpy(self.picture(value))
        return value if np.isfinite(value).all() else ops.convert_to_numpy(self.picture(self.best.value))


def run(canvas, loss, steps, on_step):
    """Takes `steps` steps; each is one evaluation of the gradient.

    A loss that is not finite, or ten times what this size began with, restores the best picture and halves the step;
    the log says so. Where the loss no longer falls, `settings.plateau` ends it earlier.

    Args:
        canvas: `Canvas`.
        loss: `image -> (total, parts)`, from `kstyle.style.objective.objective`.
        steps: how many.
        on_step: called with {"loss": …} (tensors) after each.

    Returns:
        One dict of floats a step: "loss" and each term.
    """
    if getattr(loss, "redraws", False):
        of_values = lambda values: loss(canvas.picture(values), canvas.optimizer.iterations.value)  # noqa: E731
    else:
        of_values = lambda values: loss(canvas.picture(values))  # noqa: E731
    gradient = backend.value_and_grad(of_values)
    step = backend.compile(lambda: canvas.step(gradient), canvas.variables)
    # Looking at a loss waits for the device. A GPU is looked at every tenth step; a CPU has nothing to wait for.
    interval = 10 if backend.accelerated() else 1
    rows, pending, halvings = [], [], 0
    for number in range(steps):
        pending.append(step())
        on_step(pending[-1])
        if len(pending) < interval and number + 1 < steps:
            continue
        fetched = fetch(pending)
        pending.clear()
        rows += fetched
        bad = next((row for row in fetched if not row["loss"] <= DIVERGED * abs(rows[0]["loss"])), None)
        if bad is None:
            if _no_longer_falls(rows, canvas.settings.plateau):
                log.info("the loss no longer falls: %d of %d steps taken at this size", len(rows), steps)
                break
            continue
        halvings += 1
        canvas.restore()
        log.warning(
            "step %d: the loss is %.3g; back to the best picture (%.3g), with half the step",
            len(rows) - 1, bad["loss"], float(ops.convert_to_numpy(canvas.best_loss.value)),
        )  # fmt: skip
        if halvings == MOST_HALVINGS:
            log.warning("the loss keeps diverging: stopped after %d steps, with the best picture", len(rows))
            break
    if 0 < halvings < MOST_HALVINGS:  # the last picture has no step after it that would have told its loss
        (last, _), _ = gradient(canvas.image.value)
        if not float(ops.convert_to_numpy(last)) <= rows[0]["loss"]:
            canvas.restore()
            log.warning("the last step diverged too: back to the best picture")
    return rows


def _no_longer_falls(rows, plateau):
    if plateau is None or len(rows) <= plateau.steps:
        return False
    before, since = (min(row["loss"] for row in part) for part in (rows[: -plateau.steps], rows[-plateau.steps :]))
    return since > before - plateau.gain * abs(before)


def fetch(losses):
    """A list of dicts of scalar tensors as a list of dicts of floats, in one transfer."""
    names = ["loss", *(name for name in losses[0] if name != "loss")]  # JAX returns dicts sorted
    table = ops.convert_to_numpy(ops.stack([ops.stack([row[n] for n in names]) for row in losses]))
    return [dict(zip(names, map(float, values))) for values in table]
