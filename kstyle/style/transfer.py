"""`kstyle.stylize`: a content picture and style pictures in, a painting out."""

import logging
import platform
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import kstyle
from kstyle import backend, images
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
    history: pd.DataFrame
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
        seed: of the noise a preset may start from.
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
        overrides["optimizer"] = optimizer
    settings = style_settings.load(preset, overrides)
    styles = list(styles) if isinstance(styles, (list, tuple)) else [styles]
    blend = _check_blend(blend, len(styles))
    _check_numbers(size, steps)
    precision = backend.precision(precision)
    content = images.read(content)
    styles = [images.read(style) for style in styles]
    start = _starting_picture(settings.init, content, styles)
    for picture in (content, *styles):
        for note in picture.notes:
            log.info("%s: %s", picture.name, note)
    plan = [(images.fit(content.size, side), count) for side, count in settings.scales.plan(size, steps)]
    _check_smallest(plan, content)
    # Coarse sizes at which a narrow picture has nothing left are left out, their steps with them.
    plan = [(shape, count) for shape, count in plan if min(shape) >= min(2 * SMALLEST_SIDE, *plan[-1][0])]

    backend.seed(seed)
    backend.configure(deterministic)
    # Adam's or L-BFGS' own arguments are checked before the network is loaded.
    optimizers.make(settings.optimizer.name, **settings.optimizer.arguments)
    extractor = features.load(
        settings.network.extractor,
        [*settings.content.layers, *settings.style.layers],
        weights=weights,
        precision=precision,
        progress=progress,
        **settings.network.model_dump(exclude={"extractor"}),
    )
    log.info("weights: %s, sha256 %s", extractor.origin, extractor.sha256[:12])
    settings = _with_tap_names(settings, extractor.name)
    final = plan[-1][0]
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
        "versions": versions(),
    }
    alpha = None if content.alpha is None else np.clip(images.resize(content.alpha, final), 0, 1)
    history = _History(sum(count for _, count in plan), settings.space, callback)

    def result(values):
        rgb = loop.picture(values, settings.space)
        if rgb.shape[:2] != final:
            rgb = np.clip(images.resize(rgb, final), 0, 1)
        return Result(rgb, alpha, history.frame(), record)

    values = canvas = None
    for shape, count in plan:
        scene = images.resize_picture(content, shape).rgb
        painted = [images.resize_picture(s, _style_size(settings.style, s, shape)).rgb for s in styles]
        loss = objective.objective(
            extractor,
            settings,
            objective.content_targets(extractor, settings, scene),
            objective.style_targets(extractor, settings, painted, blend),
        )
        if values is None:
            values = _initial(settings, start, shape, seed)
        else:
            values = images.resize(values, shape, "bicubic")
        values, canvas = _one_scale(settings, loss, values, canvas, count, history, result)
    return result(values)


def _one_scale(settings, loss, values, previous, steps, history, result):
    """Returns (values, canvas) after the steps at one size."""
    canvas = loop.Canvas(values, settings, optimizers.make(settings.optimizer.name, **settings.optimizer.arguments))
    if previous is not None and settings.scales.carry:
        optimizers.carry(previous.optimizer, canvas.optimizer, previous.image.shape, values.shape)
    history.begin(canvas)
    try:
        history.complete(loop.run(canvas, loss, steps, history.on_step))
    except KeyboardInterrupt as interrupt:
        raise Interrupted(result(canvas.result())) from interrupt
    return canvas.result(), canvas


class _History:
    """Collects a row a step and calls the user's callback."""

    def __init__(self, total, space, callback):
        self.total, self.space, self.callback = total, space, callback
        self.rows, self.seconds = [], []
        self._losses = []
        self._clock = loop.Clock()

    def begin(self, canvas):
        self._canvas = canvas
        self._scale = max(canvas.image.shape[:2])

    def on_step(self, losses):
        number = len(self.rows) + len(self._losses)
        self._losses.append((number, self._clock.seconds(), losses))
        if self.callback is not None:
            canvas = self._canvas
            self.callback(
                loop.Step(
                    self._scale, number, self.total, self._losses[-1][1], losses,
                    lambda: loop.picture(canvas.result(), self.space),
                )
            )  # fmt: skip

    def complete(self, rows):
        for (number, seconds, _), row in zip(self._losses, rows):
            self.rows.append({"scale": self._scale, "step": number, **row, "seconds": seconds})
        self._losses.clear()

    def frame(self):
        if self._losses:  # interrupted
            self.complete(loop.fetch([losses for _, _, losses in self._losses]))
        return pd.DataFrame(self.rows)


def versions():
    """{"kstyle": …, "keras": …, the framework: …, "python": …}."""
    return {
        "kstyle": kstyle.__version__,
        "keras": keras.__version__,
        backend.NAME: backend.version(),
        "python": platform.python_version(),
    }


def _check_blend(blend, count):
    blend = [1.0] * count if blend is None else [float(b) for b in blend]
    if not count:
        raise UsageError("At least one style picture is needed.")
    if len(blend) != count:
        raise UsageError(f"{len(blend)} style weights were given for {count} style picture{'s'[: count > 1]}.")
    if not all(np.isfinite(b) and b >= 0 for b in blend) or not sum(blend):
        raise UsageError(f"Style weights must be 0 or more, and one above 0; got {blend}.")
    return blend


def _check_numbers(size, steps):
    if not isinstance(size, (int, np.integer)) or not SMALLEST_SIDE <= size <= 16384:
        raise UsageError(f"size must be a whole number of pixels from {SMALLEST_SIDE} to 16384; got {size!r}.")
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 1):
        raise UsageError(f"steps must be a whole number, 1 or more; got {steps!r}.")


def _check_smallest(plan, content):
    (height, width), _ = plan[-1]
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


def _initial(settings, start, shape, seed):
    """(H, W, 3) float32 in the settings' space."""
    if settings.init == "noise":
        factor, _ = objective.SPACES["byte"]
        mean = np.array([123.68, 116.779, 103.939])  # ImageNet's mean colour, RGB bytes
        noise = np.random.default_rng(seed).normal(0, settings.noise, (*shape, 3))
        return objective.to_space(((mean + noise) / factor).astype("float32"), settings.space)
    return objective.to_space(images.resize_picture(start, shape).rgb, settings.space)


def _style_size(style, picture, shape):
    """(height, width) of a style picture for a result of `shape`."""
    if style.resize == "stretch":
        height, width = (round(side * style.scale) for side in shape)
    else:
        height, width = images.fit(picture.size, round(max(shape) * style.scale))
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)


def _with_tap_names(settings, extractor):
    network = features.EXTRACTORS[extractor][0]

    def renamed(section):
        layers = {features.tap_name(network, name): weight for name, weight in section.layers.items()}
        return section.model_copy(update={"layers": layers})

    return settings.model_copy(update={"content": renamed(settings.content), "style": renamed(settings.style)})
