"""Fifteen odd things people pass, through the command line: a picture comes out, or one line that names the file."""

import io
import os

import numpy as np
import pictures
import pytest
from PIL import ExifTags, Image

from kstyle import cli

# Only the first convolution: what is odd here is the files.
PRESET = """
content: {layers: {block1_conv1: 1}}
style: {layers: {block1_conv1: 1}, weight: 20}
clamp: [0, 1]
"""
PICTURE = Image.fromarray((pictures.smooth(30, 40) * 255).astype(np.uint8))


@pytest.fixture
def stylize(tmp_path, capsys):
    """Runs the command in a folder of its own; returns (exit code, stderr, the folder with the results)."""
    (tmp_path / "preset.yaml").write_text(PRESET)
    style = pictures.saved(tmp_path, PICTURE.rotate(90), "style.png")
    results = tmp_path / "results"
    results.mkdir()

    def run(content, *, style=style, target=results / "out.png"):
        options = ["-o", str(target), "-p", str(tmp_path / "preset.yaml"), "--size", "64", "--steps", "2", "-q"]
        with pytest.raises(SystemExit) as ended:
            cli.main(["stylize", str(content), str(style), *options])
        printed, errors = capsys.readouterr()
        assert printed == ""
        return ended.value.code or 0, errors, results

    return run


def odd(folder, kind):
    """(path of a picture of this kind, what is seen in it)"""
    if kind == "1x1":
        dot = Image.new("RGB", (1, 1), "teal")
        return pictures.saved(folder, dot, "in.png"), dot
    if kind == "grey":
        return pictures.saved(folder, PICTURE.convert("L"), "in.png"), PICTURE.convert("L")
    if kind == "cmyk":
        return pictures.saved(folder, PICTURE.convert("CMYK"), "in.jpg", quality=95), PICTURE
    if kind == "16-bit":
        red = pictures.smooth(30, 40)[..., 0]
        return pictures.saved(folder, Image.fromarray((red * 65535).astype(np.uint16)), "in.png"), PICTURE.getchannel(0)
    if kind == "palette":
        image = PICTURE.quantize(16).point(lambda index: min(index, 14))
        image.paste(15, (0, 0, 20, 30))  # the left half is clear
        return pictures.saved(folder, image, "in.png", transparency=15), PICTURE
    if kind == "rotated":  # 6: to be turned clockwise
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        return pictures.saved(folder, PICTURE, "in.jpg", exif=exif, quality=95), PICTURE.rotate(-90, expand=True)
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "size", "mode"),
    [
        ("1x1", (64, 64), "RGB"),
        ("grey", (64, 48), "RGB"),
        ("palette", (64, 48), "RGBA"),
        ("cmyk", (64, 48), "RGB"),
        ("16-bit", (64, 48), "RGB"),
        ("rotated", (48, 64), "RGB"),
    ],
)
def test_a_picture_comes_out(tmp_path, stylize, kind, size, mode):
    """Failure: a crash, a picture of another shape, or one on its side or without its transparency."""
    path, seen = odd(tmp_path, kind)
    code, errors, results = stylize(path)
    assert (errors, code) == ("", 0) and os.listdir(results) == ["out.png"]
    with Image.open(results / "out.png") as image:
        assert (image.size, image.mode) == (size, mode)
        pixels = np.asarray(image).astype(int)
    shown = np.asarray(seen.convert("RGB").resize(size)).astype(int)
    if kind == "palette":
        assert pixels[:, :28, 3].max() == 0 and pixels[:, 36:, 3].min() == 255
        pixels, shown = pixels[:, 36:, :3], shown[:, 36:]
    # Two small steps from the content: not its negative, nor on its side, nor black.
    assert np.abs(pixels - shown).mean() < 16


def test_a_style_the_size_of_a_stamp(tmp_path, stylize):
    """Failure: a style below what the network's poolings need ends the run."""
    stamp = pictures.saved(tmp_path, PICTURE.resize((8, 8)), "stamp.png")
    code, errors, results = stylize(pictures.saved(tmp_path, PICTURE, "in.png"), style=stamp)
    assert (errors, code) == ("", 0)
    with Image.open(results / "out.png") as image:
        assert image.size == (64, 48)


def jpeg():
    stream = io.BytesIO()
    PICTURE.resize((400, 300)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("role", ["content", "style"])
@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("cut.jpg", lambda: jpeg()[:2000], "cannot be read as a picture"),
        ("text.jpg", lambda: b"dear diary,\n" * 99, "is not a picture"),
        ("empty.png", lambda: b"", "the file is empty"),
        ("folder.png", None, "is a folder"),
        ("missing.png", None, "no such file"),
        (
            "huge.png",
            lambda: pictures.png(20_000, 20_000),
            "20000×20000 is 400,000,000 pixels, the limit is 100,000,000",
        ),
    ],
)
def test_one_line_names_the_file(tmp_path, stylize, role, name, body, reason):
    """Failure: a traceback, a line that does not say which of the files it was, or gigabytes decoded for a header."""
    path, good = tmp_path / name, pictures.saved(tmp_path, PICTURE, "good.png")
    if name == "folder.png":
        path.mkdir()
    elif body:
        path.write_bytes(body())
    code, errors, results = stylize(path) if role == "content" else stylize(good, style=path)
    assert code == 1 and os.listdir(results) == []
    assert errors.startswith(f"kstyle: {path}: ") and reason in errors
    assert errors.count("\n") == 1 and errors.endswith("\n")


def test_a_ribbon_names_a_size_that_works(tmp_path, stylize):
    """Failure: 8 × 4000 ends somewhere inside the network."""
    path = pictures.saved(tmp_path, Image.new("RGB", (8, 4000), "teal"), "ribbon.png")
    code, errors, results = stylize(path)
    assert code == 1 and os.listdir(results) == []
    assert errors == (
        "kstyle: ribbon.png is 8×4000: at size 64 its short side is 1 pixels, and the network needs 16. "
        "Make it of size 8000 or crop it.\n"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("results", "is a folder"),
        ("nowhere/out.png", "does not exist; make it first"),
        ("style.png/out.png", "is not a folder"),
        ("x" * 300 + ".png", "File name too long"),
        pytest.param(
            "locked/out.png",
            "cannot be written to",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere"),
        ),
    ],
)
def test_a_target_that_cannot_be_written_is_said_before_any_work(tmp_path, stylize, monkeypatch, name, reason):
    """Failure: minutes of work, then nowhere to put it."""
    from kstyle.style import transfer

    monkeypatch.setattr(transfer.Painter, "paint", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "locked").mkdir(mode=0o555)
    before = sorted(os.listdir(tmp_path))
    code, errors, results = stylize(pictures.saved(tmp_path, PICTURE, "in.png"), target=tmp_path / name)
    assert code == 1 and errors.startswith(f"kstyle: {tmp_path / name}: ") and reason in errors
    assert errors.count("\n") == 1
    assert os.listdir(results) == [] and sorted(os.listdir(tmp_path)) == sorted([*before, "in.png"])
