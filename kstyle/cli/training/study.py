"""`kstyle train --vary`: many trainings, and what they say together."""

import click

from kstyle.cli.common.vary import parse_all_vary
from kstyle.io.files import json_text


def run(recipe, given, varied, seeds, folder, data, as_json, quiet):
    """Trains every combination, and prints what came out.

    Args:
        recipe: its name, file or folder; `given`: {dotted key: value} of it.
        varied: texts of `--vary`.
        seeds: so many of each combination.
        folder: of the study, in which each training has one.
        data, as_json, quiet: as of `kstyle train`.
    """
    from kstyle.cli.common.progress import Progress

    vary = parse_all_vary(varied)
    with Progress(quiet=quiet or as_json) as progress:
        from kstyle.training import study, train

        cells, stopped = study.grid(recipe, vary, folder, seeds, given), False
        try:
            for _ in study.run(cells, recipe, data, look=progress.look, progress=progress.download):
                study.write(folder, cells)
        except train.Interrupted:
            stopped = True
            study.write(folder, cells)
    means = study.summary(cells)
    failed = [cell for cell in cells if cell.state == "failed"]
    if as_json:
        rows = [cell.row for cell in cells]
        click.echo(json_text({"study": str(folder), "rows": rows, "summary": means.to_dict("records")}))
    elif not quiet and len(means):
        percent = {name: (100 * means[name]).round(2) for name in ("top1", "lowest", "highest")}
        rounded = {"loss": means["loss"].round(4), "seconds": means["seconds"].round(1)}
        click.echo(means.assign(**percent, **rounded).to_string(index=False))
        click.echo(f"{folder}: {study.TABLE}, {study.SUMMARY}" + (f", {study.PLOT}" if vary else ""))
    for cell in failed:
        click.echo(f"kstyle: {cell.folder.name}: {cell.error}", err=True)
    if stopped:
        click.echo("Stopped. The same command goes on.", err=True)
    if stopped or failed:
        raise click.exceptions.Exit(130 if stopped else 1)
