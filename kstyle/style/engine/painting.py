"""One content in work: it passes through its sizes, each with a canvas and an objective of its own."""

import time
from functools import partial

import numpy as np

from kstyle.nn import callbacks, optimizers
from kstyle.pictures import images
from kstyle.style.colour import modes as colour
from kstyle.style.engine import loop, objective, pyramid, regions, sizes, strength


class Painting:
    """What changes while a content is painted.

    Args:
        settings: `kstyle.style.settings.StyleSettings`.
        styles: `kstyle.style.engine.styles.Styles`.
        content: a `kstyle.pictures.images.Picture`.
        plan: from `kstyle.style.engine.sizes.plan`.
        seed, callback, anchor: as for `kstyle.style.transfer.Painter.paint`.
        masks: for each style the region of the content, (H, W), or None; None: every style everywhere.
        start: `content`, `noise`, `style`, `detail`, or a `Picture`.

    Attributes:
        plan: as given.
        final: (height, width) of the result.
        steps: planned in all.
        canvas: of the pass in work; None before the first.
        history: `History`.
    """

    def __init__(self, settings, styles, content, plan, seed, callback=None, masks=None, start="content", anchor=None):
        self.settings, self.content, self.plan = settings, content, plan
        self.final, self.steps = plan[-1].shape, sum(each.steps for each in plan)
        self._styles, self._seed, self._masks, self._start, self._anchor = styles, seed, masks, start, anchor
        self.canvas, self.history = None, History(self.steps, callback)

    def begin(self, number, extractor):
        """Enters pass `number`, from 0: a new canvas. Returns its `kstyle.style.engine.objective.Objective`.

        Args:
            extractor: `kstyle.models.features.Extractor` with at least the layers that the settings name.
        """
        settings, coarse, now = self.settings, self.canvas, self.plan[number]
        own, shape, margin = now.settings, now.shape, now.margin
        here = _at(self._masks, shape)
        styles, style_masks = self._styles.at(settings, shape)
        scene = images.resize_picture(self.content, shape).rgb
        scene, styles = colour.before(settings.colour, scene, styles, here, style_masks)
        scene = self._prepared(scene, styles)
        around, seen = sizes.mirrored(scene, margin), None
        if coarse is None:
            begun = self._begun(scene, styles, shape, margin)
        else:
            enlarge = partial(sizes.enlarge, margins=(coarse.margin, margin), shape=shape)
            # A pyramid enlarges its levels bilinearly. Enlarged in the same way, the picture has a new finest level of
            # zeros; with another filter that level would begin with the difference between the two filters.
            begun = enlarge(coarse.result(), filter="bilinear" if settings.pyramid else "bicubic")
            if self._start == "detail" or any(term.mix for term in own.style_terms.values()):
                seen = objective.from_space(begun, settings.space) + pyramid.detail(around)
            if self._start == "detail" and not now.final:
                begun = objective.to_space(seen, settings.space)
        around_masks = here and [sizes.mirrored(mask, margin) for mask in here]
        targets = self._styles.targets(extractor, own, styles, style_masks, self._seed, around_masks is not None)
        loss = self._objective(extractor, now, around, targets, around_masks, seen)
        fresh = partial(make_optimizer, own)
        self.canvas = canvas = loop.Canvas(begun, settings, fresh(), margin, fresh)
        if coarse is not None and settings.scales.carry and not settings.pyramid:
            optimizers.carry(coarse.optimizer, canvas.optimizer, enlarge, coarse.pixels / canvas.pixels)
        self.history.begin(max(shape), lambda: self._finished(_picture(canvas)), lambda: self._alpha_at(shape))
        return loss

    def rgb(self):
        """(H, W, 3) float32 in [0, 1] of the final size: the result, or what there is of it."""
        rgb = _picture(self.canvas)
        if rgb.shape[:2] != self.final:  # interrupted at a coarse size
            rgb = np.clip(images.resize(rgb, self.final), 0, 1)
        return self._finished(rgb)

    def alpha(self):
        """(H, W) in [0, 1], the content's; None where it has none."""
        return self._alpha_at(self.final)

    def _alpha_at(self, shape):
        alpha = self.content.alpha
        return None if alpha is None else np.clip(images.resize(alpha, shape), 0, 1)

    def _finished(self, rgb):
        seen = images.resize_picture(self.content, rgb.shape[:2]).rgb
        return colour.after(self.settings.colour, seen, rgb, _at(self._masks, rgb.shape[:2]))

    def _prepared(self, scene, styles):
        content = self.settings.content
        if content.median > 1:
            scene = images.median(scene, content.median)
        if content.towards_style:
            scene = colour.towards(scene, styles, self._styles.blend, content.towards_style)
        return scene

    def _begun(self, scene, styles, shape, margin):
        """(H, W, 3) float32 in the settings' space, the margin around it."""
        start = self._start
        if isinstance(start, str):
            if start == "noise":
                return sizes.noise(self.settings, shape, margin, self._seed)
            # A style is resized once, unless it is recoloured, which happens at the size it is shown in.
            recoloured = colour.MODES[self.settings.colour].style
            style = images.Picture(styles[0]) if recoloured else self._styles.pictures[0]
            if start == "detail":
                mean = np.average([style.mean((0, 1)) for style in styles], axis=0, weights=self._styles.blend)
                style = images.Picture((mean + pyramid.detail(scene)).astype("float32"))
            start = images.Picture(scene) if start == "content" else style
        rgb = images.resize_picture(start, shape).rgb
        return objective.to_space(sizes.mirrored(rgb, margin), self.settings.space)

    def _objective(self, extractor, now, scene, targets, masks, seen):
        """The `Objective` of a pass.

        Args:
            now: the `Pass`.
            scene: the content, (H, W, 3), `masks` its regions and `seen` the picture as it is, None before the first
                pass, all with their margin.
            targets: of the styles.
        """
        settings, seed, anchor = now.settings, self._seed, None
        if self._anchor is not None and now.final:
            held = (objective.to_space(self._anchor.rgb, settings.space), self._anchor.trust[..., None])
            anchor = (held[0], held[1].astype("float32"), self._anchor.weight)
        here = None if masks is None else [regions.region(mask) for mask in masks]
        aims = objective.content_targets(extractor, settings, scene)
        targets = objective.matched(extractor, settings, targets, scene, seen, seed, here)
        if settings.strength is not None and settings.content.weight and settings.has_style:
            settings = strength.balanced(extractor, settings, scene, aims, targets, max(self.final), seed, here)
        return objective.Objective(extractor, settings, aims, targets, seed, here, anchor)


