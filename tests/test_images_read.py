"""Pictures in: what `images.read` makes of files, Pillow images and arrays, and what it refuses."""

import concurrent.futures
import os
import struct
import tracemalloc

import numpy as np
import pictures
import pytest
from PIL import ExifTags, Image, ImageCms

from kstyle.errors import DataError, UsageError
from kstyle.io import streams
from kstyle.pictures import images

RNG = np.random.default_rng(5)
EIGHT = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


def refusal(source, *words, kind=DataError):
    with pytest.raises(kind) as caught:
        images.read(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_8_bit_is_divided_by_255_exactly(tmp_path, name):
    picture = images.read(pictures.saved(tmp_path, Image.fromarray(EIGHT), name))
    assert picture.rgb.dtype == np.float32 and picture.size == (7, 5) and picture.alpha is None
    assert np.array_equal(picture.rgb, EIGHT.astype(np.float32) / np.float32(255))
    assert picture.name == name and picture.notes == ()


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_is_three_equal_channels(tmp_path, mode):
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert(mode)
    rgb = images.read(pictures.saved(tmp_path, image, "a.png")).rgb
    assert np.array_equal(rgb, np.repeat(np.array([[0, 1], [1, 0]], np.float32)[..., None], 3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_keeps_its_16_bits(tmp_path, name):
    values = np.array([[0, 1, 32768, 65535]], np.uint16)
    rgb = images.read(pictures.saved(tmp_path, Image.fromarray(values), name)).rgb
    assert np.allclose(rgb[0, :, 1], values[0] / 65535, rtol=0, atol=1e-7)


def test_16_bit_big_endian_and_float_tiff(tmp_path):
    big = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 258, 32768))
    assert np.allclose(images.read(big).rgb[0, :, 0], [258 / 65535, 32768 / 65535], rtol=0, atol=1e-7)
    floats = np.array([[0.0, 0.123456, 1.0]], np.float32)
    assert np.array_equal(images.read(pictures.saved(tmp_path, Image.fromarray(floats), "f.tif")).rgb[..., 2], floats)
    refusal(pictures.saved(tmp_path, Image.fromarray(floats * 255), "g.tif"), "g.tif", "[0, 1]", "255")
    wide = Image.fromarray(np.array([[-5, 70000]], np.int32))
    refusal(pictures.saved(tmp_path, wide, "i.tif"), "i.tif", "-5 to 70000")


def test_16_bit_colour_is_read_as_8_and_says_so(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(pictures.png(1, 1, b"\0" + struct.pack(">3H", 65535, 32768, 0), depth=16))
    picture = images.read(path)
    assert np.allclose(picture.rgb[0, 0], [1, 128 / 255, 0], atol=1.5 / 255)
    assert picture.notes == ("16 bits a channel, read as 8",)


def test_16_bit_grey_with_a_transparent_value(tmp_path):
    path = tmp_path / "clear.png"
    rows = b"\0" + struct.pack(">2H", 1000, 40000)
    path.write_bytes(pictures.png(2, 1, rows, depth=16, colour=0, chunks=[(b"tRNS", struct.pack(">H", 1000))]))
    assert images.read(path).alpha.tolist() == [[0, 1]]


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([200, 0, 0, 0, 100, 0, 9, 9, 9])
    image.putdata([0, 1, 2])
    picture = images.read(pictures.saved(tmp_path, image, "a.png", transparency=bytes([255, 51, 0])))
    assert np.allclose(picture.alpha, [[1, 0.2, 0]], atol=1e-7)
    assert np.allclose(picture.rgb[0, :2] * 255, [[200, 0, 0], [0, 100, 0]], atol=1e-4)
    # The clear pixel's 9, 9, 9 is replaced by the mean of the others, weighted 1 and 0.2.
    assert np.allclose(picture.rgb[0, 2] * 255, [200 / 1.2, 100 * 0.2 / 1.2, 0], atol=1e-3)


def test_grey_with_alpha(tmp_path):
    image = Image.new("LA", (2, 1))
    image.putpixel((0, 0), (100, 255))
    image.putpixel((1, 0), (50, 128))
    picture = images.read(pictures.saved(tmp_path, image, "a.png"))
    assert np.allclose(picture.rgb * 255, [[[100] * 3, [50] * 3]]) and np.allclose(picture.alpha, [[1, 128 / 255]])


def test_alpha_that_hides_nothing_is_none_and_one_that_hides_all_is_kept(tmp_path):
    rgba = np.dstack([EIGHT, np.full((7, 5), 255, np.uint8)])
    assert images.read(pictures.saved(tmp_path, Image.fromarray(rgba), "a.png")).alpha is None
    rgba[..., 3] = 0
    picture = images.read(pictures.saved(tmp_path, Image.fromarray(rgba), "b.png"))
    assert picture.alpha.shape == (7, 5) and not picture.alpha.any()
    assert np.array_equal(picture.rgb, EIGHT / np.float32(255))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    # Pillow writes CMYK JPEGs as Adobe does, inverted.
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 8, 16, 16))
    picture = images.read(pictures.saved(tmp_path, image, name))
    assert np.allclose(picture.rgb[2, 2], [0, 1, 1], atol=0.05) and np.allclose(picture.rgb[13, 2], 0, atol=0.05)
    assert picture.notes == ("CMYK converted to sRGB",)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_colour_spaces(mode):
    colours = Image.fromarray(np.array([[[200, 30, 30], [128, 128, 128]]], np.uint8))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(colours, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
        image.info.clear()
    else:
        image = colours.convert(mode)
    assert np.allclose(images.read(image).rgb * 255, np.asarray(colours), atol=3)


def test_exif_orientation(tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = [255, 0, 0]  # the stored top left; 6 says "turn clockwise", which puts it at the top right
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ("a.jpg", "a.png", "a.tif"):
        picture = images.read(pictures.saved(tmp_path, Image.fromarray(stored), name, exif=exif))
        assert picture.size == (32, 16)
        assert np.allclose(picture.rgb[2, 13], [1, 0, 0], atol=0.05) and np.allclose(picture.rgb[2, 2], 0, atol=0.05)
        assert any("orientation" in note for note in picture.notes) or name == "a.tif"  # Pillow turns a TIFF itself


def test_broken_exif_does_not_cost_the_picture(tmp_path):
    path = pictures.saved(tmp_path, Image.fromarray(EIGHT), "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(images.read(path).rgb, EIGHT / np.float32(255))


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        path = pictures.saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], duration=50)
        picture = images.read(path)
        assert np.allclose(picture.rgb, [1, 0, 0], atol=0.02)
        assert picture.notes == ("3 frames, the first is used",)


# --- reading: ICC profiles -------------------------------------------------------------------------------------------


def test_wide_gamut_profile_is_converted(tmp_path):
    profile = pictures.rgb_profile("Adobe-like", pictures.ADOBE_D50, pictures.ADOBE_GAMMA)
    colour = np.array([120, 180, 90], np.uint8)
    image = Image.fromarray(np.full((2, 2, 3), colour))
    picture = images.read(pictures.saved(tmp_path, image, "a.png", icc_profile=profile))
    expected = pictures.adobe_to_srgb(colour / 255)
    assert expected[0] < colour[0] / 255 - 0.05  # the same numbers mean a more saturated green there
    assert np.allclose(picture.rgb[0, 0], expected, atol=1.5 / 255)
    assert picture.notes == ("converted from the ICC profile 'Adobe-like'",)

    image.putalpha(Image.fromarray(np.array([[255, 100], [255, 100]], np.uint8)))
    clear = images.read(pictures.saved(tmp_path, image, "b.png", icc_profile=profile))
    assert np.allclose(clear.rgb, picture.rgb, atol=1e-6) and np.allclose(clear.alpha[0], [1, 100 / 255])

    grey = images.read(pictures.saved(tmp_path, Image.new("L", (2, 2), 100), "c.png", icc_profile=profile))
    assert np.allclose(grey.rgb, pictures.adobe_to_srgb([100 / 255] * 3), atol=1.5 / 255)


@pytest.mark.parametrize(
    ("profile", "notes"),
    [
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), 0),
        (pictures.rgb_profile("nearly", pictures.SRGB_D50, 2.2), None),
        (b"not a profile at all", 1),
        (pictures.rgb_profile("cut", pictures.ADOBE_D50, 2.2)[:200], 1),
    ],
)
def test_srgb_and_broken_profiles_change_nothing(tmp_path, profile, notes):
    picture = images.read(pictures.saved(tmp_path, Image.fromarray(EIGHT), "a.png", icc_profile=profile))
    if notes is None:  # sRGB's primaries with a plain power curve: not sRGB in the darks, so converted, by little
        assert 2 / 255 < np.abs(picture.rgb - EIGHT / 255).max() < 0.04
    else:
        assert np.array_equal(picture.rgb, EIGHT / np.float32(255))
        assert len(picture.notes) == notes and all("ignored" in note for note in picture.notes)


