"""Learning rates and augmentation strengths as functions of how far the training is.

A schedule is read from a recipe as a name and that schedule's arguments:

    schedule: {name: multi_step, milestones: [80, 160], gamma: 0.1, warmup: 5}

Lengths are in epochs, fractions allowed. Nothing here imports a framework, unless a schedule is one of Keras'.
"""

import functools
import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from kstyle import config
from kstyle.config import Closed, NotNegative, Switched
from kstyle.errors import UsageError, unknown
from kstyle.training.schedules import given, old_names
from kstyle.training.schedules.rates import ARGUMENTS, FILLING, FUNCTION, NAMES, SCHEDULES, Fraction


class Schedule(Closed):
    """A learning-rate schedule; every key that is not listed here is an argument of the schedule named.

    Attributes:
        name: `constant`, `multi_step`, `values`, `step`, `exponential`, `cosine`, `one_cycle`, `polynomial`, `plateau`,
            one of Keras', or one that was added. The name alone may stand for the section. In Python a function of the
            epoch, a float counted from 0, or a schedule of Keras' may stand for either.
        by: `epoch`: the rate changes only where an epoch starts; `step`: at every step. None: by step for cosine,
            one_cycle, polynomial and Keras' own, by epoch for the others.
        warmup: epochs in which the rate rises linearly to what the schedule says.
        warmup_steps: the same in steps, instead; the rate then changes by step.
        warmup_start: what it rises from, as a fraction.
        note: what to write in a recipe that had a name of before; None: nothing.
    """

    short_forms = ({"type": "string"},)
    keys_by_name = ARGUMENTS
    # The arguments, which depend on the name, are checked below against that schedule's own closed model.
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "constant"
    by: Literal["epoch", "step"] | None = None
    warmup: NotNegative = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_start: Fraction = 0.1

    _arguments: Closed = PrivateAttr()
    _note: str | None = PrivateAttr(None)
    _function: Any = PrivateAttr(None)  # one that has no name here; it is written to no file

    @model_validator(mode="wrap")
    @classmethod
    def _as_today(cls, value, handler):
        section, function = given.described(value)
        section, note = old_names.today(old_names.SCHEDULES, section)
        made = handler(section)
        if made is not value:
            made._note, made._function = note and f"schedule: {note}", function
        return made

    @model_validator(mode="after")
    def _sound(self):
        if self.name not in NAMES and self.name != FUNCTION:
            raise unknown("schedule", self.name, NAMES)
        if self.given:
            given.check(self)
            self._arguments = Closed()
        else:
            self._check_arguments()
        if self.warmup and self.warmup_steps:
            raise ValueError(f"expected warmup or warmup_steps, not both; got {self.warmup:g} and {self.warmup_steps}")
        if self.name == "one_cycle" and (self.warmup or self.warmup_steps):
            raise ValueError("one_cycle has its own warm-up: set pct_start and leave warmup out")
        if self.by == "epoch" and self.warmup_steps:
            raise ValueError("warmup_steps changes the rate by step, not by epoch: use warmup, or by: step")
        if self.unit == "epoch" and self.warmup and not self.warmup_start:
            raise ValueError("warmup_start 0 would be a first epoch at rate 0: raise it, or use by: step")
        return self

    def _check_arguments(self):
        passed, model = self.model_extra or {}, ARGUMENTS.get(self.name, Closed)
        for key in passed:
            if key not in model.model_fields:
                raise unknown(f"argument of schedule {self.name}", key, [*model.model_fields, *_COMMON])
        self._arguments = config.check(model, passed, f"schedule {self.name}")

    note = property(lambda self: self._note)
    function = property(lambda self: self._function)

    @property
    def given(self):
        """Whether it is the user's or Keras', and not one of kstyle's."""
        return self.name not in SCHEDULES

    @property
    def arguments(self):
        """The arguments, checked, as the model of `ARGUMENTS`."""
        return self._arguments

    @functools.cached_property
    def rates(self):
        """`rates(epoch, step) -> rate` of one that is `given`. UsageError: its function is not there."""
        return given.rates(self)

    @property
    def unit(self):
        """`"epoch"` or `"step"`: how often the rate may change."""
        if self.by is None:
            by_step = self.name in FILLING or self.warmup_steps or (self.given and given.by_step(self))
            return "step" if by_step else "epoch"
        return self.by


_COMMON = ("by", "warmup", "warmup_steps", "warmup_start")


def check(schedule, epochs, steps_per_epoch=None):
    """Raises a UsageError where the warm-up of a `Schedule` leaves nothing of a training of so many epochs.

    Without `steps_per_epoch`, which takes the data to know, a warm-up in steps is let pass.
    """
    steps = math.inf if steps_per_epoch is None else steps_per_epoch * epochs
    key, unit, whole = ("warmup_steps", "steps", steps) if schedule.warmup_steps else ("warmup", "epochs", epochs)
    length = getattr(schedule, key)
    if length >= whole:
        by_step = schedule.unit == "step" and steps_per_epoch is not None
        raise UsageError(
            f"The warm-up of {length:g} {unit} leaves nothing of a training of "
            f"{f'{steps} steps' if by_step else f'{epochs} epochs'}: lower schedule.{key}, or raise epochs."
        )


