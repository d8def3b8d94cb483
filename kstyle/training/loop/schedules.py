"""Learning rates and augmentation strengths as functions of how far the training is.

A schedule is read from a recipe as a name and that schedule's arguments:

    schedule: {name: multi_step, milestones: [80, 160], gamma: 0.1, warmup: 5}

Lengths are in epochs, fractions allowed. The sequences are those of torch.optim.lr_scheduler where it has a schedule
of the same kind. Nothing here imports a framework.
"""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from kstyle import config
from kstyle.config import Closed, NotNegative, Positive, Switched, one_of
from kstyle.errors import UsageError, unknown

Fraction = Annotated[float, Field(ge=0, le=1)]


class MultiStep(Closed):
    """`milestones`: rising epochs, at each of which the rate is multiplied by `gamma`."""

    milestones: list[Positive]
    gamma: Positive = 0.1

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value):
        if value != sorted(set(value)):
            raise ValueError(f"expected rising epochs; got {value}")
        return value


class Values(Closed):
    """`values`: {first epoch: rate from there on}; one of them is epoch 0."""

    values: dict[NotNegative, NotNegative]

    @field_validator("values")
    @classmethod
    def _from_the_start(cls, value):
        if 0 not in value:
            raise ValueError(f"no rate for epoch 0; got epochs {', '.join(f'{k:g}' for k in value) or 'none at all'}")
        return value


class Step(Closed):
    """The rate is multiplied by `gamma` every `size` epochs."""

    size: Positive
    gamma: Positive = 0.1


class Exponential(Closed):
    """The rate is multiplied by `gamma` every epoch; by step, by gamma^(1 / steps per epoch) every step."""

    gamma: Positive


class Cosine(Closed):
    """`final`: what the rate falls to, as a fraction of the base."""

    final: Fraction = 0.0


class OneCycle(Closed):
    """`pct_start`: share of the training in which the rate rises. It starts at base / div_factor and ends at
    base / (div_factor * final_div_factor)."""

    pct_start: Fraction = 0.3
    div_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 25.0
    final_div_factor: Positive = 1e4


class Polynomial(Closed):
    """`power` of the fall; `final`: what the rate falls to, as a fraction of the base."""

    power: Positive = 1.0
    final: Fraction = 0.0


class OnPlateau(Closed):
    """Arguments of `Plateau`.

    Attributes:
        factor: what the rate is multiplied by.
        patience: epochs without improvement that are let pass; the one after them lowers the rate.
        min_rate: the rate below which it does not go.
        cooldown: epochs after a drop in which none is counted as bad.
        threshold: relative improvement below which an epoch is no better than the best.
        monitor: column of the history. `mode`: which way is better; None: up for an accuracy, down for a loss.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    min_rate: NotNegative = 0.0
    cooldown: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    monitor: Literal["loss", "accuracy", "val_loss", "val_accuracy"] = "val_loss"
    mode: Literal["min", "max"] | None = None

    @property
    def direction(self):
        return self.mode or ("max" if self.monitor.endswith("accuracy") else "min")


# Each schedule takes its arguments `a`, the base rate, the ticks done and the ticks in all, counted after the warm-up
# if the schedule fills the training, and the ticks per epoch. A tick is an epoch or a step, as the settings say.


def constant(a, base, tick, ticks, per_epoch):
    """The base rate."""
    return base


def multi_step(a, base, tick, ticks, per_epoch):
    """torch's MultiStepLR: base * gamma^(milestones passed)."""
    return base * a.gamma ** sum(tick / per_epoch >= m for m in a.milestones)


def values(a, base, tick, ticks, per_epoch):
    """The rates given, whatever the base is."""
    return _held(a.values, tick / per_epoch)


def _held(rates, epoch):
    return rates[max(first for first in rates if first <= epoch)]


def step(a, base, tick, ticks, per_epoch):
    """torch's StepLR: base * gamma^floor(epoch / size)."""
    # The small number: 0.3 / 0.1 is 2.9999999999999996.
    return base * a.gamma ** math.floor(tick / per_epoch / a.size + 1e-9)


def exponential(a, base, tick, ticks, per_epoch):
    """torch's ExponentialLR: base * gamma^epoch."""
    return base * a.gamma ** (tick / per_epoch)


def cosine(a, base, tick, ticks, per_epoch):
    """torch's CosineAnnealingLR with T_max the whole training (Loshchilov and Hutter 2017, arXiv 1608.03983, without
    restarts). The final rate would be that of the tick after the last."""
    return _half_wave(base, a.final * base, tick / ticks)


def one_cycle(a, base, tick, ticks, per_epoch):
    """torch's OneCycleLR with `base` its max_lr and cosine annealing both ways (Smith and Topin 2018, arXiv
    1708.07120); the momentum stays as it is. The highest rate comes at tick pct_start * ticks - 1, the lowest at the
    last."""
    first, last = base / a.div_factor, base / a.div_factor / a.final_div_factor
    # Below 0 where the rise has no room: the rate then starts on its way down.
    top = a.pct_start * ticks - 1
    if tick <= top:
        # With one tick in the rise it is the top.
        return _half_wave(first, base, tick / top if top > 0 else 1.0)
    if ticks - 1 <= top:
        return base
    return _half_wave(base, last, min(1.0, (tick - top) / (ticks - 1 - top)))


