"""What a file says of its numbers: bits, sign, polarity, and colour spaces that are named without an ICC profile.

The right values are those of the standards' own documents, not of the code.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from kstyle.data.batches import opening
from kstyle.errors import DataError
from kstyle.pictures import images


def tiff(rows, bits=16, white_is_zero=False, kind=1, more=()):
    """A grey TIFF, little-endian, of one strip. kind: 1 unsigned, 2 signed, 3 float; more: [(tag, type, value)]."""
    rows = np.atleast_2d(rows)
    if bits == 12:
        bits_of_rows = ("".join(f"{value:012b}" for value in row) for row in rows)
        data = b"".join(int(text, 2).to_bytes(len(text) // 8, "big") for text in bits_of_rows)
    else:
        data = rows.astype({1: "<u", 2: "<i", 3: "<f"}[kind] + str(bits // 8)).tobytes()
    height, width = rows.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, kind), *more]
    entries = b"".join(struct.pack("<HHII", tag, form, 1, value) for tag, form, value in sorted(tags))
    data += b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def png(pixel, chunk=b""):
    """A PNG of one colour, with a chunk before its pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), pixel).save(stream, "PNG")
    raw = stream.getvalue()
    return raw[:33] + chunk + raw[33:]


def cicp(primaries, curve):
    body = b"cICP" + bytes([primaries, curve, 0, 1])
    return struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))


def exif(colour_space, index):
    """EXIF with a colour space and, in its interoperability directory, an index."""
    head = b"Exif\0\0II*\0\x08\0\0\0"
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack("<HHHIIHHIII", 2, 0xA001, 3, 1, colour_space, 0xA005, 4, 1, 56, 0)
    return head + first + inner + struct.pack("<HHHI4sI", 1, 1, 2, 4, index, 0)


def jpeg(pixel, data=b""):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), pixel).save(stream, "JPEG", quality=100, subsampling=0, exif=data)
    return stream.getvalue()


def avif(pixel, primaries, curve):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), pixel).save(stream, "AVIF", quality=100, subsampling="4:4:4")
    raw = bytearray(stream.getvalue())
    at = raw.index(b"colrnclx") + 8
    raw[at : at + 4] = struct.pack(">HH", primaries, curve)
    return bytes(raw)


@pytest.fixture
def read(tmp_path):
    """The first pixel of a file of these bytes in levels of 255, and the notes."""

    def of(raw, suffix):
        (tmp_path / f"picture{suffix}").write_bytes(raw)
        picture = images.read(tmp_path / f"picture{suffix}")
        return picture.rgb[0, 0] * 255, " ".join(picture.notes)

    return of


RAMP = np.array([0, 1024, 2048, 4095])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (tiff(RAMP, 12), RAMP / 4095),
        (tiff([0, 16384, 65535]), [0, 16384 / 65535, 1]),
        (tiff([0, 16384, 65535], white_is_zero=True), [1, 1 - 16384 / 65535, 0]),
        (tiff([0, 16384, 32767], kind=2), [0, 16384 / 32767, 1]),
        (tiff([-300, 0, 32767], kind=2), [0, 0, 1]),
        (tiff([0, 0.25, 1], 32, kind=3), [0, 0.25, 1]),
    ],
    ids=["12 bits", "16 bits", "16 bits from white", "signed", "below 0", "float"],
)
def test_grey_of_more_than_8_bits(tmp_path, raw, expected):
    """Failure: a scan is a sixteenth as bright, or its own negative; one reader is right and the other is not."""
    path = tmp_path / "scan.tif"
    path.write_bytes(raw)
    picture = images.read(path)
    np.testing.assert_allclose(picture.rgb[0], np.stack([expected] * 3, axis=-1), atol=1e-6)
    assert ("below 0" in " ".join(picture.notes)) == (b"\xd4\xfe" in raw)  # -300
    seen = np.asarray(opening.open_rgb(path))[0]
    np.testing.assert_allclose(seen[:, 0], np.asarray(expected) * 255, atol=0.51)


def test_a_turned_scan_keeps_its_scale(tmp_path):
    """Failure: what a TIFF says of its numbers is lost as the picture is turned upright."""
    path = tmp_path / "scan.tif"
    path.write_bytes(tiff([RAMP, RAMP], 12, more=[(274, 3, 3)]))  # upside down
    np.testing.assert_allclose(images.read(path).rgb[0, :, 0], RAMP[::-1] / 4095, atol=1e-6)


