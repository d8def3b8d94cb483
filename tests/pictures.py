"""Pictures and odd picture files, made on the fly for tests."""

import struct
import zlib
from pathlib import Path

import numpy as np

from kstyle.pictures import images

# Colorants of the RGB spaces relative to D50, as their published ICC profiles have them: columns are red, green, blue.
SRGB_D50 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_D50 = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 563 / 256


# A preset so shallow that a step takes milliseconds; the weights are VGG19's own.
SHALLOW = """
content: {layers: {block2_conv1: 1}, loss: relative}
style: {layers: {block1_conv1: 1, block2_conv1: 1}, weight: 20}
clamp: [0, 1]
optimizer: {name: adam, learning_rate: 0.03}
"""


def example(name, size=256):
    """A picture of examples/, (H, W, 3) float32 RGB in [0, 1], `size` pixels on its long side."""
    picture = images.read(Path(__file__).parents[1] / f"examples/{name}.jpg")
    return images.resize_picture(picture, images.fit(picture.size, size)).rgb


def smooth(height, width):
    """An (H, W, 3) float32 picture in [0.1, 0.9] that no filter or codec has trouble with."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (0.5 + 0.4 * np.stack([np.sin(3 * x), np.cos(2 * y), np.sin(2 * x + y)], -1)).astype(np.float32)


def saved(tmp_path, image, name, **options):
    """The path of `image` saved by Pillow as `name`."""
    image.save(tmp_path / name, **options)
    return tmp_path / name


def rgb_profile(name, colorants, gamma):
    """A minimal version 2 matrix profile: `colorants` (3, 3) XYZ by primary, one power curve."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    text = name.encode() + b"\0"
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78 + -len(text) % 4),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz((0.9642, 1, 0.8249)),
    }
    for letter, column in zip(b"rgb", np.transpose(colorants)):
        tags[bytes([letter]) + b"XYZ"] = xyz(column)
        tags[bytes([letter]) + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for key, data in tags.items():
        table += key + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    rest = bytes(4) + b"\x02\x10\0\0mntrRGB XYZ " + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header = (rest + struct.pack(">3i", 63190, 65536, 54061)).ljust(124, b"\0")
    return struct.pack(">I", 4 + len(header) + len(table) + len(body)) + header + table + body


def adobe_to_srgb(rgb):
    """What an Adobe RGB colour in [0, 1] is in sRGB, from the two spaces' definitions."""
    linear = np.linalg.solve(SRGB_D50, ADOBE_D50 @ np.asarray(rgb, float) ** ADOBE_GAMMA).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def png(width, height, rows=b"", depth=8, colour=2, chunks=()):
    """A PNG of the header given whatever `rows` (filter bytes included) hold. `chunks`: (type, data) before them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)
