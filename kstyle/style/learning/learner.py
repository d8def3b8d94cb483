"""A style network as it learns: what a step does, and the state between two steps."""

import math

import keras
import numpy as np

from kstyle import backend
from kstyle.nn import optimizers
from kstyle.nn.state import assign, named
from kstyle.style.learning.lesson import Lesson
from kstyle.style.networks import style_facts, style_file
from kstyle.style.networks.network import style_network
from kstyle.style.objectives import targets
from kstyle.style.passes.regions import Region

ops = keras.ops
BRUSH_SIZES = 5  # of strokes are learned, from the least to the most, each as often


class Learner:
    """A network, what it learns by and how far it is.

    Args:
        learning: `kstyle.style.learning.settings.Learning`.
        losses: `kstyle.style.settings.StyleSettings`.
        extractor: with at least `losses.taps`.
        styles: `kstyle.style.passes.styles.Styles`, each learned as a style of its own.
        seed: of positions that terms draw.

    Attributes:
        model: the network as it learns; `average`: another, with the running average of its weights, for use.
        step_number: steps taken.
    """

    def __init__(self, learning, losses, extractor, styles, seed=0):
        self.learning, self.step_number = learning, 0
        self._styles, self._shown, count = styles, losses.style, len(styles.pictures)
        further = 0 if learning.brush is None else style_facts.BRUSH
        # The network multiplies in bfloat16 where the features are; its weights stay float32.
        dtype = "mixed_bfloat16" if extractor.precision == "bfloat16" else "float32"
        self.model = style_network(learning.width, count, further, dtype)
        self.average = style_network(learning.width, count, further, dtype)
        self.average.set_weights(self.model.get_weights())
        self._optimizer = optimizers.make("adam", learning_rate=learning.learning_rate)
        self._trained = self.model.trainable_variables
        self._optimizer.build(self._trained)
        optimizers.lay_out(self._optimizer, self._trained)
        self._facts = {"styles": [picture.name for picture in styles.pictures], "brush": learning.brush}
        self._lessons = [
            self._lesson(losses, extractor, number, size, seed)
            for size in self._brush_sizes()
            for number in range(count)
        ]

    def _brush_sizes(self):
        if self.learning.brush is None:
            return [1.0]
        least, most = self.learning.brush
        # In steps of the same factor, downwards and upwards from the size itself, which is among them.
        half = BRUSH_SIZES // 2
        return [*np.geomspace(least, 1, half + 1)[:-1].tolist(), 1.0, *np.geomspace(1, most, half + 1)[1:].tolist()]

    def _at(self, size):
        """The style pictures and what of them is opaque, for strokes of so many times their size."""
        shown = self._shown.model_copy(update={"scale": self._shown.scale * float(size)})
        return self._styles.at(shown, (self.learning.size, self.learning.size))

    def _lesson(self, losses, extractor, number, size, seed):
        """`(take, look)` of one style at one size of strokes, compiled: `take(photographs, step, keep)` makes a step,
        `look(photographs)` gives the losses of the average's paintings, clipped."""
        pictures, masks = self._at(size)
        opaque = None if masks[number] is None else [Region(masks[number])]
        goal = targets.style_targets(extractor, losses, [pictures[number]], [1.0], seed, opaque)
        lesson = Lesson(extractor, losses, goal, seed)
        blend = np.eye(len(pictures))[number]
        told = backend.constant(style_facts.condition(self._facts, blend, float(size)).tolist())

        def loss(photographs, step):
            x = ops.cast(photographs, "float32") / 255
            return lesson(self.model([x, told], training=True), x, step)

        gradients = backend.gradients(loss, self._trained, [])

        def take(photographs, step, keep):
            total, parts, found = gradients(photographs, step)
            self._optimizer.apply(found, self._trained)
            backend.update(self.average.trainable_variables, keep, [v.value for v in self._trained], 1 - keep)
            return {"loss": total, **parts}

        def look(photographs):
            total, parts = lesson(ops.clip(self.average([photographs, told], training=False), 0, 1), photographs)
            return {"loss": total, **parts}

        average = self.average.trainable_variables
        changed = [*self._trained, *average, *self._optimizer.variables]
        return backend.compile(take, changed), backend.compile(look, average)

    def take(self, photographs, progress):
        """One step. photographs: (B, h, w, 3) uint8; progress: how much of the learning is done, 0 to 1. Returns the
        losses before it, scalars of the device by name."""
        learning, number = self.learning, self.step_number
        risen = min(1.0, (number + 1) / learning.warmup) if learning.warmup else 1.0
        rate = learning.learning_rate * risen * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        self._optimizer.learning_rate = rate
        # At first the average is of few steps, lest the weights that it began with stay in it.
        keep = min(learning.average, (1 + number) / (10 + number))
        take, _ = self._lessons[number % len(self._lessons)]
        losses = take(backend.uploaded(photographs), np.int32(number), np.float32(keep))
        self.step_number += 1
        return losses

    def score(self, photographs):
        """Mean losses of the average's paintings, clipped, of whole photographs: {name: float}.

        Args:
            photographs: list of (H, W, 3) float32 RGB in [0, 1].
        """
        count = len(self._facts["styles"])
        usual = self._brush_sizes().index(1.0) * count  # the first of those of strokes of their own size
        rows = []
        for number, rgb in enumerate(photographs):
            _, look = self._lessons[usual + number % count]
            rows.append(look(ops.convert_to_tensor(rgb[None])))
        return {name: float(np.mean([float(ops.convert_to_numpy(row[name])) for row in rows])) for name in rows[0]}

    def file(self, facts):
        """The average as a `kstyle.style.networks.style_file.StyleFile`, in float32."""
        own = {"width": self.learning.width, **self._facts, "size": self.learning.size, **facts}
        further = 0 if self.learning.brush is None else style_facts.BRUSH
        model = style_network(self.learning.width, len(self._facts["styles"]), further)
        model.set_weights(self.average.get_weights())
        return style_file.StyleFile(model, own, tuple(self._at(self._brush_sizes()[-1])[0]))

    def _groups(self):
        return {
            "weights": self._trained,
            "average": self.average.trainable_variables,
            "optimizer": list(self._optimizer.variables),
        }

    def state(self):
        """{name: array} of all that the next step depends on, beside its number."""
        return {name: array for group, held in self._groups().items() for name, array in named(held, group).items()}

    def restore(self, arrays, step_number, path):
        """Goes on from `state`, of so many steps. DataError: it is of another network."""
        for group, held in self._groups().items():
            assign(held, arrays, group, path)
        self.step_number = step_number
