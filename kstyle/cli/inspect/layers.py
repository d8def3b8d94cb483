"""`kstyle inspect layers`: a network's layers, and how much of a picture each sees."""

import click

from kstyle.cli.inspect import common
from kstyle.io.files import json_text


@click.command()
@common.model
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def layers(opening, as_json):
    """List the layers of MODEL: kind, output, parameters, receptive field and stride in pixels of its input."""
    from kstyle.cli.common.progress import Progress

    with Progress(quiet=as_json) as progress:
        from kstyle.inspect import table

        subject = common.opened(opening, progress, values=opening["weights"] is not None)
        found = table.layers(subject)
    if as_json:
        click.echo(json_text({"model": subject.name, "layers": table.records(found)}, indent=2))
        return
    click.echo(table.text(found))
