"""Pictures as a page has them: WebP at the size they are shown, as text in it."""

import base64
import io

import numpy as np

from kstyle.pictures import bands, images

QUALITY = 80


def webp(picture, exact=False, quality=QUALITY):
    """A picture's bytes as WebP.

    Args:
        picture: (h, w, 3) uint8.
        exact: without loss, for maps of few places, each of which is to stay a square.
        quality: 1 to 100, with loss.
    """
    from PIL import Image

    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(stream, "WEBP", lossless=exact, quality=100 if exact else quality, method=4)
    return stream.getvalue()


def address(picture, exact=False, quality=QUALITY):
    """A picture as a `data:` address of a WebP, see `webp`."""
    return f"data:image/webp;base64,{base64.b64encode(webp(picture, exact, quality)).decode()}"


def fitted(picture, side):
    """(h, w, 3), uint8 or floats in [0, 1], as uint8 of at most `side` pixels on its long side."""
    picture = bands.floats(picture)
    if max(picture.shape[:2]) > side:
        picture = images.resize(picture, images.fit(picture.shape[:2], side))
    return bands.levels(picture)


def small(picture, side):
    """(h, w, 3) float32 of a `kstyle.pictures.images.Picture`, of at most `side` pixels on its long side."""
    return images.resize_picture(picture, images.fit(picture.size, min(side, max(picture.size)))).rgb


def within(pictures, side, most):
    """The addresses of several pictures, in as many pixels as fit.

    Args:
        pictures: a list of (h, w, 3), as for `fitted`.
        side: pixels of their long sides at most.
        most: characters of all addresses together.

    Returns:
        A list of `(address, width, height)`.
    """
    while True:
        small = [fitted(picture, side) for picture in pictures]
        found = [(address(each), each.shape[1], each.shape[0]) for each in small]
        length = sum(len(text) for text, _, _ in found)
        if length <= most or side <= 32:
            return found
        side = max(32, int(side * min(0.9, (most / length) ** 0.5)))
