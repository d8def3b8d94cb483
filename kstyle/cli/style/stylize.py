"""`kstyle stylize`: options, progress and files around `kstyle.stylize`."""

import contextlib

import click

from kstyle.cli.common import options as painting
from kstyle.cli.common import ranks
from kstyle.cli.common.sectioned import Sectioned
from kstyle.cli.common.watching import watched
from kstyle.errors import UsageError
from kstyle.io import names, signals, streams
from kstyle.io.files import amount, json_text, one_line

# Options that are settings of the preset.
_SETTINGS = ("optimizer", "strength", "content_weight", "tv_weight", "colour", "init", "extractor")

# Options that may be given with --resume.
_WITH_RESUME = (
    "resume", "extend", "save_seconds", "output", "save_every", "preview", "devices", "plugin", "as_json", "quiet"
)  # fmt: skip
# Seconds for a step of a large picture, which a stop waits for.
_STEP = 900
# {title: parameters}, in the order of the help.
_SECTIONS = {
    "Files": ("output", "masks", "style_masks", "weights", "save_every"),
    "Look": (
        *("preset", "overrides", "size", "steps", "strength", "style_weight", "content_weight", "tv_weight"),
        *("colour", "init", "optimizer", "extractor", "refine"),
    ),
    "Control": ("precision", "device", "devices", "max_memory", "seed", "deterministic"),
    "Run": (),
}
_EXAMPLES = (
    "kstyle stylize photo.jpg painting.jpg -o result.png --size 1024 --strength 0.6",
    "kstyle stylize photo.jpg waves.jpg sky.jpg --mask sea.png --mask clouds.png --colour luminance",
)


@click.command(cls=Sectioned, sections=_SECTIONS, examples=_EXAMPLES)
@click.argument("content", type=painting.PATH, metavar="CONTENT", required=False)
@click.argument("styles", type=painting.STYLE, metavar="STYLE...", nargs=-1)
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
@painting.device
@click.option(
    "--devices", type=click.IntRange(min=1),
    help="Share one large picture among so many GPUs, or parts of the cores, of this machine.",
)  # fmt: skip
@painting.seed
@painting.deterministic
@painting.max_memory
@painting.network
@click.option("--refine", type=click.IntRange(min=1), metavar="N", help="With a style network: N steps after it.")
@click.option("--save-every", type=click.IntRange(min=1), metavar="N", help="Also write OUTPUT-stepNNNN every N steps.")
@click.option("--run", type=painting.PATH, metavar="DIR", help="Keep the painting in DIR, for --resume.")
@click.option("--resume", type=painting.PATH, metavar="DIR", help="Go on with the painting in DIR as it was begun.")
@click.option(
    "--extend", type=click.IntRange(min=1), metavar="N", help="With --resume: N steps more, at the final size."
)
@click.option(
    "--save-seconds", type=click.FloatRange(min=0), default=60, show_default=True, metavar="N",
    help="With --run and --resume: save every N seconds.",
)  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="Say how it would be painted, in how much memory and time; paint nothing."
)
@click.option("--preview", is_flag=True, help="Show a thumbnail under the progress bar, and a page to watch.")
@painting.plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.pass_context
@signals.kept()  # from the end of the painting until it is written
def stylize(
    context, content, styles, output, preset, overrides, size, steps, seed, style_weight, masks, style_masks,
    network, refine, save_every, run, resume, extend, save_seconds, dry_run, preview, devices, as_json, quiet,
    **options,
):  # fmt: skip
    """Paint CONTENT in the style of one or more STYLE pictures, or by one style network.

    A style network is a file of `kstyle learn`, or one that comes with kstyle, style:NAME (`kstyle styles`).
    """
    from kstyle.style.keeping.folder import Folder
    from kstyle.style.target import Target

    given, folder = {name: options.pop(name) for name in _SETTINGS}, None
    if resume is None:
        _check_given(context, extend)
        learned = painting.style_network(styles, network)
        count = len(learned["styles"]) if learned else len(styles)
        settings, blend = painting.settings_and_blend(preset, count, style_weight, overrides, **given)
        for name in {"content", "network"} & set(settings):  # sections, but to `stylize` the picture and a file
            settings |= {f"{name}.{key}": value for key, value in settings.pop(name).items()}
        for name, given in (("mask", masks), ("style-mask", style_masks)):
            if given and len(given) != count:
                raise UsageError(f"--{name} is given {len(given)} times for {count} styles: once for each, or never.")
        if dry_run and (learned or network):
            raise UsageError("--dry-run tells of an optimiser's steps; a style network takes none: leave it out.")
        inputs = [*masks, *style_masks, *([] if network is None else [network])]
        target = Target(output, [content, *styles], inputs, save_every)
    else:
        painting.check_resumed(context, resume, _WITH_RESUME, "begin a new painting")
        folder = Folder(resume, save_seconds)
        if not (output or extend or as_json) and (path := folder.ready()):
            if not quiet:
                click.echo(f"{one_line(folder.path)} is finished: {path}. --extend N adds N steps.", err=True)
            return
        target = Target(output or folder.output(), (), folder.inputs(), save_every)
    if target.piped and (as_json or save_every):
        raise UsageError(f"-o - is for the picture alone: give a file for {'--json' if as_json else '--save-every'}.")

    # Everything above answers at once; from here on a framework is loaded.
    if devices is not None and ranks.asked(devices, jax=False):
        if dry_run or any(map(streams.is_stream, filter(None, (content, *styles, *masks, *style_masks)))):
            what = "--dry-run is about one process" if dry_run else "processes cannot share a pipe"
            raise UsageError(f"--devices {devices}: {what}.")
        raise click.exceptions.Exit(ranks.start(devices, again="--resume DIR", grace=_STEP))
    if resume is None and (learned or network):
        from kstyle import startup

        startup.load_keras_alone()
    from kstyle.backend import distribute
    from kstyle.cli.common.progress import Progress

    if dry_run:
        with Progress(quiet=quiet or as_json) as progress:
            options |= {"blend": blend, "style_masks": list(style_masks) or None, "progress": progress.download}
            _say_plan(_planned(content, styles, preset, size, steps, {**options, **settings}), as_json)
        return

    speaks = distribute.first()
    with (
        ranks.one_of_several(),
        target if speaks else contextlib.nullcontext(),
        watched(_page(content, styles, folder, network) if preview and speaks and not quiet else None) as live,
        Progress(quiet=quiet or as_json or not speaks, preview=preview and speaks) as progress,
    ):
        from kstyle.style import stylize as painted
        from kstyle.style.transfer import Interrupted

        after_step, interrupted = [progress.step, target.snapshot] if speaks else None, False
        if live:
            after_step.append(live.step)
        try:
            with distribute.among_ranks():
                if resume is not None:
                    result = painted.resume(folder, extend or 0, after_step, progress=progress.download)
                else:
                    folder = Folder(run, save_seconds, target.path) if run is not None else None
                    result = painted.stylize(
                        content, list(styles), preset, size, steps, seed=seed, callback=after_step, blend=blend,
                        masks=list(masks) or None, style_masks=list(style_masks) or None, progress=progress.download,
                        run=folder, refine=refine or 0, network=network, **options, **settings,
                    )  # fmt: skip
        except Interrupted as stop:
            result, interrupted = stop.result, True
        if not speaks:
            return
        if live:
            live.done(result, interrupted)
        target.write(result)
    _report(result, target.path, interrupted, as_json, quiet, folder)
    if interrupted:
        raise click.exceptions.Exit(130)
    if folder and folder.fault:  # which the log has told
        raise click.exceptions.Exit(1)


