"""What others may try on `kstyle serve`: another site's page, files that are none, floods, a link without its token."""

import errno
import io
import itertools
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import httpx2 as httpx
from serving import ADDRESS, OURS, Place, application, listening, png, refused
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from kstyle.serve.jobs import PREVIEW

TOKEN = "0123456789abcdefghij"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "painted")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8765.evil.example"]
)
def test_another_sites_page_posts(place, origin):
    """Failure: a web page that somebody reads paints, or deletes, on their machine."""
    for method, path in (("POST", "/api/jobs"), ("PUT", "/api/pictures?name=a.png"), ("DELETE", "/api/jobs/0")):
        refused(place.client.request(method, path, content=png(), headers={"Origin": origin}), 403)
    assert not place.queue.jobs


def test_a_form_of_another_site(place):
    """Failure: a form, which no browser asks about first, is taken: it has no header of ours."""
    plain = TestClient(place.app, ADDRESS)
    asked = json.dumps({"content": place.content, "styles": [place.style]})
    refused(plain.post("/api/jobs", content=asked, headers={"Content-Type": "text/plain"}), 403)


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
        refused(place.client.get(path, headers={"Host": host}), 403)


def test_another_site_shows_our_pictures(place):
    """Failure: another site's page has our pictures as its own, or the whole page in a frame."""
    sent = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    refused(place.client.get(f"/api/pictures/{place.content}", headers=sent), 403)
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
    refused(place.client.get(path), 404)


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
        assert TOKEN not in refused(client.get(path), 403)
    refused(client.put("/api/pictures?name=a.png", content=png()), 403)
    refused(client.get("/", headers={"Cookie": "kstyle-8765=wrong; other"}), 403)
    welcome = client.get(f"/?token={TOKEN}")
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
    cookie = welcome.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    page = client.get("/")  # the client has the cookie now
    assert page.status_code == 200 and TOKEN not in page.text
    refused(client.post("/api/jobs", json={}, headers={"Origin": "http://evil.example"}), 403)


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
    refused(place.client.post(f"/api/jobs/{job}/continue", json={}), 429)


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


def test_a_newer_picture_while_one_is_sent(place):
    """Failure: a preview that is replaced on its way is sent in the length of the one before: an error on the page."""
    job, over = place.queue.jobs[place.begin().json()["id"]], threading.Event()
    preview = job.folder / PREVIEW
    preview.write_bytes(b"first")

    def replace():
        for number in itertools.cycle(range(1, 500)):
            beside = preview.with_name("newer")
            beside.write_bytes(bytes(10 * number))
            os.replace(beside, preview)
            if over.is_set():
                return

    painting = threading.Thread(target=replace)
    painting.start()
    try:
        with listening(place.app) as address, httpx.Client() as client:
            for _ in range(60):
                assert client.get(f"{address}/api/jobs/{job.id}/picture").status_code == 200
    finally:
        over.set()
        painting.join()


def test_a_full_disk(place, monkeypatch):
    """Failure: half a picture, or half a job, is kept when the disk is full; the server ends."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(path.name for path in place.folder.rglob("*"))
    monkeypatch.setattr(os, "replace", full)
    for answer in (place.send(png(seed=7)), place.begin()):
        assert "No space left" in refused(answer, 507)
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
            refused(client.get(f"/api/pictures/{number}"), 404)
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
        refused(place.client.request(method, path), *codes)
