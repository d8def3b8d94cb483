"""What others may try on `kstyle serve`: another site's page, files that are none, floods, a link without its token."""

import errno
import io
import json
import os
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from pictures import png as raw_png
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import httpx2 as httpx
from serving import OURS, application, listening, png
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

ADDRESS = "http://127.0.0.1:8765"
TOKEN = "0123456789abcdefghij"


class Place:
    """A server without a process that paints: `client`, and two pictures that were sent."""

    def __init__(self, folder):
        self.folder = folder
        self.app, self.queue = application(folder)
        self.client = TestClient(self.app, ADDRESS, headers=OURS)
        self.content, self.style = self.send(png()).json()["id"], self.send(png(seed=1)).json()["id"]

    def send(self, data, name="cat.png", **options):
        return self.client.put("/api/pictures", params={"name": name}, content=data, **options)

    def begin(self, **settings):
        asked = {"content": self.content, "styles": [self.style], "size": 64, "steps": 3, **settings}
        return self.client.post("/api/jobs", json=asked)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "painted")


def _refused(answer, *codes):
    """An answer of no with one line, which names no file of the server's."""
    assert answer.status_code in codes, (answer.status_code, answer.text[:200])
    line = answer.json()["error"]
    assert line and "\n" not in line and "Traceback" not in line
    return line


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8765.evil.example"]
)
def test_another_sites_page_posts(place, origin):
    """Failure: a web page that somebody reads paints, or deletes, on their machine."""
    for method, path in (("POST", "/api/jobs"), ("PUT", "/api/pictures?name=a.png"), ("DELETE", "/api/jobs/0")):
        _refused(place.client.request(method, path, content=png(), headers={"Origin": origin}), 403)
    assert not place.queue.jobs


def test_a_form_of_another_site(place):
    """Failure: a form, which no browser asks about first, is taken: it has no header of ours."""
    plain = TestClient(place.app, ADDRESS)
    asked = json.dumps({"content": place.content, "styles": [place.style]})
    _refused(plain.post("/api/jobs", content=asked, headers={"Content-Type": "text/plain"}), 403)


def test_another_site_asks_first(place):
    """Failure: a browser that asks whether another site may send our header is told that it may."""
    asks = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-kstyle",
    }
    answer = TestClient(place.app, ADDRESS).options("/api/jobs", headers=asks)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example:8765",
        "localhost.evil.example",
        "10.0.0.5:8765",
        "",
        "[",
        "127.0.0.1:x",
        "[::1]:99999",
    ],
)
def test_a_name_that_was_made_to_lead_here(place, host):
    """Failure: a page of another site reads everything, by a name of its own that it makes lead to 127.0.0.1."""
    for path in ("/", "/api/jobs", f"/api/pictures/{place.content}"):
        _refused(place.client.get(path, headers={"Host": host}), 403)


