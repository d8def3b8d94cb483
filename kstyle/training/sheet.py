"""Contact sheets: pictures with what they are and what they were taken for."""

import contextlib
import os
import threading
from pathlib import Path

import numpy as np

from kstyle.errors import DataError, UsageError

# Green and red of unequal lightness, which those who see neither tell apart as dark and light.
FRAMES = {True: (0, 122, 74), False: (240, 88, 66)}
FRAME, GAP, MARGIN = 4, 12, 16
# Pillow's limit for reading what is written here without a warning is 89 megapixels.
LARGEST = 80_000_000


def sheet(entries, path, columns=None, size=160, title=""):
    """Writes pictures in a grid, each over its caption.

    Args:
        entries: sequence of (picture, lines, right). picture: (H, W, 3) or (H, W, 1) uint8; lines: the caption, a list
            of strings, cut where they are wider than the picture; right: True for a green frame, False for a red one,
            None for no frame.
        path: a .png or .jpg; replaced once the new one is complete.
        columns: pictures in a row; None: as many as make the sheet about 3 wide to 2 high.
        size: pixels of the square that a picture fills in one direction. Pictures at most half as large are enlarged
            by a whole number, so that their pixels stay pixels.
        title: a line above.

    Raises:
        UsageError: no column or a size below 32. DataError: no entries, arrays that are no pictures, too many for one
            sheet (80 megapixels), or the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    entries, path = list(entries), Path(path)
    if size < 32 or (columns is not None and columns < 1):
        raise UsageError(f"Expected a size from 32 and columns from 1; got {size} and {columns}.")
    if not entries:
        raise DataError(f"{path}: there is no picture to put on the sheet.")
    font = ImageFont.load_default(max(11, min(size // 11, 18)))
    heading = ImageFont.load_default(20)
    line = sum(font.getmetrics()) + 1
    width = size + 2 * FRAME
    height = width + 4 + line * max(len(lines) for _, lines, _ in entries)
    columns = min(columns or _columns(len(entries), width + GAP, height + GAP), len(entries))
    rows = -(-len(entries) // columns)
    top = MARGIN + (34 if title else 0)
    whole = (2 * MARGIN + columns * (width + GAP) - GAP, top + rows * (height + GAP) - GAP + MARGIN)
    if whole[0] * whole[1] > LARGEST:
        raise DataError(f"{path}: a sheet of {whole[0]} × {whole[1]} pixels is too large: fewer pictures, or smaller.")
    canvas = Image.new("RGB", whole, "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((MARGIN, MARGIN - 2), _fit(title, heading, whole[0] - 2 * MARGIN), "black", font=heading)
    for i, (picture, lines, right) in enumerate(entries):
        x, y = MARGIN + i % columns * (width + GAP), top + i // columns * (height + GAP)
        tile = _tile(picture, size)
        left, upper = x + FRAME + (size - tile.width) // 2, y + FRAME + (size - tile.height) // 2
        if right is not None:
            # Around the picture, not its square: a frame with white inside looks like part of a picture.
            box = (left - FRAME, upper - FRAME, left + tile.width + FRAME - 1, upper + tile.height + FRAME - 1)
            draw.rectangle(box, fill=FRAMES[bool(right)])
        canvas.paste(tile, (left, upper))
        for k, text in enumerate(lines):
            draw.text((x, y + width + 4 + k * line), _fit(str(text), font, width), (30, 30, 30), font=font)
    _save(canvas, path)


def _columns(count, width, height):
    """The number of columns that brings the sheet nearest to 3:2."""
    return min(range(1, count + 1), key=lambda c: abs(np.log(c * width / (-(-count // c) * height) / 1.5)))


def _tile(picture, size):
    from PIL import Image

    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.dtype != np.uint8 or not picture.size:
        raise DataError(f"Expected pictures (H, W, 3) or (H, W, 1), uint8; got {picture.shape}, {picture.dtype}.")
    image = Image.fromarray(np.ascontiguousarray(np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture))
    longest = max(image.size)
    if longest * 2 <= size:
        factor = size // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    shape = [max(1, round(side * size / longest)) for side in image.size]
    return image.resize(shape, Image.Resampling.LANCZOS)


def _fit(text, font, width):
    """`text` cut at the end until it is at most `width` pixels wide."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _save(canvas, path):
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a name that ends in .png or .jpg.")
    # Beside the target, as a rename is only atomic within a file system.
    beside = path.with_name(f".{path.name[:40]}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        canvas.save(beside, format=kind, **({"quality": 92} if kind == "JPEG" else {}))
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error
