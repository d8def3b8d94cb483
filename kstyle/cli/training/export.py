"""`kstyle export`: a run's network, or a style network, as a file for other programs."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, allow_code, device, plugin
from kstyle.errors import UsageError
from kstyle.io.files import json_text


@click.command()
@click.argument("run", type=PATH, metavar="RUN", shell_complete=completing.runs)
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
    """Write the network of RUN for other programs: ONNX, a PyTorch state dict with torchvision's names, or Keras.

    RUN may be the .keras file of a style network (`kstyle learn`), which becomes ONNX.
    """
    from kstyle.io import runs

    if str(run).endswith(".keras"):
        _export_style(run, format_, output, check, as_json)
        return

    runs.facts(run)  # answers before a framework is loaded

    import kstyle

    done = kstyle.export(run, format_, output, check)
    if as_json:
        facts = {"path": str(done.path), "format": done.format, "bytes": done.bytes, "check": done.check}
        click.echo(json_text({**facts, "needs_kstyle": done.needs_kstyle}))
        return
    needs = "; it opens after `from kstyle import export`" if done.needs_kstyle else ""
    click.echo(f"{done.path}: {done.format}, {done.bytes / 1e6:.1f} MB; {done.check or 'not checked'}{needs}")


def _export_style(network, format_, output, check, as_json):
    from kstyle.style.networks import onnx_file

    if format_ not in (None, "onnx"):
        raise UsageError(f"A style network is exported as onnx, not as {format_}.")
    path, off = onnx_file.write(network, output, check=check)
    size = path.stat().st_size
    if as_json:
        click.echo(json_text({"path": str(path), "format": "onnx", "bytes": size, "off": off}))
        return
    said = "not checked" if off is None else f"run on pictures of three sizes, numbers are off by at most {off:.1g}"
    click.echo(f"{path}: onnx, {size / 1e6:.1f} MB; {said}")