def test_profile_for_another_colour_space_is_ignored(tmp_path):
    profile = pictures.rgb_profile("RGB", pictures.ADOBE_D50, 2.2)
    image = Image.new("CMYK", (8, 8), (0, 255, 0, 0))
    picture = images.read(pictures.saved(tmp_path, image, "a.jpg", icc_profile=profile))
    assert np.allclose(picture.rgb, [1, 0, 1], atol=0.05) and "it is for RGB" in picture.notes[0]


# --- reading: arrays -------------------------------------------------------------------------------------------------


def test_arrays():
    tops = ((np.uint8, 255), (np.uint16, 65535), (">u2", 65535), (np.float64, 1.0), (np.float16, 1.0), (bool, True))
    for dtype, top in tops:
        array = np.zeros((2, 3, 3), dtype)
        array[0, 0, 0] = top
        rgb = images.read(array).rgb
        assert rgb.dtype == np.float32 and rgb[0, 0, 0] == 1 and rgb.sum() == 1
    assert images.read(np.uint8([[51]])).rgb.tolist() == [[[np.float32(0.2)] * 3]]
    assert images.read(np.ones((4, 2, 1))).rgb.shape == (4, 2, 3)
    picture = images.read(np.dstack([np.full((2, 2, 3), 0.5), [[1, 0.5], [0.5, 1]]]))
    assert np.allclose(picture.rgb, 0.5) and picture.alpha.tolist() == [[1, 0.5], [0.5, 1]]
    mine = np.zeros((2, 2, 3), np.float32)
    images.read(mine).rgb[:] = 1
    assert not mine.any()


