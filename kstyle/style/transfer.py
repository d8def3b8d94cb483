"""`kstyle.stylize`: a content picture and style pictures in, a painting out."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import numpy as np

from kstyle import images
from kstyle.errors import DataError, UsageError
from kstyle.models import features
from kstyle.style import loop, objective, optimizers
from kstyle.style import settings as style_settings

log = logging.getLogger("kstyle")

# Four poolings: a side below this has nothing left at block5.
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Result:
    """What `stylize` returns.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], the content's; None where it has none.
        history: one row a step: `scale` (long side in pixels), `step` (from 0), `loss`, each weighted term, `seconds`
            since the start. A row's losses are those of the picture before its step.
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
        DataError: a picture or weights that cannot be used.
        Interrupted: Ctrl-C, with the result so far.
    """
    if optimizer is not None:
        overrides = {"optimizer": optimizer, **overrides}  # first: optimizer.learning_rate and so on are for this one
    settings = style_settings.load(preset, overrides)
    styles = list(styles) if isinstance(styles, (list, tuple)) else [styles]
    blend = _check_blend(blend, len(styles))
    _check_numbers(size, steps, seed)
    precision = backend.precision(precision)
    content = images.read(content)
    styles = [images.read(style) for style in styles]
    start = _starting_picture(settings.init, content, styles)
    for source in (content, *styles):
        for note in source.notes:
            log.info("%s: %s", source.name, note)
    final = images.fit(content.size, size)
    _check_smallest(final, content)
    # Coarse sizes at which a narrow picture has next to nothing left are left out.
    at_least = 2 * SMALLEST_SIDE * max(final) / min(final)
    plan = [(images.fit(content.size, side), n) for side, n in settings.scales.plan(size, steps, at_least)]

    backend.seed(seed)
    backend.configure(deterministic)
    # Adam's or L-BFGS' own arguments are checked before the network is loaded.
    _optimizer(settings)
    extractor = features.load(
        settings.network.extractor,
        settings.taps,
        weights=weights,
        precision=precision,
        progress=progress,
        **settings.network.model_dump(exclude={"extractor"}),
    )
    log.info("weights: %s, sha256 %s", extractor.origin, extractor.sha256[:12])
    record = {
        "preset": str(preset),
        **settings.model_dump(mode="json"),
        "size": list(final),
        "steps": sum(count for _, count in plan),
        "blend": blend,
        "seed": seed,
        "precision": precision,
        "deterministic": deterministic,
        "backend": backend.NAME,
        "device": backend.device(),
        "weights": {"origin": extractor.origin, "sha256": extractor.sha256},
        "versions": backend.versions(),
    }
    alpha = None if content.alpha is None else np.clip(images.resize(content.alpha, final), 0, 1)
    history = _History(sum(count for _, count in plan), callback)

    def picture(canvas):
        rgb = objective.from_space(canvas.result(), settings.space)
        margin = canvas.margin
        return np.clip(rgb[margin : rgb.shape[0] - margin, margin : rgb.shape[1] - margin], 0, 1)

    def result(canvas):
        rgb = picture(canvas)
        if rgb.shape[:2] != final:  # interrupted at a coarse size
            rgb = np.clip(images.resize(rgb, final), 0, 1)
        return Result(rgb, alpha, history.frame(), record)

    canvas = None
    try:
        for shape, count in plan:
            margin = 0 if shape == final else settings.scales.margin
            scene = _continue(images.resize_picture(content, shape).rgb, margin)
            painted = [images.resize_picture(s, _style_size(settings.style, s, shape)).rgb for s in styles]
            scaled = settings.at(max(shape))
            loss = objective.objective(
                extractor,
                scaled,
                objective.content_targets(extractor, scaled, scene),
                objective.style_targets(extractor, scaled, painted, blend, seed),
                seed,
            )
            fresh = partial(_optimizer, settings)
            optimizer = fresh()
            if canvas is None:
                begun = _initial(settings, start, shape, margin, seed)
                canvas = loop.Canvas(begun, settings, optimizer, margin, fresh)
            else:
                coarse, enlarge = canvas, partial(_enlarge, margins=(canvas.margin, margin), shape=shape)
                begun = enlarge(coarse.result(), filter="bicubic")
                canvas = loop.Canvas(begun, settings, optimizer, margin, fresh)
                if settings.scales.carry:
                    optimizers.carry(coarse.optimizer, optimizer, enlarge, coarse.pixels / canvas.pixels)
            history.begin(max(shape), partial(picture, canvas))
            history.complete(loop.run(canvas, loss, count, history.on_step))
    except KeyboardInterrupt as interrupt:
        if canvas is None:
            raise
        raise Interrupted(result(canvas)) from interrupt
    return result(canvas)


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


def _check_numbers(size, steps, seed):
    if not isinstance(size, (int, np.integer)) or not SMALLEST_SIDE <= size <= 16384:
        raise UsageError(f"size must be a whole number of pixels from {SMALLEST_SIDE} to 16384; got {size!r}.")
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 1):
        raise UsageError(f"steps must be a whole number, 1 or more; got {steps!r}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed must be a whole number, 0 or more; got {seed!r}.")


def _check_smallest(final, content):
    height, width = final
    if min(height, width) < SMALLEST_SIDE:
        longer, shorter = max(content.size), min(content.size)
        needed = -(-SMALLEST_SIDE * longer // shorter)
        raise DataError(
            f"{content.name} is {content.size[1]}×{content.size[0]}: at size {max(height, width)} its short side is "
            f"{min(height, width)} pixels, and the network needs {SMALLEST_SIDE}. Use --size {needed} or crop it."
        )


def _starting_picture(init, content, styles):
    if init in ("content", "noise"):
        return content
    if init == "style":
        return styles[0]
    if not Path(init).exists():
        raise UsageError(f"init must be content, noise, style or a picture; there is no file '{init}'.")
    return images.read(init)


def _optimizer(settings):
    arguments = settings.optimizer.arguments
    if settings.optimizer.name == "lbfgs":
        # Torch's first step moves a pixel of a large picture by less than float32 resolves: what changes in the
        # gradient is rounding, and the curvature taken from it throws the picture away (the loss of gatys' recipe, a
        # million times up, in step 2). One grey level shows.
        arguments.setdefault("first_step", float(np.mean(objective.SPACES[settings.space][0])) / 255)
    return optimizers.make(settings.optimizer.name, **arguments)


def _initial(settings, start, shape, margin, seed):
    """(H, W, 3) float32 in the settings' space, the margin around it."""
    if settings.init == "noise":
        mean = np.array([123.68, 116.779, 103.939])  # ImageNet's mean colour, RGB bytes
        canvas = (shape[0] + 2 * margin, shape[1] + 2 * margin, 3)
        noise = np.random.default_rng(seed).normal(0, settings.noise, canvas)
        return objective.to_space(((mean + noise) / 255).astype("float32"), settings.space)
    return objective.to_space(_continue(images.resize_picture(start, shape).rgb, margin), settings.space)


def _continue(rgb, margin):
    """Mirrors `margin` pixels outwards on each side of (H, W, 3)."""
    return np.pad(rgb, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric") if margin else rgb


def _enlarge(values, filter, margins, shape):
    """What lies along one picture and its margin, (H, W, C), brought to another's size and margin.

    Args:
        margins: of the one and of the other, pixels.
        shape: (height, width) of the other, without margin.
    """
    before, after = margins
    # The margin grows with the picture; what is more than the other's is cut off.
    around = [round(before * new / (old - 2 * before)) for new, old in zip(shape, values.shape)]
    grown = images.resize(values, tuple(new + 2 * more for new, more in zip(shape, around)), filter)
    top, left = (more - after for more in around)
    return grown[top : top + shape[0] + 2 * after, left : left + shape[1] + 2 * after]


def _style_size(style, picture, shape):
    """(height, width) of a style picture for a result of `shape`."""
    if style.resize == "stretch":
        height, width = (round(side * style.scale) for side in shape)
    else:
        height, width = images.fit(picture.size, round(max(shape) * style.scale))
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)
