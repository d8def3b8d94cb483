"""`kstyle inspect neighbours`: the pictures of a folder that a network finds most like others."""

import click

from kstyle.cli.common.options import PATH
from kstyle.cli.inspect import common
from kstyle.io.files import json_text, legible, one_line


@click.command()
@common.model
@click.argument("folder", type=PATH, metavar="DIR")
@click.argument("images", type=PATH, metavar="IMAGE...", nargs=-1, required=True)
@click.option("--layer", metavar="NAME", help="Whose features are compared.  [default: what the classes are told from]")
@click.option("--count", default=8, show_default=True, type=click.IntRange(min=1), help="Neighbours of each.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that decode.  [default: one a processor]")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="A sheet of them: .png or .jpg.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def neighbours(opening, folder, images, layer, count, workers, output, as_json):
    """Find the pictures of DIR that are nearest to each IMAGE in the features that MODEL has of them.

    MODEL is a run's folder, a .keras file, or a network: efficientnet_lite0, resnet50, vgg19, ….
    """
    from kstyle.io import names
    from kstyle.pictures import folders, sheet

    if output:
        sheet.kind(output)
        names.check_spares([output], [*images, *(picture.path for picture in folders.pictures(folder).pictures)])

    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json) as progress:
        from kstyle.inspect.near import neighbours as near

        subject = common.opened(opening, progress)
        table = near.neighbours(subject, folder, images, layer, count, workers=workers, progress=progress.download)
    if as_json:
        found = {"model": subject.name, "layer": table.attrs["layer"], "neighbours": table.to_dict("records")}
        click.echo(json_text(found, indent=2))
    else:
        for row in table.itertuples():
            label = f" ({row[4]})" if row[4] else ""
            click.echo(one_line(legible(f"{row.image}: {row.rank}. {row.path}{label}, {row.similarity:.3f}")))
    if output:
        near.sheet(table, output)
