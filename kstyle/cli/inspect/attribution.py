"""`kstyle inspect attribution`: where in a picture a classifier sees a class."""

import click

from kstyle.cli.common.options import PATH
from kstyle.cli.inspect import common
from kstyle.io.files import json_text, one_line

# As in `kstyle.inspect.why.attribution`, which loads a framework.
METHODS = ("grad-cam", "integrated-gradients", "smoothgrad", "occlusion")
PIXELS = click.IntRange(min=1)


@click.command()
@common.model
@click.argument("image", type=PATH, metavar="IMAGE")
@click.option(
    "--method", "methods", type=click.Choice((*METHODS, "all")), multiple=True, default=("grad-cam",),
    help="Again for several.  [default: grad-cam]",
)  # fmt: skip
@click.option(
    "--class", "classes", multiple=True, metavar="NAME|NUMBER", help="Again for several.  [default: the most probable]"
)
@click.option("--layer", metavar="NAME", help="Of grad-cam.  [default: the last one before pooling]")
@click.option("--steps", type=PIXELS, help="Of integrated-gradients.  [default: until the sum is right to 1 %]")
@click.option("--samples", type=PIXELS, default=50, show_default=True, help="Of smoothgrad.")
@click.option("--noise", type=click.FloatRange(0), default=0.15, show_default=True, help="Of smoothgrad.")
@click.option("--seed", default=0, show_default=True, help="Of smoothgrad.")
@click.option("--window", type=PIXELS, metavar="PIXELS", help="Of occlusion.  [default: a quarter of the side]")
@click.option("--stride", type=PIXELS, metavar="PIXELS", help="Of occlusion.  [default: a quarter of the window]")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="The picture, and the heat over it: .png or .jpg.")
@click.option(
    "--size", default=320, show_default=True, type=click.IntRange(32, 1024), help="Pixels of a picture there."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def attribution(opening, image, methods, classes, output, size, as_json, **options):
    """Show where in IMAGE a classifier sees a class, as heat over the picture.

    MODEL is a run's folder, a .keras file, or a network with its ImageNet head: efficientnet_lite0, resnet50, ….

    grad-cam: which places of a layer's maps speak for the class. integrated-gradients: each pixel's part of the
    difference to a black picture. smoothgrad: how much the class depends on each pixel. occlusion: how much is lost
    where a square covers the picture.
    """
    from kstyle.io import names
    from kstyle.pictures import sheet

    if output:
        sheet.kind(output)
        names.check_spares([output], [image, opening["source"]])
    methods = METHODS if "all" in methods else tuple(dict.fromkeys(methods))

    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json) as progress:
        from kstyle.inspect.why import attribution as why

        subject = common.opened(opening, progress, head=True)
        found = why.attribution(subject, image, methods, classes or None, progress=progress.download, **options)
    if as_json:
        click.echo(
            json_text({"model": subject.name, "path": image, "found": [each.as_json() for each in found]}, indent=2)
        )
    else:
        for each in found:
            click.echo(f"{one_line(image)}: {each.label} {100 * each.probability:.1f} %, {each.said()}")
    if output:
        seen = (255 * found[0].picture).round().astype("uint8")
        entries, rows = [], len(methods) > 1  # a row for each class
        for number, each in enumerate(found):
            said = f"{each.label} {100 * each.probability:.1f} %"
            if number % len(methods) == 0 and (rows or not entries):
                entries.append((seen, [said if rows else "as the network sees it"], None))
            entries.append((each.shown(), [each.method if rows else said], None))
        title = f"{subject.name}: {'why' if rows else methods[0]}"
        sheet.sheet(entries, output, columns=1 + len(methods) if rows else None, size=size, title=title)