def _half_wave(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def polynomial(a, base, tick, ticks, per_epoch):
    """torch's PolynomialLR over the whole training, and with a final rate TensorFlow's PolynomialDecay."""
    return base * (a.final + (1 - a.final) * (1 - tick / ticks) ** a.power)


def post_cifar10(a, base, tick, ticks, per_epoch):
    """The CIFAR-10 VGG19 post's code (junmo1215/practice): 0.08, from epoch 81 on 0.01, from 122 on 0.001, in 164
    epochs. The 0.1 that the post's optimiser is built with is never used."""
    return _held({0: 0.08, 81: 0.01, 122: 0.001}, tick / per_epoch)


def bigballon_cifar10(a, base, tick, ticks, per_epoch):
    """BIGBALLON's Vgg19_keras.py, on which the CIFAR-10 post builds: 0.1, from epoch 80 on 0.01, from 160 on 0.001, in
    200 epochs."""
    return _held({0: 0.1, 80: 0.01, 160: 0.001}, tick / per_epoch)


def post_transfer(a, base, tick, ticks, per_epoch):
    """The ants and bees post: StepLR(7, 0.1) on 0.001, in 25 epochs."""
    return base * 0.1 ** (tick / per_epoch // 7)


def post_tiny_imagenet(a, base, tick, ticks, per_epoch):
    """The Tiny ImageNet post's code, not to be recommended: base * 0.1^(epoch // 2 + 1), with a base of 0.01.

    Divided by ten before it begins and every two epochs after, the rate is 1e-6 of the first at epoch 12, and nothing
    moves: in the post's log each batch of 500 scores 0.26 to 0.32 from epoch 5 to 19. That log begins with a rate of
    0.01, not the 0.001 of the code. To the last digit its rates are 0.01 * 0.1^(epoch // 2): it is of a run without
    the `+ 1`, and a base of 0.1 here gives its rates but for rounding.
    """
    return base * 0.1 ** (tick / per_epoch // 2 + 1)


_FUNCTIONS = (
    *(constant, multi_step, values, step, exponential, cosine, one_cycle, polynomial),
    *(post_cifar10, bigballon_cifar10, post_transfer, post_tiny_imagenet),
)
SCHEDULES = {function.__name__: function for function in _FUNCTIONS}
# The rate of a plateau is the base that `Plateau` keeps; the MNIST post's is Adam's, at one rate.
SCHEDULES |= {"plateau": constant, "post_mnist": constant}

ARGUMENTS = {
    "multi_step": MultiStep,
    "values": Values,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "polynomial": Polynomial,
    "plateau": OnPlateau,
}

# Those that know no epoch by number but run from the end of the warm-up to the end of the training.
FILLING = ("cosine", "one_cycle", "polynomial")


class Schedule(Closed):
    """A learning-rate schedule; every key that is not listed here is an argument of the schedule named.

    Attributes:
        name: in `SCHEDULES`. The name alone may stand for the section.
        by: `epoch`: the rate changes only where an epoch starts; `step`: at every step. None: by step for cosine,
            one_cycle and polynomial, by epoch for the others.
        warmup: epochs in which the rate rises linearly to what the schedule says.
        warmup_steps: the same in steps, instead; the rate then changes by step.
        warmup_start: what it rises from, as a fraction.
    """

    # The arguments, which depend on the name, are checked below against that schedule's own closed model.
    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, one_of("schedule", SCHEDULES)] = "constant"
    by: Literal["epoch", "step"] | None = None
    warmup: NotNegative = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_start: Fraction = 0.1

    _arguments: Closed = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value):
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sound(self):
        given, model = self.model_extra or {}, ARGUMENTS.get(self.name, Closed)
        own = [*model.model_fields, *(key for key in type(self).model_fields if key != "name")]
        for key in given:
            if key not in model.model_fields:
                raise unknown(f"argument of schedule {self.name}", key, own)
        self._arguments = config.check(model, given, f"schedule {self.name}")
        if self.warmup and self.warmup_steps:
            raise ValueError(f"expected warmup or warmup_steps, not both; got {self.warmup:g} and {self.warmup_steps}")
        if self.name == "one_cycle" and (self.warmup or self.warmup_steps):
            raise ValueError("one_cycle has its own warm-up: set pct_start and leave warmup out")
        if self.by == "epoch" and self.warmup_steps:
            raise ValueError("warmup_steps changes the rate by step, not by epoch: use warmup, or by: step")
        if self.unit == "epoch" and self.warmup and not self.warmup_start:
            raise ValueError("warmup_start 0 would be a first epoch at rate 0: raise it, or use by: step")
        return self

    @property
    def arguments(self):
        """The arguments, checked, as the model of `ARGUMENTS`."""
        return self._arguments

    @property
    def unit(self):
        """`"epoch"` or `"step"`: how often the rate may change."""
        if self.by is None:
            return "step" if self.name in FILLING or self.warmup_steps else "epoch"
        return self.by


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

    Raises: as `check`.
    """
    check(schedule, epochs, steps_per_epoch)
    per_epoch = steps_per_epoch if schedule.unit == "step" else 1
    ticks = per_epoch * epochs
    tick = min(step if schedule.unit == "step" else step // steps_per_epoch, ticks)
    warmup = schedule.warmup_steps or schedule.warmup * per_epoch
    factor = 1.0
    if tick < warmup:
        factor = schedule.warmup_start + (1 - schedule.warmup_start) * tick / warmup
    function = SCHEDULES[schedule.name]
    if schedule.name in FILLING:
        return factor * function(schedule.arguments, base, max(0, tick - warmup), ticks - warmup, per_epoch)
    return factor * function(schedule.arguments, base, tick, ticks, per_epoch)


class Plateau:
    """Lowers the rate when the monitored value stops improving: torch's ReduceLROnPlateau, relative threshold.

    `rate` is what holds now; give it to `kstyle.training.loop.schedules.rate` as its base, for the warm-up.

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
