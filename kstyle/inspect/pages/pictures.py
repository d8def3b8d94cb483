"""Pictures as a page has them: WebP at the size they are shown, as text in it."""

import base64
import io

import numpy as np

from kstyle.inspect import sheets
from kstyle.pictures import images

TILE = 96  # pixels of a map's long side, and of a photograph's part
QUALITY = 80


def address(picture, exact=False):
    """A picture as a `data:` address of a WebP.

    Args:
        picture: (h, w, 3) uint8.
        exact: without loss, for maps of few places, each of which is to stay a square.
    """
    from PIL import Image

    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(stream, "WEBP", lossless=exact, quality=100 if exact else QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def fitted(picture, side=TILE):
    """(h, w, 3), uint8 or floats in [0, 1], as uint8 of at most `side` pixels on its long side."""
    if picture.dtype == np.uint8:
        picture = picture / np.float32(255)
    if max(picture.shape[:2]) > side:
        picture = images.resize(picture, images.fit(picture.shape[:2], side))
    return (np.clip(picture, 0, 1) * 255).round().astype("uint8")


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
