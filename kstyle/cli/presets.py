"""`kstyle presets`: what style presets there are, and what is in one."""

import json

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(name, as_json):
    """List the style presets, or show one: every setting may be changed with --set."""
    from kstyle import recipes
    from kstyle.style import settings

    if name:
        _, path = recipes.read("stylize", name)
        checked = settings.load(name)
        click.echo(
            json.dumps(checked.model_dump(mode="json"), indent=2) if as_json else path.read_text("utf-8").rstrip()
        )
        return
    found = recipes.presets()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    width = max(map(len, found))
    for preset, description in found.items():
        click.echo(f"{preset:{width}}  {description}")
