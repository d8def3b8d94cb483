"""`kstyle recipes`: what training recipes there are, and what is in one."""

import json

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recipes(name, as_json):
    """List the training recipes, or show one: every setting may be changed with --set."""
    from kstyle import recipes as files
    from kstyle.training import settings

    if name:
        _, path = files.read("train", name)
        checked = settings.load(name)
        click.echo(
            json.dumps(checked.model_dump(mode="json"), indent=2) if as_json else path.read_text("utf-8").rstrip()
        )
        return
    found = files.descriptions("train")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    width = max(map(len, found))
    for recipe, description in found.items():
        click.echo(f"{recipe:{width}}  {description}")
