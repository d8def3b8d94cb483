"""Pictures resized and out: `images.resize`, `fit`, `resize_picture`, `to_pil`, `check_target` and `write`."""

import io
import json
import os
import stat
import struct

import numpy as np
import pictures
import pytest
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from kstyle.errors import DataError, UsageError
from kstyle.pictures import images

# --- resizing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter", images.FILTERS)
def test_resize_keeps_a_constant_and_the_mean(filter):
    flat = images.resize(np.full((40, 30, 3), 0.3, np.float32), (17, 64), filter)
    assert flat.shape == (17, 64, 3) and flat.dtype == np.float32 and np.allclose(flat, 0.3, atol=1e-6)
    picture = pictures.smooth(96, 120)
    assert np.allclose(images.resize(picture, (32, 40), filter).mean((0, 1)), picture.mean((0, 1)), atol=1e-3)


def test_resize_is_pillows_in_float_and_does_not_clip():
    step = np.zeros((16, 16), np.float32)
    step[:, 8:] = 1
    out = images.resize(step, (24, 40))
    reference = Image.fromarray(step).resize((40, 24), Image.Resampling.LANCZOS)
    assert np.array_equal(out, np.asarray(reference)) and out.min() < -0.01 and out.max() > 1.01
    assert np.array_equal(images.resize(np.dstack([step] * 5), (24, 40))[..., 4], out)
    assert np.array_equal(images.resize(step, (8, 8), "area"), step.reshape(8, 2, 8, 2).mean((1, 3)))
    same = images.resize(step, (16, 16))
    assert np.array_equal(same, step) and not np.shares_memory(same, step)


def test_resize_refusals():
    with pytest.raises(UsageError, match="Did you mean 'lanczos'"):
        images.resize(np.zeros((2, 2)), (1, 1), "lanzcos")
    for size in ((0, 5), (2.5, 5), (5,)):
        with pytest.raises(UsageError, match="height, width"):
            images.resize(np.zeros((2, 2)), size)
    with pytest.raises(DataError, match=r"\(2,\)"):
        images.resize(np.zeros(2), (1, 1))


def test_fit():
    assert images.fit((480, 640), 512) == (384, 512)
    assert images.fit((640, 480), 512) == (512, 384)
    assert images.fit((300, 300), 7) == (7, 7)
    assert images.fit((1, 5000), 100) == (1, 100)
    assert images.fit((3, 4), 2) == (2, 2)  # 1.5: a half goes up
    with pytest.raises(UsageError):
        images.fit((10, 10), 0)


def test_resize_picture_does_not_bleed_hidden_colours():
    rgb = np.zeros((32, 32, 3), np.float32)
    rgb[..., 0] = 1
    rgb[:, 16:] = [0, 1, 0]  # green, which nothing shows
    alpha = np.ones((32, 32), np.float32)
    alpha[:, 16:] = 0
    picture = images.resize_picture(images.Picture(rgb, alpha, "a.png", ("kept",)), (11, 11))
    assert picture.size == picture.alpha.shape == (11, 11) and (picture.name, picture.notes) == ("a.png", ("kept",))
    assert picture.alpha.min() >= 0 and picture.alpha.max() <= 1 and 0 < picture.alpha[5, 5] < 1
    seen = picture.alpha > 1 / 512
    assert np.allclose(picture.rgb[seen], [1, 0, 0], atol=1e-3)
    opaque = images.resize_picture(images.Picture(rgb), (64, 64))
    assert opaque.alpha is None and opaque.rgb.min() == 0 and opaque.rgb.max() == 1


# --- writing ---------------------------------------------------------------------------------------------------------


def test_to_pil_rounds_to_the_nearest_level():
    values = np.array([-0.2, 0.4 / 255, 0.6 / 255, 127.4 / 255, 254.6 / 255, 1.3], np.float32)
    pixels = np.asarray(images.to_pil(np.repeat(values[None, :, None], 3, axis=2), values[None]))
    assert pixels[0].tolist() == [[v] * 4 for v in (0, 0, 1, 127, 255, 255)]
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="1 of 12 NaN or infinite"):
            images.to_pil(np.where(np.arange(12).reshape(2, 2, 3) == 7, bad, 0.5))
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        images.to_pil(np.zeros((4, 4)))
    with pytest.raises(DataError, match="alpha"):
        images.to_pil(np.zeros((4, 4, 3)), np.zeros((4, 3)))


