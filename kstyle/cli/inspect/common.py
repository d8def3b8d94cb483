"""What the commands that look into a network have in common."""

import functools

import click

from kstyle.cli.common.options import PATH, allow_code, device, plugin

_MODEL = (
    click.argument("model", type=PATH, metavar="MODEL"),
    click.option("--weights", type=PATH, metavar="FILE", help="Of a network by name, its weights."),
    click.option(
        "--preprocessing", metavar="NAME",
        help="What a .keras file wants: raw (0 to 255), torch, caffe or tf (-1 to 1).  [default: raw]",
    ),
    device, plugin, allow_code,
)  # fmt: skip


def model(command):
    """Decorator: the argument MODEL and the options that say how it is opened. The command gets `opening`, a dict:
    `kstyle.inspect.subject.open(opening.pop("source"), **opening)`, or see `opened`."""

    @functools.wraps(command)
    def with_opening(model, weights, preprocessing, **options):
        return command(opening={"source": model, "weights": weights, "preprocessing": preprocessing}, **options)

    for decorate in reversed(_MODEL):
        with_opening = decorate(with_opening)
    return with_opening


def opened(opening, progress, **more):
    """The `kstyle.inspect.subject.Subject` of a command's `opening`, with a bar of `progress` while weights are
    downloaded. more: further arguments of `open`."""
    from kstyle.inspect import subject

    return subject.open(progress=progress.download, **opening, **more)
