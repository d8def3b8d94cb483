"""ICC profiles: a picture of any profile as sRGB, and the sRGB profile that goes into every file written."""

import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms

# What a profile of each colour space may be for, in Pillow's modes, first the one it is handed to Pillow as. A grey
# picture may carry the profile of its RGB original.
MODES = {
    "RGB": ("RGB", "1", "L", "LA", "P", "PA", "RGBA", "RGBa", "RGBX"),
    "GRAY": ("L", "1", "LA", "P", "PA"),
    "CMYK": ("CMYK",),
    "Lab": ("LAB",),
}


@cache
def srgb():
    """The bytes of an sRGB profile, the same on every day."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the moment it was made; a fixed one lets the same picture be the same file again.
    data[24:36] = bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    return bytes(data)


def to_srgb(image, mode=None):
    """Convert a picture to sRGB, by its ICC profile where it has one that can be used.

    The conversion is relative colorimetric with black point compensation. Colours of a profile that is sRGB already,
    whatever it is called, stay exactly as they are.

    Args:
        image: 8-bit Pillow image without alpha, of any mode.
        mode: its mode before its alpha was taken off; its own by default.

    Returns:
        The image in mode RGB, and a list of notes: that it was converted, from what; or why its profile was ignored.
    """
    mode, notes = mode or image.mode, []
    if data := image.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
            taken, transform = _transform(profile, mode)
            if taken != "RGB" or not _is_srgb(transform):
                name = ImageCms.getProfileDescription(profile).strip()
                image = image if image.mode == taken else image.convert(taken)
                image = ImageCms.applyTransform(image, transform)
                notes.append(f"converted from the ICC profile '{name}'")
        except (ImageCms.PyCMSError, ValueError, OSError, TypeError) as error:
            notes.append(f"its ICC profile was ignored ({str(error) or 'unreadable'})")
    if mode in ("CMYK", "LAB", "HSV", "YCbCr"):
        notes.append(f"{mode} converted to sRGB")
    return image if image.mode == "RGB" else image.convert("RGB"), notes


def _transform(profile, mode):
    """The Pillow mode to convert a picture of `mode` to first, and the transform from there to sRGB."""
    space = profile.profile.xcolor_space.strip()
    if mode not in MODES.get(space, ()):  # left over from before a conversion, as is common
        raise ValueError(f"it is for {space}, the picture is {mode}")
    how = {"renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC, "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION}
    taken = MODES[space][0]
    return taken, ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), taken, "RGB", **how)


def _is_srgb(transform):
    """Whether a transform from RGB to sRGB is from sRGB too.

    The many versions of sRGB differ in name and bytes, so a profile is known by what it does: one that moves no colour
    by more than two levels is sRGB, and a conversion would only add rounding.
    """
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform), int) - cube
    return np.abs(moved).max() <= 2
