"""kstyle.net.download against servers that stall, cut off, lie and fail."""

import errno
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kstyle.errors import DataError
from kstyle.net import download

sys.path.insert(0, str(Path(__file__).parent))
from server import Server

BODY = b"\x89weights" + bytes(i * i % 251 for i in range(300_000))
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def fails(url, target, **options):
    """The one line that the fetch fails with."""
    with pytest.raises(DataError) as caught:
        download.fetch(url, target, **options)
    line = str(caught.value)
    assert target.name in line and url in line and "\n" not in line
    return line


def test_a_file_arrives_with_progress_and_through_a_redirect(tmp_path):
    seen = []
    with Server(BODY, ["redirect", "ok"]) as server:
        got = download.fetch(server.url + "x", tmp_path / "a" / "x", sha256=SHA[:8], progress=lambda *a: seen.append(a))
    assert got.read_bytes() == BODY and left(got.parent) == ["x"]
    assert seen[-1] == (len(BODY), len(BODY)) and len(seen) > 3
    assert [path for path, _ in server.requests] == ["/x", "/moved"]


def test_a_file_that_is_there_is_fetched_again_only_if_its_checksum_is_wrong(tmp_path):
    with Server(BODY) as server:
        (tmp_path / "x").write_bytes(b"damaged")
        assert download.fetch(server.url, tmp_path / "x").read_bytes() == b"damaged"
        assert download.fetch(server.url, tmp_path / "x", sha256=SHA).read_bytes() == BODY
        assert download.fetch(server.url, tmp_path / "x", sha256=SHA).read_bytes() == BODY
    assert len(server.requests) == 1 and left(tmp_path) == ["x"]


@pytest.mark.parametrize("checksum", [SHA, None])
@pytest.mark.parametrize(
    "manners",
    [
        ["truncate", "truncate", "ok"],
        ["500", "500", "drop", "ok"],
        ["truncate", "no-range"],
        ["truncate", "shifted", "ok"],
        ["truncate", "416", "ok"],
    ],
)
def test_what_may_pass_is_tried_again(tmp_path, manners, checksum):
    with Server(BODY, manners) as server:
        assert download.fetch(server.url, tmp_path / "x", sha256=checksum).read_bytes() == BODY
    assert left(tmp_path) == ["x"] and len(server.requests) == len(manners)


@pytest.mark.parametrize("checksum", [SHA, None])
def test_a_broken_off_fetch_is_continued_by_the_next(tmp_path, checksum):
    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with Server(BODY) as server:
        with pytest.raises(KeyboardInterrupt):
            download.fetch(server.url, tmp_path / "x", sha256=checksum, progress=stop)
        assert left(tmp_path) == ["x.part"]
        have = (tmp_path / "x.part").stat().st_size
        assert download.fetch(server.url, tmp_path / "x", sha256=checksum).read_bytes() == BODY
    assert len(BODY) / 2 < have < len(BODY)
    assert server.ranges() == [None, f"bytes={have}-"] and left(tmp_path) == ["x"]


@pytest.mark.parametrize("checksum", [SHA, None])
def test_a_part_of_another_version_is_never_joined_to_this_one(tmp_path, checksum):
    (tmp_path / "x.part").write_bytes(b"old version" * 1000)
    with Server(BODY) as server:
        assert download.fetch(server.url, tmp_path / "x", sha256=checksum).read_bytes() == BODY


def test_a_part_that_is_whole_is_checked_not_fetched_again(tmp_path):
    (tmp_path / "x.part").write_bytes(BODY)
    with Server(BODY) as server:
        assert download.fetch(server.url, tmp_path / "x", sha256=SHA).read_bytes() == BODY
    assert server.ranges() == [f"bytes={len(BODY)}-"]


def test_wrong_bytes_leave_nothing(tmp_path):
    with Server(BODY, ["wrong"]) as server:
        assert "sha256" in fails(server.url, tmp_path / "x", sha256=SHA)
        assert "md5" in fails(server.url, tmp_path / "x", md5="0" * 32)
    assert left(tmp_path) == [] and len(server.requests) == 2


@pytest.mark.parametrize("manner", ["html", "html-body"])
def test_a_web_page_is_refused_at_once(tmp_path, manner):
    with Server(BODY, [manner]) as server:
        assert "web page" in fails(server.url, tmp_path / "x")
    assert left(tmp_path) == [] and len(server.requests) == 1


@pytest.mark.parametrize(
    ("manner", "requests", "words"),
    [
        ("404", 1, "404"),
        ("500", 4, "500"),
        ("drop", 4, "without response"),
        ("truncate", 4, "bytes"),
        ("loop", 31, "redirects"),
    ],
)
def test_the_error_says_what_happened_last_after_so_many_requests(tmp_path, manner, requests, words):
    with Server(BODY, [manner]) as server:
        assert words in fails(server.url, tmp_path / "x", retries=3)
    assert len(server.requests) == requests and "x" not in left(tmp_path)


