"""The course of a training: its stages one after the other, with what is kept of them."""

import functools
import logging

import keras

from kstyle import backend
from kstyle.backend import distribute
from kstyle.errors import DataError, UsageError
from kstyle.io import signals
from kstyle.nn import plain
from kstyle.training.aims.aim import Aim, compile_model
from kstyle.training.boxes import heads, scores
from kstyle.training.loop import callbacks, optimizers, ranks, steps
from kstyle.training.loop.fit import Position, Stopped, fit
from kstyle.training.results import keras_file, metrics
from kstyle.training.setup import stages
from kstyle.training.state import State

ops = keras.ops
log = logging.getLogger("kstyle")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `train`; the state is saved in `folder`, and `train(…, resume=True)` goes on."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder


def run(recipe, model, frozen, parts, normalise, folder, resume, more, extra, look, aim=None, teacher=None):
    """Trains a model by a recipe, and writes into a run's folder what is kept of it.

    Args:
        recipe: a `kstyle.training.setup.sections.TrainSettings`.
        model: gives logits; with its first weights. It has the result's at the end.
        frozen: those of its layers that no stage trains.
        parts: a `kstyle.data.parts.Parts`.
        normalise: a `kstyle.training.loop.steps.Normalise`.
        folder: of the run.
        resume: whether to go on from the state in it; `more`: and to another number of epochs than it was to have.
        extra: callbacks of the user's.
        look: called with a `kstyle.training.loop.fit.Look` now and then.
        aim: a `kstyle.training.aims.aim.Aim`: the loss and the metrics.
        teacher: a `kstyle.training.aims.distil.Teacher`, or None.

    Returns:
        The history, a list of dicts.

    Raises:
        Interrupted: Ctrl-C; the state is saved.
        DataError: memory is full, or the loss is no number any more.
        UsageError: a batch larger than the data, or a callback that cannot be in this recipe.
    """
    aim, classes, plan, first = aim or Aim(), len(parts.classes), recipe.plan, distribute.first()
    if recipe.boxes:
        ready = functools.partial(heads.compile_model, classes=classes)
    else:
        ready = functools.partial(compile_model, classes=classes, aim=aim)
    total = sum(stage.epochs for stage in plan)
    strength = callbacks.AugmentStrength(recipe.augment_schedule, total)
    average = callbacks.WeightAverage(recipe.average.decay) if recipe.average else None
    best, lasting, extra = None, [strength], ranks.heard(extra)

    def save_weights(path):
        if first:
            state.write_weights(path)

    if average:
        lasting.append(average)
    if recipe.checkpoint.keep == "best" or recipe.early_stop:
        best = callbacks.Best(folder, recipe.checkpoint, save_weights, recipe.early_stop)
        lasting.append(best)
    if recipe.tensorboard and first:
        lasting.append(callbacks.TensorBoard(folder))
    lasting.append(callbacks.TextLog(total))
    for callback in lasting:
        callback.set_model(model)
    state = State(folder, recipe, model, average)
    position = state.restore_model() if resume else Position()
    ranks.share(model)
    plain.saves_plainly(model, functools.partial(ready, monitored=False, own=False))
    if more and position.stage == len(plan) - 1:
        position.ended = position.stopped = False  # more epochs are wanted: also where early stopping had ended it
    optimizer = None
    # A stop (Ctrl-C) waits for the end of a step, where weights and counters are of the same step; a second does not.
    with signals.noted() as came:
        for number in range(position.stage, len(plan)):
            stage = plan[number]
            if number > position.stage:
                position.stage, position.first, position.ended = number, position.epoch, False
            if len(plan) > 1:
                log.info("stage %d of %d: %s, %d epochs", number + 1, len(plan), stage.train, stage.epochs)
            work = stages.prepare(stage, recipe, model, parts, normalise, frozen)
            if not work.batches.steps:
                pictures = f"the {len(parts.training)} training pictures"
                raise UsageError(f"batch: {recipe.batch} is more than {pictures}, and drop_last is set.")
            before = optimizer
            optimizer = optimizers.build(stage.optimizer, work.model.trainable_variables)
            if before is not None and stage.keep_optimizer:
                optimizers.carry(before, optimizer)
            ready(model, optimizer, monitored=bool(extra))
            step = (ranks.RankStep if distribute.joined() else steps.TrainStep)(
                work.model, optimizer, recipe, stage.optimizer, work.normalise, work.augment, parts.class_weights,
                classes, aim, teacher,
            )  # fmt: skip
            rate = callbacks.LearningRate(
                stage.schedule, stage.optimizer.learning_rate, work.batches.steps, stage.epochs, position.first, extra
            )
            if best:
                best.enter(position.first)
            state.enter([rate, *lasting], step, restore=resume and before is None)
            everyone = [rate, *lasting, *extra]
            for callback in [rate] if before else [rate, *extra]:
                callback.set_model(model)
            for callback in everyone:
                callback.set_params({"verbose": 1, "epochs": total, "steps": work.batches.steps})
            if before is None:
                for callback in everyone:
                    callback.on_train_begin({})
                if position.follow(model):
                    if len(plan) > 1:
                        raise UsageError("callbacks: BackupAndRestore cannot go on in a recipe with stages.")
                    rate.current = None
            try:
                history = fit(
                    model, step, work.batches, _validation(work, aim, recipe.boxes, classes), epochs=stage.epochs,
                    seed=recipe.seed, callbacks=everyone, position=position, strength=strength,
                    save=state.save if first else None, look=look if first else None,
                    stop=lambda: bool(came), total=total,
                )  # fmt: skip
            except Stopped:
                log.info("Stopped in epoch %d. To go on: kstyle train --resume --run %s", position.epoch + 1, folder)
                raise Interrupted(folder) from None
            except Exception as error:
                if backend.out_of_memory(error):
                    parts = 2 * recipe.accumulate
                    raise DataError(
                        f"A step of {recipe.batch} pictures takes more memory than there is: a smaller batch "
                        f"(--set batch={max(1, recipe.batch // 2)}), or the same in {parts} parts "
                        f"(--set accumulate={parts}), takes less."
                    ) from error
                raise
            if position.stopped:
                break
            if number + 1 < len(plan):
                distribute.barrier()  # the first rank has written it
                state.take_best()  # which the next stage begins with
    if optimizer.use_ema:  # as Keras does at the end of `fit`
        optimizer.finalize_variable_values(work.model.trainable_variables)
    for callback in everyone:
        callback.on_train_end(position.logs)
    distribute.barrier()
    state.finish(history, write=first)
    if first:
        keras_file.write(folder, model, normalise, parts.shape, recipe.data.several)
    return history


