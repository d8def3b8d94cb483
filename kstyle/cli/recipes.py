"""`kstyle recipes`: what training recipes there are, and what is in one."""

import click

from kstyle.cli.options import PATH
from kstyle.files import json_text


def command(name, kind, what, load):
    """A command that lists the files of a kind, or shows one.

    Args:
        name: the command's.
        kind: as for `kstyle.recipes.read`.
        what: of the files, in the plural, for the help.
        load: `load(name)` gives a file's checked settings.
    """

    @click.command(name, help=f"List the {what}, or show one: every setting may be changed with --set.")
    @click.argument("name", type=PATH, required=False)
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def run(name, as_json):
        from kstyle import recipes

        if name:
            checked = load(name)
            _, path = recipes.read(kind, name)
            as_is = path.read_text("utf-8").rstrip()
            click.echo(json_text(checked.model_dump(mode="json"), indent=2) if as_json else as_is)
            return
        found = recipes.descriptions(kind)
        if as_json:
            click.echo(json_text(found, indent=2))
            return
        width = max(map(len, found))
        for file, description in found.items():
            click.echo(f"{file:{width}}  {description}")

    return run


def _load(name):
    from kstyle.training import settings

    return settings.load(name)


recipes = command("recipes", "train", "training recipes", _load)
