"""`kstyle report`: options and progress around `kstyle.report`."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, allow_code, data_folder, device, plugin
from kstyle.io.files import json_text


@click.command()
@click.argument("source", type=PATH, metavar="RUN|PICTURE", shell_complete=completing.runs)
@click.option(
    "-o", "--output", type=PATH, metavar="FILE.html", help="Default: RUN/report.html, or PICTURE-report.html beside it."
)
@click.option("--content", type=PATH, metavar="FILE", help="Of a PNG: the photograph, which it does not hold.")
@click.option("--style", "styles", type=PATH, multiple=True, metavar="FILE", help="Of a PNG: a style; repeated.")
@click.option("--compare/--no-compare", default=True, help="Measure a painting, in some seconds.  [default: do]")
@click.option("--evaluate", is_flag=True, help="Score a training anew, for pictures of what it tells right and wrong.")
@data_folder
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def report(source, output, data, as_json, quiet, **options):
    """Show what became of a painting, a training, a sweep or a study, on a page in one file.

    RUN is the folder of a painting (stylize --run), a training or a study, or the table of a sweep; PICTURE a PNG that
    kstyle painted.
    """
    from kstyle.cli.common.progress import Progress
    from kstyle.reports import report as reports

    with Progress(quiet=quiet or as_json) as progress:
        path = reports.report(source, output, data=data, progress=progress.download, **options)
    size = path.stat().st_size
    if as_json:
        click.echo(json_text({"report": str(path), "bytes": size}))
    elif not quiet:
        click.echo(f"{path}: {size / 1e6:.1f} MB, opens in any browser", err=True)
