"""The loop at one size: steps of an optimiser on a picture, with averaging and guards."""

import gc
import logging
from dataclasses import dataclass, field

import keras
import numpy as np

from kstyle import backend
from kstyle.nn import lbfgs
from kstyle.style.passes import pyramid

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
    _alpha: object = field(repr=False, default=lambda: None)

    @property
    def losses(self) -> dict[str, float]:
        """{"loss": total, each weighted term}: floats. Reading them waits for the device."""
        return {k: float(ops.convert_to_numpy(v)) for k, v in self._losses.items()}

    @property
    def loss(self) -> float:
        """The total."""
        return float(ops.convert_to_numpy(self._losses["loss"]))

    def image(self) -> np.ndarray:
        """The picture after the step, averaged if the preset averages: (H, W, 3) float32 in [0, 1]."""
        return self._picture()

    def alpha(self) -> np.ndarray | None:
        """The content's opacity at the size of `image()`: (H, W) float32 in [0, 1]; None where it has none."""
        return self._alpha()


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
        # The average begins with the picture that the steps begin with, as crowsonkb/style-transfer-pytorch's does.
        self.mean, share = None, 1 - settings.average
        if settings.average:
            self.mean = keras.Variable(np.float32(share) * start, trainable=False, dtype="float32")
            self.mean_weight = scalar(share)
        self.shrink = scalar(1)  # what each step is multiplied by: halved when the loss diverges, 0 to stand still
        optimizer.build([self.image])

    @property
    def pixels(self):
        return self.shape[0] * self.shape[1]

    @property
    def variables(self):
        own = [self.image, self.best, self.best_loss, self.shrink]
        averaged = [] if self.mean is None else [self.mean, self.mean_weight]
        return own + averaged + list(self.optimizer.variables)

    def picture(self, values):
        """(H, W, 3) of values like `image`'s, which are the picture, or a pyramid of it."""
        return pyramid.join(values, self.shape, self.settings.pyramid) if self.settings.pyramid else values

    def step(self, gradient, take=None):
        """One step, in Keras ops only, so that it can be compiled whole.

        Args:
            gradient: `values -> ((loss, parts), d loss / d values)`, values like `image`'s.
            take: `self.take` compiled, where the step as a whole is not.

        Returns:
            {"loss": total, each term}, of the picture before the step.
        """
        (loss, parts), grad = gradient(self.image.value)
        (take or self.take)(loss, grad)
        return {"loss": loss, **parts}

    def take(self, loss, grad):
        """The step itself, from the loss of the picture as it is and its gradient."""
        better = loss < self.best_loss.value  # false for NaN
        for part in self._parts():
            backend.put_where(self.best, better, self.image.value[part], part)
        backend.put_where(self.best_loss, better, loss)
        before = self.image.value + 0.0  # torch's optimisers write into the picture itself
        self.optimizer.apply([grad], [self.image])
        moves, decay = self.shrink.value > 0, self.settings.average
        for part in self._parts():
            after = self._clamp(backend.lerp(before[part], self.image.value[part], self.shrink.value))
            # With `shrink` at 0 the picture stays, even if the optimiser, which still runs, comes to NaN.
            backend.put_where(self.image, moves, after, part, before[part])
            if decay:
                mean = backend.lerp(self.mean.value[part], self.image.value[part], backend.constant(1 - decay))
                backend.put(self.mean, part.start, mean)
        if decay:
            self.mean_weight.assign(decay * self.mean_weight.value + (1 - decay))

    def _parts(self):
        rows, *row = self.image.shape
        return lbfgs.parts_of(rows, int(np.prod(row)))

    def _clamp(self, image):
        if self.settings.clamp is None:
            return image
        clipped = ops.clip(image, *map(backend.constant, self.settings.clamp))
        if self.settings.clamp_until is None:
            return clipped
        return ops.where(self.optimizer.iterations.value <= self.settings.clamp_until, clipped, image)

    def restore(self):
        """Back to the best picture, with half the step and an optimiser that remembers nothing."""
        self.image.assign(self.best.value)
        if self.mean is not None:
            share = 1 - self.settings.average
            self.mean.assign(share * self.best.value)
            self.mean_weight.assign(share)
        self.shrink.assign(self.shrink.value / 2)
        fresh = self.fresh()
        fresh.build([self.image])
        for old, new in zip(self.optimizer.variables, fresh.variables):
            if old is not self.optimizer.iterations:
                old.assign(new.value)

    def result(self):
        """(H, W, 3) NumPy in the picture's space: the average if there is one, else the last picture; the best if
        those are not finite."""
        value = self.image.value if self.mean is None else self.mean.value / self.mean_weight.value
        value = ops.convert_to_numpy(self.picture(value))
        return value if np.isfinite(value).all() else ops.convert_to_numpy(self.picture(self.best.value))


def run(course, objective, between=None):
    """Takes the steps of a `Course` that are left; each is one evaluation of the gradient.

    A loss that is not finite, or ten times what this size began with, restores the best picture and halves the step;
    the log says so. Where the loss no longer falls, `settings.plateau` ends it earlier.

    Args:
        objective: a `kstyle.style.objectives.objective.Objective`.
        between: called between two steps, whenever the losses of all steps so far are known and the canvas and the
            course belong together: the time to save them.

    Returns:
        `course.rows`.
    """
    canvas = course.canvas
    gradient = objective.gradient(canvas.picture, lambda: _step_of(canvas, objective))
    take = canvas.take if objective.whole else backend.compile(canvas.take, canvas.variables)

    def step():
        return [canvas.step(gradient, take)]

    step = backend.compile(step, canvas.variables) if objective.whole else step
    _advance([course], step, lambda: [gradient(canvas.image.value)[0][0]], between)
    return course.rows


