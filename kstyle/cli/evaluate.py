"""`kstyle evaluate`: the scores of a run."""

import json

import click

from kstyle.cli.options import PATH, data_folder


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@data_folder
@click.option(
    "--sheet", type=PATH, metavar="FILE", help="Also write a contact sheet: wrong predictions, then right ones."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(run, data, sheet, as_json):
    """Score RUN on the test pictures; writes scores.json, per_class.csv, confusion.csv and confusion.png into it."""
    from kstyle import runs
    from kstyle import sheet as contact

    # Both answer before a framework is loaded.
    runs.facts(run)
    if sheet:
        contact.kind(sheet)

    from kstyle.cli.progress import Progress

    with Progress(quiet=as_json) as progress:
        from kstyle.training import evaluate as training

        scores = training.evaluate(run, data, progress.download, sheet)
    if as_json:
        click.echo(json.dumps(scores.as_json(), indent=2))
        return
    click.echo(f"top-1              {100 * scores.top1:.2f} %")
    if scores.top5 is not None:
        click.echo(f"top-5              {100 * scores.top5:.2f} %")
    click.echo(f"loss               {scores.loss:.4f}")
    click.echo(f"calibration error  {100 * scores.calibration_error:.2f} %")
    click.echo(f"test pictures      {scores.count}")
    if len(scores.classes) <= 40:
        click.echo(scores.classes.round(4).to_string())
    for row in scores.most_confused(5).itertuples():
        click.echo(f"{row.count:5} × {row.true} taken for {row.predicted} ({100 * row.share:.1f} % of {row.true})")
