"""What others may send to `kstyle serve`: files that are no pictures or too large, names, numbers and JSON that cannot
be."""

import io
import socket
import zlib

import pytest
from pictures import png as raw_png
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import httpx2 as httpx
from serving import OURS, Place, listening, png, refused


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "painted")


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "/etc/passwd"},
        {"preset": "configs/stylize/gatys.yaml"},
        {"preset": "../gatys"},
        {"content": "/etc/passwd"},
        {"styles": ["/etc/passwd"]},
        {"styles": ["style:../../x"]},
        {"styles": ["style:/tmp/x"]},
        {"masks": ["/etc/passwd"]},
        {"colour": "/etc/passwd"},
        {"content": "style:night"},
        {"init": "/etc/passwd"},
        {"weights": ["/etc/passwd"]},
        {"run": "/tmp/x"},
    ],
)
def test_a_path_in_the_place_of_a_name(place, settings):
    """Failure: what is asked for by name is opened as a file: a preset of any path, a picture of any."""
    refused(place.begin(**settings), 400)
    assert not place.queue.jobs


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 10**9},
        {"size": -1},
        {"size": True},
        {"size": 64.5},
        {"size": "64"},
        {"steps": 10**12},
        {"steps": 0},
        {"seed": 2**70},
        {"strength": 7},
        {"brush": 1e-9},
        {"brush": -1},
        {"weights": [1, 2]},
        {"weights": [0]},
        {"styles": []},
        {"styles": ["x"] * 999},
        {"styles": None},
        {"preset": "x" * 10**4},
    ],
)
def test_numbers_that_cannot_be(place, settings):
    """Failure: a number of steps without end, or a size that no memory has, is taken."""
    refused(place.begin(**settings), 400)
    assert not place.queue.jobs


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 60_000,
        b'{"a":',
        b"\xff\xfe",
        b"NaN",
        b'"x"',
        b'{"strength": NaN}',
        b'{"content": "\\ud800"}',
        b" " * 10**6,
    ],
)
def test_json_that_is_none(place, text):
    """Failure: brackets without end, or a megabyte of settings, are an error that nobody expected."""
    refused(place.client.post("/api/jobs", content=text), 400, 413)


def test_a_picture_of_400_million_pixels(place):
    """Failure: a file of some bytes that claims 20,000×20,000 pixels takes a gigabyte before it is refused."""
    for claim in (raw_png(20_000, 20_000), raw_png(20_000, 20_000, zlib.compress(bytes(10**6)))):
        assert "400,000,000 pixels" in refused(place.send(claim, "huge.png"), 400)
    assert not list((place.folder / "pictures").glob(".*"))


def test_text_that_unpacks_to_a_gigabyte(place):
    """Failure: a PNG's packed text fills the memory."""
    packer = zlib.compressobj(9)
    packed = b"".join([packer.compress(bytes(10**6)) for _ in range(200)]) + packer.flush()
    sent = place.send(raw_png(4, 4, b"", chunks=[(b"zTXt", b"Comment\0\0" + packed)]), "bomb.png")
    refused(sent, 400)


@pytest.mark.parametrize(
    "data",
    [
        b"<html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run\n",
        b"%PDF-1.7\n",
        b"",
        b"MZ\x90\0",
        b"\x89PNG\r\n\x1a\n",
        png()[:200],
        b"\xd7\xcd\xc6\x9a" + bytes(40),
        b"GIF89a",
    ],
)
def test_a_file_that_is_no_picture(place, data):
    """Failure: a page, a program or a drawing is kept as a picture; Ghostscript is started for it."""
    line = refused(place.send(data, "cat.png"), 400)
    assert "cat.png" in line and str(place.folder) not in line
    assert not list((place.folder / "pictures").glob(".*"))


def test_html_in_a_name_and_in_a_picture(place):
    """Failure: what stands in a file's name, or its text, is run as a page by whoever looks at it."""
    from PIL import PngImagePlugin

    text, stream = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("Comment", "<script>alert(1)</script>")
    Image.new("RGB", (32, 32), "red").save(stream, "PNG", pnginfo=text)
    name = '"><script>alert(1)</script>\r\nSet-Cookie: a=b\x00\u202e.png'
    sent = place.send(stream.getvalue() + b"<html><script>alert(1)</script>", f"../../{name}")
    about = sent.json()
    assert (
        sent.headers["content-type"] == "application/json"
        and "\n" not in about["name"]
        and "/" not in about["name"].replace("</", "")
    )
    picture = place.client.get(f"/api/pictures/{about['id']}")
    assert picture.headers["content-type"] == "image/png" and picture.headers["x-content-type-options"] == "nosniff"
    assert b"script" not in place.client.get(f"/api/pictures/{about['id']}?thumbnail").content
    job = place.begin(content=about["id"]).json()
    found = place.queue.jobs[job["id"]]
    found.turn("finished")
    found.run.mkdir()
    (found.run / "picture.png").write_bytes(png())
    told = place.client.get(f"/api/jobs/{job['id']}/picture?download").headers
    assert (
        "set-cookie" not in told and "<" not in told["content-disposition"] and "\n" not in told["content-disposition"]
    )
    assert [path.name for path in place.folder.parent.iterdir()] == ["painted"]


def test_html_in_a_preset(place, monkeypatch):
    """Failure: what a plugin's preset says of itself ends the page's data, and is run."""
    from kstyle import config

    said = {"description": "</script><script>alert(1)</script>", "style": {"layers": {"block1_conv1": 1}}}
    monkeypatch.setitem(config.added("stylize").own, "evil", said)
    page = place.client.get("/").text
    assert "<script>alert" not in page and '"evil"' in page


def test_half_a_gigabyte(place):
    """Failure: an upload without end fills the disk, whether it says its size, another one, or none."""
    with listening(place.app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:  # answered before the first byte of it
            head = (
                f"PUT /api/pictures?name=a HTTP/1.1\r\nHost: {host}\r\nX-Kstyle: 1\r\nContent-Length: 500000000\r\n\r\n"
            )
            connection.sendall(head.encode())
            connection.settimeout(20)
            assert b" 413 " in connection.recv(200)
        sent = 0

        def endless():
            nonlocal sent
            for _ in range(500):
                sent += 10**6
                yield bytes(10**6)

        try:
            answer = httpx.put(f"{address}/api/pictures?name=a", content=endless(), headers=OURS, timeout=60)
            refused(answer, 413)
        except httpx.TransportError:
            pass  # the connection was closed while more was sent
        assert sent < 200e6
    assert len(list((place.folder / "pictures").iterdir())) == 6  # two pictures, their records, their thumbnails
