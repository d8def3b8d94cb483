"""`kstyle predict`: what a run, or a network as it was trained on ImageNet, sees in pictures."""

from pathlib import Path

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, allow_code, device, plugin, tta
from kstyle.io.files import json_text

BOX = ("left", "top", "right", "bottom")


@click.command()
@click.argument("run", type=PATH, metavar="RUN", shell_complete=completing.runs_and_networks)
@click.argument("paths", type=PATH, metavar="FILE|DIR...", nargs=-1, required=True)
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Classes a picture.")
@tta
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: path, rank, class, probability; a box, or present.")
@click.option("--sheet", type=PATH, metavar="FILE", help="Also write a contact sheet.")
def predict(run, paths, top, tta, as_json, as_csv, sheet):
    """Say what RUN sees in pictures, or in all pictures of folders.

    RUN is a run's folder, or a network that tells ImageNet's 1000 classes apart: efficientnet_lite0, resnet50, ….
    """
    from kstyle.errors import UsageError
    from kstyle.io import names, runs
    from kstyle.io.files import legible, one_line
    from kstyle.pictures import folders
    from kstyle.pictures import sheet as contact
    from kstyle.training.results import pretrained

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one.")
    if pretrained.network(run) is None:  # which answers before a framework is loaded, as a run does
        runs.facts(run)
    if sheet:
        contact.kind(sheet)
    seen = folders.pictures(paths)
    faults = [{"path": left.path, "error": f"{left.path}: {left.why}."} for left in seen.left if left.fault]
    if not seen.pictures and not faults:
        raise UsageError(f"No picture in {', '.join(map(one_line, paths))}.")

    names.check_spares([sheet], [picture.path for picture in seen.pictures])

    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json or as_csv) as progress:
        from kstyle.training.results import evaluate as training

        paths = [picture.path for picture in seen.pictures]
        found = training.predict(run, paths, top, progress=progress.download, tta=tta) + faults
    bad = [entry for entry in found if "error" in entry]
    pictures = [entry.pop("picture", None) for entry in found]
    boxes = [[entry.pop(key, None) for key in ("picture_box", "true_box")] for entry in found]
    told = any("box" in entry for entry in found)
    if as_json:
        click.echo(json_text(found, indent=2))
    elif as_csv:
        import csv
        import io

        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        several = any("present" in entry for entry in found)
        more = [*(BOX if told else ()), *(["present"] if several else ())]
        table.writerow(["path", "rank", "class", "probability", *more])
        for entry in found:
            for rank, p in enumerate(entry.get("predictions", []), 1):
                row = [legible(entry["path"]), rank, p["class"], f"{p['probability']:.6f}"]
                present = [int(p["class"] in entry["present"])] if several else ()
                table.writerow([*row, *entry.get("box", ()), *present])
        click.echo(out.getvalue(), nl=False)
    else:
        for entry in found:
            if "predictions" in entry:
                where = f"; box {' '.join(f'{side:g}' for side in entry['box'])}" if "box" in entry else ""
                said = _lines(entry["predictions"], entry.get("present"))
                click.echo(f"{one_line(legible(entry['path']))}: {', '.join(said)}{where}")
    for entry in bad:
        click.echo(f"kstyle: {one_line(legible(entry['error']))}", err=True)
    if sheet and len(bad) < len(found):
        # Last, so that a sheet that cannot be written costs nothing but itself.
        entries = [
            (picture, [Path(entry["path"]).name, *_sheet_lines(entry)], None, contact.outlines(*box))
            for picture, entry, box in zip(pictures, found, boxes)
            if picture is not None
        ]
        contact.sheet(entries, sheet, title=f"{run}; {contact.LEGEND}" if told else str(run))
    if bad:
        raise click.exceptions.Exit(1)


def _lines(predictions, present=None):
    """What to say of a picture; of several classes those that are present, or that there is none, and the likeliest."""
    said = [f"{p['class']} {100 * p['probability']:.1f} %" for p in predictions if not present or p["class"] in present]
    return [f"none of them ({said[0]})"] if present == [] else said


def _sheet_lines(entry):
    return _lines(entry["predictions"], entry.get("present"))[: 4 if "present" in entry else 2]