def _validation(work, aim, boxes, classes):
    """A function that gives the logs of a validation. Metrics begin anew in it, and in the epoch after it."""
    if boxes or aim.given is not None or aim.metrics:
        outputs = steps.Predictor(work.model, work.normalise, output=steps.as_it_is)
        if boxes:
            return functools.partial(_with_boxes, outputs, work, aim, boxes, classes)
        return lambda: _by_aim(ranks.predicted(outputs, work.images), work.labels, aim)
    predictor = steps.Predictor(work.model, work.normalise)

    def validate():
        loss, accuracy = metrics.quick(ranks.predicted(predictor, work.images), work.labels)
        return {"val_loss": loss, "val_accuracy": accuracy}

    return validate


def _with_boxes(predictor, work, aim, boxes, classes):
    outputs = ranks.predicted(predictor, work.images)
    found = _by_aim(outputs[:, :classes], work.labels[:, 0].astype("int32"), aim)
    lost, measured = scores.quick(boxes, outputs, classes, work.labels[:, 1:])
    return {**found, "val_loss": found["val_loss"] + lost, **measured}


def _by_aim(logits, labels, aim):
    logits = ops.convert_to_tensor(logits)
    if aim.several:
        targets = ops.convert_to_tensor(labels)
        loss, accuracy = 0.0, float(ops.convert_to_numpy(aim.hits(logits, targets))) / len(labels)
    else:
        targets = ops.one_hot(ops.convert_to_tensor(labels), logits.shape[-1])
        loss, accuracy = metrics.quick(ops.convert_to_numpy(ops.softmax(logits)), labels)
    if aim.given is not None:
        loss = float(ops.convert_to_numpy(ops.mean(aim.losses(targets, logits))))
    aim.reset()
    aim.update(targets, logits)
    found = {"val_loss": loss, "val_accuracy": accuracy, **{f"val_{key}": x for key, x in aim.results().items()}}
    aim.reset()
    return found
