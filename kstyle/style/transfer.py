"""`kstyle.stylize`: a content picture and style pictures in, a painting out."""

import copy
import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import numpy as np

from kstyle import images
from kstyle.errors import UsageError
from kstyle.models import features
from kstyle.style import colour, loop, objective, optimizers, pyramid, regions, sizes, strength
from kstyle.style import settings as style_settings

log = logging.getLogger("kstyle")

# What a painter keeps of its styles for the next content: so many sizes. At five layers of VGG the targets of one are
# three megabytes, and a style picture of 1024 pixels nine.
MOST_KEPT = 16
INITS = ("content", "noise", "style", "detail")  # what to start from where it is no file


@dataclass(frozen=True)
class Result:
    """What `stylize` returns.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], the content's; None where it has none.
        history: one row a step: `scale` (long side in pixels), `step` (from 0), `loss`, each weighted term (NaN in a
            pass that does without it), `seconds` since the start. A row's losses are those of the picture before its
            step.
        settings: everything needed to make the picture again: the checked settings, size, steps, seed, precision,
            backend, versions, the weights' origin and SHA-256.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    history: "pandas.DataFrame"  # noqa: F821
    settings: dict

    @property
    def image(self):
        """The picture as a `PIL.Image` (RGB, or RGBA where the content has transparency)."""
        return images.to_pil(self.rgb, self.alpha)

    @property
    def losses(self):
        """{"loss": total, each weighted term}: floats, of the last step; empty before the first."""
        last = self.history.iloc[-1].dropna() if len(self.history) else {}
        return {name: float(value) for name, value in last.items() if name not in ("scale", "step", "seconds")}

    def write(self, path):
        """Writes the picture, see `kstyle.images.write`; a PNG gets `settings` in its text. Returns the path."""
        text = {"Software": f"kstyle {self.settings['versions']['kstyle']}", "kstyle": json.dumps(self.settings)}
        return images.write(path, self.rgb, self.alpha, text=text)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `stylize`; `result` is the `Result` so far."""

    def __init__(self, result):
        super().__init__()
        self.result = result


def stylize(
    content,
    styles,
    preset="kstyle",
    size=512,
    steps=None,
    optimizer=None,
    precision="auto",
    seed=0,
    callback=None,
    *,
    masks=None,
    style_masks=None,
    blend=None,
    weights=None,
    deterministic=False,
    progress=None,
    **overrides,
):
    """Makes a picture with the content of one picture and the style of others.

    Args:
        content: path, `PIL.Image` or array ((H, W), (H, W, 3) or (H, W, 4); uint8, uint16 or float in [0, 1]).
        styles: one such, or a list.
        preset: a name from `kstyle presets` or the path of a YAML file.
        size: long side of the result in pixels.
        steps: gradient evaluations in all; at several scales they are shared out in the preset's proportions. None:
            the preset's.
        optimizer: `"lbfgs"`, a Keras optimiser's name, or a mapping of `name` and its arguments. None: the preset's.
        precision: of the features: `"auto"`, `"float32"` or `"bfloat16"`.
        seed: of the noise a preset may start from, and of the positions its terms may draw.
        callback: called after every step with a `kstyle.style.loop.Step`.
        masks: for each style the region of the content that it is for: a picture of the content's shape, white inside,
            grey where it fades; `"alpha"` for the content's own opacity; None for all of it. None: every style
            everywhere.
        style_masks: for each style the region of it that is painted after, likewise. None: what of it is opaque.
        blend: a weight for each style; None: equal.
        weights: a file to take the network's weights from.
        deterministic: the same bits every time on the same machine, at the cost of speed.
        progress: `progress(done_bytes, total_bytes)` while weights are downloaded.
        **overrides: any setting of the preset: `style_weight=20`, `init="noise"`, `style={"scale": 0.5}`, or dotted
            keys through `**{"scales.smallest": 128}`.

    Returns:
        A `Result`: `.image`, `.history`, `.settings`.

    Raises:
        UsageError: an option that does not exist or cannot be.
        DataError: a picture, a mask or weights that cannot be used.
        Interrupted: Ctrl-C, with the result so far.
    """
    painter = Painter(
        styles, preset, optimizer, precision, style_masks=style_masks, blend=blend, weights=weights,
        deterministic=deterministic, progress=progress, **overrides,
    )  # fmt: skip
    return painter.paint(content, size, steps, seed, callback, masks=masks)


