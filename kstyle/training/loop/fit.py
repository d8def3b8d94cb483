"""The loop: epochs of steps with callbacks around them, from any step on, so that a resumed training takes the same
steps as one that was never stopped."""

import math
import time
from dataclasses import dataclass, field

import keras

from kstyle import backend
from kstyle.backend import distribute
from kstyle.data.batches import arrays
from kstyle.errors import DataError
from kstyle.nn.callbacks import BATCH_BEGIN, BATCH_END, BatchLogs, hears
from kstyle.training.loop import optimizers

ops = keras.ops

# Seconds between two looks at how the epoch goes: fetching makes the host wait.
LOOK_INTERVAL = 0.5
# Steps on GPUs between two questions whether some rank was asked to stop: an answer takes a fifth of a millisecond.
AGREE = 10


@dataclass
class Position:
    """Where a training is.

    Attributes:
        stage: its number; `first`: the epoch it began with; `ended`: whether a callback has ended it.
        stopped: whether a callback has ended the training, stages to come included.
        epoch, batch: done so far, the epochs of all stages.
        seconds: run so far, of this epoch.
        history: a dict for each epoch done.
    """

    stage: int = 0
    first: int = 0
    ended: bool = False
    stopped: bool = False
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    history: list = field(default_factory=list)

    def follow(self, model):
        """Goes to the beginning of the epoch to which a callback has put the model back, as Keras' `BackupAndRestore`
        does, and forgets what is known of later ones. Returns whether one has.

        Keras keeps the epoch in a private attribute and has no public way to ask (seen on 3.15).
        """
        epoch = getattr(model, "_initial_epoch", None)
        if epoch:
            self.epoch, self.batch, self.seconds = epoch, 0, 0.0
            self.history = [row for row in self.history if row["epoch"] <= epoch]
        return bool(epoch)

    @property
    def logs(self):
        """Of the last epoch done, as callbacks get them."""
        return {name: value for name, value in self.history[-1].items() if name != "epoch"} if self.history else {}


@dataclass(frozen=True)
class Look:
    """What a progress bar shows: `loss`, `accuracy` are means over the epoch so far."""

    epoch: int
    epochs: int
    batch: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float


class Stopped(Exception):
    """`fit` was asked to stop and did so between two steps."""


