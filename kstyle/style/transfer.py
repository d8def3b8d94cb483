"""`kstyle.stylize`: a content picture and style pictures in, a painting out."""

import copy
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import signals
from kstyle.io.files import expanded, shown
from kstyle.models import features
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.style.colour import modes as colour
from kstyle.style.engine import loop, objective, regions, sizes
from kstyle.style.engine.painting import Painting, make_optimizer

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
        """Writes the picture, see `kstyle.pictures.images.write`; a PNG gets `settings` in its text. Returns the
        path."""
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
        callback: called after every step with a `kstyle.style.engine.loop.Step`.
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
        weight: of the term `"temporal"`, see `kstyle.style.engine.objective.objective`.
    """

    rgb: np.ndarray
    trust: np.ndarray
    weight: float


class Painter:
    """Paints any number of contents in one style: what does not depend on the content is done once.

    Args: as for `stylize`.

    Attributes:
        settings: the checked `kstyle.style.settings.StyleSettings`.
        styles, style_masks, blend: the style pictures, each a `kstyle.pictures.images.Picture`, their masks and
            weights.
        precision: `"float32"` or `"bfloat16"`.
        weights, deterministic: as given.

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
        self._preset, self.weights = expanded(preset), expanded(weights)
        self.deterministic, self._progress = deterministic, progress
        make_optimizer(self.settings)  # its arguments are checked before the network is loaded
        self.styles = [_read(style) for style in styles]
        for style in self.styles:
            if style.alpha is not None and not style.alpha.any():
                raise DataError(f"{style.name} is transparent everywhere: there is nothing in it to paint after.")
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
        check_numbers(size, steps, seed)
        content = _read(content)
        masks = None if masks is None else regions.read(masks, [content] * len(self.styles), "content")
        start = self._start() if start is None else images.Picture(start)
        painting = Painting(self, content, size, steps, seed, callback, masks, start, anchor)
        self._ready(seed, painting.final)
        try:
            for number, (_, count) in enumerate(painting.plan):
                loss = painting.begin(number)
                painting.history.complete(loop.run(painting.canvas, loss, count, painting.history.on_step))
            signals.hold()
        except KeyboardInterrupt as interrupt:
            if painting.canvas is None:
                raise
            signals.hold(stopped=True)
            raise Interrupted(self._result(painting, seed)) from interrupt
        except Exception as error:
            if backend.out_of_memory(error):
                raise DataError(_too_large(painting, number, self.precision)) from error
            raise
        return self._result(painting, seed)

    def paint_together(self, contents, size=512, steps=None, seed=0, callback=None):
        """Paints contents of one shape as a batch: the network sees all of them at once.

        For small pictures, which leave a GPU idle. What each becomes, and its history, is what `paint` makes of it, but
        for rounding.

        Args:
            contents: as for `stylize`, two or more; at `size` all must have the same height and width.
            size, steps, seed: as for `stylize`.
            callback: as for `stylize`; called for the first content.

        Returns:
            A list of `Result`.

        Raises: as `stylize`; UsageError for contents of several shapes; KeyboardInterrupt, without results.
        """
        check_numbers(size, steps, seed)
        start, read = self._start(), [_read(content) for content in contents]
        paintings = [
            Painting(self, content, size, steps, seed, None if number else callback, None, start, None)
            for number, content in enumerate(read)
        ]
        plan = paintings[0].plan
        for painting in paintings[1:]:
            if painting.plan != plan:
                names = f"{painting.content.name} and {paintings[0].content.name}"
                raise UsageError(f"{names} differ in shape: they cannot be painted together.")
        self._ready(seed, paintings[0].final)
        for number, (_, count) in enumerate(plan):
            loss = objective.together([painting.begin(number) for painting in paintings])
            on_steps = [painting.history.on_step for painting in paintings]
            rows = loop.run_together([painting.canvas for painting in paintings], loss, count, on_steps)
            for painting, own in zip(paintings, rows):
                painting.history.complete(own)
        signals.hold()
        return [self._result(painting, seed) for painting in paintings]

    def _ready(self, seed, final):
        sizes.check_scale(self.settings.style, final)
        backend.seed(seed)
        backend.configure(self.deterministic, final[0] * final[1])
        self.load()

    def _result(self, painting, seed):
        record = {**self._record(), "size": list(painting.final), "steps": painting.steps, "seed": seed}
        return Result(painting.rgb(), painting.alpha(), painting.history.frame(), record)

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
            "deterministic": self.deterministic,
            "backend": backend.NAME,
            "device": backend.device(),
            "weights": {"origin": self._extractor.origin, "sha256": self._extractor.sha256},
            "versions": backend.versions(),
        }

    def styles_for(self, shape):
        """The styles, (H, W, 3), and their masks, at the sizes that they are shown in for a result of `shape`."""
        shapes = tuple(sizes.of_style(self.settings.style, style, shape) for style in self.styles)
        return _kept(self._sized, shapes, lambda: (
            [images.resize_picture(style, size).rgb for style, size in zip(self.styles, shapes)],
            [regions.resize(mask, size) for mask, size in zip(self.style_masks, shapes)],
        ))  # fmt: skip

    def targets_for(self, settings, styles, style_masks, seed, apart):
        """`objective.style_targets`, kept for the next content unless a colour mode makes the styles follow contents.

        Args:
            settings: of a pass.
            styles, style_masks: from `styles_for`, recoloured where a colour mode does that.
            seed, apart: as for `style_targets`.
        """

        def find():
            counted = [regions.region(mask) for mask in style_masks]
            return objective.style_targets(self.load(), settings, styles, self.blend, seed, counted, apart)

        if colour.styles_follow_content(settings.colour):
            return find()
        wanted = tuple(name for name, term in settings.style_terms.items() if term.weight)
        return _kept(self._targets, (tuple(style.shape for style in styles), wanted, seed, apart), find)

    def _start(self):
        """A word, or the `Picture` that init names."""
        check_init(self.settings.init)
        return self.settings.init if self.settings.init in INITS else _read(self.settings.init)


def _too_large(painting, number, precision):
    """What to say where pass `number` of a painting takes more memory than there is."""
    height, width = painting.plan[number][0]
    smaller = [max(shape) for shape, _ in painting.plan[:number] if max(shape) < max(height, width)]
    fits = f"--size {max(smaller)} fits" if smaller else f"try --size {max(height, width) // 2}, a quarter of it"
    half = ", or --precision bfloat16" if precision == "float32" else ""
    return f"{painting.content.name}: at {width}×{height} a step takes more memory than there is: {fits}{half}."


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
    for name, number in (("size", size), ("steps", steps), ("seed", seed)):
        if isinstance(number, bool):
            raise UsageError(f"{name} must be a whole number; got {number}.")
    smallest, largest = sizes.SMALLEST_SIDE, sizes.LARGEST_SIDE
    if not isinstance(size, (int, np.integer)) or not smallest <= size <= largest:
        raise UsageError(f"size must be a whole number of pixels from {smallest} to {largest}; got {shown(size)}.")
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 1):
        raise UsageError(f"steps must be a whole number, 1 or more; got {shown(steps)}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed must be a whole number, 0 or more; got {shown(seed)}.")
    for name, number, most, said in (("steps", steps or 1, 10**9, "10^9"), ("seed", seed, 2**63 - 1, "2^63 - 1")):
        if number > most:
            raise UsageError(f"{name} must be at most {said}; got {shown(number)}.")


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
