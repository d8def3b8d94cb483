"""One step of training and one of prediction, in Keras ops, compiled by the backend where that pays."""

import math

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import distribute, keras_private
from kstyle.training.aims.aim import Aim
from kstyle.training.boxes import heads, overlap, truth
from kstyle.training.loop import optimizers, wrappers

ops = keras.ops


class Normalise:
    """uint8 pixels -> float32: (x / 255 − mean) / std, a number for each channel, as one multiplication and addition.

    Between `to_unit` and `from_unit` lies augmentation, which works on pictures in [0, 1].
    """

    def __init__(self, mean, std):
        mean, std = np.asarray(mean, "float32"), np.asarray(std, "float32")
        self.mean, self.std = mean.tolist(), std.tolist()
        self._scale, self._shift = (1 / std).astype("float32"), (-mean / std).astype("float32")

    def __call__(self, images):
        return self._affine(images, self._scale / 255, self._shift)

    def from_unit(self, images):
        return self._affine(images, self._scale, self._shift)

    def scale_and_shift(self):
        """What a byte is multiplied by and what is added then: two numbers, or one for each channel, (C,) float32."""
        return _alike(self._scale / 255, self._shift)

    def _affine(self, images, scale, shift):
        return backend.affine(ops.convert_to_tensor(images), *map(backend.constant, _alike(scale, shift)))


def _alike(scale, shift):
    """The two as numbers where all channels have the same."""
    if len(set(zip(scale.tolist(), shift.tolist()))) == 1:
        return float(scale[0]), float(shift[0])
    return scale, shift


def to_unit(images):
    return ops.cast(images, "float32") * (1 / 255)


