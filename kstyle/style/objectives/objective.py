"""What is minimised: content, style and total variation, as a function of the picture."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.backend import Tensor
from kstyle.style.losses import terms
from kstyle.style.losses.positions import Features, Positions
from kstyle.style.losses.scalings import PIXELS
from kstyle.style.losses.total_variation import TV_LOSSES, out_of_range
from kstyle.style.passes import units
from kstyle.style.passes.regions import Region

ops = keras.ops


def features_of(extractor, image):
    """`Features` of image: (H, W, 3) RGB in [0, 1]."""
    return Features({**extractor(image), PIXELS: image[None]}, tuple(image.shape[:2]))


def _summed(weighed):
    """(total, {name: its share}) of [(name, factor, scalar), …], those of a name one after another: few operations,
    however many there are."""
    names = [name for name, _, _ in weighed]
    values = ops.stack([value for _, _, value in weighed]) * backend.constant([factor for _, factor, _ in weighed])
    parts = {}
    for name in dict.fromkeys(names):
        first, count = names.index(name), names.count(name)
        parts[name] = values[first] if count == 1 else ops.sum(values[first : first + count])
    return ops.sum(values), parts


class Objective:
    """What is minimised in one pass, as a pure function of the picture.

    `objective(image, step)` -> `(total, parts)`: image (H, W, 3) in the space `settings.space`; parts the weighted
    terms by name (`"content"`, `"style"`, each of `settings.terms`, `"tv"`, `"range"`, `"temporal"`; those of weight 0
    are left out), float32 scalars that add up to the total. Where it `redraws`, another `step`, a tensor, looks at
    other positions; without it they stay the same.

    Args:
        extractor, settings: as for the targets, which must come from the same ones.
        content_target: from `targets.content_targets`, of a picture of the size that is made.
        style_target: from `targets.style_targets`, and then `targets.matched` where a term needs it.
        seed: of the positions that sampling terms take from the picture.
        regions: for each style the `kstyle.style.passes.regions.Region` of the picture that it is for, or None; its
            targets must have been kept apart. None: all styles everywhere.
        anchor: `(picture, trust, weight)`: hold the picture to another, (H, W, 3) in `settings.space`, where trust,
            (H, W, 1), is above 0. The term `"temporal"` is weight × mean trust × squared difference in [0, 1].

    Attributes:
        redraws: whether it looks at other positions at each step.
        whole: a step is one program, which a backend may compile.
    """

    whole = True

    def __init__(
        self,
        extractor: Any,
        settings: Any,
        content_target: dict[str, Tensor],
        style_target: dict[str, Any],
        seed: int = 0,
        regions: Sequence[Region | None] | None = None,
        anchor: tuple[Any, Any, float] | None = None,
    ) -> None:
        self.extractor, self.settings = extractor, settings
        self._content_target, self._style_target = content_target, style_target
        self._seed, self._regions = seed, regions
        self._anchor = anchor and (*map(ops.convert_to_tensor, anchor[:2]), anchor[2])
        self._squares = {}
        if settings.content.loss == "relative":  # looked at once, so that no step computes them again
            means = {tap: ops.mean(ops.square(goal)) for tap, goal in content_target.items()}
            self._squares = {tap: float(ops.convert_to_numpy(mean)) for tap, mean in means.items()}
        self._style_terms = {name: term for name, term in settings.style_terms.items() if term.weight}
        sampling = [term for term in self._style_terms.values() if term.loss in terms.SAMPLING]
        self.redraws = settings.content.loss == "self_similarity" or any(term.redraw for term in sampling)

    def with_settings(self, settings: Any) -> "Objective":
        """The same with other weights."""
        known = (self._content_target, self._style_target, self._seed, self._regions, self._anchor)
        return Objective(self.extractor, settings, *known)

    def measured(self, rgb: np.ndarray) -> dict[str, float]:
        """{term: float} of a picture, (H, W, 3) float32 in [0, 1]."""
        look = backend.compile(lambda image: self(image)[1], [])
        parts = look(ops.convert_to_tensor(units.to_space(rgb, self.settings.space)))
        return {name: float(ops.convert_to_numpy(value)) for name, value in parts.items()}

    def gradient(self, picture: Callable, step: Callable) -> Callable:
        """`values -> ((loss, parts), d loss / d values)`.

        Args:
            picture: values -> the picture, (H, W, 3).
            step: () -> what the objective is called with beside the picture, a tuple.
        """
        return backend.value_and_grad(lambda values: self(picture(values), *step()))

    @property
    def looks_at_pixels(self) -> bool:
        """Whether there are terms `of_pixels`."""
        return bool(self.settings.tv.weight or self.settings.range.weight or self._anchor is not None)

    def __call__(self, image: Tensor, step: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return self.seen(features_of(self.extractor, units.from_space(image, self.settings.space)), image, step)

    def seen(
        self,
        features: Features,
        image: Tensor,
        step: Tensor | None = None,
        content: tuple[dict[str, Tensor], dict[str, float]] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same of a picture whose `Features` are known.

        Args:
            content: the target of another content, and {tap: its mean square, a scalar tensor}.
        """
        positions, weighed = Positions(self._seed, step), []
        height, width = features.shape
        if self.settings.content.weight:
            target, squares = content or (self._content_target, self._squares)
            found = terms.content_distances(self.settings.content, features, target, squares, positions)
            if content:  # whose factors are tensors
                found = [(1.0, factor * value) for factor, value in found]
            weighed += [("content", self.settings.content.weight * factor, value) for factor, value in found]
        for name, term in self._style_terms.items():
            goal = self._style_target[name]
            found = terms.distances(term, features, goal, positions, height * width, self._regions)
            weighed += [(name, term.weight * factor, value) for factor, value in found]
        return _summed([*weighed, *((name, 1.0, value) for name, value in self.of_pixels(image).items())])

    def of_pixels(self, image: Tensor) -> dict[str, Tensor]:
        """The weighted terms that need no network: of neighbouring pixels, of the range, of the anchor."""
        settings, parts = self.settings, {}
        if settings.tv.weight:
            parts["tv"] = settings.tv.weight * TV_LOSSES[settings.tv.kind](image)
        if settings.range.weight:
            parts["range"] = settings.range.weight * out_of_range(units.from_space(image, settings.space))
        if self._anchor is not None:
            picture, trust, weight = self._anchor
            change = ops.square(units.from_space(image, settings.space) - units.from_space(picture, settings.space))
            parts["temporal"] = weight * ops.mean(trust * change)
        return parts


