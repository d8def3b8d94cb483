"""`kstyle sweep`: a grid of settings, painted small, on one sheet."""

import click

from kstyle.cli.common import options as painting
from kstyle.cli.common.vary import parse_all_vary
from kstyle.errors import UsageError
from kstyle.io.files import json_text


@click.command()
@click.argument("content", type=painting.PATH, metavar="CONTENT")
@click.argument("styles", type=painting.PATH, metavar="STYLE...", nargs=-1, required=True)
@click.option(
    "--vary", "varied", multiple=True, required=True, metavar="KEY=VALUE,...",
    help="A setting, or preset, size, steps, seed, precision, and its values; may be repeated.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=painting.PATH, required=True, metavar="FILE",
    help="The sheet, .png or .jpg; page and table beside.",
)  # fmt: skip
@painting.preset
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting that all have.")
@click.option("--size", default=192, show_default=True, help="Long side of each picture, pixels.")
@click.option("--steps", type=int, help="Gradient evaluations a picture.  [default: the preset's]")
@painting.extractor
@painting.weights
@painting.precision
@painting.device
@painting.seed
@click.option("--most", default=64, show_default=True, metavar="N", help="Refuse to paint more combinations than this.")
@painting.jobs
@painting.cluster
@painting.plugin
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def sweep(
    content, styles, varied, output, overrides, extractor, weights, most, jobs, cluster, as_json, quiet, **options
):  # fmt: skip
    """Paint CONTENT in the style of STYLE pictures with every combination of settings, to choose from.

    Beside the sheet are a page (.html), a table (.csv), both with the command for each picture at full size, and a
    folder of the pictures.
    """
    from kstyle import config
    from kstyle.cli.common.progress import PicturesProgress
    from kstyle.io import crew, names, signals
    from kstyle.pictures import images, sheet
    from kstyle.style.jobs import sweep_files, sweep_page

    target = images.check_target(output)
    sheet.kind(target)
    page, table, folder = sweep_files.beside(target)
    names.check_spares([target, page, table], [content, *styles])
    sweep_files.check_own(page, table, folder)
    crew.chosen(jobs, cluster)  # a cluster that does not answer is told at once
    with PicturesProgress(quiet=quiet or as_json) as progress:
        from kstyle.style.jobs import sweep as sweeps

        vary = parse_all_vary(varied)
        count = 1
        for _, values in vary:
            count *= len(values)
        if count > most:
            raise UsageError(
                f"These are {count} combinations, more than {most}: give --most {count} to paint them all."
            )
        given = {"extractor": extractor, "weights": weights}
        config.parse_overrides(overrides)  # whatever is wrong with one names its option
        common = {key.strip(): value for key, _, value in (text.partition("=") for text in overrides)}
        cells = sweeps.grid(content, styles, vary, options, common, given)
        progress.pictures(count)
        interrupted = False
        try:
            painted = sweeps.paint(
                cells, content, styles, progress.step, jobs, cluster, weights=weights, progress=progress.download
            )  # fmt: skip
            while True:
                with signals.kept():  # from the end of a painting until it is written
                    cell = next(painted, None)
                    if cell is None:
                        break
                    if cell.picture is not None:
                        sweep_files.write_picture(folder, cell)
                    progress.picture(cell.state)
        except KeyboardInterrupt:
            interrupted = True
        states = [cell.state for cell in cells]
        if "done" in states or "failed" in states:
            sweeps.write_sheet(target, cells, vary, content, styles, options["size"])
            sweep_page.write(page, cells, vary, content, styles, folder)
            sweep_files.write_csv(table, cells)
    _report(cells, {"sheet": target, "page": page, "table": table}, interrupted, as_json, quiet)


def _report(cells, written, interrupted, as_json, quiet):
    target = written["sheet"]
    done = [cell for cell in cells if cell.state == "done"]
    failed = [cell for cell in cells if cell.state == "failed"]
    for cell in failed:
        where = ", ".join(f"{key}={value}" for key, value in cell.varied.items())
        click.echo(f"kstyle: {where}: {cell.error}", err=True)
    if as_json:
        from kstyle.style.jobs import sweep_files

        rows = [sweep_files.row(cell) for cell in cells]
        counts = {"done": len(done), "failed": len(failed), "interrupted": interrupted, "rows": rows}
        click.echo(json_text({**{name: str(path) for name, path in written.items()}, **counts}))
    elif interrupted and not (done or failed):
        click.echo("kstyle: stopped before the first picture was done", err=True)
    elif interrupted:
        click.echo(f"kstyle: stopped with {len(done)} of {len(cells)} painted; they are on {target}", err=True)
    elif not quiet:
        seconds = sum(cell.seconds for cell in cells)
        said = f"{len(done)} of {len(cells)} painted in {seconds:.0f} s; commands in {written['page']}"
        click.echo(f"{target}: {said}", err=True)
    if interrupted or failed:
        raise click.exceptions.Exit(130 if interrupted else 1)
