"""`kstyle evaluate`: the scores of a run."""

from pathlib import Path

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, allow_code, data_folder, device, plugin, tta
from kstyle.io.files import json_text


@click.command()
@click.argument("run", type=PATH, metavar="RUN", shell_complete=completing.runs)
@data_folder
@click.option(
    "--sheet", type=PATH, metavar="FILE", help="Also write a contact sheet: wrong predictions, then right ones."
)
@tta
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(run, data, sheet, tta, as_json):
    """Score RUN on the test pictures; writes scores.json, per_class.csv, confusion.csv and confusion.png into it.

    Of other data than the run's own, classes are matched by name, and the files are scores-SUM.json and so on; with
    --tta they are scores-TTA.json and so on.
    """
    from kstyle.io import runs
    from kstyle.io.files import listed, plain
    from kstyle.pictures import sheet as contact

    # Both answer before a framework is loaded.
    runs.facts(run)
    if sheet:
        contact.kind(sheet)

    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json) as progress:
        from kstyle.training.results import evaluate as training

        scores = training.evaluate(run, data, progress.download, sheet, tta)
    if as_json:
        click.echo(json_text(scores.as_json(), indent=2))
        return
    said = scores.as_json()
    if "mean_average_precision" in said:  # several classes a picture
        click.echo(f"average precision  {100 * scores.mean_average_precision:.2f} % (the mean over the classes)")
        click.echo(
            f"F1                 {100 * scores.macro['f1']:.2f} % (of all marks {100 * scores.micro['f1']:.2f} %)"
        )
        click.echo(f"all classes right  {100 * scores.exact:.2f} % of the pictures")
    else:
        click.echo(f"top-1              {100 * scores.top1:.2f} %")
        if scores.top5 is not None:
            click.echo(f"top-5              {100 * scores.top5:.2f} %")
        click.echo(f"calibration error  {100 * scores.calibration_error:.2f} %")
    click.echo(f"loss               {scores.loss:.4f}")
    if boxes := said.get("boxes"):
        mean = boxes["mean_box"]
        click.echo(f"mean IoU           {boxes['iou']:.4f} (the mean box: {mean['iou']:.4f})")
        click.echo(f"IoU of 0.5         {100 * boxes['iou_50']:.2f} % (the mean box: {100 * mean['iou_50']:.2f} %)")
    for name, value in scores.metrics.items():
        click.echo(f"{name:18} {value:.4f}")
    click.echo(f"test pictures      {scores.count}")
    if len(scores.classes) <= 40:
        click.echo(scores.classes.round(4).to_string())
    for row in scores.most_confused(5).itertuples() if "most_confused" in said else ():
        click.echo(f"{row.count:5} × {row.true} taken for {row.predicted} ({100 * row.share:.1f} % of {row.true})")
    for name, found in said.get("unknown", {}).items():
        taken = ", ".join(f"{plain(other)} {count}" for other, count in list(found["taken_for"].items())[:5])
        click.echo(
            f"not a class of the run, and not counted: {plain(name)}, {found['pictures']} pictures (said: {taken})"
        )
    if missing := list(scores.classes.index[scores.classes["support"] == 0]):
        click.echo(f"no picture of: {listed(missing)}")
    if not scores.data["own"] or tta:
        click.echo(f"written to {Path(run) / scores.data['file']}; the run's own scores are as they were")
