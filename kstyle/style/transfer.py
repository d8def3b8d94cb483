"""`Painter`: contents in, paintings in one style out."""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kstyle import backend
from kstyle.backend import distribute
from kstyle.errors import DataError, UsageError
from kstyle.io import signals
from kstyle.io.files import expanded
from kstyle.models import features
from kstyle.nn import callbacks
from kstyle.pictures import images
from kstyle.pictures.images import Source
from kstyle.style import arguments
from kstyle.style.arguments import Extractor, Mask, Optimizer, Preset, Term
from kstyle.style.engine import loop, memory
from kstyle.style.engine.painting import Painting
from kstyle.style.objectives import objective, targets
from kstyle.style.passes import regions, sizes
from kstyle.style.passes.size_plan import as_recorded
from kstyle.style.passes.styles import Styles, check_blend
from kstyle.style.result import Interrupted, Result

log = logging.getLogger("kstyle")

TRIED = 256  # long side of the picture by which a plan's time is told


@dataclass(frozen=True)
class Anchor:
    """A picture that a painting is held to: the frame before it.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1], of the painting's size.
        trust: (H, W) float32, how much at each place.
        weight: of the term `"temporal"`, see `kstyle.style.objectives.objective.Objective`.
    """

    rgb: np.ndarray
    trust: np.ndarray
    weight: float


