"""One content in work: it passes through its sizes, each with a canvas and an objective of its own."""

import time
from functools import partial

import numpy as np

from kstyle.nn import optimizers
from kstyle.pictures import images
from kstyle.style.colour import modes as colour
from kstyle.style.engine import loop, objective, pyramid, regions, sizes, strength


class Painting:
    """What changes while a content is painted.

    Args:
        painter: `kstyle.style.transfer.Painter`, its network loaded.
        content: a `kstyle.pictures.images.Picture`.
        size, steps, seed, callback, anchor: as for `Painter.paint`.
        masks: for each style the region of the content, (H, W), or None; None: every style everywhere.
        start: `content`, `noise`, `style`, `detail`, or a `Picture`.

    Attributes:
        plan: [((height, width), gradient evaluations)], a pass each.
        canvas: of the pass in work; None before the first.
        history: `History`.
    """

    def __init__(self, painter, content, size, steps, seed, callback, masks, start, anchor):
        self.painter, self.settings, self.content = painter, painter.settings, content
        self.plan = sizes.plan(self.settings.scales, content, size, steps)
        self.final, self.steps = self.plan[-1][0], sum(count for _, count in self.plan)
        self._seed, self._masks, self._start, self._anchor = seed, masks, start, anchor
        self.canvas, self.history = None, History(self.steps, callback)

    def begin(self, number):
        """Enters pass `number`, from 0: a new canvas. Returns the loss, see `objective.objective`."""
        settings, painter, coarse = self.settings, self.painter, self.canvas
        shape, _ = self.plan[number]
        last, finish = shape == self.final, bool(settings.scales.finish) and number + 1 == len(self.plan)
        own = settings.at(max(shape), last, finish)
        margin = 0 if last else settings.scales.margin
        here = _at(self._masks, shape)
        styles, style_masks = painter.styles_for(shape)
        scene = images.resize_picture(self.content, shape).rgb
        scene, styles = colour.before(settings.colour, scene, styles, here, style_masks)
        scene = self._prepared(scene, styles)
        around, seen = sizes.mirrored(scene, margin), None
        if coarse is None:
            begun = self._begun(scene, styles, shape, margin)
        else:
            enlarge = partial(sizes.enlarge, margins=(coarse.margin, margin), shape=shape)
            # Bilinearly, a pyramid grows by a level without anything in it.
            begun = enlarge(coarse.result(), filter="bilinear" if settings.pyramid else "bicubic")
            if self._start == "detail" or any(term.mix for term in own.style_terms.values()):
                seen = objective.from_space(begun, settings.space) + pyramid.detail(around)
            if self._start == "detail" and not last:
                begun = objective.to_space(seen, settings.space)
        around_masks = here and [sizes.mirrored(mask, margin) for mask in here]
        loss = self._objective(own, around, styles, style_masks, around_masks, self._anchor if last else None, seen)
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
            scene = colour.towards(scene, styles, self.painter.blend, content.towards_style)
        return scene

    def _begun(self, scene, styles, shape, margin):
        """(H, W, 3) float32 in the settings' space, the margin around it."""
        start = self._start
        if isinstance(start, str):
            if start == "noise":
                return sizes.noise(self.settings, shape, margin, self._seed)
            # A style is resized once, unless it is recoloured, which happens at the size it is shown in.
            recoloured = colour.MODES[self.settings.colour].style
            style = images.Picture(styles[0]) if recoloured else self.painter.styles[0]
            if start == "detail":
                mean = np.average([style.mean((0, 1)) for style in styles], axis=0, weights=self.painter.blend)
                style = images.Picture((mean + pyramid.detail(scene)).astype("float32"))
            start = images.Picture(scene) if start == "content" else style
        rgb = images.resize_picture(start, shape).rgb
        return objective.to_space(sizes.mirrored(rgb, margin), self.settings.space)

    def _objective(self, settings, scene, styles, style_masks, masks, anchor, seen):
        """Args: `settings` of the pass; the content (`scene`), its regions (`masks`) and the picture as it is (`seen`,
        None before the first pass), all with their margin; the styles and their masks."""
        extractor, seed = self.painter.load(), self._seed
        targets = self.painter.targets_for(settings, styles, style_masks, seed, masks is not None)
        if anchor is not None:
            held = (objective.to_space(anchor.rgb, settings.space), anchor.trust[..., None].astype("float32"))
            anchor = (*held, anchor.weight)
        here = None if masks is None else [regions.region(mask) for mask in masks]
        aims = objective.content_targets(extractor, settings, scene)
        targets = objective.matched(extractor, settings, targets, scene, seen, seed, here)
        if settings.strength is not None and settings.content.weight and settings.has_style:
            settings = strength.balanced(extractor, settings, scene, aims, targets, max(self.final), seed, here)
        return objective.objective(extractor, settings, aims, targets, seed, here, anchor)


class History:
    """Collects a row a step and calls the user's callback."""

    def __init__(self, total, callback):
        self._total, self._callback = total, callback
        self._rows, self._pending = [], []
        self._start = time.perf_counter()

    def begin(self, scale, picture, alpha):
        """A new size: its long side in pixels, and functions that return the picture in work, and its opacity."""
        self._scale, self._picture, self._alpha = scale, picture, alpha

    def on_step(self, losses):
        number, seconds = len(self._rows) + len(self._pending), time.perf_counter() - self._start
        self._pending.append((number, seconds, losses))
        if self._callback is not None:
            step = loop.Step(self._scale, number, self._total, seconds, losses, self._picture, self._alpha)
            self._callback(step)

    def complete(self, rows):
        """Takes the losses of all steps at this size, as floats."""
        for (number, seconds, _), row in zip(self._pending, rows):
            self._rows.append({"scale": self._scale, "step": number, **row, "seconds": seconds})
        self._pending.clear()

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
