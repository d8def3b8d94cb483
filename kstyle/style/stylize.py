"""`kstyle.stylize`: a content picture and style pictures in, a painting out; `kstyle.resume`: one that was kept goes
on."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kstyle.backend import distribute
from kstyle.errors import UsageError
from kstyle.pictures.images import Source
from kstyle.style import arguments, by_network
from kstyle.style.arguments import Extractor, Mask, Optimizer, Preset, Term
from kstyle.style.by_arbitrary import ArbitraryPainter
from kstyle.style.engine import loop
from kstyle.style.keeping.checkpoint import SECONDS
from kstyle.style.keeping.folder import Folder
from kstyle.style.keeping.sources import Found, Sources
from kstyle.style.result import Result
from kstyle.style.settings import StyleSettings
from kstyle.style.transfer import Painter


def stylize(
    content: Source,
    styles: Source | Sequence[Source],
    preset: Preset = "kstyle",
    size: int = 512,
    steps: int | None = None,
    optimizer: Optimizer | None = None,
    precision: str = "auto",
    seed: int = 0,
    callback: Callable[[loop.Step], Any] | Any = None,
    *,
    masks: Sequence[Mask] | None = None,
    style_masks: Sequence[Mask] | None = None,
    blend: Sequence[float] | None = None,
    weights: str | os.PathLike[str] | None = None,
    extractor: Extractor | None = None,
    terms: Term | Sequence[Term] | None = None,
    deterministic: bool = False,
    progress: Callable[[int, int], Any] | None = None,
    max_memory: str | int | None = None,
    run: str | os.PathLike[str] | Folder | None = None,
    save_seconds: float = SECONDS,
    refine: int = 0,
    network: str | os.PathLike[str] | dict[str, Any] | None = None,
    **overrides: Any,
) -> Result:
    """Makes a picture with the content of one picture and the style of others.

    Args:
        content: path, `PIL.Image` or array ((H, W), (H, W, 3) or (H, W, 4); uint8, uint16 or float in [0, 1]).
        styles: one such, or a list; or the file of a style network (`kstyle.learn`), or `"style:NAME"` of one that
            comes with kstyle (`kstyle.styles`), which paints at once. It takes `size`, `precision`, `masks`, `blend`,
            `refine`, and of settings `colour`, `strength` and `style.scale`.
        preset: a name from `kstyle presets`, the path of a YAML file, or a mapping of what such a file says.
        size: long side of the result in pixels.
        steps: gradient evaluations in all; at several scales they are shared out in the preset's proportions. None:
            the preset's.
        optimizer: `"lbfgs"`, a Keras optimiser's name, a mapping of `name` and its arguments, or a
            `keras.optimizers.Optimizer`, of which another like it is made at each size. None: the preset's.
        precision: of the features: `"auto"`, `"float32"` or `"bfloat16"`.
        seed: of the noise a preset may start from, and of the positions its terms may draw.
        callback: called after every step with a `kstyle.style.engine.loop.Step`; what it returns, if true, ends the
            painting there. Or a callback of Keras', for which a step is an epoch (`kstyle.nn.callbacks.StepCallback`);
            or a list of such.
        masks: for each style the region of the content that it is for: a picture of the content's shape, white inside,
            grey where it fades; `"alpha"` for the content's own opacity; None for all of it. None: every style
            everywhere.
        style_masks: for each style the region of it that is painted after, likewise. None: what of it is opaque.
        blend: a weight for each style; None: equal.
        weights: a file to take the network's weights from.
        extractor: the name of a network, or a `kstyle.Extractor`, of a model of your own, say, whose layers
            `content.layers` and `style.layers` then name. None: the preset's.
        terms: style losses beside the preset's `style`, in place of its `terms`: functions
            `distance(features, features_of_style)` -> scalar, names, or mappings of what a preset says of a term:
            `{"loss": my_loss, "weight": 3, "layers": {"relu2_1": 1}}`, with `"statistics"` as for
            `kstyle.losses.register`. A function is known to this painting alone, by its own name. Weight 1 and the
            layers of `style` where none are given. None: the preset's.
        deterministic: the same bits every time on the same machine, at the cost of speed.
        progress: `progress(done_bytes, total_bytes)` while weights are downloaded.
        max_memory: what the process may hold, `"6GB"` or bytes. A size that takes more is painted by tiles, with the
            same result but for rounding, or refused before the first step. None: what is free.
        run: a folder that keeps the painting, so that `kstyle.resume` goes on with it after whatever stopped it, or
            adds steps; it must not hold a run yet. None: nothing is kept.
        save_seconds: between two checkpoints in `run`; more where saving would take over 2 % of the time.
        refine: for a style network: so many steps of its preset's optimiser from the network's picture on.
        network: the file of a network for any style (`kstyle.learn(paintings=…)`), which paints after the styles at
            once. It takes what a style network takes, and `style_masks` and `weights`; `strength` is then how far it
            moves the content's features to the styles'. A mapping is the preset's section `network`.
        **overrides: any setting of the preset: `style_weight=20`, `init="noise"`, `style={"scale": 0.5}`, or dotted
            keys through `**{"scales.smallest": 128}`.

    Returns:
        A `Result`: `.image`, `.history`, `.settings`.

    Raises:
        UsageError: an option that does not exist or cannot be.
        DataError: a picture, a mask or weights that cannot be used.
        Interrupted: Ctrl-C, with the result so far.

    >>> import kstyle, numpy
    >>> content, style = numpy.full((48, 64, 3), 0.5), numpy.random.default_rng(0).random((48, 64, 3))
    >>> result = kstyle.stylize(content, style, "gatys", size=64, steps=2)
    >>> result.rgb.shape, len(result.history)
    ((48, 64, 3), 2)
    """

    def painter(styles, style_masks):
        return Painter(
            styles, preset, optimizer, precision, style_masks=style_masks, blend=blend, weights=weights,
            extractor=extractor, terms=terms, deterministic=deterministic, progress=progress,
            max_memory=max_memory, **overrides,
        )  # fmt: skip

    if isinstance(network, Mapping):
        overrides["network"], network = network, None
    path = network if network is not None else by_network.network_of(styles)
    if path is not None:
        others = {"steps": steps, "optimizer": optimizer, "extractor": extractor, "terms": terms, "run": run}
        if network is None:  # nothing looks at style pictures
            others |= {"style_masks": style_masks, "weights": weights}
        by_network.check_alone({name for name, value in others.items() if value is not None})
        own: dict[str, Any] = {"styles": styles, "style_masks": style_masks, "preset": preset, "weights": weights}
        fast = (
            by_network.NetworkPainter(path, blend, precision, overrides, max_memory)
            if network is None
            else ArbitraryPainter(path, blend, precision, overrides, max_memory, progress=progress, **own)
        )
        return fast.paint(content, size, masks=masks, refine=refine, seed=seed, callback=callback)
    if refine:
        raise UsageError("refine adds steps to what a style network paints: give one as the style, or steps.")
    if run is None or distribute.silent():
        return painter(styles, style_masks).paint(content, size, steps, seed, callback, masks=masks)
    folder = run if isinstance(run, Folder) else Folder(run, save_seconds)
    arguments.check_numbers(size, steps, seed)
    given = Sources(content, styles, masks, style_masks)
    return folder.begin(given, lambda: painter(given.styles, given.style_masks), size, steps, seed, callback)


def resume(
    run: str | os.PathLike[str] | Folder,
    extend: int = 0,
    callback: Callable[[loop.Step], Any] | Any = None,
    *,
    save_seconds: float = SECONDS,
    progress: Callable[[int, int], Any] | None = None,
) -> Result:
    """Goes on with a painting that `kstyle.stylize(…, run=folder)` or `kstyle stylize --run` began, from its last
    checkpoint, however it was ended.

    On the same machine, with `deterministic`, the picture is to the last bit what it had been without the stop. A
    painting that is done is only given again, unless it is to have more steps.

    Args:
        run: the folder.
        extend: steps that are added, at the final size.
        callback, progress: as for `kstyle.stylize`; callbacks are not kept.
        save_seconds: between two checkpoints.

    Returns:
        A `Result`, as `kstyle.stylize`, of all steps so far.

    Raises:
        DataError: the folder holds no painting; a picture, the settings or the network's weights are not those that it
            began with, which is told by name; or no checkpoint is whole.
        UsageError: another process is in the folder, a plugin is missing, or an argument cannot be.
        Interrupted: Ctrl-C, after the step at hand, with the result so far; the state is saved.

    >>> import kstyle, numpy
    >>> content, style = numpy.full((48, 64, 3), 0.5), numpy.random.default_rng(0).random((48, 64, 3))
    >>> result = kstyle.stylize(content, style, "gatys", size=64, steps=2, run="painting")
    >>> longer = kstyle.resume("painting", extend=3)
    >>> len(result.history), len(longer.history)
    (2, 5)
    """
    folder = run if isinstance(run, Folder) else Folder(run, save_seconds)

    return folder.go_on(lambda record, pictures: painter_of(record, pictures, progress), extend, callback)


def painter_of(
    record: Mapping[str, Any], pictures: Found, progress: Callable[[int, int], Any] | None = None
) -> Painter:
    """The `Painter` of a painting that goes on.

    Args:
        record: of its `Folder`.
        pictures: that the record names.
        progress: as for `stylize`.

    Raises: as `Painter`.
    """
    made = record["made_with"]
    settings = {key: made[key] for key in StyleSettings.model_fields if key in made}
    painter = Painter(
        pictures.styles, settings, precision=made["precision"], style_masks=pictures.style_masks,
        blend=made["blend"], weights=record["weights"], deterministic=made["deterministic"], progress=progress,
        max_memory=record.get("max_memory"),
    )  # fmt: skip
    painter.preset = made["preset"]
    return painter