def test_arrays_that_are_not_pictures():
    refusal(np.full((2, 2, 3), 200.0), "[0, 1]", "200")
    refusal(np.full((2, 2, 3), np.nan), "[0, 1]", "nan")
    refusal(np.full((2, 2), -0.5), "-0.5")
    refusal(np.zeros((2, 2, 5)), "(2, 2, 5)")
    refusal(np.zeros((0, 2, 3)), "(0, 2, 3)")
    refusal(np.zeros((2, 2), np.int64), "int64")
    refusal(17, "int")


# --- reading: refusals -----------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("dear reader,\nthis is no picture\n")
    busy = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    jpeg = pictures.saved(tmp_path, busy, "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    png = pictures.png(64, 64, b"".join(b"\0" + RNG.bytes(192) for _ in range(64)))
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "odd\nname.png").write_text("?")
    refusal(tmp_path / "none.png", "none.png", "no such file")
    refusal(str(tmp_path), tmp_path.name, "folder")
    refusal(tmp_path / "empty.png", "empty.png", "is empty")
    refusal(tmp_path / "text.jpg", "text.jpg", "not a picture")
    refusal(tmp_path / "cut.jpg", "cut.jpg", "truncated")
    refusal(tmp_path / "cut.png", "cut.png", "truncated")
    refusal(tmp_path / "odd\nname.png", "odd name.png")
    refusal(tmp_path / "text.jpg" / "below.png", "below.png")
    refusal("nul\0.png", "cannot be read")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = pictures.saved(tmp_path, Image.fromarray(EIGHT), "a.png")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read all, so the system's answer is played

        def denied(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(streams, "open", denied, raising=False)
    refusal(path, "a.png", "Permission denied")


def test_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(pictures.png(20_000, 20_000))
    gif = tmp_path / "bomb.gif"  # Pillow allocates a GIF's frame as it opens it, where the frame says how to dispose
    gif.write_bytes(
        b"GIF89a" + struct.pack("<2H", 60_000, 60_000) + b"\0\0\0" + b"!\xf9\x04\x08\0\0\0\0,"
        + struct.pack("<4H", 0, 0, 60_000, 60_000) + b"\0\x02\0;"
    )  # fmt: skip
    before = Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    refusal(bomb, "bomb.png", "20000×20000", "100,000,000", "KSTYLE_MAX_PIXELS=400000000")
    refusal(gif, "bomb.gif", "3,600,000,000 pixels", "100,000,000", "KSTYLE_MAX_PIXELS=3600000000")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert Image.MAX_IMAGE_PIXELS is before
    with Image.open(pictures.saved(tmp_path, Image.new("1", (8_000, 10_000)), "big.png")) as image:
        monkeypatch.setenv("KSTYLE_MAX_PIXELS", "79_999_999")
        refusal(image, "big.png", "8000×10000")


def test_the_limit_can_be_moved(tmp_path, monkeypatch):
    # Between Pillow's limit and twice it Pillow warns, above that it refuses; kstyle's own limit is the only one here.
    path = pictures.saved(tmp_path, Image.fromarray(EIGHT), "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert images.read(path).size == (7, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(p.size == (7, 5) for p in pool.map(images.read, [path] * 40))
    monkeypatch.setenv("KSTYLE_MAX_PIXELS", "34")
    refusal(path, "5×7", "is 34")
    monkeypatch.setenv("KSTYLE_MAX_PIXELS", "35")
    assert images.read(path).size == (7, 5)
    monkeypatch.setenv("KSTYLE_MAX_PIXELS", "lots")
    refusal(path, "lots", kind=UsageError)
