"""The style pictures of a painter, at the sizes in which they are shown, kept from content to content."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.pictures import bands, images
from kstyle.style.passes import regions, sizes

# So many sizes are kept. At five layers of VGG the targets of one are three megabytes, and a style picture of 1024
# pixels nine.
MOST_KEPT = 16


class Styles:
    """Style pictures with their masks and weights.

    Args:
        pictures: list of `kstyle.pictures.images.Picture`, one at least.
        masks: for each the part of it that is painted after, as for `kstyle.style.passes.regions.read`; None: what of
            it is opaque.
        blend: a weight for each; None: equal.

    Raises:
        UsageError: the weights are not one for each, not 0 or more, or all 0; another number of masks.
        DataError: a picture of which nothing is seen, or a mask that cannot be used.
    """

    def __init__(
        self,
        pictures: list[images.Picture],
        masks: Any = None,
        blend: Sequence[float] | None = None,
    ) -> None:
        self.pictures, self.blend = pictures, check_blend(blend, len(pictures))
        for picture in pictures:
            if picture.alpha is not None and not picture.alpha.any():
                raise DataError(f"{picture.name} is transparent everywhere: there is nothing in it to paint after.")
        if masks is None:
            self.masks = [picture.alpha for picture in pictures]
        else:
            self.masks = regions.read(masks, pictures, "style")
        self._sized = {}

    def at(self, settings: Any, shape: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        """The pictures, (H, W, 3) each, and their masks, at the sizes that they are shown in.

        Args:
            settings: `kstyle.style.sections.Style`, how large they are beside the picture.
            shape: (height, width) of the picture that is painted.
        """
        shapes = tuple(sizes.of_style(settings, picture, shape) for picture in self.pictures)
        return kept(self._sized, shapes, lambda: (
            [images.resize_picture(picture, size).rgb for picture, size in zip(self.pictures, shapes)],
            [regions.resize(mask, size) for mask, size in zip(self.masks, shapes)],
        ))  # fmt: skip

    def digests(self) -> list[str]:
        """`bands.digest` of each picture and its mask."""
        return [bands.digest(picture.values, mask) for picture, mask in zip(self.pictures, self.masks)]

    def __getstate__(self):
        """Sent to another process without what is kept."""
        return {**self.__dict__, "_sized": {}}


def check_blend(blend, count):
    """The weights of so many styles as floats, equal ones for None. Raises: as `Styles`."""
    blend = [1.0] * count if blend is None else [float(b) for b in blend]
    if not count:
        raise UsageError("At least one style picture is needed.")
    if len(blend) != count:
        raise UsageError(f"{len(blend)} style weights were given for {count} style picture{'s'[: count > 1]}.")
    if not all(np.isfinite(b) and b >= 0 for b in blend) or not sum(blend):
        raise UsageError(f"Style weights must be 0 or more, and one above 0; got {blend}.")
    return blend


def kept(store, key, make):
    """`store[key]`, made if need be; a full store is emptied first."""
    if key not in store:
        if len(store) >= MOST_KEPT:
            store.clear()
        store[key] = make()
    return store[key]
