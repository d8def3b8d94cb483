"""`kstyle schema`: what a preset or a recipe may say, for editors."""

import click

from kstyle.io.files import json_text


@click.command()
@click.argument("kind", type=click.Choice(["preset", "recipe", "network", "arbitrary"]))
def schema(kind):
    """Print the JSON Schema of a preset, of a recipe to train by, or of a style network's, or of one for any style.

    Editors complete and check YAML by it.

    \b
    kstyle schema preset > preset.schema.json
    and as the first line of my.yaml, in VS Code and others:
    # yaml-language-server: $schema=preset.schema.json
    """
    from kstyle import schema

    if kind == "preset":
        from kstyle.style.settings import StyleSettings as model
    elif kind == "recipe":
        from kstyle.training.setup.sections import TrainSettings as model
    elif kind == "network":
        from kstyle.style.learning.settings import Learning as model
    else:
        from kstyle.style.learning.settings import Arbitrary as model
    click.echo(json_text(schema.schema(model, f"kstyle {kind}"), indent=2))
