"""Contact sheets: pictures with what they are and what they were taken for."""

from pathlib import Path

import numpy as np

from kstyle.errors import DataError, UsageError
from kstyle.io.files import expanded, replacing

# A dark green and a light red, so that the colour-blind tell them apart too.
FRAMES = {True: (0, 122, 74), False: (240, 88, 66)}
FRAME, GAP, MARGIN = 4, 12, 16
# Boxes in pictures: yellow and blue, which all common kinds of colour vision tell apart, with a black rim.
TRUE, TOLD = (240, 228, 66), (0, 114, 178)
LEGEND = "boxes: true yellow, told blue"
# Pillow's limit for reading what is written here without a warning is 89 megapixels.
LARGEST = 80_000_000
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def kind(path):
    """Pillow's name of the format that `path` ends in.

    Raises:
        DataError: neither .png nor .jpg.
    """
    if Path(path).suffix.lower() not in KINDS:
        raise DataError(f"{path}: expected a name that ends in .png or .jpg.")
    return KINDS[Path(path).suffix.lower()]


def sheet(entries, path, columns=None, size=160, title=""):
    """Writes pictures in a grid, each over its caption.

    Args:
        entries: sequence of (picture, lines, right), or (picture, lines, right, outlines). picture: (H, W, 3) or
            (H, W, 1) uint8; lines: the caption, a list of strings, cut where they are wider than the picture; right:
            True for a green frame, False for a red one, None for no frame; outlines: what `outlines` gives.
        path: a .png or .jpg; replaced once the new one is complete; or a function, which is called with the entries in
            place of a sheet.
        columns: pictures in a row; None: as many as make the sheet about 3 wide to 2 high.
        size: pixels of the square that a picture fills in one direction. Pictures at most half as large are enlarged
            by a whole number, so that their pixels stay pixels.
        title: a line above.

    Raises:
        UsageError: no column, or a size not from 32 to 1024. DataError: no entries, arrays that are no pictures, too
            many for one sheet (80 megapixels), or the file cannot be written.
    """
    from PIL import Image, ImageDraw

    if callable(path):
        path(entries)
        return
    entries, path = list(entries), Path(expanded(path))
    if not 32 <= size <= 1024 or (columns is not None and columns < 1):
        raise UsageError(f"Expected a size from 32 to 1024 and columns from 1; got {size} and {columns}.")
    if not entries:
        raise DataError(f"{path}: there is no picture to put on the sheet.")
    shapes = [_shape(picture, size) for picture, *_ in entries]
    font, heading = font_of(max(11, min(size // 12, 18))), font_of(18)
    line = sum(font.getmetrics()) + 1
    width, below = (max(side) + 2 * FRAME for side in zip(*shapes))
    # Room for a caption below a narrow picture.
    width = max(width, size * 3 // 4)
    height = below + 4 + line * max(len(lines) for _, lines, *_ in entries)
    columns = min(columns or _columns(len(entries), width + GAP, height + GAP), len(entries))
    rows = -(-len(entries) // columns)
    top = MARGIN + (34 if title else 0)
    whole = (2 * MARGIN + columns * (width + GAP) - GAP, top + rows * (height + GAP) - GAP + MARGIN)
    if whole[0] * whole[1] > LARGEST:
        raise DataError(f"{path}: a sheet of {whole[0]} × {whole[1]} pixels is too large: fewer pictures, or smaller.")
    canvas = Image.new("RGB", whole, "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((MARGIN, MARGIN - 2), fitted(title, heading, whole[0] - 2 * MARGIN), "black", font=heading)
    for i, (picture, lines, right, *drawn) in enumerate(entries):
        tile = _tile(picture, shapes[i])
        for colour, box in (pair for pairs in drawn for pair in pairs):
            _outline(tile, colour, box)
        x, y = MARGIN + i % columns * (width + GAP), top + i // columns * (height + GAP)
        # Down to its caption, whatever its shape.
        upper = y + below - FRAME - tile.height
        if right is not None:
            box = (x, upper - FRAME, x + tile.width + 2 * FRAME - 1, y + below - 1)
            draw.rectangle(box, fill=FRAMES[bool(right)])
        canvas.paste(tile, (x + FRAME, upper))
        for k, text in enumerate(lines):
            draw.text((x, y + below + 3 + k * line), fitted(str(text), font, width), (30, 30, 30), font=font)
    save(canvas, path)


def _columns(count, width, height):
    """The number of columns that brings the sheet nearest to 3:2, with few places left empty."""

    def cost(columns):
        rows = -(-count // columns)
        return abs(np.log(columns * width / (rows * height) / 1.5)) + (columns * rows - count) / count

    return min(range(1, count + 1), key=cost)


def font_of(size):
    # Matplotlib's own font: Pillow's has no ö.
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _shape(picture, size):
    """(width, height) of a picture on the sheet."""
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"Expected pictures as NumPy arrays (H, W, 3) or (H, W, 1), uint8; got {type(picture).__name__}."
        )
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.dtype != np.uint8 or not picture.size:
        raise DataError(f"Expected pictures (H, W, 3) or (H, W, 1), uint8; got {picture.shape}, {picture.dtype}.")
    height, width, _ = picture.shape
    longest = max(height, width)
    if longest * 2 <= size:
        return width * (size // longest), height * (size // longest)
    return max(1, round(width * size / longest)), max(1, round(height * size / longest))


def _tile(picture, shape):
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3))))
    whole = shape[0] % image.width == 0 and shape[1] % image.height == 0
    return image.resize(shape, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def outlines(told=None, true=None):
    """For `sheet`: boxes and their colours. told, true: [left, top, right, bottom], parts of the picture's sides."""
    return [(colour, box) for colour, box in ((TRUE, true), (TOLD, told)) if box is not None]


def _outline(tile, colour, box):
    from PIL import ImageDraw

    draw, sides = ImageDraw.Draw(tile), (tile.width, tile.height)
    near, far = ([round(float(part) * side) for part, side in zip(ends, sides)] for ends in (box[:2], box[2:]))
    near = [min(max(at, 0), side - 1) for at, side in zip(near, sides)]
    far = [min(max(at - 1, low), side - 1) for at, low, side in zip(far, near, sides)]
    for width, paint in ((3, (0, 0, 0)), (2, colour)):
        draw.rectangle((*near, *far), outline=paint, width=width)


def fitted(text, font, width):
    """`text` cut at the end until it is at most `width` pixels wide."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def save(canvas, path):
    form = kind(path)
    try:
        with replacing(path) as beside:
            canvas.save(beside, format=form, **({"quality": 92} if form == "JPEG" else {}))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error
