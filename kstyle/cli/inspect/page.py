"""`kstyle inspect page`: a network and a picture as one HTML file to click through."""

import click

from kstyle.cli.common.options import PATH
from kstyle.cli.inspect import common

METHODS = ("grad-cam", "integrated-gradients", "smoothgrad", "occlusion")


@click.command()
@common.model
@click.argument("image", type=PATH, metavar="IMAGE")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The page, .html.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="For --photos and --filters, a layer.  [default: of each size of maps the last]",
)
@click.option("--most", default=16, show_default=True, type=click.IntRange(1, 128), help="Channels shown a layer.")
@click.option(
    "--photos", type=PATH, metavar="DIR", help="Show the parts of these photographs that excite a channel most."
)
@click.option(
    "--filters",
    default=0,
    show_default=True,
    type=click.IntRange(0, 128),
    help="For so many channels of each --layer make a picture that excites it.",
)
@click.option("--top", default=3, show_default=True, type=click.IntRange(0, 20), help="Classes shown.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    default=("grad-cam",),
    show_default=True,
    help="How the places are found that speak for a class.",
)
@click.option(
    "--size", default=512, show_default=True, type=click.IntRange(32), help="Long side, of a network of any size."
)
def page(opening, image, output, **options):
    """Write a page of MODEL and IMAGE: layers to click, their maps, what channels look for, what IMAGE is taken for.

    One file that needs nothing else: it opens offline, on a phone too.
    """
    from kstyle.cli.common.progress import Progress
    from kstyle.errors import UsageError
    from kstyle.io.files import legible, one_line

    if not output.lower().endswith((".html", ".htm")):
        raise UsageError(f"-o: expected a name that ends in .html; got {one_line(output)}.")
    with Progress() as progress:
        from kstyle.inspect.pages import page as pages

        layers = options.pop("layers") or None
        path = pages.page(
            opening.pop("source"), image, output, layers=layers, progress=progress.download, **options, **opening
        )
    click.echo(f"Written: {one_line(legible(path))}", err=True)
