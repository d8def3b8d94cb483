"""What the picture of a pass begins as: a picture or noise, then what the pass before has left, enlarged."""

from typing import NamedTuple

import numpy as np

from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.pictures import bands, images
from kstyle.style.colour import modes as colour
from kstyle.style.passes import pyramid, units
from kstyle.style.passes.scene import mirrored


class Left(NamedTuple):
    """What a pass leaves to the next: its picture, (H, W, 3) float32 in the settings' space, and the margin in it."""

    values: np.ndarray
    margin: int


def begun(start, left, scene, styles, now, seed):
    """What a pass begins with.

    Args:
        left: `Left` by the pass before; None: this is the first.
        start, scene, styles, now, seed: as for `first`.

    Returns:
        Values, (H, W, 3) float32 in the settings' space, with the margin; and what they show, RGB, with the finest
        detail of the content, where that is needed, else None.
    """
    space = now.settings.space
    if left is None:
        rgb = first(start, scene, styles, now, seed)
        return units.to_space(rgb, space), None
    # A pyramid enlarges its levels bilinearly. Enlarged in the same way, the picture has a new finest level of zeros;
    # with another filter that level would begin with the difference between the two filters.
    kind = "bilinear" if now.settings.pyramid else "bicubic"
    values, seen = enlarge(left.values, kind, (left.margin, now.margin), now.shape), None
    if start == "detail" or any(term.mix for term in now.settings.style_terms.values()):
        seen = pyramid.detail(scene.around) + units.from_space(values, space)
    return (units.to_space(seen, space) if start == "detail" and not now.final else values), seen


def first(start, scene, styles, now, seed):
    """What the first pass begins with: (H, W, 3) float32 RGB, with the margin.

    Args:
        start: `content`, `noise`, `style`, `detail`, or a `kstyle.pictures.images.Picture`.
        scene: the `kstyle.style.passes.scene.Scene` of the pass.
        styles: `kstyle.style.passes.styles.Styles`.
        now: the `kstyle.style.passes.sizes.Pass`.
        seed: of the noise.
    """
    if start == "noise":
        return noise(now.settings.noise, now.shape, now.margin, seed)
    if start == "style":
        # A style is resized once, unless it is recoloured, which happens at the size it is shown in.
        recoloured = colour.MODES[now.settings.colour].style
        start = images.Picture(scene.styles[0]) if recoloured else styles.pictures[0]
    if start == "content":
        rgb = scene.content
    elif start == "detail":
        mean = np.average([style.mean((0, 1)) for style in scene.styles], axis=0, weights=styles.blend)
        rgb = (mean + pyramid.detail(scene.content)).astype("float32")
    else:
        rgb = images.resize_picture(start, now.shape).rgb
    return mirrored(np.clip(rgb, 0, 1), now.margin)


def noise(deviation, shape, margin, seed):
    """(H, W, 3) float32 RGB: normal noise around ImageNet's mean colour, margin included.

    Args:
        deviation: of the noise, in bytes.
        shape: (height, width) without the margin.
    """
    mean = np.array(PREPROCESSINGS["caffe"].mean[::-1])  # RGB bytes
    rng, found = np.random.default_rng(seed), np.empty([side + 2 * margin for side in shape] + [3], "float32")
    for band in bands.rows(*found.shape[:2]):  # the same numbers as all at once
        found[band] = (mean + rng.normal(0, deviation, found[band].shape)) / 255
    return found


def enlarge(values, filter, margins, shape):
    """What lies along one picture and its margin, (H, W, C), brought to another's size and margin.

    Args:
        margins: of the one and of the other, pixels.
        shape: (height, width) of the other, without margin.
    """
    before, after = margins
    # The margin grows with the picture; what is more than the other's is cut off.
    around = [round(before * new / (old - 2 * before)) for new, old in zip(shape, values.shape)]
    grown = images.resize(values, tuple(new + 2 * more for new, more in zip(shape, around)), filter)
    top, left = (more - after for more in around)
    return grown[top : top + shape[0] + 2 * after, left : left + shape[1] + 2 * after]