def test_another_site_shows_our_pictures(place):
    """Failure: another site's page has our pictures as its own, or the whole page in a frame."""
    sent = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    _refused(place.client.get(f"/api/pictures/{place.content}", headers=sent), 403)
    assert place.client.get("/", headers={**sent, "Sec-Fetch-Mode": "navigate"}).status_code == 200  # a link to us
    headers = place.client.get("/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["cross-origin-resource-policy"]) == ("DENY", "same-origin")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../pyproject.toml",
        "/static/%2e%2e%2f%2e%2e%2fcli.py",
        "/static/..%5c..%5ccli.py",
        "/static//etc/passwd",
        "/static/index.html.jinja",
        "/api/pictures/..%2f..%2flog.txt",
        "/api/pictures/%2fetc%2fpasswd",
        "/api/pictures/" + "0" * 31 + "%00",
        "/api/jobs/..%2f..%2fpictures",
        "/api/jobs/%2e%2e/picture",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_a_path_out_of_the_folder(place, path):
    """Failure: any file of the machine can be read."""
    _refused(place.client.get(path), 404)


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
    _refused(place.begin(**settings), 400)
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
    _refused(place.begin(**settings), 400)
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
    _refused(place.client.post("/api/jobs", content=text), 400, 413)


def test_a_picture_of_400_million_pixels(place):
    """Failure: a file of some bytes that claims 20,000×20,000 pixels takes a gigabyte before it is refused."""
    for claim in (raw_png(20_000, 20_000), raw_png(20_000, 20_000, zlib.compress(bytes(10**6)))):
        assert "400,000,000 pixels" in _refused(place.send(claim, "huge.png"), 400)
    assert not list((place.folder / "pictures").glob(".*"))


def test_text_that_unpacks_to_a_gigabyte(place):
    """Failure: a PNG's packed text fills the memory."""
    packer = zlib.compressobj(9)
    packed = b"".join([packer.compress(bytes(10**6)) for _ in range(200)]) + packer.flush()
    sent = place.send(raw_png(4, 4, b"", chunks=[(b"zTXt", b"Comment\0\0" + packed)]), "bomb.png")
    _refused(sent, 400)


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
    line = _refused(place.send(data, "cat.png"), 400)
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


def test_a_token(tmp_path):
    """Failure: a server that others can reach is open to whoever has no token; or says it to anybody."""
    guarded, _ = application(tmp_path, TOKEN)
    client = TestClient(guarded, "http://10.0.0.5:8765", headers=OURS, follow_redirects=False)
    for path in (
        "/",
        "/api/jobs",
        "/static/page.css",
        "/?token=",
        "/?token=x",
        f"/?token={TOKEN[:-1]}",
        "/?token=%ff%c3%a9",
        f"/api/jobs?token={TOKEN}",
    ):
        assert TOKEN not in _refused(client.get(path), 403)
    _refused(client.put("/api/pictures?name=a.png", content=png()), 403)
    _refused(client.get("/", headers={"Cookie": "kstyle-8765=wrong; other"}), 403)
    welcome = client.get(f"/?token={TOKEN}")
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
    cookie = welcome.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    page = client.get("/")  # the client has the cookie now
    assert page.status_code == 200 and TOKEN not in page.text
    _refused(client.post("/api/jobs", json={}, headers={"Origin": "http://evil.example"}), 403)


def test_other_addresses_have_a_token(monkeypatch):
    """Failure: a server that others can reach is begun without a token, or with one that is guessed."""
    from kstyle.errors import UsageError
    from kstyle.serve.run import token_for

    monkeypatch.delenv("KSTYLE_TOKEN", raising=False)
    assert token_for("127.0.0.1") is None and token_for("::1") is None and token_for("localhost") is None
    given = {token_for(host) for host in ("0.0.0.0", "::", "10.0.0.5", "example.org", "")}
    assert len(given) == 5 and min(map(len, given)) >= 32
    monkeypatch.setenv("KSTYLE_TOKEN", "secret")
    with pytest.raises(UsageError, match="KSTYLE_TOKEN"):
        token_for("0.0.0.0")


def test_fifty_jobs_at_once(place):
    """Failure: the queue takes whatever comes, or more than it says where many come together."""
    asked = {"content": place.content, "styles": [place.style], "size": 64}
    with listening(place.app) as address, ThreadPoolExecutor(50) as pool:
        posts = [
            pool.submit(httpx.post, f"{address}/api/jobs", json=asked, headers=OURS, timeout=60) for _ in range(50)
        ]
        codes = [post.result().status_code for post in posts]
    assert (codes.count(201), codes.count(429)) == (20, 30)
    assert len(list((place.folder / "jobs").iterdir())) == 20
    job = next(iter(place.queue.jobs))
    assert place.client.post(f"/api/jobs/{job}/stop").status_code == 200
    assert place.begin().status_code == 201
    _refused(place.client.post(f"/api/jobs/{job}/continue", json={}), 429)


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
            _refused(answer, 413)
        except httpx.TransportError:
            pass  # the connection was closed while more was sent
        assert sent < 200e6
    assert len(list((place.folder / "pictures").iterdir())) == 6  # two pictures, their records, their thumbnails


def test_a_closed_tab(place):
    """Failure: a client that goes away in the middle leaves its answer behind, and after some of them nobody is
    answered; or the job that it looked at ends."""
    job = place.begin().json()["id"]
    with listening(place.app) as address:
        host, port = address.removeprefix("http://").split(":")
        before = threading.active_count()
        for _ in range(30):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(f"GET /api/jobs/{job}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                connection.settimeout(20)
                assert b"200 OK" in connection.recv(100)
        for _ in range(5):  # halves of an upload
            with socket.create_connection((host, int(port))) as connection:
                head = f"PUT /api/pictures HTTP/1.1\r\nHost: {host}\r\nX-Kstyle: 1\r\nContent-Length: 1000\r\n\r\nabc"
                connection.sendall(head.encode())
        assert httpx.get(f"{address}/api/jobs/{job}").json()["state"] == "waiting"
        end = time.monotonic() + 20
        while list((place.folder / "pictures").glob(".*.part")):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert threading.active_count() < before + 45  # the pool's own


def test_a_size_larger_than_memory(place):
    """Failure: a painting of 16,000 pixels is asked for, and the server makes the photograph as large to show it."""
    job = place.begin(size=16000).json()
    answer = place.client.get(f"/api/jobs/{job['id']}/content")
    assert Image.open(io.BytesIO(answer.content)).size == (2048, 1536)


def test_a_full_disk(place, monkeypatch):
    """Failure: half a picture, or half a job, is kept when the disk is full; the server ends."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(path.name for path in place.folder.rglob("*"))
    monkeypatch.setattr(os, "replace", full)
    for answer in (place.send(png(seed=7)), place.begin()):
        assert "No space left" in _refused(answer, 507)
    monkeypatch.undo()
    assert sorted(path.name for path in place.folder.rglob("*") if path.name != "jobs") == before
    assert place.begin().status_code == 201
    monkeypatch.setattr(os, "replace", full)
    job = next(iter(place.queue.jobs))
    assert place.client.post(f"/api/jobs/{job}/stop").json()["state"] == "stopped"  # of which the record can wait


def test_records_that_somebody_changed(place):
    """Failure: a record in the folder names a file outside of it, and that is served; or one that is damaged keeps the
    server from starting."""
    secret = place.folder.parent / "secret.png"
    secret.write_bytes(png(seed=8))
    about = {"id": "0" * 32, "name": "a", "width": 9, "height": 9, "type": "text/html", "file": "../../secret.png"}
    (place.folder / "pictures" / f"{'0' * 32}.json").write_text(json.dumps(about))
    (place.folder / "pictures" / f"{'1' * 32}.json").write_text("[" * 10**5)
    job = place.begin().json()["id"]
    record = place.folder / "jobs" / job / "job.json"
    for text in ("[]", "{", '{"asked": {}}', record.read_text().replace("waiting", "<b>")):
        record.write_text(text)
        again, queue = application(place.folder)
        assert not queue.jobs
        client = TestClient(again, ADDRESS, headers=OURS)
        for number in ("0" * 32, "1" * 32):
            _refused(client.get(f"/api/pictures/{number}"), 404)
    assert record.exists()


def test_a_web_socket(place):
    """Failure: a socket, for which browsers ask nobody, is opened for another site's page."""
    with pytest.raises(WebSocketDisconnect), place.client.websocket_connect("/"):
        pass


def test_nothing_else_is_answered(place):
    """Failure: a route that nobody thought of answers, or an error of Python's is shown."""
    for method, path, codes in (
        ("GET", "/api", (404,)),
        ("GET", "/docs", (404,)),
        ("TRACE", "/", (405,)),
        ("POST", "/", (405,)),
        ("PUT", "/static/page.js", (405,)),
        ("DELETE", "/api/jobs/0", (404,)),
        ("POST", "/api/jobs/0/stop", (404,)),
        ("POST", "/api/jobs/0/run", (404,)),
        ("PATCH", "/api/jobs", (405,)),
    ):
        _refused(place.client.request(method, path), *codes)
