"""Learning-rate schedules of your own, for recipes.

>>> from kstyle import schedules
>>> schedules.register("halving", lambda epoch, first=0.1, every=10: first * 0.5 ** (epoch // every))
"""

from collections.abc import Callable
from typing import Any

from kstyle.open_names import called
from kstyle.training.schedules.rates import NAMES

__all__ = ["register"]


def register(name: str, schedule: Callable[..., Any]) -> None:
    """Adds a schedule: `schedule: {name: NAME, argument: value}` in a recipe.

    The recipe's `warmup`, `warmup_steps` and `by` hold for it as for kstyle's own.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's.
        schedule: `schedule(epoch, **arguments)` -> the learning rate, 0 or more. epoch: a float from 0 on, of the
            training or of the stage that has the schedule; a whole number, unless the recipe says `by: step`. Or a
            `keras.optimizers.schedules.LearningRateSchedule`, or a class of such, whose arguments the recipe then
            gives: it is asked at each step, counted from 0.

    Raises:
        UsageError: a name of kstyle's own, or no function.

    >>> from kstyle import schedules
    >>> schedules.register("sawtooth", lambda epoch, top=0.1, length=5: top * (1 - epoch % length / length))
    """
    NAMES.add(name, called("schedule", schedule))
