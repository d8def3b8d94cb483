"""`kstyle stylize`: options, progress and files around `kstyle.stylize`."""

import contextlib
import logging
from pathlib import Path

import click

from kstyle.cli.common import options as painting
from kstyle.errors import KStyleError, UsageError
from kstyle.io import files, signals, streams
from kstyle.io.files import json_text

log = logging.getLogger("kstyle")

# Options that are settings of the preset.
_SETTINGS = ("optimizer", "strength", "content_weight", "tv_weight", "colour", "init", "extractor")


@click.command()
@click.argument("content", type=painting.PATH, metavar="CONTENT")
@click.argument("styles", type=painting.PATH, metavar="STYLE...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=painting.PATH,
    metavar="FILE",
    help="PNG, JPEG, WebP or TIFF. Default: CONTENT-STYLE.png, here, under a free name.",
)
@painting.preset
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change any setting of the preset: style.scale=0.5"
)
@click.option("--size", default=512, show_default=True, help="Long side of the result, pixels.")
@click.option("--steps", type=int, help="Gradient evaluations in all.  [default: the preset's]")
@click.option(
    "--strength", type=float, metavar="0..1", help="How much style, whatever the picture and its size; 0.5 is usual."
)
@painting.style_weight
@click.option("--content-weight", type=float, help="Weight of content.")
@click.option("--tv-weight", type=float, help="Weight of smoothness (total variation).")
@painting.colour
@click.option(
    "--mask",
    "masks",
    type=painting.PATH,
    multiple=True,
    metavar="FILE|alpha|all",
    help="Where in CONTENT a style goes, white on black: once for each STYLE.",
)
@click.option(
    "--style-mask", "style_masks", type=painting.PATH, multiple=True, metavar="FILE|all",
    help="What of a STYLE counts: once for each.",
)  # fmt: skip
@painting.init
@click.option("--optimizer", metavar="NAME", help="lbfgs, torch-adam, or one of Keras' optimisers: adam, sgd, …")
@painting.extractor
@painting.weights
@painting.precision
@painting.seed
@painting.deterministic
@click.option("--save-every", type=click.IntRange(min=1), metavar="N", help="Also write OUTPUT-stepNNNN every N steps.")
@click.option("--preview", is_flag=True, help="Show a thumbnail under the progress bar.")
@painting.plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@signals.kept()  # from the end of the painting until it is written
def stylize(
    content, styles, output, preset, overrides, size, style_weight, masks, style_masks, save_every, preview, as_json,
    quiet, **options,
):  # fmt: skip
    """Paint CONTENT in the style of one or more STYLE pictures."""
    from kstyle.io import names
    from kstyle.pictures import images

    given = {name: options.pop(name) for name in _SETTINGS}
    settings, blend = painting.settings_and_blend(preset, len(styles), style_weight, overrides, **given)
    if "content" in settings:  # a section, but to `stylize` the picture
        settings |= {f"content.{key}": value for key, value in settings.pop("content").items()}
    for name, given in (("mask", masks), ("style-mask", style_masks)):
        if given and len(given) != len(styles):
            raise UsageError(f"--{name} is given {len(given)} times for {len(styles)} styles: once for each, or never.")
    target = images.check_target(output or _default_name(content, styles))
    names.check_spares([target, *_snapshots_there(target, save_every)], [content, *styles, *masks, *style_masks])
    if str(target) == streams.STANDARD and (as_json or save_every):
        raise UsageError(f"-o - is for the picture alone: give a file for {'--json' if as_json else '--save-every'}.")

    # Everything above answers at once; from here on a framework is loaded.
    from kstyle.cli.common.progress import Progress

    # A default name is claimed, so that two who paint the same have two pictures.
    claim = contextlib.nullcontext(target) if output else files.claimed(target)
    with claim as target, Progress(quiet=quiet or as_json, preview=preview) as progress:
        from kstyle.style import transfer
        from kstyle.style.jobs import rescue

        snapshot = _Snapshots(target, save_every)

        def after_step(step):
            progress.step(step)
            snapshot(step)

        interrupted = False
        try:
            result = transfer.stylize(
                content, list(styles), preset=preset, size=size, blend=blend, masks=list(masks) or None,
                style_masks=list(style_masks) or None, callback=after_step, progress=progress.download, **options,
                **settings,
            )  # fmt: skip
        except transfer.Interrupted as stop:
            result, interrupted = stop.result, True
        rescue.write(result, target)
    _report(result, target, interrupted, as_json, quiet)
    if interrupted:
        raise click.exceptions.Exit(130)


class _Snapshots:
    """Writes the picture after every so many steps. One that cannot be written is not the end of the painting."""

    def __init__(self, target, every):
        self._target, self._every, self._failed = target, every, False

    def __call__(self, step):
        from kstyle.pictures import images

        if not self._every or (step.step + 1) % self._every:
            return
        path = _snapshot(self._target, step.step + 1)
        try:
            images.write(path, step.image(), step.alpha())
        except KStyleError as error:
            if not self._failed:
                log.warning("%s The painting goes on; of snapshots that fail only this one is told.", error)
            self._failed = True


def _snapshots_there(target, every):
    """The files that snapshots would replace."""
    found = []
    for path in target.parent.glob("*-step*") if every else ():
        number = path.stem.rpartition("-step")[2]
        if number.isdecimal() and int(number) % every == 0 and path.name == _snapshot(target, int(number)).name:
            found.append(path)
    return found


def _snapshot(target, number):
    return files.ending(target, f"-step{number:04d}")


def _default_name(content, styles):
    stems = ["pipe" if streams.is_stream(path) else Path(path).stem for path in (content, *styles)]
    return Path(f"{files.cut('-'.join(stems), 150)}.png")


def _report(result, target, interrupted, as_json, quiet):
    last = result.history.iloc[-1] if len(result.history) else {}
    height, width = result.rgb.shape[:2]
    steps, seconds = len(result.history), float(last.get("seconds", 0))
    if as_json:
        summary = {
            "output": str(target),
            "width": width,
            "height": height,
            "steps": steps,
            "seconds": round(seconds, 2),
        }
        click.echo(json_text({**summary, **result.losses, "interrupted": interrupted, "settings": result.settings}))
    elif interrupted:
        planned = result.settings["steps"]
        click.echo(f"kstyle: stopped after {steps} of {planned} steps; the picture so far is in {target}", err=True)
    elif not quiet:
        click.echo(f"{target}: {width}×{height}, {steps} steps in {seconds:.0f} s, loss {last['loss']:.4g}", err=True)
