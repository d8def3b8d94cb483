"""One step of training on several ranks, with the result of one process: what is drawn at random is drawn of the whole
batch, and a rank's slice of it goes through the network."""

import contextlib

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import distribute, keras_private
from kstyle.errors import UsageError
from kstyle.nn import layers as own
from kstyle.training.loop import steps

ops = keras.ops

# Layers whose randomness is a factor of each number: applied to ones they give it.
FACTORS = (
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


class RankStep(steps.TrainStep):
    """A `kstyle.training.loop.steps.TrainStep` of one rank of several; every rank calls it with the whole batch.

    Bytes are augmented and mixed whole on each rank, since a picture may be mixed with any other; the network, where
    the time is, sees the rank's slice. Losses are divided by the whole batch's count, so that gradients are summed and
    not averaged, however uneven the slices are. They travel with the sums of the history in one exchange.

    Raises:
        UsageError: a layer of the model cannot be divided so.
    """

    def __init__(self, model, optimizer, settings, *arguments, **named):
        super().__init__(model, optimizer, settings, *arguments, **named)
        self._together = settings.batch_norm == "synchronised"
        everywhere = keras_private.layers(model)
        norms = [x for x in everywhere if isinstance(x, keras.layers.BatchNormalization) and x.trainable]
        foreign = [x for x in norms if not isinstance(x, own.BatchNormalization)]
        if self._together and foreign:
            raise UsageError(
                f"batch_norm: the layer '{foreign[0].name}' is Keras' own, which cannot be synchronised: use "
                "kstyle.nn.layers.BatchNormalization, or batch_norm=local."
            )
        self._moving = [] if self._together else [v for x in norms for v in (x.moving_mean, x.moving_variance)]
        self._mine = self._all = 0  # pictures of the step that this rank has had, and all have
        drawing = [x for x in everywhere if getattr(x, "seed_generator", None) is not None]
        self._factors = [x for x in drawing if isinstance(x, FACTORS)]
        for layer in drawing:
            if not isinstance(layer, FACTORS):
                raise UsageError(
                    f"The layer '{layer.name}' ({type(layer).__name__}) draws at random what several devices cannot "
                    "share: train on one."
                )

    def _part(self, x, targets):
        count = x.shape[0]
        mine = distribute.share(count)
        counts = mine.stop > mine.start
        if not counts:  # it runs a picture for nothing, since the others wait for it in each layer that is synchronised
            mine = slice(0, 1)
        self._weight = (mine.stop - mine.start) / count * counts
        before = [] if counts else [ops.copy(v.value) for v in self._moving]
        synchronised = distribute.together(counts) if self._together else contextlib.nullcontext()
        with _drawn_whole(self._factors, count, mine), synchronised:
            sums, grads = super()._part(x[mine], targets[mine])
        for variable, value in zip(self._moving, before):
            variable.assign(value)
        self._mine, self._all = self._mine + (mine.stop - mine.start) * counts, self._all + count
        if self.aim.metrics:
            whole = np.zeros((count, *sums["logits"].shape[1:]), "float32")
            whole[mine] = counts * ops.convert_to_numpy(sums["logits"])
            sums["logits"] = distribute.rows_of_all(ops.convert_to_tensor(whole))
        return {**sums, "sums": sums["sums"] * float(counts)}, grads

    def _loss(self, x, targets, *theirs):
        loss, aux = super()._loss(x, targets, *theirs)
        return loss * self._weight, aux

    def _summed(self, total, grads):
        moved = [v.value * (self._mine / self._all) for v in self._moving]
        self._mine = self._all = 0
        total, *found = distribute.sum_of([total, *grads, *moved])
        for variable, value in zip(self._moving, found[len(grads) :]):
            variable.assign(value)
        return total, found[: len(grads)]


def heard(callbacks):
    """Those of a user's callbacks that this rank calls: all, but of Keras' own that write or send only the first rank.

    Raises:
        UsageError: one gives the weights of one rank alone other values.
    """
    if not distribute.joined():
        return callbacks
    kind = keras.callbacks
    if any(isinstance(each, kind.BackupAndRestore) for each in callbacks):
        raise UsageError("callbacks: BackupAndRestore is for one device; resume=True goes on with any number of them.")
    writing = (kind.CSVLogger, kind.ModelCheckpoint, kind.RemoteMonitor, kind.TensorBoard)
    return [each for each in callbacks if distribute.first() or not isinstance(each, writing)]


def share(model):
    """Gives a model the first rank's weights: those of a model that was given may be drawn by each rank for itself."""
    if distribute.joined():
        for variable in model.variables:
            variable.assign(distribute.from_first(backend.as_numpy(variable.value)))


def predicted(predictor, images):
    """What a `kstyle.training.loop.steps.Predictor` says of (N, H, W, C) pictures, each rank of its share of them: the
    whole (N, …) array on every rank, which wait for one another however long it takes."""
    if not distribute.joined():
        return predictor(images)
    mine = distribute.share(len(images))
    found = predictor(images[mine] if mine.stop > mine.start else images[:1])
    whole = np.zeros((len(images), *found.shape[1:]), found.dtype)
    whole[mine] = found[: mine.stop - mine.start]
    distribute.barrier()
    return ops.convert_to_numpy(distribute.rows_of_all(ops.convert_to_tensor(whole)))


@contextlib.contextmanager
def _drawn_whole(layers, count, mine):
    """Within it, these layers draw for `count` pictures, as one process does, and use what is for the slice `mine`."""

    def changed(layer):
        call = layer.call

        def sliced(inputs, training=False):
            if not training:
                return call(inputs, training=False)
            factors = call(ops.ones((count, *inputs.shape[1:]), inputs.dtype), training=True)
            return inputs * factors[mine]

        return sliced

    for layer in layers:
        layer.call = changed(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call