def fit(
    model,
    step,
    batches,
    validate,
    *,
    epochs,
    seed,
    callbacks=(),
    position=None,
    strength=None,
    save=None,
    look=None,
    stop=None,
    total=None,
):
    """Trains until `epochs` are done since the stage began, or a callback sets `model.stop_training`.

    Callbacks get what `keras.Model.fit` would give them, with `learning_rate`, `seconds` and `images_per_second` in the
    logs of an epoch. Validation is one call, without `on_test_batch_begin` and `on_test_batch_end`.

    Args:
        model: for the callbacks, compiled, whose `on_train_begin` and `on_train_end` are the caller's to call.
        step: a `kstyle.training.loop.steps.TrainStep`.
        batches: a `kstyle.training.loop.batches.ArrayBatches` or the like: `steps`, `size`, `count` and
            `batches(epoch, first)`.
        validate: a function that gives {"val_loss": …, "val_accuracy": …}, or None.
        seed: of everything drawn at random in the steps.
        position: a `Position` to go on from; the model's, optimiser's and step's variables are those of then.
        callbacks: of Keras' kind. One with a true `stage_ended` ends the stage and not the training.
        strength: the `AugmentStrength` among the callbacks, if any.
        save: `save(position, now)` is called after each step and each epoch; `now` is True after an epoch.
        look: called with a `Look` now and then.
        stop: a function; once it gives True the state is saved and `Stopped` raised.
        total: epochs of all stages, for `look`; None: there is one stage.

    Returns:
        The history, a list of dicts.

    Raises:
        DataError: the loss is no number any more.
        Stopped: see `stop`.
    """
    position = position or Position()
    total = total or epochs
    at_begin = [c for c in callbacks if hears(c, *BATCH_BEGIN)]
    at_end = [c for c in callbacks if hears(c, *BATCH_END)]
    while position.epoch < position.first + epochs and not position.ended:
        epoch = position.epoch
        began, looked = time.perf_counter() - position.seconds, time.perf_counter()
        if position.batch == 0:
            step.reset()
        for callback in callbacks:
            callback.on_epoch_begin(epoch, {})
        distribute.barrier()  # what ranks do between epochs takes some longer than others
        first = position.batch
        for images, labels in batches(epoch, first):
            for callback in at_begin:
                callback.on_train_batch_begin(position.batch, logs={})
            number = arrays.step_number(seed, epoch, position.batch)
            if strength is None:
                step(images, labels, number)
            else:
                step(images, labels, number, strength.strength, strength.mix)
            if at_end:
                logs = BatchLogs(ops.copy(step.totals.value[:3]))  # a copy: on torch the next step changes the value
            for callback in at_end:
                callback.on_train_batch_end(position.batch, logs=logs)
            position.batch += 1
            now = time.perf_counter()
            position.seconds = now - began
            if look is not None and (now - looked > LOOK_INTERVAL or position.batch == batches.steps):
                looked = now
                look(_look(step, position, total, batches))
            if save is not None:
                save(position, False)
            stopped = stop is not None and stop()
            if distribute.joined():
                stopped = _agreed(stopped, model, bool(at_end) or position.batch % AGREE == 0)
            if stopped:
                if save is not None:
                    save(position, True)
                raise Stopped
            if model.stop_training:
                break
        backend.synchronize()
        position.seconds = time.perf_counter() - began
        logs = _epoch_logs(step, position, batches)
        logs["learning_rate"] = optimizers.learning_rate(model.optimizer)
        if validate is not None:
            for callback in callbacks:
                callback.on_test_begin({})
            found = validate()
            for callback in callbacks:
                callback.on_test_end({name.removeprefix("val_"): value for name, value in found.items()})
            logs |= found
        logs = distribute.told_by_first(logs)  # so that callbacks on all ranks decide alike
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs)
        if distribute.joined():
            distribute.barrier()
            _agreed(False, model, True)
        position.history.append({"epoch": epoch + 1, **_numbers(logs)})
        position.epoch, position.batch, position.seconds = epoch + 1, 0, 0.0
        position.stopped = model.stop_training
        position.ended = position.stopped or any(getattr(c, "stage_ended", False) for c in callbacks)
        if save is not None:
            save(position, True)
    return position.history


def _agreed(stopped, model, ask):
    """Whether some rank was asked to stop; `model.stop_training` is what it is on some rank. Ranks end at one step.

    Args:
        ask: whether to ask on GPUs too; where nobody asks, a rank goes on until the next time.
    """
    if not ask and backend.accelerated():
        return False
    stopped, model.stop_training = distribute.any_of(stopped, model.stop_training)
    return stopped


def _numbers(logs):
    """What a history can hold of an epoch's logs, to which callbacks may have added."""
    found = {}
    for name, value in logs.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue
    return found


def _look(step, position, epochs, batches):
    loss, right, count = _totals(step, position)
    rate = position.batch * batches.size / max(position.seconds, 1e-9)
    return Look(position.epoch, epochs, position.batch, batches.steps, loss / count, right / count, rate)


def _totals(step, position):
    """Sums of loss and right ones, and how many pictures, of the epoch so far."""
    loss, right, count = (float(x) for x in ops.convert_to_numpy(step.totals.value)[:3])
    if not math.isfinite(loss):
        raise DataError(
            f"The loss is no number any more in epoch {position.epoch + 1}: lower optimizer.learning_rate, add a "
            "schedule.warmup, or set optimizer.clip_norm."
        )
    return loss, right, count


def _epoch_logs(step, position, batches):
    loss, right, count = _totals(step, position)
    return {
        "loss": loss / count,
        "accuracy": right / count,
        "seconds": round(position.seconds, 3),
        "images_per_second": round(count / position.seconds, 1),
        **step.measures,
    }