@dataclass(frozen=True)
class Anchor:
    """A picture that a painting is held to: the frame before it.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1], of the painting's size.
        trust: (H, W) float32, how much at each place.
        weight: of the term `"temporal"`, see `kstyle.style.objective.objective`.
    """

    rgb: np.ndarray
    trust: np.ndarray
    weight: float


class Painter:
    """Paints any number of contents in one style: what does not depend on the content is done once.

    Args: as for `stylize`.

    Attributes:
        settings: the checked `kstyle.style.settings.StyleSettings`.
        styles, style_masks, blend: the style pictures, each a `kstyle.images.Picture`, their masks and weights.
        precision: `"float32"` or `"bfloat16"`.
        weights: as given.

    Raises: as `stylize`, but for contents and the network, which is loaded by the first `paint`.
    """

    def __init__(
        self,
        styles,
        preset="kstyle",
        optimizer=None,
        precision="auto",
        *,
        style_masks=None,
        blend=None,
        weights=None,
        deterministic=False,
        progress=None,
        **overrides,
    ):
        if optimizer is not None:
            overrides = {"optimizer": optimizer, **overrides}  # first: optimizer.learning_rate and so on are for it
        self.settings = style_settings.load(preset, overrides)
        styles = list(styles) if isinstance(styles, (list, tuple)) else [styles]
        self.blend = _check_blend(blend, len(styles))
        self.precision = backend.precision(precision)
        self._preset, self._deterministic, self.weights, self._progress = preset, deterministic, weights, progress
        make_optimizer(self.settings)  # its arguments are checked before the network is loaded
        self.styles = [_read(style) for style in styles]
        if style_masks is None:
            self.style_masks = [style.alpha for style in self.styles]
        else:
            self.style_masks = regions.read(style_masks, self.styles, "style")
        self._extractor, self._sized, self._targets = None, {}, {}

    def paint(self, content, size=512, steps=None, seed=0, callback=None, *, masks=None, start=None, anchor=None):
        """Paints one content.

        Args:
            content, size, steps, seed, callback, masks: as for `stylize`.
            start: (H, W, 3) float32 in [0, 1] to start from, of any size; None: what the settings say.
            anchor: an `Anchor` that holds at the final size.

        Returns, raises: as `stylize`.
        """
        settings = self.settings
        check_numbers(size, steps, seed)
        content = _read(content)
        plan = sizes.plan(settings.scales, content, size, steps)
        final, total = plan[-1][0], sum(count for _, count in plan)
        masks = None if masks is None else regions.read(masks, [content] * len(self.styles), "content")
        start = self._start() if start is None else images.Picture(start)
        backend.seed(seed)
        backend.configure(self._deterministic)
        extractor = self.load()
        record = {**self._record(), "size": list(final), "steps": total, "seed": seed}
        alpha = None if content.alpha is None else np.clip(images.resize(content.alpha, final), 0, 1)
        history = _History(total, callback)

        def finished(rgb):
            seen = images.resize_picture(content, rgb.shape[:2]).rgb
            return colour.after(settings.colour, seen, rgb, _at(masks, rgb.shape[:2]))

        def picture(canvas):
            rgb = objective.from_space(canvas.result(), settings.space)
            margin = canvas.margin
            return np.clip(rgb[margin : rgb.shape[0] - margin, margin : rgb.shape[1] - margin], 0, 1)

        def result(canvas):
            rgb = picture(canvas)
            if rgb.shape[:2] != final:  # interrupted at a coarse size
                rgb = np.clip(images.resize(rgb, final), 0, 1)
            return Result(finished(rgb), alpha, history.frame(), record)

        canvas = None
        try:
            for number, (shape, count) in enumerate(plan, 1):
                last, finish = shape == final, bool(settings.scales.finish) and number == len(plan)
                own = settings.at(max(shape), last, finish)
                margin = 0 if last else settings.scales.margin
                here = _at(masks, shape)
                styles, style_masks = self._styles_for(shape)
                scene = images.resize_picture(content, shape).rgb
                scene, styles = colour.before(settings.colour, scene, styles, here, style_masks)
                scene = self._prepared(scene, styles)
                around, coarse, seen = sizes.mirrored(scene, margin), canvas, None
                if coarse is None:
                    begun = self._begin(start, scene, styles, shape, margin, seed)
                else:
                    enlarge = partial(sizes.enlarge, margins=(coarse.margin, margin), shape=shape)
                    # Bilinearly, a pyramid grows by a level without anything in it.
                    begun = enlarge(coarse.result(), filter="bilinear" if settings.pyramid else "bicubic")
                    seen = objective.from_space(begun, settings.space) + pyramid.detail(around)
                    if start == "detail" and not last:
                        begun = objective.to_space(seen, settings.space)
                loss = self._objective(
                    extractor, own, final, around, styles, style_masks, seed,
                    here and [sizes.mirrored(mask, margin) for mask in here], anchor if last else None, seen,
                )  # fmt: skip
                fresh = partial(make_optimizer, own)
                canvas = loop.Canvas(begun, settings, fresh(), margin, fresh)
                if coarse is not None and settings.scales.carry and not settings.pyramid:
                    optimizers.carry(coarse.optimizer, canvas.optimizer, enlarge, coarse.pixels / canvas.pixels)
                history.begin(max(shape), lambda canvas=canvas: finished(picture(canvas)))
                history.complete(loop.run(canvas, loss, count, history.on_step))
        except KeyboardInterrupt as interrupt:
            if canvas is None:
                raise
            raise Interrupted(result(canvas)) from interrupt
        return result(canvas)

    def load(self, extractor=None):
        """The network, a `kstyle.models.features.Extractor`: loaded once, or `extractor`, another painter's of the same
        network, layers and precision."""
        self._extractor = self._extractor or extractor
        if self._extractor is None:
            network = self.settings.network
            self._extractor = features.load(
                network.extractor, self.settings.taps, weights=self.weights, precision=self.precision,
                progress=self._progress, **network.model_dump(exclude={"extractor"}),
            )  # fmt: skip
            log.info("weights: %s, sha256 %s", self._extractor.origin, self._extractor.sha256[:12])
        return self._extractor

    def unloaded(self):
        """A copy without network, targets and progress, small enough to be sent to another process."""
        other = copy.copy(self)
        other._extractor, other._sized, other._targets, other._progress = None, {}, {}, None
        return other

    def _record(self):
        return {
            "preset": str(self._preset),
            **self.settings.model_dump(mode="json"),
            "blend": self.blend,
            "precision": self.precision,
            "deterministic": self._deterministic,
            "backend": backend.NAME,
            "device": backend.device(),
            "weights": {"origin": self._extractor.origin, "sha256": self._extractor.sha256},
            "versions": backend.versions(),
        }

    def _styles_for(self, shape):
        """The styles, (H, W, 3), and their masks, at the sizes that they are shown in for a result of `shape`."""
        shapes = tuple(sizes.of_style(self.settings.style, style, shape) for style in self.styles)
        return _kept(self._sized, shapes, lambda: (
            [images.resize_picture(style, size).rgb for style, size in zip(self.styles, shapes)],
            [regions.resize(mask, size) for mask, size in zip(self.style_masks, shapes)],
        ))  # fmt: skip

    def _prepared(self, scene, styles):
        content = self.settings.content
        if content.median > 1:
            scene = images.median(scene, content.median)
        return colour.towards(scene, styles, self.blend, content.towards_style) if content.towards_style else scene

    def _objective(self, extractor, settings, final, scene, styles, style_masks, seed, masks, anchor, seen):
        apart = masks is not None

        def find():
            counted = [regions.region(mask) for mask in style_masks]
            return objective.style_targets(extractor, settings, styles, self.blend, seed, counted, apart)

        if colour.styles_follow_content(settings.colour):
            targets = find()
        else:
            wanted = tuple(name for name, term in settings.style_terms.items() if term.weight)
            key = (tuple(style.shape for style in styles), wanted, seed, apart)
            targets = _kept(self._targets, key, find)
        if anchor is not None:
            held = (objective.to_space(anchor.rgb, settings.space), anchor.trust[..., None].astype("float32"))
            anchor = (*held, anchor.weight)
        here = [regions.region(mask) for mask in masks] if apart else None
        aims = objective.content_targets(extractor, settings, scene)
        targets = objective.matched(extractor, settings, targets, scene, seen, seed, here)
        if settings.strength is not None and settings.content.weight and targets:
            settings = strength.balanced(extractor, settings, scene, aims, targets, max(final), seed, here)
        return objective.objective(extractor, settings, aims, targets, seed, here, anchor)

    def _start(self):
        """A word, or the `Picture` that init names."""
        check_init(self.settings.init)
        return self.settings.init if self.settings.init in INITS else _read(self.settings.init)

    def _begin(self, start, scene, styles, shape, margin, seed):
        """(H, W, 3) float32 in the settings' space, the margin around it."""
        if isinstance(start, str):
            if start == "noise":
                return sizes.noise(self.settings, shape, margin, seed)
            # A style is resized once, unless it is recoloured, which happens at the size it is shown in.
            style = images.Picture(styles[0]) if colour.MODES[self.settings.colour].style else self.styles[0]
            if start == "detail":
                mean = np.average([style.mean((0, 1)) for style in styles], axis=0, weights=self.blend)
                style = images.Picture((mean + pyramid.detail(scene)).astype("float32"))
            start = images.Picture(scene) if start == "content" else style
        rgb = images.resize_picture(start, shape).rgb
        return objective.to_space(sizes.mirrored(rgb, margin), self.settings.space)


