"""Maps as pictures: in colours, and as sheets of the channels of a layer."""

import functools

import numpy as np

from kstyle.pictures import sheet as contact

COLOURS = "magma"  # matplotlib's: dark to light, which the colour-blind and a printer tell apart too


@functools.cache
def _palette():
    from matplotlib import colormaps

    return (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype("uint8")


def levels(values):
    """A map (h, w) as uint8: 0 where nothing is above 0, 255 the highest."""
    values = np.maximum(np.nan_to_num(values), 0)
    highest = values.max()
    return (values * (255 / highest if highest > 0 else 0)).round().astype("uint8")


def coloured(values):
    """A map (h, w) as a picture (h, w, 3) uint8: black where nothing is above 0, the highest nearly white."""
    return _palette()[levels(values)]


def strongest(found, most):
    """The first `most` channels of an `Activations`, a list."""
    return [int(channel) for channel in found.channels.index[:most]]


def write(found, path, channels, patches=None, size=128, title=""):
    """Writes a sheet of a layer's channels.

    Args:
        found: a `kstyle.inspect.maps.Activations`.
        path: a .png or .jpg.
        channels: which, in this order.
        patches: {channel: `kstyle.inspect.driving.Patch`es}, which stand in a row beside the channel's map; None: maps
            alone.
        size, title: as for `kstyle.pictures.sheet.sheet`.
    """
    entries, columns = [], None
    for channel in channels:
        about = found.channels.loc[channel]
        lines = [f"channel {channel}", f"to {about['highest']:.3g}"]
        entries.append((coloured(found.maps[..., channel]), lines, None))
        entries += [(patch.picture, [f"{patch.value:.3g}"], None) for patch in (patches or {}).get(channel, ())]
    if patches:
        columns = 1 + max(len(each) for each in patches.values())
    contact.sheet(entries, path, columns, size, title or f"{found.layer}, the strongest channels first")
