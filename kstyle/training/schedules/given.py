"""What users give in Python for a section of a recipe: schedules, functions of the epoch or Keras' of the step, and
optimisers."""

import inspect
import math
import sys
from collections.abc import Mapping

from kstyle.errors import UsageError
from kstyle.io.files import one_line, shown
from kstyle.training.schedules import old_names
from kstyle.training.schedules.rates import FUNCTION, KERAS, NAMES


def is_keras(thing):
    """Whether it is a `keras.optimizers.schedules.LearningRateSchedule`, or a class of such. Loads no framework."""
    if "keras" not in sys.modules:
        return False
    from kstyle.nn import schedules

    return schedules.is_schedule(thing)


def described(section):
    """The section `schedule` of a recipe where a function, or a schedule of Keras', stands for it or for its name.

    What has a name, since it was registered or is one of Keras', is said by it. Of another function a file can only say
    what it was called.

    Args:
        section: what a recipe says.

    Returns:
        `(section, function)`: a mapping, or what was given where there is nothing to describe; the function that has no
        name here, or None.
    """
    if isinstance(section, str) or callable(section):
        section = {"name": section}
    thing = section.get("name") if isinstance(section, Mapping) else None
    if not callable(thing):
        return section, None
    found, by_step = next(({"name": name} for name, own in NAMES.own.items() if own is thing), None), is_keras(thing)
    if found is None and by_step:
        from kstyle.nn import schedules

        found = schedules.described(thing, NAMES.own)
    if found is not None:
        return {**section, **found}, None
    called = getattr(thing, "__qualname__", type(thing).__name__)
    return {"by": "step" if by_step else None, **section, "name": FUNCTION, "called": called}, thing


def check(schedule):
    """Raises a UsageError where a `kstyle.training.schedules.schedules.Schedule` of the user's has arguments that it
    does not take, or lacks one; of a `function` that is not there nothing is known."""
    given = schedule.model_extra or {}
    if schedule.name == FUNCTION:
        if set(given) - {"called"}:
            raise UsageError("a function given in Python takes no arguments from a recipe: register it.")
        return
    from kstyle.nn import schedules

    thing = _named(schedule.name)
    if inspect.isclass(thing):
        known = schedules.parameters(thing)
    else:
        known = {} if is_keras(thing) else dict(list(schedules.parameters(thing).items())[1:])
    schedules.check(f"schedule '{schedule.name}'", known, given)


def by_step(schedule):
    """Whether a `Schedule` of the user's or Keras' is a function of the step."""
    return schedule.name in KERAS or is_keras(NAMES.own.get(schedule.name))


def _named(name):
    if name in KERAS:
        from kstyle.nn import schedules

        return schedules.SCHEDULES[name]
    return NAMES.own[name]


def rates(schedule):
    """What a `Schedule` of the user's says, as `rates(epoch, step) -> rate`.

    Raises:
        UsageError: the function was given in Python and is not there; arguments that Keras refuses.
    """
    label, given = schedule.name, dict(schedule.model_extra or {})
    if schedule.name == FUNCTION:
        label, thing, given = given.get("called", FUNCTION), schedule.function, {}
        if thing is None:
            raise UsageError(
                f"The recipe's schedule was the function '{label}', given in Python: give it again with "
                f"overrides={{'schedule': {label}}}, or register it (kstyle.schedules.register) and name it."
            )
    elif schedule.name in KERAS:
        from kstyle.nn import schedules

        thing = schedules.made({"name": schedule.name, **given})
    else:
        thing = NAMES.own[schedule.name]
        if inspect.isclass(thing):
            from kstyle.nn import schedules

            thing, given = thing(**schedules.floats(given)), {}

    def number(epoch, step):
        try:
            found = _of_step(thing, step) if is_keras(thing) else float(thing(epoch, **given))
        except (TypeError, ValueError) as error:
            raise UsageError(f"schedule '{label}': {one_line(error)}") from error
        if not (math.isfinite(found) and found >= 0):
            raise UsageError(f"schedule '{label}': expected a rate, 0 or more; got {shown(found)} at epoch {epoch:g}.")
        return found

    return number


def _of_step(schedule, step):
    import keras

    with keras.device("cpu"):  # else each step would wait for the device
        return float(keras.ops.convert_to_numpy(schedule(step)))


def optimizer(section):
    """The section `optimizer` of a recipe where one of Keras' optimisers stands for it; anything else as it is.

    Raises:
        UsageError: an optimiser of a class that has no name here, or with a schedule.
    """
    if "keras" not in sys.modules or not isinstance(section, sys.modules["keras"].optimizers.Optimizer):
        return section
    from kstyle.nn import optimizers

    found = optimizers.described(section)
    name, rate = found.pop("name"), found.pop("learning_rate")
    if isinstance(rate, Mapping):
        raise UsageError("optimizer: its learning rate is a number; give the recipe its schedule in 'schedule'.")
    # The bare names mean another optimiser in recipes of before.
    name = f"keras-{name}" if name in old_names.OPTIMIZERS else name
    return {"name": name, "learning_rate": rate, "arguments": found}
