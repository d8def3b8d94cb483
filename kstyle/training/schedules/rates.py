"""kstyle's schedules: the rate as a function of how far the training is, and what each may be told.

The sequences are those of torch.optim.lr_scheduler where it has a schedule of the same kind. Nothing here imports a
framework.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from kstyle.config import Closed, NotNegative, Positive
from kstyle.open_names import Names
from kstyle.training.aims.names import direction

Fraction = Annotated[float, Field(ge=0, le=1)]


class MultiStep(Closed):
    """The rate is multiplied at given epochs.

    Attributes:
        milestones: rising epochs.
        gamma: what the rate is multiplied by at each.
    """

    milestones: list[Positive]
    gamma: Positive = 0.1

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value):
        if value != sorted(set(value)):
            raise ValueError(f"expected rising epochs; got {value}")
        return value


class Values(Closed):
    """The rates themselves.

    Attributes:
        values: {first epoch: rate from there on}; one of them is epoch 0.
    """

    values: dict[NotNegative, NotNegative]

    @field_validator("values")
    @classmethod
    def _from_the_start(cls, value):
        if 0 not in value:
            raise ValueError(f"no rate for epoch 0; got epochs {', '.join(f'{k:g}' for k in value) or 'none at all'}")
        return value


class Step(Closed):
    """The rate is multiplied every so many epochs.

    Attributes:
        size: epochs.
        gamma: what the rate is multiplied by after each `size` epochs.
        passed: times that it is multiplied before the first epoch.
    """

    size: Positive
    gamma: Positive = 0.1
    passed: Annotated[int, Field(ge=0)] = 0


class Exponential(Closed):
    """The rate is multiplied every epoch; by step, by gamma^(1 / steps per epoch) every step.

    Attributes:
        gamma: what the rate is multiplied by.
    """

    gamma: Positive


class Cosine(Closed):
    """The rate falls as half a cosine over the whole training.

    Attributes:
        final: what the rate falls to, as a fraction of the base.
    """

    final: Fraction = 0.0


class OneCycle(Closed):
    """The rate rises to the base, then falls, over the whole training.

    Attributes:
        pct_start: share of the training in which the rate rises.
        div_factor: the rate starts at base / div_factor.
        final_div_factor: it ends at base / (div_factor * final_div_factor).
    """

    pct_start: Fraction = 0.3
    div_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 25.0
    final_div_factor: Positive = 1e4


class Polynomial(Closed):
    """The rate falls as a power of what is left of the training.

    Attributes:
        power: of the fall; 1: linear.
        final: what the rate falls to, as a fraction of the base.
    """

    power: Positive = 1.0
    final: Fraction = 0.0


class OnPlateau(Closed):
    """The rate is lowered when the monitored value stops improving.

    Attributes:
        factor: what the rate is multiplied by.
        patience: epochs without improvement that are let pass; the one after them lowers the rate.
        min_rate: the rate below which it does not go.
        cooldown: epochs after a drop in which none is counted as bad.
        threshold: relative improvement below which an epoch is no better than the best.
        monitor: column of the history.
        mode: which way is better; None: down for losses, errors and distances, by their names, up for the rest.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    min_rate: NotNegative = 0.0
    cooldown: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    monitor: str = "val_loss"
    mode: Literal["min", "max"] | None = None

    @property
    def direction(self):
        return self.mode or direction(self.monitor)


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
    epoch = tick / per_epoch
    return a.values[max(first for first in a.values if first <= epoch)]


def step(a, base, tick, ticks, per_epoch):
    """torch's StepLR: base * gamma^floor(epoch / size), and gamma^passed more."""
    # The small number: 0.3 / 0.1 is 2.9999999999999996.
    return base * a.gamma ** (math.floor(tick / per_epoch / a.size + 1e-9) + a.passed)


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


_FUNCTIONS = (constant, multi_step, values, step, exponential, cosine, one_cycle, polynomial)
SCHEDULES = {function.__name__: function for function in _FUNCTIONS}
SCHEDULES["plateau"] = constant  # of the rate that `schedules.Plateau` has come to

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

# Keras' own, with Keras' arguments: the classes of these names in `kstyle.nn.schedules`.
KERAS = (
    *("exponential_decay", "inverse_time_decay", "polynomial_decay", "piecewise_constant"),
    *("cosine_decay", "cosine_decay_restarts"),
)
FUNCTION = "function"  # a function given in Python that has no name here: a file can only say what it was called

NAMES = Names("schedule", [*SCHEDULES, *KERAS])  # and those that users add
