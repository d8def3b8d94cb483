"""Callbacks as a user gives them: Keras' own, others written for Keras, or plain functions."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from kstyle.errors import UsageError
from kstyle.io.files import one_line

BATCH_BEGIN, BATCH_END = ("on_train_batch_begin", "on_batch_begin"), ("on_train_batch_end", "on_batch_end")


class EpochFunction(keras.callbacks.Callback):
    """Calls a plain function after each epoch, and ends the training once it returns something true.

    Args:
        function: called as `function(epoch, logs)`, as `on_epoch_end` is: `epoch` an int that counts from 0, `logs` a
            dict {name: float}.

    >>> from kstyle import callbacks
    >>> stop = callbacks.EpochFunction(lambda epoch, logs: logs["val_accuracy"] > 0.99)  # for model.fit(callbacks=…)
    """

    def __init__(self, function: Callable[[int, dict[str, float]], Any]) -> None:
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.function(epoch, logs or {}):
            self.model.stop_training = True


class BatchLogs(dict):
    """What `on_train_batch_end` gets: {"loss": float, "accuracy": float}, the means of the epoch so far, as in Keras.

    The numbers are fetched from the device when somebody reads them, because the host has to wait for them: most
    callbacks have the method and never read its logs.

    Args:
        totals: a tensor of three numbers, the epoch's sums of the loss, of right ones and of pictures; nothing may
            change it later.
    """

    def __init__(self, totals):
        super().__init__(loss=None, accuracy=None)
        self._totals = totals

    def _fetch(self):
        if self._totals is not None:
            loss, right, count = (float(x) for x in keras.ops.convert_to_numpy(self._totals))
            self._totals = None
            for name, total in (("loss", loss), ("accuracy", right)):
                if super().get(name, total) is None:  # not what a callback has set meanwhile
                    self[name] = total / count

    def __iter__(self):
        # `dict(logs)` and `f(**logs)` look past `__getitem__` in a class that has no `__iter__` of its own.
        return super().__iter__()


def _reading(name):
    def method(self, *arguments, **named):
        self._fetch()
        return getattr(dict, name)(self, *arguments, **named)

    return method


for _name in ("__getitem__", "__eq__", "__ne__", "__repr__", "__or__", "__ror__", "__reversed__"):
    setattr(BatchLogs, _name, _reading(_name))
for _name in ("get", "items", "values", "pop", "popitem", "copy", "setdefault"):
    setattr(BatchLogs, _name, _reading(_name))


def listed(given):
    """The callbacks that a user gave, as a list of `keras.callbacks.Callback`.

    Args:
        given: a list of callbacks and functions, nested or in a `keras.callbacks.CallbackList` if you like; or one
            alone. None among them is passed over. A function is wrapped, see `EpochFunction`.

    Raises:
        UsageError: something else is among them, or a function that cannot be called with an epoch and its logs.

    >>> [type(each).__name__ for each in listed([keras.callbacks.TerminateOnNaN(), lambda epoch, logs: epoch == 3])]
    ['TerminateOnNaN', 'EpochFunction']
    """
    found = []
    for each in keras.tree.flatten(given):
        if each is None:
            continue
        if isinstance(each, keras.callbacks.CallbackList):
            found += listed(each.callbacks)
        elif isinstance(each, keras.callbacks.Callback):
            found.append(each)
        else:
            found.append(EpochFunction(_checked(each)))
    return found


def _checked(function):
    if isinstance(function, type):
        raise UsageError(f"callbacks: {function.__name__} is a class; give one of it: {function.__name__}(…).")
    if not callable(function):
        raise UsageError(f"callbacks: expected Keras callbacks or functions; got {one_line(repr(function))}.")
    try:
        inspect.signature(function).bind(0, {})
    except ValueError:
        pass  # a function of C code need not say what it takes
    except TypeError as error:
        name = getattr(function, "__name__", repr(function))
        raise UsageError(f"callbacks: {one_line(name)} is called with an epoch and its logs: {error}.") from error
    return function


def hears(callback, *hooks):
    """Whether one of these methods was overridden, in the callback's class or, as `LambdaCallback` has it, on it alone.

    Args:
        callback: a `keras.callbacks.Callback`.
        hooks: names of methods.
    """
    return any(
        getattr(getattr(callback, hook), "__func__", None) is not getattr(keras.callbacks.Callback, hook)
        for hook in hooks
    )


def may_set_rate(callback):
    """Whether a callback might set the learning rate between two batches: Keras' own callbacks do so between epochs."""
    kerass = type(callback).__module__.partition(".")[0] == "keras"
    return hears(callback, *BATCH_BEGIN, *BATCH_END) and (
        not kerass or isinstance(callback, keras.callbacks.LambdaCallback)
    )


class _Nothing:
    """What a callback of Keras' gets for its model while a picture is painted: it can only stop it."""

    stop_training = False


class StepCallback:
    """A callback of Keras', told of each step of a painting as of an epoch: `on_epoch_end(step, losses)`.

    Those that need no model work: `CSVLogger`, `EarlyStopping("loss")`, `LambdaCallback`, `RemoteMonitor`,
    `TerminateOnNaN`. Reading the losses waits for the device at each step.

    Args:
        callback: a `keras.callbacks.Callback`.
    """

    def __init__(self, callback):
        self._callback, self._begun = callback, False
        callback.set_model(_Nothing())

    def __call__(self, step):
        """Takes a `kstyle.style.engine.loop.Step`; returns whether it wants the painting to end."""
        if not self._begun:
            self._callback.set_params({"verbose": 0, "epochs": step.total, "steps": 1})
            self._callback.on_train_begin({})
            self._begun = True
        logs = step.losses
        self._callback.on_epoch_begin(step.step, {})
        self._callback.on_train_batch_begin(0, {})
        self._callback.on_train_batch_end(0, logs)
        self._callback.on_epoch_end(step.step, logs)
        return self._callback.model.stop_training

    def close(self):
        if self._begun:
            self._callback.on_train_end({})


def step_functions(given):
    """What is called after each step of a painting.

    Args:
        given: None, a function of a `kstyle.style.engine.loop.Step`, a callback of Keras', or a list of such.

    Raises:
        UsageError: something else is among them.
    """
    found = []
    for each in keras.tree.flatten(given):
        if isinstance(each, keras.callbacks.Callback):
            found.append(StepCallback(each))
        elif callable(each):
            found.append(each)
        elif each is not None:
            raise UsageError(f"callback: expected a function or a callback of Keras'; got {one_line(repr(each))}.")
    return found