# sRGB's pure red, green and blue in other spaces, as tables of colour have them.
@pytest.mark.parametrize(
    ("raw", "suffix", "expected"),
    [
        (jpeg((219, 0, 0), exif(0xFFFF, b"R03\0")), ".jpg", (255, 0, 0)),
        (jpeg((144, 255, 60), exif(0xFFFF, b"R03\0")), ".jpg", (0, 255, 0)),
        (jpeg((0, 0, 250), exif(2, b"R98\0")), ".jpg", (0, 0, 255)),
        (png((234, 51, 35), cicp(12, 13)), ".png", (255, 0, 0)),
        (png((117, 251, 76), cicp(12, 13)), ".png", (0, 255, 0)),
        (avif((234, 51, 35), 12, 13), ".avif", (255, 0, 0)),
        # BT.2408: white paper is at 58 % of the signal with PQ, at 75 % with HLG.
        (png((148, 148, 148), cicp(9, 16)), ".png", (255, 255, 255)),
        (png((191, 191, 191), cicp(9, 18)), ".png", (255, 255, 255)),
        # 26 cd/m², an eighth of paper white: 38 % of the signal (ST 2084), 0.389 of sRGB.
        (png((96, 96, 96), cicp(9, 16)), ".png", (98, 98, 98)),
        (png((0, 0, 0), cicp(9, 16)), ".png", (0, 0, 0)),
    ],
    ids=["Adobe red", "Adobe green", "Adobe blue", "P3 red", "P3 green", "P3 AVIF", "PQ", "HLG", "PQ grey", "PQ black"],
)
def test_spaces_without_a_profile(read, raw, suffix, expected):
    """Failure: a camera's Adobe RGB and a phone's P3 are pale, an HDR picture is washed out."""
    found, notes = read(raw, suffix)
    np.testing.assert_allclose(found, expected, atol=4)
    assert "converted from" in notes


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("raw", "suffix"),
    [
        (png((10, 200, 30), cicp(1, 13)), ".png"),
        (png((10, 200, 30)), ".png"),
        (jpeg((10, 200, 30), exif(1, b"R98\0")), ".jpg"),
        (jpeg((10, 200, 30), b"Exif\0\0II*\0\xff\xff\xff\xff"), ".jpg"),
        (avif((10, 200, 30), 1, 13), ".avif"),
    ],
    ids=["cICP", "PNG", "EXIF", "broken EXIF", "AVIF"],
)
def test_srgb_stays_as_it_is(read, raw, suffix):
    """Failure: an ordinary picture is changed by a conversion from sRGB to sRGB, or broken EXIF stops it."""
    found, notes = read(raw, suffix)
    np.testing.assert_allclose(found, (10, 200, 30), atol=2)
    assert "converted" not in notes


def test_unknown_codes_are_told(read):
    """Failure: a picture in a space that kstyle does not know looks wrong, and nothing says why."""
    found, notes = read(png((10, 200, 30), cicp(22, 13)), ".png")
    np.testing.assert_allclose(found, (10, 200, 30), atol=0.01)
    assert "22, 13" in notes


def test_what_pillow_reads_a_preview_of_is_refused(tmp_path):
    """Failure: a camera's raw file is painted from its thumbnail of a few pixels."""
    path = tmp_path / "raw.tif"
    for more in ([(254, 4, 1), (330, 4, 8)], [(50706, 1, 0x0401)]):
        path.write_bytes(tiff([[1, 2], [3, 4]], more=more))
        for reader in (images.read, opening.open_rgb):
            with pytest.raises(DataError, match=r"raw file.*preview of 2×2"):
                reader(path)


def test_previews_before_the_picture_are_passed_over(tmp_path):
    """Failure: a scan whose first page is its thumbnail is painted as a thumbnail."""
    path = tmp_path / "scan.tif"
    with TiffImagePlugin.AppendingTiffWriter(path, new=True) as pages:
        Image.new("L", (4, 3), 10).save(pages, "TIFF", tiffinfo={254: 1})
        pages.newFrame()
        Image.new("L", (40, 30), 200).save(pages, "TIFF")
    found = images.read(path)
    assert found.size == (30, 40) and any("number 2 is used" in note for note in found.notes)
    assert opening.open_rgb(path).size == (40, 30)


def test_floats_to_255_are_refused_with_the_way(tmp_path):
    """Failure: someone's file of floats is refused and they are left to guess why."""
    path = tmp_path / "floats.tif"
    path.write_bytes(tiff([0, 128, 255], 32, kind=3))
    with pytest.raises(DataError, match="from 0 to 255: divide them by 255"):
        images.read(path)
    with pytest.raises(DataError, match="divide them by 255"):
        images.read(np.array([[0.0, 254.0]]))
    path.write_bytes(tiff([0, 1e6], 32, kind=3))
    with pytest.raises(DataError, match=r"1e\+06\.$"):
        images.read(path)
