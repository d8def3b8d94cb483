"""What the loop takes batches from: pictures on the device, photographs in files, features that were computed once."""

import keras

from kstyle.backend import distribute, uploaded
from kstyle.data.batches import arrays, decode
from kstyle.data.batches.workers import processors
from kstyle.training.boxes import truth

ops = keras.ops


def of(parts, recipe, augmented, drop_last):
    """The batches of the training pictures.

    Args:
        parts: a `kstyle.data.parts.Parts`.
        recipe: a `kstyle.training.setup.sections.TrainSettings`.
        augmented: whether photographs are cut as the recipe says, and not as those for testing.
        drop_last: whether a last batch that is not full is left out.
    """
    if parts.size is None:
        split = truth.taught(parts.training, recipe.boxes)
        return ArrayBatches(split, recipe.batch, recipe.seed, drop_last)
    wanted = recipe.data.photographs
    workers = wanted.workers
    if workers is None and distribute.joined():
        workers = max(1, processors() // distribute.local_world())
    return PhotoBatches(
        parts.training, recipe.batch, recipe.seed, side=parts.size, resize=parts.resize,
        crop=wanted.crop if augmented else "center", scale=wanted.scale, ratio=wanted.ratio,
        drop_last=drop_last, workers=workers, resample=parts.resample, share=distribute.share,
    )  # fmt: skip


class ArrayBatches:
    """Batches of a split that lives on the device as uint8.

    The order of an epoch depends on nothing but `seed` and the epoch's number.

    Args:
        split: a `kstyle.data.batches.arrays.Split`, or anything with `images` and `labels`.
        size: pictures a batch.
        seed: of the order.
        drop_last: leave out a last batch that is not full.
    """

    def __init__(self, split, size, seed, drop_last=False):
        self.count, self.size, self.seed = len(split.labels), size, seed
        self.images, self.labels = ops.convert_to_tensor(split.images), ops.convert_to_tensor(split.labels)
        self.steps = self.count // size if drop_last else -(-self.count // size)

    def __call__(self, epoch, first=0):
        """Yields (images (B, H, W, C) uint8, labels as the split's) from batch number `first` of the epoch on."""
        order = ops.convert_to_tensor(arrays.order(self.count, self.seed, epoch))
        for batch in range(first, self.steps):
            where = order[batch * self.size : (batch + 1) * self.size]
            yield ops.take(self.images, where, axis=0), ops.take(self.labels, where, axis=0)


class PhotoBatches(decode.FileBatches):
    """`kstyle.data.batches.decode.FileBatches` on the device. Of several ranks each decodes its share of a batch, and
    all get all of it."""

    def __call__(self, epoch, first=0):
        for images, labels in super().__call__(epoch, first):
            labels = uploaded(labels)
            shared = len(labels.shape) == 2  # each rank knows what its own pictures show
            yield distribute.rows_of_all(uploaded(images)), distribute.rows_of_all(labels) if shared else labels


class Views:
    """Several sets of features of the same pictures, one an epoch in turn; otherwise as `ArrayBatches`."""

    def __init__(self, views, size, seed, drop_last):
        self._views = [ArrayBatches(view, size, seed, drop_last) for view in views]
        self.count, self.size, self.steps = (getattr(self._views[0], name) for name in ("count", "size", "steps"))

    def __call__(self, epoch, first=0):
        return self._views[epoch % len(self._views)](epoch, first)