class History:
    """Collects a row a step and calls the user's callbacks.

    Attributes:
        ended: whether one of them has ended the painting, by returning something true or as Keras' callbacks do.
    """

    def __init__(self, total, callback):
        self._total, self._callbacks, self.ended = total, callbacks.step_functions(callback, total), False
        self._rows, self._pending = [], []
        self._start = time.perf_counter()

    def begin(self, scale, picture, alpha):
        """A new size: its long side in pixels, and functions that return the picture in work, and its opacity."""
        self._scale, self._picture, self._alpha = scale, picture, alpha

    def on_step(self, losses):
        """Takes the losses of a step, tensors. Returns `ended`."""
        number, seconds = len(self._rows) + len(self._pending), time.perf_counter() - self._start
        self._pending.append((number, seconds, losses))
        if self._callbacks:
            step = loop.Step(self._scale, number, self._total, seconds, losses, self._picture, self._alpha)
            answers = [each(step) for each in self._callbacks]  # all are told, whatever the first says
            self.ended = self.ended or any(answers)
        return self.ended

    def complete(self, rows):
        """Takes the losses of all steps at this size, as floats."""
        for (number, seconds, _), row in zip(self._pending, rows):
            self._rows.append({"scale": self._scale, "step": number, **row, "seconds": seconds})
        self._pending.clear()

    def close(self):
        """After the last step: Keras' callbacks close their files."""
        for each in self._callbacks:
            if isinstance(each, callbacks.StepCallback):
                each.close()

    def frame(self):
        if self._pending:  # interrupted
            self.complete(loop.fetch([losses for _, _, losses in self._pending]))
        import pandas as pd  # here: a third of a second that the first step need not wait for

        return pd.DataFrame(self._rows)


def make_optimizer(settings):
    """The optimiser of `kstyle.style.settings.StyleSettings`, new. UsageError: an argument it does not take."""
    arguments = settings.optimizer.arguments
    if settings.optimizer.name == "lbfgs":
        # Torch's first step moves a pixel of a large picture by less than float32 resolves: what changes in the
        # gradient is rounding, and the curvature taken from it throws the picture away (the loss of gatys' recipe, a
        # million times up, in step 2). One grey level shows.
        arguments.setdefault("first_step", float(np.mean(objective.SPACES[settings.space][0])) / 255)
    return optimizers.make(settings.optimizer.name, **arguments)


def _picture(canvas):
    """(H, W, 3) in [0, 1], without margin."""
    rgb, margin = objective.from_space(canvas.result(), canvas.settings.space), canvas.margin
    return np.clip(rgb[margin : rgb.shape[0] - margin, margin : rgb.shape[1] - margin], 0, 1)


def _at(masks, shape):
    return None if masks is None else [regions.resize(mask, shape) for mask in masks]
