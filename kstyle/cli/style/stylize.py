"""`kstyle stylize`: options, progress and files around `kstyle.stylize`."""

import click

from kstyle.cli.common import options as painting
from kstyle.errors import UsageError
from kstyle.io import signals
from kstyle.io.files import json_text

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
    content, styles, output, preset, overrides, size, steps, seed, style_weight, masks, style_masks, save_every,
    preview, as_json, quiet, **options,
):  # fmt: skip
    """Paint CONTENT in the style of one or more STYLE pictures."""
    from kstyle.style.target import Target

    given = {name: options.pop(name) for name in _SETTINGS}
    settings, blend = painting.settings_and_blend(preset, len(styles), style_weight, overrides, **given)
    if "content" in settings:  # a section, but to `stylize` the picture
        settings |= {f"content.{key}": value for key, value in settings.pop("content").items()}
    for name, given in (("mask", masks), ("style-mask", style_masks)):
        if given and len(given) != len(styles):
            raise UsageError(f"--{name} is given {len(given)} times for {len(styles)} styles: once for each, or never.")
    target = Target(output, [content, *styles], [*masks, *style_masks], save_every)
    if target.piped and (as_json or save_every):
        raise UsageError(f"-o - is for the picture alone: give a file for {'--json' if as_json else '--save-every'}.")

    # Everything above answers at once; from here on a framework is loaded.
    from kstyle.cli.common.progress import Progress

    with target, Progress(quiet=quiet or as_json, preview=preview) as progress:
        from kstyle.style import transfer

        interrupted = False
        try:
            painter = transfer.Painter(
                list(styles), preset, blend=blend, style_masks=list(style_masks) or None, progress=progress.download,
                **options, **settings,
            )  # fmt: skip
            after_step = [progress.step, target.snapshot]
            result = painter.paint(content, size, steps, seed, after_step, masks=list(masks) or None)
        except transfer.Interrupted as stop:
            result, interrupted = stop.result, True
        target.write(result)
    _report(result, target.path, interrupted, as_json, quiet)
    if interrupted:
        raise click.exceptions.Exit(130)


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