class _History:
    """Collects a row a step and calls the user's callback."""

    def __init__(self, total, callback):
        self._total, self._callback = total, callback
        self._rows, self._pending = [], []
        self._start = time.perf_counter()

    def begin(self, scale, picture):
        """A new size: its long side in pixels, and a function that returns the picture in work."""
        self._scale, self._picture = scale, picture

    def on_step(self, losses):
        number, seconds = len(self._rows) + len(self._pending), time.perf_counter() - self._start
        self._pending.append((number, seconds, losses))
        if self._callback is not None:
            self._callback(loop.Step(self._scale, number, self._total, seconds, losses, self._picture))

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


def _check_blend(blend, count):
    blend = [1.0] * count if blend is None else [float(b) for b in blend]
    if not count:
        raise UsageError("At least one style picture is needed.")
    if len(blend) != count:
        raise UsageError(f"{len(blend)} style weights were given for {count} style picture{'s'[: count > 1]}.")
    if not all(np.isfinite(b) and b >= 0 for b in blend) or not sum(blend):
        raise UsageError(f"Style weights must be 0 or more, and one above 0; got {blend}.")
    return blend


def check_numbers(size, steps, seed):
    """UsageError: one of them is not a whole number, or out of range."""
    smallest = sizes.SMALLEST_SIDE
    if not isinstance(size, (int, np.integer)) or not smallest <= size <= 16384:
        raise UsageError(f"size must be a whole number of pixels from {smallest} to 16384; got {size!r}.")
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 1):
        raise UsageError(f"steps must be a whole number, 1 or more; got {steps!r}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed must be a whole number, 0 or more; got {seed!r}.")


