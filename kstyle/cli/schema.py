"""`kstyle schema`: what a preset or a recipe may say, for editors."""

import importlib

import click

from kstyle.io.files import json_text

# {kind of settings: (module, class)} of its model, imported when it is asked for: `--help` is to be there at once.
MODELS = {
    "preset": ("kstyle.style.settings", "StyleSettings"),
    "recipe": ("kstyle.training.setup.sections", "TrainSettings"),
    "network": ("kstyle.style.learning.settings", "Learning"),
    "arbitrary": ("kstyle.style.learning.settings", "Arbitrary"),
}


def model_of(kind):
    """The pydantic model of a kind of settings."""
    module, name = MODELS[kind]
    return getattr(importlib.import_module(module), name)


@click.command()
@click.argument("kind", type=click.Choice([*MODELS]))
def schema(kind):
    """Print the JSON Schema of a preset, of a recipe to train by, or of a style network's, or of one for any style.

    Editors complete and check YAML by it.

    \b
    kstyle schema preset > preset.schema.json
    and as the first line of my.yaml, in VS Code and others:
    # yaml-language-server: $schema=preset.schema.json
    """
    from kstyle import schema

    click.echo(json_text(schema.schema(model_of(kind), f"kstyle {kind}"), indent=2))
