"""`kstyle export`: a run's network, or a style network, as a file for other programs."""

import click

from kstyle.cli.common import completing
from kstyle.cli.common.options import PATH, STYLE, allow_code, device, plugin
from kstyle.errors import UsageError
from kstyle.io.files import json_text, one_line


@click.command()
@click.argument("run", type=STYLE, metavar="RUN", shell_complete=completing.runs)
@click.option("--format", "format_", metavar="onnx|torch|keras", help="What to write.  [default: as -o ends, or onnx]")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The file.  [default: RUN/model.onnx, RUN/model.safetensors, RUN/export.keras]",
)
@click.option("--bits", type=click.Choice(["8"]), help="Of a style network: a smaller .keras, weights in 8 bits.")
@click.option("--check/--no-check", default=True, show_default=True, help="Run the file and compare before it is kept.")
@device
@plugin
@allow_code
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(run, format_, output, bits, check, as_json):
    """Write the network of RUN for other programs: ONNX, a PyTorch state dict with torchvision's names, or Keras.

    RUN may be a style network, the .keras file of `kstyle learn` or style:NAME, which becomes ONNX (one for any style
    takes two pictures there), or with --bits 8 a .keras file of a quarter of the size.
    """
    from kstyle.io import runs

    if str(run).endswith(".keras"):
        _export_style(run, format_, output, bits, check, as_json)
        return
    if bits:
        raise UsageError(f"--bits is for style networks, and {one_line(run)} is none.")
    runs.facts(run)  # answers before a framework is loaded

    import kstyle

    done = kstyle.export(run, format_, output, check)
    if as_json:
        facts = {"path": str(done.path), "format": done.format, "bytes": done.bytes, "check": done.check}
        click.echo(json_text({**facts, "needs_kstyle": done.needs_kstyle}))
        return
    needs = "; it opens after `from kstyle import export`" if done.needs_kstyle else ""
    click.echo(f"{done.path}: {done.format}, {done.bytes / 1e6:.1f} MB; {done.check or 'not checked'}{needs}")


def _export_style(network, format_, output, bits, check, as_json):
    kind = "keras" if bits else "onnx"
    if format_ not in (None, kind):
        said = "with --bits 8 as keras" if bits else "as onnx, or smaller with --bits 8"
        raise UsageError(f"A style network is exported {said}, not as {format_}.")
    if bits:
        from kstyle.style.networks import small_file as files
    else:
        from kstyle.style.networks import onnx_file as files
    path, off = files.write(network, output, check=check)
    size = path.stat().st_size
    if as_json:
        click.echo(json_text({"path": str(path), "format": kind, "bytes": size, "off": off}))
        return
    how = "off by {:.1g} on average" if bits else "run on pictures of three sizes, numbers are off by at most {:.1g}"
    click.echo(f"{path}: {kind}, {size / 1e6:.1f} MB; {how.format(off) if check else 'not checked'}")
