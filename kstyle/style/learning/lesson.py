"""What a style network learns by: a preset's objective, of paintings of photographs that change from step to step."""

import keras

from kstyle.style.losses.positions import Features
from kstyle.style.losses.scalings import PIXELS
from kstyle.style.objectives import objective
from kstyle.style.passes import units

ops = keras.ops


class Lesson:
    """`lesson(paintings, photographs)` -> `(loss, parts)`: both (B, H, W, 3) RGB in [0, 1]; the mean over the batch of
    what `kstyle.style.objectives.objective.Objective` gives for each, and of its terms.

    Args:
        extractor, settings, style_target, seed: as for an `Objective`.
    """

    def __init__(self, extractor, settings, style_target, seed=0):
        self._extractor, self._settings = extractor, settings
        self._objective = objective.Objective(extractor, settings, {}, style_target, seed)
        self._redraws = self._objective.redraws

    def __call__(self, paintings, photographs, step=None):
        count, *shape = paintings.shape[:3]
        step = ops.convert_to_tensor(step) if step is not None and self._redraws else None

        def split(layers):  # split and not sliced: the gradient of a slice is as large as all
            return {tap: ops.split(features, count, axis=0) for tap, features in layers.items()}

        goals = split(self._goals(photographs))
        layers = split({**self._extractor(paintings), PIXELS: paintings})
        images, found = units.to_space(paintings, self._settings.space), []
        for i in range(count):
            own = Features({tap: parts[i] for tap, parts in layers.items()}, tuple(shape))
            goal = {tap: parts[i] for tap, parts in goals.items()}
            squares = {tap: ops.mean(ops.square(each)) for tap, each in goal.items()}
            found.append(self._objective.seen(own, images[i], step, (goal, squares)))
        parts = {name: ops.mean(ops.stack([each[name] for _, each in found])) for name in found[0][1]}
        return ops.mean(ops.stack([total for total, _ in found])), parts

    def _goals(self, photographs):
        content = self._settings.content
        found = self._extractor(ops.stop_gradient(photographs)) if content.weight else {}
        return {
            tap: ops.stop_gradient(content.target_factor * ops.cast(found[tap], "float32")) for tap in content.layers
        }
