"""`kstyle inspect filters`: what excites the channels of a layer."""

import click

from kstyle.cli.common import options as common_options
from kstyle.cli.inspect import common
from kstyle.errors import UsageError
from kstyle.io.files import json_text


@click.command()
@common.model
@click.option("--layer", required=True, metavar="NAME", help="Whose channels; logits: a classifier's classes.")
@click.option("--channel", "channels", metavar="N[,N|-N...]", help="Which: 3,7,10-15.  [default: the first 16]")
@click.option("-o", "--output", type=common_options.PATH, required=True, metavar="FILE", help="The sheet, PNG or JPEG.")
@click.option("--steps", default=64, show_default=True, help="Of gradient ascent.")
@click.option("--size", type=int, help="Side of a picture, pixels.  [default: the network's, or 128]")
@click.option("--diversity", default=1, show_default=True, metavar="N", help="Different pictures of each channel.")
@common_options.seed
@click.option("--json", "as_json", is_flag=True, help="Print the activations as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def filters(opening, layer, channels, output, as_json, quiet, **numbers):
    """Make pictures that excite channels of a layer of MODEL, from noise.

    Under each stands the channel's mean activation, of the noise and of the picture.
    """
    from kstyle.cli.common.progress import Progress
    from kstyle.pictures import images, sheet

    chosen = parsed(channels)
    sheet.kind(images.check_target(output))
    with Progress(quiet=quiet or as_json) as progress:
        from kstyle.inspect.ascent import channel_pictures

        looked = common.opened(opening, progress)
        found = channel_pictures.filters(looked, layer, chosen, callback=progress.steps, **numbers)
        found.write(output)
    if as_json:
        rows = found.table.to_dict("records")
        click.echo(json_text({"model": looked.name, "layer": layer, "output": output, "pictures": rows}, indent=2))
    elif not quiet:
        click.echo(f"{output}: {len(found.table)} pictures", err=True)


def parsed(text):
    """`"3,7,10-12"` -> [3, 7, 10, 11, 12]; None stays None. UsageError: it says something else."""
    if text is None:
        return None
    found = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) - int(first) > 100_000:
            raise UsageError(f"--channel expects numbers like 3,7,10-15; got '{text}'.")
        found += range(int(first), int(last or first) + 1)
    return found
