"""Colour spaces that a file names without an ICC profile, and how their numbers become sRGB.

Cameras say Adobe RGB in EXIF, PNG says any space in the chunk cICP, AVIF in the box nclx, the latter two by the code
points of ITU-T H.273. Where nothing is said, numbers are sRGB.
"""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags

HEAD = 1 << 16  # bytes of a file in which it says so
PAPER_WHITE = 203.0  # cd/m² of white paper in an HDR picture, which becomes sRGB's white (ITU-R BT.2408)

# Red, green, blue as (x, y) of CIE 1931; white is D65 in all of them.
_BT709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES = {
    "BT.709": _BT709,
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
_D65 = (0.3127, 0.3290)
# Code points. Those of television's older primaries and curves are near enough to sRGB's, and shown as such everywhere.
_PRIMARIES_CODED = {1: "BT.709", 2: "BT.709", 5: "BT.709", 6: "BT.709", 7: "BT.709", 9: "BT.2020", 12: "Display P3"}
_CURVES_CODED = {1: "sRGB", 2: "sRGB", 4: "2.2", 6: "sRGB", 8: "linear", 13: "sRGB", 14: "sRGB", 15: "sRGB"}
_CURVES_CODED |= {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Space:
    """A colour space. Attributes: primaries, a key of `_PRIMARIES`; curve, from number to light, a key of `_CURVES`."""

    primaries: str
    curve: str

    def __str__(self):
        if self.curve in ("PQ", "HLG"):
            return f"HDR ({self.primaries}, {self.curve}), whose highlights above paper white are white"
        return self.primaries if self.curve in ("sRGB", "Adobe") else f"{self.primaries} with curve {self.curve}"


SRGB, ADOBE = Space("BT.709", "sRGB"), Space("Adobe RGB", "Adobe")


def of_file(image, head):
    """The space that a file names.

    Args:
        image: a `PIL.Image.Image`, which need not be decoded.
        head: the file's first `HEAD` bytes; empty where there are none.

    Returns:
        `(space, before, note)`: a `Space`; whether it counts more than an ICC profile (cICP does); and what the user
        should hear of codes that are not known, or "".
    """
    codes, before = None, False
    if image.format == "PNG":
        codes, before = _cicp(head), True
    elif image.format in ("AVIF", "HEIF"):
        codes = _nclx(head)
    if codes is not None:
        primaries, curve = _PRIMARIES_CODED.get(codes[0]), _CURVES_CODED.get(codes[1])
        if primaries is None or curve is None:
            return SRGB, False, f"its colour space (code points {codes[0]}, {codes[1]}) is unknown: read as sRGB"
        return Space(primaries, curve), before, ""
    return (ADOBE if _adobe(image) else SRGB), False, ""


def to_srgb(rgb, space):
    """(H, W, 3) float in [0, 1] in a `Space` -> float32 in [0, 1], sRGB. Colours that sRGB lacks are clipped."""
    if space == SRGB:
        return rgb
    light = _CURVES[space.curve](np.asarray(rgb, np.float64))
    light = np.clip(light @ (_from_xyz(_BT709) @ _to_xyz(_PRIMARIES[space.primaries])).T, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def _cicp(head):
    """(primaries, curve) of a PNG's chunk cICP, or None."""
    at = 8
    while at + 12 <= len(head):
        length, kind = struct.unpack(">I4s", head[at : at + 8])
        if kind == b"cICP" and length == 4:
            return head[at + 8], head[at + 9]
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None


def _nclx(head):
    """(primaries, curve) of the box colr of kind nclx, or None. It is looked for by its name, which is in the file's
    first kilobytes; what is before it are boxes of other names, and the picture's data come last."""
    at = head.find(b"colrnclx")
    return struct.unpack(">HH", head[at + 8 : at + 12]) if at >= 0 and len(head) >= at + 12 else None


def _adobe(image):
    """Whether EXIF says Adobe RGB: the index R03 of DCF, or 2 for the colour space, as some cameras write."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        if inner.get(ExifTags.Base.ColorSpace) == 2:
            return True
        return str(exif.get_ifd(ExifTags.IFD.Interop).get(1, "")).startswith("R03") if inner else False
    except Exception:  # damaged EXIF raises nearly anything, and says nothing
        return False


def _to_xyz(primaries):
    """The matrix from linear light of these primaries, white D65, to CIE XYZ: (3, 3)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = _D65
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


def _from_xyz(primaries):
    return np.linalg.inv(_to_xyz(primaries))


def _srgb(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _pq(v):
    """SMPTE ST 2084: number to cd/m², here with paper white as 1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = v ** (1 / m2)
    return 10000 / PAPER_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg(v):
    """ARIB STD-B67 with BT.2100's system gamma, on a display of 1000 cd/m²: number to light, paper white as 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    luminance = scene @ [0.2627, 0.6780, 0.0593]
    return 1000 / PAPER_WHITE * scene * luminance[..., None] ** 0.2


_CURVES = {
    "sRGB": _srgb,
    "linear": lambda v: v,
    "2.2": lambda v: v**2.2,
    "Adobe": lambda v: v ** (563 / 256),
    "PQ": _pq,
    "HLG": _hlg,
}
