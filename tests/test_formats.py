"""Which files are opened as pictures: no program is started for one, and extras are named."""

import io
import subprocess
import sys

import pytest
from PIL import Image

from kstyle.data.batches import opening
from kstyle.errors import DataError
from kstyle.pictures import folders, formats, images

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{ } loop\n%%EOF\n"


@pytest.fixture
def no_program(monkeypatch):
    """Starting any program fails the test."""

    def started(*arguments, **options):
        pytest.fail(f"a program was started: {arguments}")

    for name in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, name, started)
    monkeypatch.setattr("os.system", started)
    monkeypatch.setattr("shutil.which", lambda name, *more: f"/usr/bin/{name}")  # Ghostscript is there


@pytest.mark.parametrize("reader", [images.read, opening.open_rgb], ids=["stylize", "train"])
@pytest.mark.parametrize(
    "raw",
    [EPS, b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(18) + EPS],
    ids=["EPS", "EPS with a preview"],
)
@pytest.mark.parametrize("name", ["holiday.jpg", "drawing.eps", "x"])
def test_a_picture_starts_no_program(tmp_path, no_program, reader, raw, name):
    """Failure: a file called holiday.jpg is PostScript, Pillow hands it to Ghostscript, and it is run as a program."""
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=r"is a drawing \(PostScript"):
        reader(tmp_path / name)


def test_an_opened_picture_starts_no_program(no_program):
    """Failure: an EPS that a caller has opened with Pillow is decoded here, by Ghostscript."""
    image = Image.open(io.BytesIO(EPS))
    assert image.format == "EPS"
    with pytest.raises(DataError, match="is EPS, which kstyle does not decode"):
        images.read(image)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(stream, "PNG")
    assert images.read(Image.open(stream)).size == images.read(Image.new("RGB", (4, 4))).size == (4, 4)


def test_formats_are_those_of_pixels():
    """Failure: a format that starts programs, or reads other files, comes back into the list."""
    assert not {"EPS", "WMF", "PDF", "GRIB", "HDF5", "BUFR", "FPX", "MIC", "GBR"} & set(formats.FORMATS_READ)
    Image.init()
    read = {name.lower() for name in (*formats.FORMATS_READ, "MPO", "HEIF")}
    named = {suffix: name.lower() for suffix, name in Image.registered_extensions().items()}
    strange = {suffix for suffix in formats.SUFFIXES_READ if named.get(suffix, "heif") not in read}
    assert not strange - {".jfif", ".jpe"}


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\0\0\0\x18ftypmif1", "HEIC"), (b"\xff\x0a" + bytes(20), "JPEG XL")],
)
def test_what_takes_an_extra_says_so(tmp_path, monkeypatch, head, what):
    """Failure: a phone's HEIC is 'not a picture', and nobody says that a package reads it."""
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    path = tmp_path / "phone.HEIC"
    path.write_bytes(head + bytes(40))
    for reader in (images.read, opening.open_rgb):
        with pytest.raises(DataError, match=f"is {what}, which"):
            reader(path)
    assert [picture.path for picture in folders.pictures(tmp_path).pictures] == [str(path)]


def test_heic_with_the_extra(tmp_path):
    """Failure: the extra is installed and a HEIC is still refused, by one reader or the other."""
    heif = pytest.importorskip("pillow_heif", reason="the extra heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (16, 16), (200, 30, 40))).save(stream, quality=100)
    path = tmp_path / "phone.jpg"
    path.write_bytes(stream.getvalue())
    assert abs(images.read(path).rgb[8, 8] * 255 - (200, 30, 40)).max() < 6
    assert opening.open_rgb(path).size == (16, 16)


def test_one_list(tmp_path):
    """Failure: batch, train and predict read other files of one folder."""
    for name in ("a.jpe", "b.mpo", "c.JFIF", "d.avif", "e.eps", "f.txt"):
        (tmp_path / name).touch()
    assert [picture.path[-5:] for picture in folders.pictures(tmp_path).pictures] == [
        "a.jpe",
        "b.mpo",
        ".JFIF",
        ".avif",
    ]
    assert "PIL" not in subprocess.run(
        [sys.executable, "-c", "import sys, kstyle.cli; print([m for m in sys.modules if m == 'PIL'])"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