def test_a_stall_is_an_attempt_and_then_an_error(tmp_path):
    with Server(BODY, ["stall", "ok"]) as server:
        assert download.fetch(server.url, tmp_path / "x", timeout=(1, 0.2)).read_bytes() == BODY
        assert server.ranges()[1] is not None
    with Server(BODY, ["stall"]) as server:
        assert "stalled" in fails(server.url, tmp_path / "y", timeout=(1, 0.2), retries=1)
        assert len(server.requests) == 2


def test_retry_after_is_honoured_and_capped(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    with Server(BODY, ["429", "ok"]) as server:
        download.fetch(server.url, tmp_path / "x")
    monkeypatch.setattr(download, "LONGEST_WAIT", 5)
    with Server(BODY, ["429", "ok"]) as server:
        download.fetch(server.url, tmp_path / "y")
    assert slept == [7, 5]


def test_a_host_that_is_down_or_no_url_fails_soon(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    start = time.monotonic()
    assert f"refused (attempt {download.CONNECT_RETRIES + 1})" in fails(url, tmp_path / "x")
    assert "(attempt 1)" in fails("file:///etc/hostname", tmp_path / "x")
    assert time.monotonic() - start < 60 and left(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"x could not be written \(.*\)"):
        download.fetch("http://127.0.0.1:9/x", tmp_path / "file" / "x")


@pytest.mark.skipif(os.name == "nt", reason="no file locks between processes on Windows")
def test_processes_that_want_one_file_share_one_download(tmp_path):
    code = "import sys; from kstyle.net.download import fetch; fetch(sys.argv[1], sys.argv[2], sha256=sys.argv[3])"
    with Server(BODY, ["truncate", "stall", "ok"]) as server:
        args = [sys.executable, "-W", "error", "-c", code.replace("sha256", "timeout=(1, 0.5), sha256")]
        both = [subprocess.Popen([*args, server.url, tmp_path / "x", SHA]) for _ in range(2)]
        assert [process.wait(20) for process in both] == [0, 0]
    assert (tmp_path / "x").read_bytes() == BODY and left(tmp_path) == ["x"]
    assert len(server.requests) == 3


def test_a_body_that_does_not_end(tmp_path):
    """Failure: the disk is full of a .part."""
    with Server(BODY, ["endless"]) as server:
        said = fails(server.url, tmp_path / "x", most=10**6)
    assert "it has more than the 1,000,000 bytes that it may have (attempt 1)" in said and left(tmp_path) == []
    with Server(BODY) as server:
        assert "it has 300,008 bytes, and may have 300,007" in fails(server.url, tmp_path / "x", most=len(BODY) - 1)
        assert download.fetch(server.url, tmp_path / "x", most=len(BODY)).read_bytes() == BODY


def test_a_disk_without_room(tmp_path, monkeypatch):
    """Failure: what cannot fit is begun, and the disk stays full of it."""
    usage = download.shutil.disk_usage(tmp_path)
    with Server(BODY) as server, monkeypatch.context() as patched:
        patched.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        assert "takes 300,008 bytes more, and the disk has 1,000 free" in fails(server.url, tmp_path / "x")

    def full(done, total):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Server(BODY) as server, pytest.raises(DataError, match="No space left"):
        download.fetch(server.url, tmp_path / "x", progress=full)
    assert left(tmp_path) == []


def test_a_header_that_does_not_end(tmp_path, monkeypatch):
    """Failure: a server that sends a byte now and then is waited for, for ever."""
    monkeypatch.setattr(download.answers, "HEADER_SECONDS", 0.2)
    with Server(BODY, ["slow", "ok"]) as server:
        assert download.fetch(server.url, tmp_path / "x").read_bytes() == BODY
    with Server(BODY, ["slow"]) as server:
        assert "stalled beyond the time limit (attempt 1)" in fails(server.url, tmp_path / "y", retries=0)


def test_a_body_that_drips(tmp_path, monkeypatch):
    """Failure: as above, in the body."""
    monkeypatch.setattr(download, "WINDOW", 0.2)
    with Server(BODY, ["drip"]) as server:
        assert "less than 1000 bytes a second came" in fails(server.url, tmp_path / "x", retries=0)
    monkeypatch.setattr(download, "LONGEST", 0.1)
    with Server(BODY, ["drip"]) as server:
        assert "it took more than" in fails(server.url, tmp_path / "y")


@pytest.mark.parametrize("checksum", [SHA, None])
def test_what_is_packed_for_the_way_is_unpacked(tmp_path, checksum):
    """Failure: a file without a checksum is kept packed, and nothing can read it."""
    with Server(BODY, ["gzip"]) as server:
        assert download.fetch(server.url, tmp_path / "x", sha256=checksum).read_bytes() == BODY
        assert gzip.decompress(download.fetch(server.url, tmp_path / "x.gz").read_bytes()) == BODY
    with Server(bytes(10**6), ["gzip"]) as server:
        assert "it has more than the 10,000 bytes" in fails(server.url, tmp_path / "y", most=10**4)
