"""`kstyle inspect embedding`: a folder's pictures on a map."""

import click

from kstyle.cli.common.options import PATH
from kstyle.cli.inspect import common
from kstyle.io.files import json_text, one_line


@click.command()
@common.model
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--method", type=click.Choice(("pca", "t-sne")), default="pca", show_default=True)
@click.option("--layer", metavar="NAME", help="Whose features are mapped.  [default: what the classes are told from]")
@click.option("--perplexity", type=float, help="Of t-sne.  [default: 30, or a third of the pictures]")
@click.option("--seed", default=0, show_default=True, help="Of t-sne.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that decode.  [default: one a processor]")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="The map: .png or .jpg.")
@click.option("--size", default=1600, show_default=True, type=click.IntRange(256, 8192), help="Pixels of its side.")
@click.option(
    "--thumbnail", default=64, show_default=True, type=click.IntRange(8, 256), help="Pixels of a picture on it."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: path, class, x, y.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def embedding(opening, folder, output, size, thumbnail, as_csv, as_json, **options):
    """Lay out the pictures of DIR in two dimensions, those beside each other that MODEL finds alike.

    The folders within DIR are classes, which have a colour each. MODEL is as for `neighbours`.
    """
    from kstyle.errors import UsageError
    from kstyle.io import names
    from kstyle.pictures import folders, sheet

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one.")
    if not (as_json or as_csv or output):
        raise UsageError("What is to come of it? Say -o map.png, --csv or --json.")
    if output:
        sheet.kind(output)
        names.check_spares([output], [picture.path for picture in folders.pictures(folder).pictures])

    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json or as_csv) as progress:
        from kstyle.inspect.near import embedding as near

        subject = common.opened(opening, progress)
        table = near.embedding(subject, folder, progress=progress.download, **options)
    if as_json:
        click.echo(json_text({"model": subject.name, **table.attrs, "pictures": table.to_dict("records")}, indent=2))
    elif as_csv:
        click.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        click.echo(f"{one_line(output)}: {len(table)} pictures by their features at {table.attrs['layer']}.")
    if output:
        near.picture(table, output, size, thumbnail)
