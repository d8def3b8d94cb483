"""What happens around the steps. All are `keras.callbacks.Callback`s: those that need no more than the model and the
logs work in `keras.Model.fit` too. A user's own are in `kstyle.nn.callbacks`.

A callback with something to remember across a resume has `state()` and `restore(state)`, of what JSON can hold.
"""

import logging
import os

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.io import runs
from kstyle.nn.callbacks import may_set_rate
from kstyle.training.loop import optimizers
from kstyle.training.schedules import schedules

log = logging.getLogger("kstyle")


class LearningRate(keras.callbacks.Callback):
    """Sets the optimiser's rate before each step by `kstyle.training.schedules.schedules`.

    Once a callback of the user's has set another rate, that rate holds, and the schedule leaves it alone to the end of
    the stage. Keras' `LearningRateScheduler` sets the rate of every epoch, so the schedule does nothing beside it.

    Args:
        schedule: a `schedules.Schedule`.
        base: the recipe's rate.
        steps_per_epoch, epochs: of the whole training, or of a stage.
        first: the epoch the stage began with.
        others: the user's callbacks.

    Attributes:
        held: whether a callback of the user's has set the rate.
    """

    def __init__(self, schedule, base, steps_per_epoch, epochs, first=0, others=()):
        super().__init__()
        self.first = first
        self.schedule, self.base, self.steps, self.epochs = schedule, base, steps_per_epoch, epochs
        self.plateau = schedules.Plateau(schedule.arguments, base) if schedule.name == "plateau" else None
        self.current = None
        self.held = any(isinstance(each, keras.callbacks.LearningRateScheduler) for each in others)
        # To look at the rate is to wait for the device: after each step only where one of them might have changed it.
        self._others, self._each_step = bool(others), any(map(may_set_rate, others))
        self._look = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch - self.first
        self._look = True  # at what callbacks did since the epoch's last step
        self._set(0)  # before the user's callbacks, which then see this epoch's rate
        self._look = True  # at what they do next

    def on_train_batch_begin(self, batch, logs=None):
        self._set(batch)

    def _set(self, batch):
        if self.held:
            return
        base = self.base if self.plateau is None else self.plateau.rate
        rate = schedules.rate(self.schedule, base, self.epoch * self.steps + batch, self.steps, self.epochs)
        if rate == self.current:
            return
        if self.current is not None and self._others and (self._look or self._each_step):
            found = optimizers.learning_rate(self.model.optimizer)
            if np.float32(found) != np.float32(self.current):
                log.info("A callback has set the learning rate to %.3g; the recipe's schedule is off.", found)
                self.held = True
                return
        self.model.optimizer.learning_rate = self.current = rate
        self._look = False

    def on_epoch_end(self, epoch, logs=None):
        if self.plateau is not None:
            self.plateau.update(logs[self.schedule.arguments.monitor])

    def state(self):
        return {**(self.plateau.state_dict() if self.plateau else {}), "held": self.held}

    def restore(self, state):
        self.held = self.held or state.get("held", False)  # runs of before have none
        if self.plateau:
            self.plateau.load_state_dict(state)


class AugmentStrength(keras.callbacks.Callback):
    """Ramps augmentation up, and switches it or its mixing off for the last epochs.

    Args:
        schedule: a `schedules.AugmentSchedule`.
        epochs: of the whole training, all stages.

    Attributes:
        strength, mix: what `kstyle.training.augment.policy` takes, for the epoch that runs.
    """

    def __init__(self, schedule, epochs):
        super().__init__()
        self.schedule, self.epochs = schedule, epochs
        self.strength = self.mix = 1.0

    def on_epoch_begin(self, epoch, logs=None):
        self.strength, self.mix = schedules.strength(self.schedule, epoch, self.epochs)


