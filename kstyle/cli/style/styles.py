"""`kstyle styles`: the style networks that come with kstyle."""

import click

from kstyle.io.files import json_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def styles(as_json):
    """List the styles that come with kstyle: `kstyle stylize photo.jpg style:NAME` paints in one at once."""
    from kstyle.style.networks import style_facts

    found = style_facts.styles()
    if as_json:
        click.echo(json_text(found, indent=2))
        return
    width = max(map(len, found))
    for name, facts in found.items():
        learned = facts["learned"]
        known = f"for {facts['size']} px, loss {learned['held_out']['loss']:.1f} after {learned['steps']:,} steps"
        click.echo(f"{name:{width}}  {facts['description']} ({known})")
