"""A style network as it learns: what a step does."""

import keras
import numpy as np

from kstyle import backend
from kstyle.style.learning.lesson import Lesson
from kstyle.style.learning.trained import Trained
from kstyle.style.networks import style_facts, style_file
from kstyle.style.networks.network import style_network
from kstyle.style.objectives import targets
from kstyle.style.passes.regions import Region

ops = keras.ops
BRUSH_SIZES = 5  # of strokes are learned, from the least to the most, each as often


class Learner(Trained):
    """A network, what it learns by and how far it is.

    Args:
        learning: `kstyle.style.learning.settings.Learning`.
        losses: `kstyle.style.settings.StyleSettings`.
        extractor: with at least `losses.taps`.
        styles: `kstyle.style.passes.styles.Styles`, each learned as a style of its own.
        seed: of positions that terms draw.
    """

    def __init__(self, learning, losses, extractor, styles, seed=0):
        self._styles, self._shown, count = styles, losses.style, len(styles.pictures)
        further = 0 if learning.brush is None else style_facts.BRUSH
        # The network multiplies in bfloat16 where the features are; its weights stay float32.
        dtype = "mixed_bfloat16" if extractor.precision == "bfloat16" else "float32"
        super().__init__(learning, lambda: style_network(learning.width, count, further, dtype))
        self._facts = {"styles": [picture.name for picture in styles.pictures], "brush": learning.brush}
        self._lessons = [
            self._lesson(losses, extractor, number, size, seed)
            for size in self._brush_sizes()
            for number in range(count)
        ]

    def begin_with(self, network):
        """Begins with the weights of a `StyleFile` of the same width, each style with those of its first."""
        for layer in self.model.layers:
            if layer.weights:
                known = network.model.get_layer(layer.name).get_weights()
                layer.set_weights([self._of_each(*pair) for pair in zip(known, layer.get_weights())])
        self.average.set_weights(self.model.get_weights())

    def _of_each(self, known, own):
        """A style's row of a normalisation for each of the own styles; other weights as they are."""
        if own.ndim != 2:
            return known
        rows = np.zeros_like(own)
        rows[: len(self._facts["styles"])] = known[0]
        return rows

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
        `look(photographs)` gives the losses of the average's paintings."""
        pictures, masks = self._at(size)
        opaque = None if masks[number] is None else [Region(masks[number])]
        goal = targets.style_targets(extractor, losses, [pictures[number]], [1.0], seed, opaque)
        lesson = Lesson(extractor, losses, goal, seed)
        blend = np.eye(len(pictures))[number]
        told = backend.constant(style_facts.condition(self._facts, blend, float(size)).tolist())

        def loss(photographs, step):
            x = ops.cast(photographs, "float32") / 255
            return lesson(self.model([x, told], training=True), x, step)

        gradients = backend.gradients(loss, self.variables, [])

        def take(photographs, step, keep):
            total, parts, found = gradients(photographs, step)
            self.apply(found, keep)
            return {"loss": total, **parts}

        def look(photographs):
            total, parts = lesson(self.average([photographs, told], training=False), photographs)
            return {"loss": total, **parts}

        return backend.compile(take, self.changed), backend.compile(look, self.averaged)

    def take(self, photographs, progress):
        """One step. photographs: (B, h, w, 3) uint8; progress: how much of the learning is done, 0 to 1. Returns the
        losses before it, scalars of the device by name."""
        keep, number = self.begin(progress), self.step_number
        take, _ = self._lessons[number % len(self._lessons)]
        losses = take(backend.uploaded(photographs), np.int32(number), np.float32(keep))
        self.step_number += 1
        return losses

    def score(self, photographs):
        """Mean losses of the average's paintings of whole photographs: {name: float}.

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

    @staticmethod
    def beside(network, photograph):
        """A photograph held out, and beside or below it what the network's file makes of it, one picture."""
        height, width, _ = photograph.shape
        return np.concatenate([photograph, network.paint(photograph)], axis=1 if height > width else 0)
