"""Which files are opened as pictures, in which formats, how large they may be: the only door to Pillow's readers."""

import contextlib
import importlib
import importlib.util
import os
import re
import threading

from PIL import Image, ImageFile, UnidentifiedImageError

from kstyle.errors import DataError, UsageError
from kstyle.io.files import one_line

MAX_PIXELS = 100_000_000  # width × height a file may claim; KSTYLE_MAX_PIXELS in the environment goes before it

# Pillow's names. What a file is called does not matter to Pillow, so a format that is not here is read under no name:
# PostScript (EPS), for which Pillow starts Ghostscript, and so runs the file as a program; WMF, which Windows draws;
# files that only point to others; and formats of which no photograph is. MPO, of two lenses, is opened as JPEG.
FORMATS_READ = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI",
    "SGI", "SUN", "TGA", "TIFF", "WEBP",
)  # fmt: skip
# What pictures in these are called, lower case. A folder is searched for files of these names.
SUFFIXES_READ = frozenset((
    ".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".heic", ".heif", ".icns", ".ico", ".j2k", ".jfif", ".jp2",
    ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras",
    ".sgi", ".tga", ".tif", ".tiff", ".webp",
))  # fmt: skip


def _is_heif(head):
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def _is_jxl(head):
    return head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"))


_HEIF = "pillow_heif"  # the package that reads HEIC and HEIF, the extra heif
_PROGRAMS = (b"%!", b"\xc5\xd0\xd3\xc6", b"%PDF", b"\xd7\xcd\xc6\x9a")  # PostScript, EPS with a preview, PDF, WMF
_HEAD = 16  # bytes that tell


def _known(stream, label):
    """The formats in which a stream is opened; the stream is left at its beginning."""
    stream.seek(0)
    head = stream.read(_HEAD)
    stream.seek(0)
    if head.startswith(_PROGRAMS):
        raise DataError(f"{label}: is a drawing (PostScript, PDF or WMF), not a picture of pixels: save it as PNG.")
    if _is_jxl(head):  # the package that reads it decodes before a picture's size can be checked
        raise DataError(f"{label}: is JPEG XL, which kstyle does not read: save it as PNG, JPEG or AVIF.")
    if _is_heif(head):
        if importlib.util.find_spec(_HEIF) is None:
            raise DataError(f"{label}: is HEIC, which takes a package more: pip install 'kstyle[heif]'.")
        importlib.import_module(_HEIF).register_heif_opener()
        return ("HEIF",)
    return FORMATS_READ


@contextlib.contextmanager
def one_line_errors(label):
    """Turn whatever opening and decoding raise into a DataError of one line."""
    try:
        yield
    except (DataError, UsageError):
        raise
    except FileNotFoundError:
        raise DataError(f"{label}: there is no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{label}: is a folder, not a picture.") from None
    except MemoryError:
        raise DataError(f"{label}: takes more memory than there is: make the file smaller.") from None
    except UnidentifiedImageError:
        raise DataError(f"{label}: is not a picture, or not in a format that kstyle reads.") from None
    except Exception as error:  # on damaged files Pillow's readers raise nearly anything, SyntaxError and KeyError too
        reason = one_line(getattr(error, "strerror", None) or error) or type(error).__name__
        raise DataError(f"{label}: cannot be read as a picture ({reason}).") from error


def most_pixels():
    """Width × height that a file may claim."""
    text = os.environ.get("KSTYLE_MAX_PIXELS", MAX_PIXELS)
    with contextlib.suppress(ValueError):
        if (limit := int(text)) > 0:
            return limit
    raise UsageError(f"KSTYLE_MAX_PIXELS is '{text}': expected a whole number of pixels above 0.")


def check_pixels(size, label):
    """Refuse a picture of `size` (width, height) above the limit. `(n, None)` says n pixels of unknown shape."""
    width, height = size
    pixels, limit = width * (height or 1), most_pixels()
    if pixels > limit:
        shape = f"{width}×{height} is " if height else ""
        way = f"if the file is to be trusted, set KSTYLE_MAX_PIXELS={pixels}"
        raise DataError(f"{label}: {shape}{pixels:,} pixels, the limit is {limit:,}; {way}.")


class _Limit(int):
    """A limit for Pillow, which warns above its limit and refuses above twice that. Twice this number is itself, so
    that Pillow refuses at once."""

    def __rmul__(self, other):
        return self


_pillow = threading.Lock()


@contextlib.contextmanager
def pillow_limit(off=False):
    """Pillow's own limit, a module global, set to ours or off for the block: one thread at a time, put back after."""
    with _pillow:
        theirs = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if off else _Limit(most_pixels())
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def load(image):
    """Decodes an opened picture whose size was checked. TIFF and a few others look at Pillow's limit again here. Small
    pictures never come near it, and without the lock threads decode them side by side."""
    with pillow_limit() if image.width * image.height > 2**25 else contextlib.nullcontext():
        image.load()


def check_format(image, label):
    """DataError for a `PIL.Image.Image` that somebody else opened, in a format that is not read here, and that is not
    decoded yet: decoding is what starts a program."""
    undecoded = bool(getattr(image, "tile", None)) or isinstance(image, ImageFile.StubImageFile)
    if undecoded and image.format not in (*FORMATS_READ, "MPO", "HEIF"):
        raise DataError(f"{label}: is {image.format}, which kstyle does not decode: give it decoded, or as PNG.")


def open_image(stream, label):
    """The picture in `stream` with its header read and its pixels not.

    Raises:
        DataError: it is too large, or a format that takes an extra which is not installed. What Pillow raises else.
    """
    known = _known(stream, label)
    try:
        with pillow_limit():  # some formats (GIF, WebP) allocate as they open: a later check is late
            return Image.open(stream, formats=known)
    except Image.DecompressionBombError as error:
        # The error counts the pixels. For width and height ask again, only the formats that allocate nothing for it.
        with contextlib.suppress(UnidentifiedImageError), pillow_limit(off=True):
            check_pixels(Image.open(stream, formats=("PNG", "JPEG", "TIFF", "BMP", "PPM")).size, label)
        check_pixels((int(re.search(r"\d+", str(error))[0]), None), label)
        raise