class TrainStep:
    """Callable: `step(images, labels, seed, strength, mix)` makes one step of the optimiser.

    images: (B, H, W, C) uint8; labels: (B,) integer; or (B, 5) where there are boxes (`kstyle.training.boxes.truth`),
        (B, K) where a picture may be of several classes;
    seed: integer that all random numbers of the step come from;
    strength, mix: see `kstyle.training.augment.policy`.

    Args:
        model: gives logits.
        optimizer: built on the model's trainable variables.
        settings: a `kstyle.training.setup.sections.TrainSettings`.
        optimization: the `kstyle.training.setup.sections.Optimizer` that `optimizer` was built from.
        normalise: a `Normalise`.
        augment: what `kstyle.training.augment.policy.build` gave, or None.
        class_weights: (K,) or None: factors of the loss by true class, by target mass where labels are mixed.
        classes: K; None: as the model's output says.
        aim: the `kstyle.training.aims.aim.Aim`.
        teacher: a `kstyle.training.aims.distil.Teacher`, or None.
    """

    def __init__(
        self, model, optimizer, settings, optimization, normalise, augment=None, class_weights=None, classes=None,
        aim=None, teacher=None,
    ):  # fmt: skip
        self.model, self.settings, self.normalise, self.augment = model, settings, normalise, augment
        self.classes, self.aim, self.teacher = classes or model.output_shape[-1], aim or Aim(), teacher
        self.class_weights = None if class_weights is None else np.asarray(class_weights, "float32")
        self.boxes = settings.boxes
        # Sums since the epoch began: loss, right ones, pictures; where there are boxes, what `overlap.sums` gives. They
        # stay on the device until somebody looks.
        sums = np.zeros(3 + (overlap.SUMS if self.boxes else 0), "float32")
        self.totals = keras.Variable(sums, trainable=False, name="totals")
        self._trainable = trainable = model.trainable_variables
        self._rest = [v for v in model.variables if not any(v is t for t in trainable)]
        self._gradients = backend.gradients(self._loss, trainable, self._rest)
        depths = optimizers.by_depth(model, settings.model.row.parts, optimization.layer_decay)
        self._apply = optimizers.apply(optimizer, optimization, trainable, depths)
        self._lookahead = settings.lookahead and wrappers.Lookahead(settings.lookahead, optimizer, trainable)
        beside = [self.totals, *self.aim.variables, *(teacher.variables if teacher else [])]
        self._run = backend.compile(self._step, [*model.variables, *optimizer.variables, *beside])
        self._drops = any(isinstance(layer, keras.layers.Dropout) for layer in keras_private.layers(model))

    def __call__(self, images, labels, seed, strength=1.0, mix=1.0):
        if self._drops:
            backend.reseed(seed)
        self._run(images, labels, np.int32(seed), np.float32(strength), np.float32(mix))
        if self._lookahead:
            self._lookahead()

    def reset(self):
        """An epoch begins: what is summed over it is nothing yet."""
        self.totals.assign(ops.zeros(self.totals.shape))
        self.aim.reset()

    @property
    def kept(self):
        """{group: variables} of what the next step depends on beside weights and optimiser, and of what is summed over
        an epoch, for a state that is saved within one."""
        found = {"totals": [self.totals]} | ({"metrics": self.aim.variables} if self.aim.metrics else {})
        return found | ({"lookahead": self._lookahead.slow} if self._lookahead else {})

    @property
    def measures(self):
        """{name: float} of what is measured beside loss and accuracy, for the batches since `reset`."""
        more = ops.convert_to_numpy(self.totals.value)[3:]
        return self.aim.results() | (overlap.means(more.tolist()) if self.boxes else {})

    def _step(self, images, labels, seed, strength, mix):
        labels, boxes = truth.opened(labels) if self.boxes else (ops.convert_to_tensor(labels), None)
        targets = truth.shares(labels, self.classes)
        if self.augment is None:
            x = self.normalise(images)
        else:
            x, targets, boxes = truth.augmented(
                self.augment, to_unit(images), targets, backend.Random(seed), strength, mix, boxes
            )
            x = self.normalise.from_unit(x)
        if self.boxes:  # side by side, as the network gives them
            targets = ops.concatenate([targets, boxes], axis=1)
        x, targets = distribute.divided(x), distribute.divided(targets)
        count = images.shape[0]
        total, grads = self._found(x, targets, count)
        if self.settings.sam:
            with wrappers.uphill(self.settings.sam.rho, grads, self._trainable, self._rest):
                _, grads = self._found(x, targets, count, measured=False)
        self._apply(grads)
        backend.update([self.totals], 1.0, [total], 1.0)

    def _found(self, x, targets, count, measured=True):
        """Sums and gradients of a batch of `count` pictures. `measured`: whether the metrics are to see it."""
        # The size of the parts is fixed, not their number. So the last batch of an epoch, which has fewer pictures,
        # takes no more memory than those before it did.
        size = self.settings.batch // self.settings.accumulate
        total, grads = None, None
        for first in range(0, count, size):
            piece = slice(first, min(first + size, count))
            sums, found = self._part(x[piece], targets[piece])
            if self.aim.metrics and measured:
                self.aim.update(targets[piece, : self.classes], ops.stop_gradient(sums["logits"]))
            share = (piece.stop - first) / count
            if grads is None:
                total, grads = sums["sums"], found if share == 1 else [share * g for g in found]
            else:
                total, grads = total + sums["sums"], backend.add_scaled(grads, share, found)
        return self._summed(total, grads)

    def _part(self, x, targets):
        """Sums and gradients of the mean loss of some pictures."""
        theirs = [] if self.teacher is None else [self.teacher.logits(x)]
        _, sums, grads = self._gradients(x, targets, *theirs)
        return sums, grads

    def _summed(self, total, grads):
        """What this process found, with what others did."""
        return total, grads

    def _loss(self, x, targets, theirs=None):
        logits, count, found = ops.cast(self.model(x, training=True), "float32"), x.shape[0], []
        if self.boxes:
            logits, told = heads.parted(logits, self.classes)
            targets, true = targets[:, : self.classes], targets[:, self.classes :]
            lost, found = ops.sum(overlap.losses(self.boxes, told, true)), overlap.sums(told, true)
        smoothing = self.settings.loss.label_smoothing
        aims = targets * (1 - smoothing) + smoothing / self.classes if smoothing else targets
        weights = None
        if self.class_weights is not None:
            weights = ops.sum(targets * backend.constant(self.class_weights), axis=-1)
        if self.aim.given is None:  # summed over classes and pictures at once
            aims = aims if weights is None else aims * weights[:, None]
            gain = backend.inner(*(ops.reshape(each, (-1,)) for each in (aims, ops.log_softmax(logits))))
        else:
            losses = self.aim.losses(aims, logits)
            gain = -ops.sum(losses if weights is None else losses * weights)
        if theirs is not None:
            gain = self.teacher.gain(gain, logits, theirs)
        if self.boxes:
            gain = gain - lost
        sums = ops.stack([-gain, self.aim.hits(logits, targets), backend.constant(count), *found])
        return gain * (-1 / count), {"sums": sums, "logits": logits} if self.aim.metrics else {"sums": sums}


class Predictor:
    """Callable: (N, H, W, C) uint8 -> (N, K) float32 NumPy probabilities, in batches.

    Args:
        model: gives logits.
        normalise: what pictures go through before it.
        output: of the model's float32 output, what is returned.
        views: `views(x)` gives what a normalised batch is seen as, a list, whose outputs are averaged; None: itself.
    """

    def __init__(self, model, normalise, output=ops.softmax, views=None):

        def seen(x):
            return output(ops.cast(model(x, training=False), "float32"))

        def step(images):
            x = normalise(images)
            if views is None:
                return seen(x)
            found = [seen(each) for each in views(x)]
            return sum(found) / len(found)

        self._run = backend.compile(step, model.variables)

    def __call__(self, images):
        # VGG's first layer makes 64 numbers of a pixel: 256 pictures of 224 px would take gigabytes.
        batch = max(1, min(256, (1 << 21) // math.prod(images.shape[1:3])))
        found = [self._run(backend.uploaded(images[i : i + batch])) for i in range(0, len(images), batch)]
        return np.concatenate([ops.convert_to_numpy(each) for each in found])


def as_it_is(x):
    return x