def _page(content, styles, folder, network):
    """The page that shows the painting as it goes on; None: it is painted at once."""
    if network or (styles and painting.style_network(styles)):
        return None
    from kstyle.reports import live
    from kstyle.style.keeping.sources import numbered

    if content is None:
        given = folder.record()["pictures"]
        content, *styles = (given[name].get("path") for name in ("content", *numbered(given, "style")))
    # What comes through a pipe can be read once.
    return live.of_painting(*(None if each is None or streams.is_stream(each) else each for each in (content, *styles)))


def _planned(content, styles, preset, size, steps, options):
    from kstyle.style.transfer import Painter

    return Painter(list(styles), preset, **options).planned(content, size, steps, timed=True)


def _say_plan(plan, as_json):
    from kstyle.cli.common.progress import clock
    from kstyle.style.engine import memory

    if as_json:
        rows = [
            {
                "width": now.shape[1],
                "height": now.shape[0],
                "steps": now.steps,
                "tile": now.tile,
                "halved": now.halved,
                "bytes": peak,
            }
            for now, peak in zip(plan.passes, plan.peaks)
        ]
        click.echo(json_text({"passes": rows, "bytes": max(plan.peaks), "limit": plan.limit, "seconds": plan.seconds}))
        return
    for now, peak in zip(plan.passes, plan.peaks):
        click.echo(memory.told(now, peak))
    limit, peak = amount(plan.limit), amount(max(plan.peaks))
    click.echo(f"at most about {peak} of {limit}, in about {clock(plan.seconds)}")


def _check_given(context, extend):
    """What is needed but for --resume, and what is for it alone."""
    for parameter in context.command.params:
        if parameter.name in ("content", "styles") and not context.params[parameter.name]:
            raise click.MissingParameter(ctx=context, param=parameter)
    if extend:
        raise UsageError("--extend adds steps to a painting that was kept: give --resume DIR, too.")


def _report(result, target, interrupted, as_json, quiet, folder):
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
        more = names.command(["kstyle", "stylize", "--resume", names.argument(folder.path)]) if folder else ""
        more = more and f"; to go on: {more}"
        said = f"stopped after {steps} of {planned} steps; the picture so far is in {target}"
        click.echo(f"kstyle: {said}{more}", err=True)
    elif not quiet:
        took = f"{steps} steps in {seconds:.0f} s, loss {last['loss']:.4g}" if steps else ""
        took = took or f"in {result.settings['painted_in']:.2f} s"  # by a style network, in no steps
        click.echo(f"{target}: {width}×{height}, {took}", err=True)
