"""What `kstyle data download flickr_style` takes and does beyond the other data sets."""

import click

from kstyle.cli.common.options import Path
from kstyle.errors import UsageError

OPTIONS = (
    click.option("--list", "list_file", type=Path(dir_okay=False), help="The list of URLs. Default: downloaded."),
    click.option("--images", type=int, help="How many pictures, taken at random. Default: all."),
    click.option("--seed", type=int, help="Which ones: the same as Caffe's assemble_data.py takes. Default: 0."),
    click.option("--labels", type=int, help="Only the first so many styles. Default: all."),
    click.option("--workers", type=int, help="Downloads at once. Default: 64."),
    click.option("--per-host", type=int, help="Connections to one host. Default: 16."),
    click.option("--retry-failed", is_flag=True, default=None, help="Ask again for what was gone for good."),
)


def options(command):
    """Adds the options, each None unless it is given."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def refuse(name, given):
    """Raises a UsageError where options of flickr_style were given with another data set."""
    names = [f"--{key.removesuffix('_file').replace('_', '-')}" for key, value in given.items() if value is not None]
    if names:
        raise UsageError(f"{', '.join(names)}: these go with flickr_style, not with '{name}'.")


def download(folder, given):
    """Downloads, with a bar, and prints the folder; `given` is what `options` took."""
    from kstyle.cli.common.progress import Progress
    from kstyle.data.lists import flickr_style

    given = {key: value for key, value in given.items() if value is not None}
    with Progress() as progress:
        root, _ = flickr_style.download(folder, progress=progress.gather, **given)
    click.echo(root)
