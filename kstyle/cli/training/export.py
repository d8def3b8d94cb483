"""`kstyle export`: a run's network as a file for other programs."""

import click

from kstyle.cli.common.options import PATH, allow_code, device, plugin
from kstyle.io.files import json_text


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--format", "format_", metavar="onnx|torch|keras", help="What to write.  [default: as -o ends, or onnx]")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The file.  [default: RUN/model.onnx, RUN/model.safetensors, RUN/export.keras]",
)
@click.option("--check/--no-check", default=True, show_default=True, help="Run the file and compare before it is kept.")
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(run, format_, output, check, as_json):
    """Write the network of RUN for other programs: ONNX, a PyTorch state dict with torchvision's names, or Keras."""
    from kstyle.io import runs

    runs.facts(run)  # answers before a framework is loaded

    import kstyle

    done = kstyle.export(run, format_, output, check)
    if as_json:
        facts = {"path": str(done.path), "format": done.format, "bytes": done.bytes, "check": done.check}
        click.echo(json_text({**facts, "needs_kstyle": done.needs_kstyle}))
        return
    needs = "; it opens after `from kstyle import export`" if done.needs_kstyle else ""
    click.echo(f"{done.path}: {done.format}, {done.bytes / 1e6:.1f} MB; {done.check or 'not checked'}{needs}")
