"""The commands that list presets and recipes, or show one."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, plugin
from kstyle.io.files import json_text


def command(name, kind, what, load):
    """A command that lists what there is of a kind, or shows one.

    Args:
        name: the command's.
        kind: as for `kstyle.config.read`.
        what: of the files, in the plural, for the help.
        load: `load(name)` gives a file's checked settings.
    """

    @click.command(name, help=f"List the {what}, or show one: every setting may be changed with --set.")
    @click.argument("name", type=PATH, required=False, shell_complete=completing.files_of(kind))
    @plugin
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def run(name, as_json):
        from kstyle import config

        if name:
            checked = load(name)
            click.echo(json_text(checked.model_dump(mode="json"), indent=2) if as_json else _as_is(kind, name, checked))
            return
        found = config.descriptions(kind)
        if as_json:
            click.echo(json_text(found, indent=2))
            return
        width = max(map(len, found))
        for file, description in found.items():
            click.echo(f"{file:{width}}  {description}")

    return run


def _as_is(kind, name, checked):
    """What a file says, comments and all; of a mapping that was registered, its settings."""
    from kstyle import config

    if str(name) in config.added(kind).own:
        import yaml

        said = checked.model_dump(mode="json", exclude_unset=True)
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True).rstrip()
    _, path = config.read(kind, name)
    return path.read_text("utf-8").rstrip()