def make_optimizer(settings):
    """The optimiser of `kstyle.style.settings.StyleSettings`, new. UsageError: an argument it does not take."""
    arguments = settings.optimizer.arguments
    if settings.optimizer.name == "lbfgs":
        # Torch's first step moves a pixel of a large picture by less than float32 resolves: what changes in the
        # gradient is rounding, and the curvature taken from it throws the picture away (the loss of gatys' recipe, a
        # million times up, in step 2). One grey level shows.
        arguments.setdefault("first_step", float(np.mean(objective.SPACES[settings.space][0])) / 255)
    return optimizers.make(settings.optimizer.name, **arguments)


def check_init(init):
    """UsageError: neither one of `INITS` nor a file."""
    if init not in INITS and not Path(init).exists():
        raise UsageError(f"init must be content, noise, style, detail or a picture; there is no file '{init}'.")


def _kept(store, key, make):
    """`store[key]`, made if need be; a full store is emptied first."""
    if key not in store:
        if len(store) >= MOST_KEPT:
            store.clear()
        store[key] = make()
    return store[key]


def _read(source):
    picture = images.read(source)
    for note in picture.notes:
        log.info("%s: %s", picture.name, note)
    return picture


def _at(masks, shape):
    return None if masks is None else [regions.resize(mask, shape) for mask in masks]