class Painter:
    """Paints any number of contents in one style: what does not depend on the content is done once.

    Args: as for `stylize`.

    Attributes:
        settings: the checked `kstyle.style.settings.StyleSettings`.
        styles: `kstyle.style.passes.styles.Styles`: the pictures, their masks and weights.
        preset: what the record calls it.
        precision: `"float32"` or `"bfloat16"`.
        weights, deterministic: as given.
        given: the `kstyle.Extractor` that was given; None: the network is the preset's.

    Raises: as `stylize`, but for contents and the network, which is loaded by the first `paint`.

    >>> import kstyle, numpy
    >>> painter = kstyle.Painter(numpy.random.default_rng(0).random((48, 64, 3)), "gatys", style_weight=20)
    >>> [painter.paint(numpy.full(shape, 0.5), size=64, steps=1).rgb.shape for shape in ((48, 64), (64, 32))]
    [(48, 64, 3), (64, 32, 3)]
    """

    def __init__(
        self,
        styles: Source | Sequence[Source],
        preset: Preset = "kstyle",
        optimizer: Optimizer | None = None,
        precision: str = "auto",
        *,
        style_masks: Sequence[Mask] | None = None,
        blend: Sequence[float] | None = None,
        weights: str | os.PathLike[str] | None = None,
        extractor: Extractor | None = None,
        terms: Term | Sequence[Term] | None = None,
        deterministic: bool = False,
        progress: Callable[[int, int], Any] | None = None,
        max_memory: str | int | None = None,
        **overrides: Any,
    ) -> None:
        own = extractor if isinstance(extractor, features.Extractor) else None
        if own:
            own.check_alone({"weights": weights, "precision": precision})
        self.settings = arguments.checked(preset, arguments.as_overrides(overrides, optimizer, extractor, terms))
        given = list(styles) if isinstance(styles, (list, tuple)) else [styles]
        check_blend(blend, len(given))  # before pictures are read
        self.precision = own.precision if own else backend.precision(precision)
        self.preset = "given as a mapping" if isinstance(preset, Mapping) else str(expanded(preset))
        self.weights = expanded(weights)
        self.deterministic, self._progress = deterministic, progress
        self.max_memory = None if max_memory is None else memory.parsed(max_memory)
        if own:
            own.check(self.settings.taps)
        self.styles = Styles([_read(style) for style in given], style_masks, blend)
        self._kept = targets.Kept(self.styles)
        self.given, self._extractor = own, own

    def paint(
        self,
        content: Source,
        size: int = 512,
        steps: int | None = None,
        seed: int = 0,
        callback: Callable[[loop.Step], Any] | Any = None,
        *,
        masks: Sequence[Mask] | None = None,
        start: np.ndarray | None = None,
        anchor: Anchor | None = None,
        final_only: bool = False,
    ) -> Result:
        """Paints one content.

        Args:
            content, size, steps, seed, callback, masks: as for `stylize`.
            start: (H, W, 3) float32 in [0, 1] to start from, of any size; None: what the settings say.
            anchor: an `Anchor` that holds at the final size.
            final_only: leave the smaller sizes out, which would lose what `start` has of strokes.

        Returns, raises: as `stylize`.
        """
        painting = self.painting(
            content, size, steps, seed, callback, masks=masks, start=start, anchor=anchor, final_only=final_only
        )
        return self.finish(painting)

    def painting(
        self,
        content: Source,
        size: int = 512,
        steps: int | None = None,
        seed: int = 0,
        callback: Callable[[loop.Step], Any] | Any = None,
        *,
        masks: Sequence[Mask] | None = None,
        start: np.ndarray | None = None,
        anchor: Anchor | None = None,
        final_only: bool = False,
        extend: int = 0,
    ) -> Painting:
        """A `kstyle.style.engine.painting.Painting` that is not begun yet, for `finish`; args and errors as `paint`.

        `extend`: so many steps more, in the last pass.
        """
        arguments.check_numbers(size, steps, seed)
        told = callbacks.step_functions(callback)
        picture = _read(content)
        masks = None if masks is None else regions.read(masks, [picture] * len(self.styles.pictures), "content")
        first = self._start() if start is None else images.Picture(start)
        plan = sizes.extended(sizes.plan(self.settings, picture, size, steps, final_only), extend)
        return Painting(self._kept, picture, plan, seed, told, masks, first, anchor, final_only)

    def finish(self, painting: Painting, between: Callable[[], Any] | None = None) -> Result:
        """Takes the steps of a painting that are left. Returns, raises: as `paint`.

        `between` is called between two steps, where `painting.state()` is whole.
        """
        # Of several ranks the first stops where its painting is whole; the others end when they miss it.
        with signals.noted() if distribute.silent() else contextlib.nullcontext():
            return self._finish(painting, between)

    def _finish(self, painting, between):
        extractor = self._ready(painting.seed, painting.final)
        if not painting.fitted:
            plan = memory.fitted(painting.plan, extractor, self.max_memory)
            for now, peak in zip(plan.passes, plan.peaks):
                if now.tile is not None:
                    log.info("%s", memory.told(now, peak))
            painting.fit(plan.passes)
        try:
            while painting.number < len(painting.plan) and not painting.history.ended:
                self._pass(painting, extractor, between)
            signals.hold()
        except KeyboardInterrupt as interrupt:
            if painting.canvas is None:
                raise
            signals.hold(stopped=True)
            raise Interrupted(self._result(painting)) from interrupt
        except Exception as error:
            if backend.out_of_memory(error):
                raise DataError(_too_large(painting, self.precision)) from error
            raise
        finally:
            painting.history.close()
        return self._result(painting)

    def _pass(self, painting, extractor, between):
        """The pass at hand; where memory is full against all prediction, once more in smaller tiles."""
        while True:
            try:
                backend.give_back()
                aim = painting.begin(extractor)
                backend.give_back()
                loop.run(painting.course, aim, between)
                return painting.end()
            except Exception as error:
                now = painting.plan[painting.number]
                full = backend.out_of_memory(error) and not distribute.joined()  # of the others none may know of it
                again = memory.smaller(now, extractor) if full else None
                if again is None:
                    raise
                log.warning(
                    "%d px: memory is full; the size is begun anew in tiles of %d px.", max(now.shape), again.tile
                )
                painting.again(again)

    def planned(
        self, content: Source, size: int = 512, steps: int | None = None, *, timed: bool = False
    ) -> memory.Plan:
        """How `paint` would go about it in the memory that there is: `kstyle.style.engine.memory.Plan`.

        Args, raises: as `paint`; UsageError where it does not fit.
            timed: say how long it takes too, for which some steps are taken at a small size.
        """
        plan = memory.fitted(self.painting(content, size, steps).plan, self.load(), self.max_memory)
        if not timed:
            return plan
        # The first step, in which memory is fetched and programs are made, says nothing of the others.
        tried = self.finish(self.painting(content, min(size, TRIED), steps=3, final_only=True))
        took, (height, width) = tried.history["seconds"], tried.rgb.shape[:2]
        return plan.timed((took.iloc[-1] - took.iloc[0]) / (len(took) - 1) / (height * width))

    def paint_together(
        self,
        contents: Sequence[Source],
        size: int = 512,
        steps: int | None = None,
        seed: int = 0,
        callback: Callable[[loop.Step], Any] | Any = None,
    ) -> list[Result]:
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
        arguments.check_numbers(size, steps, seed)
        told = callbacks.step_functions(callback)
        start, read = self._start(), [_read(content) for content in contents]
        plan = sizes.plan(self.settings, read[0], size, steps)
        for content in read[1:]:
            if sizes.plan(self.settings, content, size, steps) != plan:
                raise UsageError(f"{content.name} and {read[0].name} differ in shape: they cannot be painted together.")
        paintings = [
            Painting(self._kept, content, plan, seed, () if number else told, start=start)
            for number, content in enumerate(read)
        ]
        extractor = self._ready(seed, paintings[0].final)
        try:
            while paintings[0].number < len(plan) and not any(painting.history.ended for painting in paintings):
                together = objective.Together([painting.begin(extractor) for painting in paintings])
                loop.run_together([painting.course for painting in paintings], together)
                for painting in paintings:
                    painting.end()
        finally:
            for painting in paintings:
                painting.history.close()
        signals.hold()
        return [self._result(painting) for painting in paintings]

    def _ready(self, seed, final):
        sizes.check_scale(self.settings.style, final)
        backend.seed(seed)
        backend.configure(self.deterministic, final[0] * final[1])
        return self.load()

    def _result(self, painting):
        record = {**self.record(), "size": list(painting.final), "steps": painting.steps, "seed": painting.seed}
        record["scales"] = as_recorded(record["scales"], max(painting.final))
        if painting.final_only:
            record["scales"]["smallest"] = None
        return Result(painting.rgb(), painting.alpha(), painting.history.frame(), record)

    def load(self, extractor: features.Extractor | None = None) -> features.Extractor:
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

    def __getstate__(self):
        """Sent to another process without the network, which is loaded there.

        Raises:
            UsageError: another process cannot know an extractor or a loss that was given.
        """
        self.check_named("Other processes do not know {}, which this painter was given: use one job")
        return {**self.__dict__, "_extractor": None, "_progress": None}

    def check_named(self, said: str) -> None:
        """UsageError, `said` with their names for {}: an extractor or a loss was given as an object."""
        given = [*([self.given.name] if self.given else []), *self.settings.given_losses]
        if given:
            raise UsageError(f"{said.format(', '.join(given))}, or give names that a plugin registers.")

    def locate(self) -> None:
        """Names its files by their full paths, so that its record holds in every folder."""
        self.weights = None if self.weights is None else os.path.abspath(self.weights)
        if self.settings.init not in arguments.INITS:
            self.settings = self.settings.model_copy(update={"init": os.path.abspath(self.settings.init)})

    def record(self) -> dict[str, Any]:
        """What its paintings are made with, for JSON; the network is loaded for it."""
        network = self.load()
        return {
            "preset": self.preset,
            **self.settings.model_dump(mode="json"),
            **({"network": self.given.facts()} if self.given else {}),
            "blend": self.styles.blend,
            "precision": self.precision,
            "tf32": backend.tf32(),
            "deterministic": self.deterministic,
            "backend": backend.NAME,
            "device": backend.device(),
            "weights": {"origin": network.origin, "sha256": network.sha256},
            "versions": backend.versions(),
        }

    def _start(self) -> str | images.Picture:
        """A word, or the `Picture` that init names."""
        arguments.check_init(self.settings.init)
        return self.settings.init if self.settings.init in arguments.INITS else _read(self.settings.init)


def _too_large(painting, precision):
    """What to say where the pass at hand takes more memory than there is."""
    height, width = painting.plan[painting.number].shape
    smaller = [max(each.shape) for each in painting.plan[: painting.number] if max(each.shape) < max(height, width)]
    fits = f"--size {max(smaller)} fits" if smaller else f"try --size {max(height, width) // 2}, a quarter of it"
    half = ", or --precision bfloat16" if precision == "float32" else ""
    return f"{painting.content.name}: at {width}×{height} a step takes more memory than there is: {fits}{half}."


def _read(source):
    picture = images.read(source)
    for note in picture.notes:
        log.info("%s: %s", picture.name, note)
    return picture
