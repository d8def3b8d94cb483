"""What a pass looks at: the content, the style pictures and the masks at its size, as the network is to see them."""

from typing import NamedTuple

import numpy as np

from kstyle.pictures import bands, images
from kstyle.style.colour import modes as colour
from kstyle.style.passes import regions


class Scene(NamedTuple):
    """What a pass looks at.

    Attributes:
        content: (H, W, 3) float32 in [0, 1], without the margin; `around`: with it.
        styles: list of such, each of a size of its own.
        regions: for each style the `Region` of `around` that it is for, or None; None: every style everywhere.
        style_regions: for each style the `Region` of it that is painted after, or None.
    """

    content: np.ndarray
    around: np.ndarray
    styles: list
    regions: list | None
    style_regions: list


def at(content, styles, now, masks=None):
    """The `Scene` of a pass.

    Args:
        content: a `kstyle.pictures.images.Picture`.
        styles: `kstyle.style.passes.styles.Styles`.
        now: the `kstyle.style.passes.sizes.Pass`.
        masks: of the content at its own size, a list; None: every style everywhere.
    """
    settings, here = now.settings, regions.all_at(masks, now.shape)
    shown, style_masks = styles.at(settings.style, now.shape)
    seen = images.resize_picture(content, now.shape).rgb
    seen, shown = colour.before(settings.colour, seen, shown, here, style_masks)
    if settings.content.median > 1:
        seen = median(seen, settings.content.median)
    if settings.content.towards_style:
        seen = colour.towards(seen, shown, styles.blend, settings.content.towards_style)
    around = mirrored(seen, now.margin)
    if here is not None:
        here = [mirrored(mask, now.margin) for mask in here]
        here = [regions.region(mask) for mask in here]
    return Scene(seen, around, shown, here, [regions.region(mask) for mask in style_masks])


def mirrored(array, margin):
    """Mirrors `margin` pixels outwards on each side of (H, W) or (H, W, 3); None stays None."""
    if array is None or not margin:
        return array
    return np.pad(array, [(margin, margin)] * 2 + [(0, 0)] * (array.ndim - 2), mode="symmetric")


def median(array, side):
    """(H, W, C) -> the same, each value the median of the `side` × `side` around it, edges repeated."""
    around = np.pad(array, [(side // 2, side // 2)] * 2 + [(0, 0)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (side, side), axis=(0, 1))
    return bands.mapped(lambda band: np.median(band, axis=(-2, -1)), windows, channels=array.shape[2])
