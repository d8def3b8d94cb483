"""A picture, a file or an array, to a uint8 array: turned, in RGB, cut out, in the process that asks.

Needs Pillow and NumPy, no framework.

ICC profiles are not applied, as in all published training code; `kstyle.pictures.images` reads pictures faithfully.
"""

import math
import os

import numpy as np
from PIL import Image

from kstyle.io import streams
from kstyle.io.files import one_line
from kstyle.pictures import formats, images, samples

TURNS = dict(zip(range(2, 9), (0, 3, 1, 5, 4, 6, 2)))  # EXIF's orientation: Pillow's Transpose
LONG = 16  # sides more unequal than this: only the part is resized; all of 20000×4 would become 1280000×256
SIDEWAYS = (2, 4, 5, 6)  # those of Pillow's that make a wide picture high
STRETCH = "stretch"  # in place of the short side's pixels: the whole picture, its shape lost
RESAMPLES = ("bilinear", "bicubic", "nearest")


def open_rgb(path, least=None):
    """A picture file as a Pillow image in mode RGB, turned as its EXIF orientation says.

    The first frame of an animation; transparency laid on white; 16-bit and float grey scaled to 8 bits.

    Args:
        path: of the file; or an array, as `kstyle.pictures.images.read` takes it.
        least: pixels. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where its short side stays this long, in a
            fraction of the time. Default: at its own size.

    Raises:
        DataError: no such file, no picture, damaged, or above the pixel limit of `kstyle.pictures.formats`.
    """
    return _read(path, lambda width, height: (None, min(width, height) / least if least else 1))[0]


def _read(path, plan):
    """`plan(width, height)` of the turned picture gives a box and how many times it may be reduced.

    Returns: the image in RGB and the box in its pixels.
    """
    if isinstance(path, np.ndarray):
        image = _from_array(path)
        return image, plan(*image.size)[0]
    label = one_line(os.fsdecode(path))
    with formats.one_line_errors(label), streams.reading(path) as stream:
        image = samples.whole(formats.open_image(stream, label), label)
        tags, reducible = samples.tags(image), image.format in ("JPEG", "MPO")
        if not reducible:
            formats.load(image)  # first: of a PNG or TIFF the orientation, of an icon the size is known only then
        turn = _turn(image)
        width, height = image.size
        box, reduction = plan(*((height, width) if turn in SIDEWAYS else (width, height)))
        factor = 1
        if reducible:
            factor = next(f for f in (8, 4, 2, 1) if f <= max(1, reduction))
            if factor > 1 and image.draft(None, (width // factor, height // factor)) is None:
                factor = 1
            formats.load(image)
        image = _in_rgb(image, tags, label)
        if turn is not None:
            image = image.transpose(turn)
        return image, box and [min(v / factor, end) for v, end in zip(box, image.size * 2)]


def _from_array(values):
    """An array, as `images.read` takes it, as a Pillow image in mode RGB; transparency laid on white."""
    rgb, alpha = images.from_values(values, "array")
    if alpha is not None:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])
    return Image.fromarray(np.rint(rgb * 255).astype(np.uint8))


def _turn(image):
    try:
        return TURNS.get(image.getexif().get(0x0112))
    except Exception:  # on damaged metadata Pillow raises nearly anything, and the picture is worth more
        return None


def _in_rgb(image, tags, label):
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        rgb, _ = images.from_values(samples.grey(image, tags, label)[0], label)
        if isinstance(clear := image.info.get("transparency"), int):
            rgb[np.asarray(image) == clear] = 1
        return Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return image.convert("RGB")