def run_together(courses, together):
    """`run` of several pictures of one size at once.

    Args:
        courses: list of `Course`, of as many steps.
        together: a `kstyle.style.objectives.objective.Together` of as many objectives.
    """
    canvases = [course.canvas for course in courses]

    def of_values(values):
        pictures = [canvas.picture(values[i]) for i, canvas in enumerate(canvases)]
        return together(ops.stack(pictures), *_step_of(canvases[0], together))

    gradient = backend.value_and_grad(of_values)

    def evaluate():
        return gradient(ops.stack([canvas.image.value for canvas in canvases]))

    def step():
        (_, parts), grads = evaluate()
        for i, canvas in enumerate(canvases):
            canvas.take(parts["loss"][i], grads[i])
        return [{name: values[i] for name, values in parts.items()} for i in range(len(canvases))]

    variables = [variable for canvas in canvases for variable in canvas.variables]
    _advance(courses, backend.compile(step, variables), lambda: list(evaluate()[0][1]["loss"]))


def _step_of(canvas, objective):
    """What an objective is called with beside the picture: the number of the step, if it looks elsewhere at each."""
    return (canvas.optimizer.iterations.value,) if objective.redraws else ()


def _advance(courses, step, last, between=None):
    """Takes steps until each course has all of its steps, or an end of its own.

    Args:
        courses: list of `Course`.
        step: takes one with each and returns for each {"loss": …}.
        last: returns for each the loss of its picture as it is.
        between: as for `run`.
    """
    # Looking at a loss waits for the device. A GPU is looked at every tenth step; a CPU has nothing to wait for.
    interval = 10 if backend.accelerated() else 1
    first, pending = courses[0], []
    for number in range(len(first.rows), first.steps):
        backend.adapt_threads()
        pending.append(step())
        gc.collect(1)  # Keras, on its way through a model, leaves a circle of references that holds the whole picture
        asked = [course.on_step(losses) for course, losses in zip(courses, pending[-1]) if not course.ended]
        if len(pending) < interval and number + 1 < first.steps and not any(asked):
            continue
        for course, taken in zip(courses, zip(*pending)):
            if not course.ended:
                course.look(fetch(taken))
        pending.clear()
        if between is not None:
            between()
        if any(asked) or all(course.ended for course in courses):
            break
    # A step gives the loss of the picture before it, so the last picture's loss has to be computed.
    if any(course.doubtful for course in courses):
        for course, value in zip(courses, last()):
            course.close(float(ops.convert_to_numpy(value)))


class Course:
    """The steps at one size: how many, the losses so far, and what follows from them.

    Args:
        canvas: `Canvas`.
        steps: how many in all.
        on_step: called with {"loss": …} (tensors) after each; the last one is that after which it returns something
            true.
        taken: what `state` gave, to go on from there.

    Attributes:
        rows: of the steps taken one dict of floats each: "loss" and each term.
        ended: no further step counts.
    """

    def __init__(self, canvas, steps, on_step=lambda losses: None, taken=None):
        taken = taken or {"rows": [], "halvings": 0, "ended": False}
        self.canvas, self.steps, self.on_step = canvas, steps, on_step
        self.rows, self._halvings, self.ended = list(taken["rows"]), taken["halvings"], taken["ended"]
        if not self.ended:  # one that had ended, and is asked for more steps, moves again
            canvas.shrink.assign(0.5**self._halvings)

    def state(self):
        """What a `Course` goes on from, for JSON; the variables of its canvas are not in it."""
        return {"rows": list(self.rows), "halvings": self._halvings, "ended": self.ended}

    def look(self, fetched):
        """Takes the losses of the steps since the last look: goes back if they diverge, ends if they stand still."""
        self.rows += fetched
        first = abs(self.rows[0]["loss"])
        bad = next((row for row in fetched if not row["loss"] <= DIVERGED * first), None)
        if bad is None:
            if _no_longer_falls(self.rows, self.canvas.settings.plateau):
                log.info("the loss no longer falls: %d of %d steps taken at this size", len(self.rows), self.steps)
                self._end()
            return
        self._halvings += 1
        self.canvas.restore()
        log.warning(
            "step %d: the loss is %.3g; back to the best picture (%.3g), with half the step",
            len(self.rows) - 1, bad["loss"], float(ops.convert_to_numpy(self.canvas.best_loss.value)),
        )  # fmt: skip
        if self._halvings == MOST_HALVINGS:
            log.warning("the loss keeps diverging: stopped after %d steps, with the best picture", len(self.rows))
            self._end()

    @property
    def doubtful(self):
        """A step was undone, so the loss of the last picture is unknown and must be checked."""
        return 0 < self._halvings < MOST_HALVINGS

    def close(self, loss):
        """After the last step; `loss` of the picture as it is."""
        if self.doubtful and not loss <= self.rows[0]["loss"]:
            self.canvas.restore()
            log.warning("the last step diverged too: back to the best picture")

    def _end(self):
        self.ended = True
        self.canvas.shrink.assign(0.0)  # other pictures of the batch may go on; this one no longer changes


def _no_longer_falls(rows, plateau):
    if plateau is None or len(rows) <= plateau.steps:
        return False
    before, since = (min(row["loss"] for row in part) for part in (rows[: -plateau.steps], rows[-plateau.steps :]))
    return since >= before - plateau.gain * abs(before)


def fetch(losses):
    """A list of dicts of scalar tensors as a list of dicts of floats, in one transfer."""
    names = ["loss", *(name for name in losses[0] if name != "loss")]  # JAX returns dicts sorted
    table = ops.convert_to_numpy(ops.stack([ops.stack([row[n] for n in names]) for row in losses]))
    return [dict(zip(names, map(float, values))) for values in table]
