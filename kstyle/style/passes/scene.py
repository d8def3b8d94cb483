"""What a pass looks at: the content, the style pictures and the masks at its size, as the network is to see them."""

from typing import NamedTuple

import numpy as np

from kstyle.pictures import bands, images
from kstyle.style.colour import modes as colour
from kstyle.style.passes import regions


class Scene(NamedTuple):
    """What a pass looks at.

    Attributes:
        content: (H, W, 3) float32 in [0, 1], without the margin.
        styles: list of such, each of a size of its own.
        masks: for each style the region of the content that it is for, (H, W), or None; None: every style everywhere.
        style_masks: for each style what of it is painted after, (H, W), or None.
        margin: pixels that the picture has around it.
    """

    content: np.ndarray
    styles: list
    masks: list | None
    style_masks: list
    margin: int

    @property
    def around(self) -> np.ndarray:
        """The content with its margin."""
        return mirrored(self.content, self.margin)

    def regions(self) -> list[regions.Region | None] | None:
        """For each style its `Region` of the content with its margin, or None; None: every style everywhere."""
        if self.masks is None:
            return None
        return [regions.region(mirrored(mask, self.margin)) for mask in self.masks]


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
    return Scene(seen, shown, here, style_masks, now.margin)


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