def random_box(width, height, rng, scale, ratio):
    """A random part of a picture, as (x0, y0, x1, y1) in whole pixels, drawn as torchvision's RandomResizedCrop does.

    (The crop of C. Szegedy et al., "Going Deeper with Convolutions", 2015.) Its share of the area is uniform in
    `scale`, the logarithm of width / height uniform within `ratio`; where ten draws do not fit into the picture, it is
    the largest central part of a ratio within `ratio`.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return x, y, x + w, y + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def centre(path, size, resize, resample="bilinear"):
    """A picture file as it is for evaluation, (size, size, 3) uint8: its short side is resized to `resize` pixels, then
    the central `size`×`size` are cut out; or all of it is stretched to `size`×`size`.

    With antialiasing and rounded as torchvision's Resize and CenterCrop of a Pillow image, to the last bit. A
    JPEG of four times the size and more is read at a fraction that leaves twice the pixels needed, and then differs
    from that by 0.7 of 255 in the root mean square.

    Args:
        size, resize: pixels, `size` at most `resize`; or `"stretch"`.
        resample: one of `RESAMPLES`. Keras' generators of before took the nearest pixel, without antialiasing.

    Raises:
        DataError: as `open_rgb`.
    """
    return centre_and_place(path, size, resize, resample)[0]


def centre_and_place(path, size, resize, resample="bilinear"):
    """`(what `centre` gives, its place)`: left, top, right, bottom of what it shows, in pixels of the picture."""
    sides, place, whole, resample = None, None, resize == STRETCH, Image.Resampling[resample.upper()]
    # The nearest pixel of a reduced JPEG would be a mean of several.
    full = resample == Image.Resampling.NEAREST

    def plan(width, height):
        nonlocal sides, place
        wide, short = width > height, size if whole else resize
        if whole:
            sides = (size, size)
        else:
            sides = (int(resize * width / height), resize) if wide else (resize, int(resize * height / width))
        left, top = (0, 0) if whole else (round((side - size) / 2) for side in sides)
        across, down = width / sides[0], height / sides[1]
        place = (left * across, top * down, (left + size) * across, (top + size) * down)
        return (0, 0, width, height), 1 if full else min(width, height) / (2 * short)

    image, box = _read(path, plan)
    if whole:
        return np.asarray(image.resize(sides, resample, box=box)), place
    left, top = (round((side - size) / 2) for side in sides)
    if max(sides) > LONG * resize:
        x, y = (
            (end - begin) / side for begin, end, side in zip(box[:2], box[2:], sides)
        )  # pixels of the file for one of the result
        box = (box[0] + left * x, box[1] + top * y, box[0] + (left + size) * x, box[1] + (top + size) * y)
        box = [min(v, e) for v, e in zip(box, image.size * 2)]
        return np.asarray(image.resize((size, size), resample, box=box)), place
    image = image.resize(sides, resample, box=box)
    return np.asarray(image.crop((left, top, left + size, top + size))), place


def middle(path):
    """The largest central square of a picture file at its own size, (S, S, 3) uint8.

    Raises:
        DataError: as `open_rgb`.
    """
    image = open_rgb(path)
    side = min(image.size)
    left, top = ((long - side) // 2 for long in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def seen(path, size, resize=None):
    """Where what `centre`, or without `resize` `middle`, shows of a picture lies in it: (left, top, right, bottom) in
    pixels of the picture as it is turned.

    Raises:
        DataError: as `open_rgb`.
    """
    if resize:
        return centre_and_place(path, size, resize)[1]
    width, height = open_rgb(path).size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_crop(path, side, rng, scale, ratio, resample="bilinear"):
    """A part of a picture file drawn as `random_box` says, resized to (side, side, 3) uint8 as in `centre`; and its
    place, (left, top, right, bottom) in pixels of the turned picture.

    Raises:
        DataError: as `open_rgb`.
    """
    place, resample = None, Image.Resampling[resample.upper()]

    def plan(width, height):
        nonlocal place
        place = x0, y0, x1, y1 = random_box(width, height, rng, scale, ratio)
        return place, 1 if resample == Image.Resampling.NEAREST else min(x1 - x0, y1 - y0) / side

    image, box = _read(path, plan)
    return np.asarray(image.resize((side, side), resample, box=box)), place


def boxes_within(boxes, places):
    """Boxes of pictures as parts of the sides of what is shown of them, cut at its edges: (N, 4) float32.

    Args:
        boxes, places: (N, 4): left, top, right, bottom in pixels of the turned picture, of a box and of what is shown.
    """
    corner, far = np.tile(places[:, :2], 2), np.tile(places[:, 2:], 2)
    return np.clip((boxes - corner) / (far - corner), 0, 1).astype(np.float32)