@pytest.mark.parametrize("extension", images.FORMATS)
def test_written_and_read_again(tmp_path, extension):
    rgb = pictures.smooth(48, 64)
    text = {"Description": "style 'Ναι'", "seed": "7"}
    path = images.write(tmp_path / f"out{extension}", rgb, text=text)
    back = images.read(path)
    lossless = extension in (".png", ".tif", ".tiff")
    assert np.abs(back.rgb - rgb).max() <= (0.5001 / 255 if lossless else 0.03)
    assert back.alpha is None and back.notes == ()
    with Image.open(path) as image:
        assert image.info["icc_profile"][24:30] == struct.pack(">3H", 2000, 1, 1)  # not the date of the run
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        if extension == ".png":
            assert image.text == text
        else:
            assert json.loads(image.getexif()[ExifTags.Base.ImageDescription]) == text
        if image.format == "JPEG":
            assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        if image.format == "TIFF":
            assert image.info["compression"] == "tiff_adobe_deflate"
    first = path.read_bytes()
    images.write(path, rgb, text=text)
    assert path.read_bytes() == first and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("extension", [".png", ".webp", ".tif"])
def test_alpha_is_kept(tmp_path, extension):
    alpha = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (16, 1))
    back = images.read(images.write(tmp_path / f"a{extension}", pictures.smooth(16, 32), alpha))
    assert np.abs(back.alpha - alpha).max() <= 0.5001 / 255


def test_jpeg_lays_alpha_on_white(tmp_path):
    alpha = np.ones((16, 32), np.float32)
    alpha[:, 16:] = 0.25
    back = images.read(images.write(tmp_path / "a.JPG", np.zeros((16, 32, 3)), alpha))
    assert np.allclose(back.rgb[:, :8], 0, atol=0.02) and np.allclose(back.rgb[:, 24:], 0.75, atol=0.02)


def test_text_too_long_for_exif_is_left_out(tmp_path):
    back = images.read(images.write(tmp_path / "a.jpg", pictures.smooth(8, 8), text={"recipe": "x" * 70_000}))
    assert back.size == (8, 8)


def test_targets_are_checked_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dir.png").mkdir()
    assert images.check_target(str(tmp_path / "ok.PNG")) == tmp_path / "ok.PNG"
    for name, kind, words in (
        ("a.bmp", UsageError, ".png, .jpg, .jpeg, .webp, .tif, .tiff"),
        ("a", UsageError, ".png"),
        ("dir.png", DataError, "is a folder"),
        ("missing/a.png", DataError, "does not exist"),
        ("file/a.png", DataError, "is not a folder"),
        (f"{'x' * 300}/a.png", DataError, "x"),
    ):
        for function in (images.check_target, lambda path: images.write(path, pictures.smooth(4, 4))):
            with pytest.raises(kind) as caught:
                function(tmp_path / name)
            assert words in str(caught.value) and "\n" not in str(caught.value)


def test_permissions_are_those_of_the_file_replaced_or_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        new = images.write(tmp_path / "new.png", pictures.smooth(4, 4))
        assert stat.S_IMODE(new.stat().st_mode) == 0o640
        for mode in (0o604, 0o600, 0o444):
            new.chmod(mode)
            images.write(new, pictures.smooth(4, 4))
            assert stat.S_IMODE(new.stat().st_mode) == mode
    finally:
        os.umask(before)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_things_as_they_were(tmp_path, monkeypatch, error):
    old = images.write(tmp_path / "old.png", pictures.smooth(4, 4)).read_bytes()

    def half(self, stream, *_, **__):
        stream.write(b"half")
        raise error

    monkeypatch.setattr(Image.Image, "save", half)
    for name in ("old.png", "new.png"):
        with pytest.raises(DataError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            images.write(tmp_path / name, pictures.smooth(4, 4))
        if isinstance(error, OSError):
            assert f"{name}: cannot be written (No space left on device)." in str(caught.value)
    assert os.listdir(tmp_path) == ["old.png"] and (tmp_path / "old.png").read_bytes() == old


def test_what_a_format_cannot_hold_and_long_names(tmp_path):
    with pytest.raises(DataError, match=r"wide\.webp: cannot be written"):
        images.write(tmp_path / "wide.webp", np.zeros((1, 17_000, 3)))
    assert os.listdir(tmp_path) == []
    name = "é" * 125 + ".png"  # 254 bytes of the 255 a name may have
    assert images.write(tmp_path / name, pictures.smooth(4, 4)).name == name
