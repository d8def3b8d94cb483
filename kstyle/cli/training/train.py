"""`kstyle train`: options, progress and files around `kstyle.train`."""

import click

from kstyle.cli.common.options import PATH, data_folder, device, plugin
from kstyle.io.files import json_text


@click.command()
@click.argument("recipe", type=PATH, required=False, metavar="[RECIPE]")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change any setting: optimizer.learning_rate=0.05"
)
@data_folder
@click.option("--run", type=PATH, metavar="DIR", help="Folder of the run.  [default: runs/RECIPE-date-time]")
@click.option("--resume", is_flag=True, help="Go on with --run, by its own recipe; --epochs N: to N in all.")
@click.option("--epochs", type=click.IntRange(min=1), help="So many in all; stages share them.")
@click.option("--seed", type=click.IntRange(min=0), help="Short for --set seed=N.")
@click.option(
    "--devices", type=click.IntRange(min=1), help="Train on so many GPUs, or parts of the cores, of this one."
)
@device
@plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def train(recipe, overrides, data, run, resume, epochs, seed, devices, as_json, quiet):
    """Train by RECIPE: a name from `kstyle recipes`, a YAML file, or a folder of photographs with one a class."""
    from kstyle import config
    from kstyle.cli.common import ranks
    from kstyle.errors import UsageError
    from kstyle.training.setup import settings

    given = config.parse_overrides(overrides)
    given |= {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    if resume and not run:
        raise UsageError("--resume needs --run DIR: which run to go on with.")
    if not resume:
        if not recipe:
            raise UsageError(f"Which recipe? Known: {', '.join(config.names('train'))}.")
        recipe, given = settings.load(recipe, given), None  # answers before a framework is loaded

    if devices is not None and ranks.asked(devices):
        raise click.exceptions.Exit(ranks.start(devices, again="--resume --run DIR"))
    from kstyle.backend import distribute
    from kstyle.cli.common.progress import Progress

    speaks = distribute.first()
    with ranks.one_of_several(), Progress(quiet=quiet or as_json or not speaks) as progress:
        from kstyle.training import train as training

        try:
            done = training.train(
                recipe, data, run, resume, overrides=given, look=progress.look, progress=progress.download
            )
        except training.Interrupted as stop:
            import shlex

            if speaks:
                click.echo(f"Stopped. To go on: kstyle train --resume --run {shlex.quote(str(stop.folder))}", err=True)
            raise click.exceptions.Exit(130) from None
    if not speaks:
        return
    last = done.history.iloc[-1]
    if as_json:
        scores = done.scores.as_json()
        summary = {
            "run": str(done.folder),
            "epochs": len(done.history),
            "seconds": round(float(done.history["seconds"].sum()), 1),
        }
        kept = {key: scores[key] for key in ("top1", "top5", "boxes") if key in scores}
        click.echo(json_text({**summary, "loss": float(last["loss"]), **kept}))
    elif not quiet:
        boxes = f", mean IoU {done.scores.boxes['iou']:.4f}" if done.scores.boxes else ""
        click.echo(f"{done.folder}: top-1 {100 * done.scores.top1:.2f} %{boxes} on {done.scores.count} test pictures")
