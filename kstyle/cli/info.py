"""`kstyle info`: what kstyle would run on, and with which weights."""

import click

from kstyle.cli.common.options import device
from kstyle.io.files import json_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@device
def info(as_json):
    """Print versions, backend, device, precision and where weights would come from."""
    from kstyle import backend
    from kstyle.models import registry, weights

    extractors = {name: registry.extractor(name) for name in registry.names("extractor")}
    memory = backend.memory()["total"]
    devices = backend.devices()
    facts = {
        "versions": backend.versions(),
        "backend": backend.NAME,
        "backend_chosen_by": backend.WHY,
        "device": backend.device(),
        "device_memory_bytes": memory,
        "devices": devices,
        "precision": backend.precision("auto"),
        "weights": {name: weights.locate(each.row, each.source) for name, each in extractors.items()},
    }
    if as_json:
        click.echo(json_text(facts, indent=2))
        return
    click.echo("versions   " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    click.echo(f"backend    {facts['backend']} (chosen by: {facts['backend_chosen_by']})")
    click.echo(f"device     {facts['device']}" + (f", {memory / 2**30:.0f} GiB" if memory else ""))
    click.echo("devices    " + ", ".join(f"{each['name']} ({each['device']})" for each in devices))
    click.echo(f"precision  {facts['precision']} (auto)")
    for number, (name, origin) in enumerate(facts["weights"].items()):
        click.echo(f"{'weights' if not number else '':9}  {name}: {origin}")