class Together:
    """The objectives of several pictures of one size as one, whose features are computed at once.

    `together(images, step)` -> `(total, parts)`: images (B, H, W, 3); total the sum over pictures; parts of shape (B,):
    `"loss"`, a picture's own total, and each term.

    Args:
        objectives: an `Objective` for each picture, of one extractor and one space.

    Attributes:
        redraws: as of an `Objective`.
    """

    def __init__(self, objectives):
        self._objectives = list(objectives)
        self.redraws = self._objectives[0].redraws

    def __call__(self, images, step=None):
        first, count, shape = self._objectives[0], len(self._objectives), tuple(images.shape[1:3])
        rgb = units.from_space(images, first.settings.space)
        # Split and not sliced: the gradient of a slice is as large as all.
        layers = {tap: ops.split(f, count, axis=0) for tap, f in {**first.extractor(rgb), PIXELS: rgb}.items()}
        each = ops.split(images, count, axis=0)
        found = [
            own.seen(Features({tap: parts[i] for tap, parts in layers.items()}, shape), each[i][0], step)
            for i, own in enumerate(self._objectives)
        ]
        totals = ops.stack([total for total, _ in found])
        parts = {name: ops.stack([parts[name] for _, parts in found]) for name in found[0][1]}
        return ops.sum(totals), {"loss": totals, **parts}