class WeightAverage(keras.callbacks.Callback):
    """Keeps an exponential average of the weights, which takes their place while the model is tested or saved.

    Early on the average is over the steps there have been: the decay is at most (1 + n) / (10 + n) after n steps.

    Args:
        decay: share of the average that a step leaves, in [0, 1).

    >>> import keras
    >>> from kstyle import callbacks
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> average = callbacks.WeightAverage(0.99)
    >>> _ = model.fit(keras.ops.ones((4, 2)), keras.ops.ones((4, 1)), callbacks=[average], verbose=0)
    >>> average.swap()  # the model has the averages now
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay, self.count = decay, 0

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.weights = [v for v in model.variables if keras.backend.is_float_dtype(v.dtype)]
        self.averages = [
            # A copy: Keras on JAX gives the memory of a weight to its next value.
            keras.Variable(keras.ops.copy(v.value), trainable=False, name=f"average_{i}")
            for i, v in enumerate(self.weights)
        ]
        self._move = backend.compile(self._average, [*self.weights, *self.averages])

    def _average(self, keep):
        backend.update(self.averages, keep, [v.value for v in self.weights], 1 - keep)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.count += 1
        _ = self.model  # reading it, Keras on JAX puts the weights of this step into their variables
        self._move(np.float32(min(self.decay, (1 + self.count) / (10 + self.count))))

    def swap(self) -> None:
        """Exchanges weights and averages."""
        for weight, average in zip(self.weights, self.averages):
            # A copy: on torch a value is the memory that the assignment changes.
            kept = keras.ops.copy(average.value)
            average.assign(weight.value)
            weight.assign(kept)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.swap()

    on_test_end = on_test_begin

    def state(self) -> dict[str, int]:
        return {"count": self.count}

    def restore(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class Best(keras.callbacks.Callback):
    """Saves the weights after each epoch that was better than all before; stops when none was for `patience` epochs.

    Args:
        folder: of the run.
        checkpoint: a `kstyle.training.setup.goals.Checkpoint`: what is monitored, and which way it is better.
        save: `save(path)` writes the model's weights.
        patience: None: never stop.

    Attributes:
        first: the epoch that the stage began with; patience counts from there.
        stage_ended: whether patience is at an end.
    """

    def __init__(self, folder, checkpoint, save, patience=None):
        super().__init__()
        self.folder, self.save, self.patience = folder, save, patience
        self.monitor, self.sign = checkpoint.monitor, 1 if checkpoint.direction == "max" else -1
        self.best, self.epoch = None, None
        self.enter(0)

    def enter(self, first):
        """A stage begins with epoch `first`."""
        self.first, self.stage_ended = first, False

    def on_epoch_end(self, epoch, logs=None):
        value = self.sign * logs[self.monitor]
        if value > (-np.inf if self.best is None else self.best):  # false for NaN
            self.best, self.epoch = value, epoch
            self.save(self.folder / runs.BEST)
        elif self.patience is not None and epoch - max(self.epoch or 0, self.first) >= self.patience:
            log.info("No better %s for %d epochs: the stage ends.", self.monitor, self.patience)
            self.stage_ended = True

    def state(self):
        return {"best": self.best, "epoch": self.epoch}

    def restore(self, state):
        self.best, self.epoch = state["best"], state["epoch"]


class TensorBoard(keras.callbacks.Callback):
    """Event files for TensorBoard, by tensorboardX, without TensorFlow.

    Args:
        folder: for the files; made if need be.

    Raises:
        UsageError: tensorboardX is not installed.

    >>> from kstyle import callbacks
    >>> board = callbacks.TensorBoard("runs/board")  # for kstyle.train(…, callbacks=[board]) or model.fit
    >>> board.on_epoch_end(0, {"loss": 0.5})
    >>> board.on_train_end()
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError("tensorboard: needs tensorboardX: pip install 'kstyle[tensorboard]'.") from error
        self.writer = SummaryWriter(str(folder))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            if value is not None:
                self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.writer.close()


class TextLog(keras.callbacks.Callback):
    """A line an epoch to kstyle's log, which the run folder keeps with the time of each (the transfer-learning post's
    `print_logger`)."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        said = f"epoch {epoch + 1}/{self.epochs}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}"
        if logs.get("val_loss") is not None:
            said += f"  val loss {logs['val_loss']:.4f}  val accuracy {logs['val_accuracy']:.4f}"
        if "val_iou" in logs:
            said += f"  val IoU {logs['val_iou']:.4f}"
        log.info("%s  rate %.3g  %.0f images/s", said, logs["learning_rate"], logs["images_per_second"])
