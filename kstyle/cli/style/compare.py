"""`kstyle compare`: pictures side by side in figures."""

import click

from kstyle.cli.common.options import PATH, device
from kstyle.io.files import json_text

ARROWS = {"higher": "↑", "lower": "↓"}


@click.command()
@click.argument("pictures", type=PATH, metavar="PICTURE PICTURE...", nargs=-1, required=True)
@click.option("--content", type=PATH, metavar="FILE", help="The picture they were made from: how much of it is left.")
@click.option("--style", type=PATH, metavar="FILE", help="The picture they were painted after: how near they are.")
@click.option("--size", default=512, show_default=True, help="Long side at which they are compared, pixels.")
@click.option(
    "--extractor", metavar="NAME", help="The network that judges.  [default: one whose weights are here, VGG19 last]"
)
@click.option("--weights", type=PATH, metavar="FILE", help="Its weights: .h5, .npz, .pth or .safetensors.")
@click.option("--html", type=PATH, metavar="FILE", help="Also write a page: the pictures beside each other, the table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@device
def compare(pictures, html, as_json, **options):
    """Measure two or more PICTUREs: faults, and with --content and --style how much of each is in them.

    A folder stands for the pictures in it.
    """
    from kstyle.cli.common.progress import Progress
    from kstyle.errors import DataError
    from kstyle.io import names
    from kstyle.pictures import folders

    found = [folders.pictures(path) for path in pictures]
    if fault := next((left for each in found for left in each.left if left.fault), None):
        raise DataError(f"{fault.path}: {fault.why}.")
    pictures = [picture.path for each in found for picture in each.pictures]
    names.check_spares([html], [*pictures, options["content"], options["style"]])

    with Progress(quiet=as_json) as progress:
        from kstyle.style.judge import compare as comparing

        table = comparing.compare(pictures, progress=progress.download, **options)
    if html:
        from kstyle.pages import render
        from kstyle.reports import tables

        render.write(html, tables.TABLES, **tables.of_comparison(table, pictures, options["content"], options["style"]))
    better = table.pop("better")
    if as_json:
        # Column by column: DataFrame.to_dict copies .attrs, and names of pictures are free to be anything.
        figures = {label: table[label].to_dict() for label in table}
        click.echo(json_text({**table.attrs, "better": better.to_dict(), "pictures": figures}, indent=2))
        return
    width = max(map(len, table.index))
    widths = {label: max(len(label), 8) for label in table}
    click.echo(" " * (width + 2) + "".join(f"  {label:>{widths[label]}}" for label in table))
    for row in table.itertuples():
        numbers = "".join(f"  {_short(value):>{widths[label]}}" for label, value in zip(table, row[1:]))
        click.echo(f"{row.Index:{width}} {ARROWS[better[row.Index]]}{numbers}")
    judge = f", judged by {table.attrs['extractor']} ({table.attrs['origin']})" if "extractor" in table.attrs else ""
    click.echo(f"↑ higher is better, ↓ lower; long side {table.attrs['size']}{judge}", err=True)


def _short(value):
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
