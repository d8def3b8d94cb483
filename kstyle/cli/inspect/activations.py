"""`kstyle inspect activations`: what the channels of layers say of a picture."""

import click

from kstyle.cli.common.options import PATH
from kstyle.cli.inspect import common
from kstyle.io.files import json_text


@click.command()
@common.model
@click.argument("image", type=PATH, metavar="IMAGE")
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="A layer; of each size of maps the last.")
@click.option(
    "--channel", "channels", multiple=True, type=int, metavar="N", help="A channel.  [default: the strongest]"
)
@click.option("--most", default=24, show_default=True, type=click.IntRange(1, 512), help="Channels shown a layer.")
@click.option(
    "--photos", type=PATH, metavar="DIR", help="Also the parts of these photographs that excite a channel most."
)
@click.option("--patches", default=8, show_default=True, type=click.IntRange(1, 64), help="So many of them a channel.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="A sheet, .png or .jpg; of several layers FILE-LAYER.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def activations(opening, image, layers, channels, most, photos, patches, output, as_json):
    """Show what the channels of layers of MODEL say of IMAGE: a sheet of maps a layer, the strongest first."""
    from kstyle.cli.common.progress import Progress
    from kstyle.errors import UsageError
    from kstyle.io import files, names
    from kstyle.io.files import legible, one_line
    from kstyle.pictures import folders
    from kstyle.pictures import sheet as contact

    if output is not None:
        contact.kind(output)
    if photos and output is None and not as_json:
        raise UsageError("--photos: name a sheet to show their parts on with -o FILE.")
    paths = [picture.path for picture in folders.pictures(photos).pictures] if photos else []
    if photos and not paths:
        raise UsageError(f"--photos: no picture in {one_line(photos)}.")
    names.check_spares([output], [image, *paths])

    with Progress(quiet=as_json) as progress:
        from kstyle.inspect import driving, maps, sheets

        subject = common.opened(opening, progress)
        layers = list(dict.fromkeys(layers)) or maps.stages(subject)
        targets = {
            layer: output and (output if len(layers) == 1 else files.ending(output, f"-{layer}")) for layer in layers
        }
        names.check_spares(targets.values(), [image, *paths])
        found = maps.of_picture(subject, subject.picture(image), layers, progress=progress.download)
        shown = {}
        for layer in layers:
            there = found[layer].maps.shape[-1]
            for channel in channels:
                if not 0 <= channel < there:
                    raise UsageError(f"--channel: {layer} has channels 0 to {there - 1}; got {channel}.")
            shown[layer] = list(channels) or sheets.strongest(found[layer], most)
        driven = driving.of_layers(subject, paths, shown, patches, progress.download) if paths else {}
    for layer, target in targets.items():
        if target:
            title = f"{layer} of {subject.name}"
            sheets.write(found[layer], target, shown[layer], driven.get(layer), title=title)
    if as_json:
        click.echo(json_text(_figures(subject, found, shown, driven), indent=2))
        return
    for layer in layers:
        for channel in shown[layer]:
            about = found[layer].channels.loc[channel]
            said = f"strength {about['strength']:.4g}, highest {about['highest']:.4g}"
            click.echo(f"{layer}  channel {channel}: {said} at {int(about['y'])}, {int(about['x'])}")
    for target in filter(None, targets.values()):
        click.echo(f"Written: {one_line(legible(target))}", err=True)


def _figures(subject, found, shown, driven):
    layers = {}
    for layer, channels in shown.items():
        table = found[layer].channels.loc[channels]
        rows = [{"channel": int(channel), **row} for channel, row in table.to_dict("index").items()]
        for row in rows:
            parts = driven.get(layer, {}).get(row["channel"], ())
            if parts:
                row["patches"] = [{"path": str(p.path), "value": p.value, "box": list(map(int, p.box))} for p in parts]
        layers[layer] = rows
    return {"model": subject.name, "layers": layers}
