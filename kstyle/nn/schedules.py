"""Keras' learning-rate schedules by name, with Keras' arguments: functions of the step."""

import inspect

import keras

from kstyle.errors import UsageError, did_you_mean, unknown
from kstyle.io.files import one_line

_KERAS = keras.optimizers.schedules
SCHEDULES = {
    "exponential_decay": _KERAS.ExponentialDecay,
    "inverse_time_decay": _KERAS.InverseTimeDecay,
    "polynomial_decay": _KERAS.PolynomialDecay,
    "piecewise_constant": _KERAS.PiecewiseConstantDecay,
    "cosine_decay": _KERAS.CosineDecay,
    "cosine_decay_restarts": _KERAS.CosineDecayRestarts,
}


def parameters(called):
    """{argument: `inspect.Parameter`} of what makes an optimiser or a schedule, a class or a function, but for its
    `name`."""
    found = inspect.signature(called.__init__ if inspect.isclass(called) else called).parameters
    left_out = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {key: each for key, each in found.items() if key not in ("self", "name") and each.kind not in left_out}


def check(what, known, arguments):
    """Raises a UsageError where `arguments`, a mapping, has some that is not in `known`, as `parameters` gives them, or
    lacks one; `what` begins the line."""
    for key in arguments:
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f"{what} has no argument '{key}'.{hint} It has: {', '.join(known) or 'none'}.")
    for key, each in known.items():
        if each.default is each.empty and key not in arguments:
            raise UsageError(f"{what} needs its argument '{key}'.")


def check_named(what, section):
    """The same of a mapping with the `name` of a schedule in `SCHEDULES`, and its arguments."""
    name = section.get("name")
    if name not in SCHEDULES:
        raise unknown("learning-rate schedule", name, SCHEDULES)
    given = {key: value for key, value in section.items() if key != "name"}
    check(f"{what}: schedule '{name}'", parameters(SCHEDULES[name]), given)


def made(section):
    """One of Keras' schedules.

    Args:
        section: a mapping that `check_named` lets pass.

    Raises:
        UsageError: a value that Keras refuses.

    >>> made({"name": "exponential_decay", "initial_learning_rate": 1, "decay_steps": 10, "decay_rate": 0.5}).decay_rate
    0.5
    """
    try:
        return SCHEDULES[section["name"]](**floats({key: value for key, value in section.items() if key != "name"}))
    except (TypeError, ValueError) as error:
        raise UsageError(f"schedule '{section['name']}': {one_line(error)}") from error


def floats(value):
    """A value, or a list or mapping of such, with floats for whole numbers: of a rate of 100 Keras would make a decay
    of 0.96 a whole number too, 0."""
    if isinstance(value, dict):
        return {key: floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def described(schedule, own=()):
    """A schedule of Keras' as a file has it: `{"name": …, argument: value}`, or None where its class has no name.

    Args:
        schedule: a `keras.optimizers.schedules.LearningRateSchedule`.
        own: {name: thing} that users added; the classes among them have a name.

    >>> described(keras.optimizers.schedules.PiecewiseConstantDecay([10], [1.0, 0.5]))
    {'name': 'piecewise_constant', 'boundaries': [10], 'values': [1.0, 0.5]}
    """
    name = next((name for name, made in {**SCHEDULES, **dict(own)}.items() if made is type(schedule)), None)
    if name is None:
        return None
    try:
        config = schedule.get_config()
    except NotImplementedError:  # a class of the user's that does not say what it was made with
        return None
    return {"name": name, **{key: value for key, value in config.items() if key != "name"}}


def is_schedule(thing):
    """Whether it is a schedule of Keras', or a class of such."""
    kind = keras.optimizers.schedules.LearningRateSchedule
    return issubclass(thing, kind) if inspect.isclass(thing) else isinstance(thing, kind)
