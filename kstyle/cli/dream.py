"""`kstyle dream`: options, progress and files around `kstyle.inspect.dream` and `kstyle.inspect.zoom`."""

import click

from kstyle.cli.common import options as common
from kstyle.errors import UsageError
from kstyle.io import signals, streams
from kstyle.io.files import json_text

_ZOOM = ("enlarge", "turn", "fps")


@click.command()
@click.argument("image", type=common.PATH, metavar="IMAGE")
@click.option("-o", "--output", type=common.PATH, required=True, metavar="FILE", help="A picture; with --zoom a film.")
@click.option(
    "--model", type=common.PATH, default="vgg19", show_default=True, metavar="MODEL",
    help="What dreams: a network's name, a run's folder, a .keras file.",
)  # fmt: skip
@click.option(
    "--layers",
    multiple=True,
    metavar="NAME[=WEIGHT][,...]",
    help="What is to be excited: `kstyle inspect layers MODEL`.",
)
@click.option("--guide", type=common.PATH, metavar="FILE", help="Dream of what is in this picture.")
@click.option("--size", type=int, help="Long side of the result, pixels.  [default: 512; 320 with --zoom]")
@click.option("--octaves", type=int, help="Sizes at which it dreams.  [default: 4; 2 with --zoom]")
@click.option("--octave-scale", default=1.4, show_default=True, help="How much larger each is than the one before.")
@click.option("--steps", type=int, help="Steps at each size.  [default: 10; 4 with --zoom]")
@click.option("--rate", default=0.01, show_default=True, help="How far a step moves colours from 0 to 1.")
@click.option("--tile", default=512, show_default=True, help="Pixels a side that are looked at at once.")
@click.option("--zoom", type=click.IntRange(min=2), metavar="N", help="A film of N frames, deeper and deeper.")
@click.option("--enlarge", default=1.04, show_default=True, help="With --zoom: from frame to frame.")
@click.option("--turn", default=0.0, show_default=True, help="With --zoom: degrees from frame to frame.")
@click.option("--fps", default=12.0, show_default=True, help="With --zoom: frames a second.")
@common.weights
@click.option(
    "--preprocessing", metavar="NAME", help="What a .keras file wants: raw, torch, caffe, tf.  [default: raw]"
)
@common.device
@common.seed
@click.option("--save-every", type=click.IntRange(min=1), metavar="N", help="Also write OUTPUT-stepNNNN every N steps.")
@click.option("--preview", is_flag=True, help="Show a thumbnail under the progress bar.")
@common.plugin
@common.allow_code
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.pass_context
@signals.kept()
def dream(context, image, output, layers, zoom, save_every, preview, as_json, quiet, **options):
    """Let a network dream on IMAGE: what its layers see in it is amplified until everybody sees it (Deep Dream)."""
    options = {name: value for name, value in options.items() if value is not None}
    options["layers"] = parsed(layers)
    if zoom:
        if save_every:
            raise UsageError("--save-every is for a picture; a film's frames are all in it.")
        _film(image, output, zoom, options, as_json, quiet)
        return
    for name in _ZOOM:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name} is for a film: give --zoom N, too.")
        options.pop(name)
    _picture(image, output, options, save_every, preview, as_json, quiet)


def _picture(image, output, options, save_every, preview, as_json, quiet):
    from kstyle.cli.common.progress import Progress
    from kstyle.style.target import Target

    target, interrupted = Target(output, [image], [options.get("guide")], save_every), False
    if target.piped and (as_json or save_every):
        raise UsageError(f"-o - is for the picture alone: give a file for {'--json' if as_json else '--save-every'}.")
    with target, Progress(quiet=quiet or as_json, preview=preview) as progress:
        from kstyle.inspect.ascent import dream as dreams
        from kstyle.style.result import Interrupted

        def after_step(step):
            progress.step(step)
            target.snapshot(step)

        try:
            result = dreams.dream(image, callback=after_step, progress=progress.download, **options)
        except Interrupted as stop:
            result, interrupted = stop.result, True
        target.write(result)
    height, width = result.rgb.shape[:2]
    steps, seconds = len(result.history), float(result.history["seconds"].iloc[-1]) if len(result.history) else 0.0
    if as_json:
        summary = {"output": str(target.path), "width": width, "height": height, "steps": steps}
        found = {name: -value for name, value in result.losses.items() if name != "loss"}
        more = {"seconds": round(seconds, 2), "excitement": found, "interrupted": interrupted}
        click.echo(json_text({**summary, **more, "settings": result.settings}))
    elif not quiet:
        click.echo(f"{target.path}: {width}×{height}, {steps} steps in {seconds:.0f} s", err=True)
    if interrupted:
        raise click.exceptions.Exit(130)


def _film(image, output, frames, options, as_json, quiet):
    from kstyle.cli.common.progress import PicturesProgress

    if str(output) == streams.STANDARD:
        raise UsageError("-o -: a film is written to a file: give its name, deeper.gif say.")
    with PicturesProgress(quiet=quiet or as_json) as progress:
        from kstyle.inspect.ascent import zoom as zooms

        progress.pictures(frames)
        told = {"callback": progress.step, "progress": lambda done, total: progress.picture("done")}
        path = zooms.zoom(image, output, frames, **told, **options)
    if as_json:
        click.echo(json_text({"output": str(path), "frames": frames, "fps": options["fps"]}))
    elif not quiet:
        click.echo(f"{path}: {frames} frames", err=True)


def parsed(texts):
    """`("relu4_2", "relu5_1=0.5,relu5_2")` -> {"relu4_2": 1.0, "relu5_1": 0.5, "relu5_2": 1.0}; nothing: None."""
    found = {}
    for part in ",".join(texts).split(",") if texts else ():
        name, _, weight = part.strip().partition("=")
        try:
            found[name] = float(weight or 1)
        except ValueError:
            raise UsageError(f"--layers expects names, or NAME=WEIGHT with a number; got '{part.strip()}'.") from None
    return found or None