def rate(schedule, base, step, steps_per_epoch, epochs):
    """The learning rate of one step.

    Schedules that run over the whole training fill what the warm-up leaves of it, as torch's SequentialLR of LinearLR
    and the schedule; the others count their epochs from the start, the warm-up's included.

    Args:
        schedule: a `Schedule`.
        base: the optimiser's rate; for `plateau`, `Plateau.rate`.
        step: global, from 0. Past the end the rate stays where it would be next.
        steps_per_epoch, epochs: of the whole training, at least 1.

    Returns:
        A float, at least 0.

    Raises: as `check`; UsageError for a function that gives no rate, or was given in Python and is not there.
    """
    check(schedule, epochs, steps_per_epoch)
    per_epoch = steps_per_epoch if schedule.unit == "step" else 1
    ticks = per_epoch * epochs
    tick = min(step if schedule.unit == "step" else step // steps_per_epoch, ticks)
    warmup = schedule.warmup_steps or schedule.warmup * per_epoch
    factor = 1.0
    if tick < warmup:
        factor = schedule.warmup_start + (1 - schedule.warmup_start) * tick / warmup
    if schedule.given:
        epoch = tick / per_epoch
        return factor * schedule.rates(epoch, round(epoch * steps_per_epoch))
    function = SCHEDULES[schedule.name]
    if schedule.name in FILLING:
        return factor * function(schedule.arguments, base, max(0, tick - warmup), ticks - warmup, per_epoch)
    return factor * function(schedule.arguments, base, tick, ticks, per_epoch)


class Plateau:
    """Lowers the rate when the monitored value stops improving: torch's ReduceLROnPlateau, relative threshold.

    `rate` is what holds now; give it to `kstyle.training.schedules.schedules.rate` as its base, for the warm-up.

    Args:
        arguments: `Schedule.arguments` of a schedule named plateau.
        base: the rate to start from.
    """

    def __init__(self, arguments, base):
        self.arguments, self.rate = arguments, float(base)
        self._best, self._bad, self._cooldown = None, 0, 0

    def update(self, value):
        """Takes the monitored value of the epoch just finished (NaN is no improvement) and returns the next rate."""
        if self._better(value):
            self._best, self._bad = float(value), 0
        else:
            self._bad += 1
        if self._cooldown > 0:
            self._cooldown, self._bad = self._cooldown - 1, 0
        if self._bad > self.arguments.patience:
            lower = max(self.rate * self.arguments.factor, self.arguments.min_rate)
            if self.rate - lower > 1e-8:  # torch's eps: less is not worth a change
                self.rate = lower
            self._cooldown, self._bad = self.arguments.cooldown, 0
        return self.rate

    def _better(self, value):
        if self.arguments.direction == "min":
            return value < (math.inf if self._best is None else self._best * (1 - self.arguments.threshold))
        return value > (-math.inf if self._best is None else self._best * (1 + self.arguments.threshold))

    def state_dict(self):
        """What a resumed training needs, in JSON's types."""
        return {"rate": self.rate, "best": self._best, "bad": self._bad, "cooldown": self._cooldown}

    def load_state_dict(self, state):
        """Takes up where the state was saved."""
        self.rate, self._best, self._bad, self._cooldown = (state[k] for k in ("rate", "best", "bad", "cooldown"))


class AugmentSchedule(Switched):
    """How strongly the training pictures are changed, over the epochs.

    Attributes:
        ramp: epochs in which the strength rises linearly from `start` to 1.
        start: strength of the first epoch, where there is a ramp.
        off_last: epochs at the end with strength 0.
        mix_off_last: epochs at the end without mixup and cutmix.
    """

    ramp: NotNegative = 0.0
    start: Fraction = 0.0
    off_last: Annotated[int, Field(ge=0)] = 0
    mix_off_last: Annotated[int, Field(ge=0)] = 0


def strength(settings, epoch, epochs):
    """What an `AugmentSchedule` says of an `epoch`, from 0, of so many.

    Returns:
        `(strength, mix)`, floats in [0, 1]: what the augmentations' strength is multiplied by, and what the probability
        of mixup and cutmix is: 1.0 or 0.0.
    """
    rising = 1.0 if epoch >= settings.ramp else settings.start + (1 - settings.start) * epoch / settings.ramp
    left = epochs - epoch
    return (0.0 if left <= settings.off_last else rising), (0.0 if left <= settings.mix_off_last else 1.0)
