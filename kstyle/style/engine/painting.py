"""One content in work: it goes through the passes of its plan, each with a canvas and an objective of its own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kstyle.models import features
from kstyle.nn import optimizers
from kstyle.nn import state as variables
from kstyle.pictures import images
from kstyle.style.colour import modes as colour
from kstyle.style.engine import loop
from kstyle.style.engine.history import History
from kstyle.style.objectives import objective, targets
from kstyle.style.passes import regions, scene, sizes, starts, units


class Painting:
    """What changes while a content is painted. All of it is data: `state` gives it, `resume` goes on from there.

    Args:
        kept: `kstyle.style.objectives.targets.Kept` of the styles.
        content: a `kstyle.pictures.images.Picture`.
        plan: from `kstyle.style.passes.sizes.plan`.
        seed, anchor: as for `kstyle.style.transfer.Painter.paint`.
        told: what is called after each step, from `kstyle.nn.callbacks.step_functions`.
        masks: for each style the region of the content, (H, W), or None; None: every style everywhere.
        start: `content`, `noise`, `style`, `detail`, or a `Picture`.
        final_only: whether smaller sizes were left out of the plan.

    Attributes:
        content, plan, seed, final_only: as given.
        final: (height, width) of the result.
        steps: planned in all.
        number: of the pass at hand, from 0; as many as there are when all are done.
        canvas, course: of the pass at hand, or of the last one that has begun; None before the first.
        history: `kstyle.style.engine.history.History`.
    """

    def __init__(
        self,
        kept: targets.Kept,
        content: images.Picture,
        plan: Sequence[sizes.Pass],
        seed: int,
        told: Sequence[Callable[[loop.Step], Any]] = (),
        masks: Sequence[np.ndarray | None] | None = None,
        start: str | images.Picture = "content",
        anchor: Any = None,
        final_only: bool = False,
    ) -> None:
        self.content, self.plan, self.seed, self.final_only = content, list(plan), seed, final_only
        self.final, self.steps = plan[-1].shape, sum(each.steps for each in plan)
        self._kept, self._masks, self._start, self._anchor = kept, masks, start, anchor
        self.number, self.history = 0, History(self.steps, told)
        self.canvas: Any = None
        self.course: Any = None
        self._left: starts.Left | None = None
        self.fitted = False
        self._resumed: tuple[Mapping[str, np.ndarray], dict] | None = None

    def begin(self, extractor: features.Extractor) -> objective.Objective:
        """Enters the pass at hand: a new canvas and course. Returns its objective.

        Args:
            extractor: `kstyle.models.features.Extractor` with at least the layers that the settings name.
        """
        now, coarse, left = self.plan[self.number], self.canvas, None
        fresh = partial(make_optimizer, now.settings)
        optimizer = fresh()
        if coarse is not None:
            self._left = starts.Left(coarse.result(), coarse.margin)
            if self._resumed is None and now.settings.scales.carry and not now.settings.pyramid:
                left = optimizers.leave(coarse.optimizer, optimizer)
            coarse.optimizer = None  # what it does not leave is memory that the pass may want
        here = scene.at(self.content, self._kept.styles, now, self._masks)
        begun, seen = starts.begun(self._start, self._left, here, self._kept.styles, now, self.seed)
        held, anchor = None, self._anchor if now.final else None
        if anchor is not None:
            goal = units.to_space(anchor.rgb, now.settings.space)
            held = goal, anchor.trust[..., None].astype("float32"), anchor.weight
        aim = targets.objective_of(extractor, self._kept, now, here, seen, held, self.seed, max(self.final))
        canvas = loop.Canvas(begun, now.settings, optimizer, now.margin, fresh)
        taken, self._resumed = self._resumed, None
        if taken is not None:  # the optimiser's state comes with it
            variables.assign(canvas.variables, taken[0], "canvas", "the state of the painting")
        elif coarse is not None:
            enlarge = partial(starts.enlarge, margins=(coarse.margin, now.margin), shape=now.shape)
            optimizers.take_over(left, canvas.optimizer, enlarge, coarse.pixels / canvas.pixels)
        self.canvas = canvas
        self.course = loop.Course(canvas, now.steps, self.history.on_step, taken and taken[1])
        shown, alpha = partial(self._shown, canvas), partial(self._alpha_at, now.shape)
        self.history.begin(max(now.shape), shown, alpha, len(self.course.rows))
        return aim

    def fit(self, passes: Sequence[sizes.Pass]) -> None:
        """Takes the passes as they fit into memory, see `kstyle.style.engine.memory`."""
        self.plan, self.fitted = list(passes), True

    def again(self, now: sizes.Pass) -> None:
        """Back to before the pass at hand, which is to be `now`. What an optimiser knew of the size before is lost."""
        self.plan[self.number], self.canvas, self.course = now, None, None
        self.history.back()

    def end(self) -> None:
        """Leaves the pass at hand: all of its steps are taken."""
        self.history.complete(self.course.rows)
        self.number += 1

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the painting is between two steps: ({name: array}, a dict for JSON).

        A painting of the same content, styles, plan and seed goes on from it, see `resume`. The arrays may be views of
        what the next step changes: they are to be written before it.
        """
        arrays = variables.named(self.canvas.variables, "canvas")
        if self._left is not None:
            arrays["left"] = self._left.values
        self.history.complete(self.course.rows)
        facts = {
            "pass": self.number,
            "course": self.course.state(),
            "history": self.history.rows,
            "plan": [each.division for each in self.plan],
        }
        return arrays, facts

    def resume(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Goes on from a `state`, in place of beginning anew: the first pass to `begin` is `number`."""
        self.number, self._resumed = facts["pass"], (arrays, facts["course"])
        self.fit([each.divided(*how) for each, how in zip(self.plan, facts["plan"])])
        self.history.resume(facts["history"])
        if self.number:
            self._left = starts.Left(arrays["left"], self.plan[self.number - 1].margin)

    def rgb(self) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1] of the final size: the result, or what there is of it."""
        rgb = _picture(self.canvas)
        if rgb.shape[:2] != self.final:  # interrupted at a coarse size
            rgb = np.clip(images.resize(rgb, self.final), 0, 1)
        return self._finished(rgb)

    def seen(self) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1] of the size at hand."""
        return self._shown(self.canvas)

    def alpha(self) -> np.ndarray | None:
        """(H, W) in [0, 1], the content's; None where it has none."""
        return self._alpha_at(self.final)

    def _alpha_at(self, shape):
        alpha = self.content.alpha
        return None if alpha is None else np.clip(images.resize(alpha, shape), 0, 1)

    def _shown(self, canvas):
        return self._finished(_picture(canvas))

    def _finished(self, rgb):
        mode, shape = self.plan[-1].settings.colour, rgb.shape[:2]
        if not colour.MODES[mode].painted:
            return rgb
        seen = images.resize_picture(self.content, shape).rgb
        return colour.after(mode, seen, rgb, regions.all_at(self._masks, shape))


def make_optimizer(settings):
    """The optimiser of `kstyle.style.settings.StyleSettings`, new. UsageError: an argument it does not take."""
    arguments = settings.optimizer.arguments
    if settings.optimizer.name == "lbfgs":
        # Torch's first step moves a pixel of a large picture by less than float32 resolves: what changes in the
        # gradient is rounding, and the curvature taken from it throws the picture away (the loss of gatys' recipe, a
        # million times up, in step 2). One grey level shows.
        arguments.setdefault("first_step", float(np.mean(units.SPACES[settings.space][0])) / 255)
    return optimizers.make(settings.optimizer.name, **arguments)


def _picture(canvas):
    """(H, W, 3) in [0, 1], without margin."""
    rgb, margin = units.from_space(canvas.result(), canvas.settings.space), canvas.margin
    return np.clip(rgb[margin : rgb.shape[0] - margin, margin : rgb.shape[1] - margin], 0, 1)
