"""`kstyle train`: options, progress and files around `kstyle.train`."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, allow_code, data_folder, device, plugin
from kstyle.cli.common.watching import watched
from kstyle.io.files import json_text


@click.command()
@click.argument("recipe", type=PATH, required=False, metavar="[RECIPE]", shell_complete=completing.files_of("train"))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change any setting: optimizer.learning_rate=0.05"
)
@data_folder
@click.option(
    "--run", type=PATH, metavar="DIR", help="Folder of the run.  [default: runs/RECIPE-date-time]",
    shell_complete=completing.runs,
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with --run, by its own recipe; --epochs N: to N in all.")
@click.option("--epochs", type=click.IntRange(min=1), help="So many in all; stages share them.")
@click.option(
    "--show-batch",
    type=PATH,
    metavar="FILE",
    help="Write a sheet of the first batch, augmented, and end.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Short for --set seed=N.")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Train with each of these values, each a run in --run DIR; repeated: with every combination.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Train with so many seeds, each a run in --run DIR.")
@click.option(
    "--devices", type=click.IntRange(min=1), help="Train on so many GPUs, or parts of the cores, of this one."
)
@click.option("--preview", is_flag=True, help="Serve a page on which this machine can watch the training.")
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def train(
    recipe, overrides, data, run, resume, epochs, show_batch, seed, varied, seeds, devices, preview, as_json, quiet
):  # fmt: skip
    """Train by RECIPE: a name from `kstyle recipes`, a YAML file, or a folder of photographs with one a class.

    With --vary or --seeds it is a study: many trainings, with a table, their means and a plot in --run DIR.
    """
    from kstyle import config
    from kstyle.cli.common import ranks
    from kstyle.cli.training import study
    from kstyle.errors import UsageError
    from kstyle.training.setup import settings

    given = config.parse_overrides(overrides)
    given |= {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    if varied or seeds:
        if not (recipe and run) or resume or show_batch or devices or preview:
            raise UsageError(
                "--vary and --seeds need a RECIPE and --run DIR, which goes on where it was stopped by itself: leave "
                "--resume, --show-batch, --preview and --devices out."
            )
        return study.run(recipe, given, varied, seeds or 1, run, data, as_json, quiet)
    if resume and not run:
        raise UsageError("--resume needs --run DIR: which run to go on with.")
    if not resume:
        if not recipe:
            raise UsageError(f"Which recipe? Known: {', '.join(config.names('train'))}.")
        recipe, given = settings.load(recipe, given), None  # answers before a framework is loaded
    if show_batch:
        if resume:
            raise UsageError("--show-batch shows how a training would begin: leave --resume out.")
        return _show(recipe, data, show_batch, quiet)

    if devices is not None and ranks.asked(devices):
        raise click.exceptions.Exit(ranks.start(devices, again="--resume --run DIR"))
    from kstyle.backend import distribute
    from kstyle.cli.common.progress import Progress

    speaks = distribute.first()
    page = _page(None if resume else recipe, run) if preview and speaks and not quiet else None
    with (
        ranks.one_of_several(),
        watched(page) as live,
        Progress(quiet=quiet or as_json or not speaks) as progress,
    ):
        from kstyle.training import train as training

        def look(seen):
            progress.look(seen)
            if live:
                live.look(seen)

        try:
            done = training.train(
                recipe, data, run, resume, overrides=given, look=look, progress=progress.download,
                callbacks=[live.epoch] if live else (),
            )  # fmt: skip
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
        summary["loss"] = float(last["loss"])
        summary |= {key: scores[key] for key in ("top1", "top5", "mean_average_precision") if key in scores}
        more = {"metrics": done.scores.metrics, "boxes": scores.get("boxes")}
        click.echo(json_text(summary | {key: value for key, value in more.items() if value}))
    elif not quiet:
        click.echo(f"{done.folder}: {done.scores.headline} on {done.scores.count} test pictures")


def _page(recipe, run):
    from kstyle.reports import live
    from kstyle.training.setup import settings

    return live.of_training(None if recipe is None else settings.resolved(recipe), run)


def _show(recipe, data, path, quiet):
    from kstyle.cli.common.progress import Progress
    from kstyle.pictures import sheet

    sheet.kind(path)
    with Progress(quiet=quiet) as progress:
        from kstyle.training import preview

        count = preview.show_batch(recipe, path, data, progress=progress.download)
    if not quiet:
        click.echo(f"{path}: {count} pictures of the first batch; nothing was trained")
