"""Maps of several channels as one picture."""

import numpy as np

from kstyle.inspect import sheets
from kstyle.pages.pictures import address
from kstyle.pictures import images

TILE = 96  # pixels of a map's long side, and of a photograph's part


def strip(maps, channels):
    """Maps of several channels side by side as one picture.

    Args:
        maps: (h, w, C) float32.
        channels: which, in this order.

    Returns:
        A dict for the page: `image`, its address; `count`; `ratio` of a map's width to its height; `squares`: whether
            its places are to be shown as squares.
    """
    values = [maps[..., channel] for channel in channels]
    if max(maps.shape[:2]) > TILE:
        size = images.fit(maps.shape[:2], TILE)
        values = [images.resize(each, size, "area") for each in values]
    whole = np.concatenate([sheets.coloured(each) for each in values], axis=1)
    squares = max(maps.shape[:2]) < TILE // 2
    ratio = round(maps.shape[1] / maps.shape[0], 3)
    return {"image": address(whole, exact=squares), "count": len(values), "ratio": ratio, "squares": squares}
