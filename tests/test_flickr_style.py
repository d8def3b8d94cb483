"""Flickr Style from its list: the same subset as the published script's, every picture whole, whatever goes wrong."""

import csv
import gzip
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from waiting import until

from kstyle.data.lists import crowd, flickr_style, gather, request
from kstyle.errors import DataError, UsageError
from kstyle.net import download

sys.path.insert(0, str(Path(__file__).parent))
from crowd_server import UNWANTED, CrowdServer, picture

REAL = Path(__file__).parents[1] / "../shared/data/flickr_style/flickr_style.csv.gz"
HOSTS = ("127.0.0.1", "localhost", "127.0.0.2", "127.0.0.3")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, little patience, and our own picture for what is gone."""
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    monkeypatch.setattr(flickr_style, "UNWANTED", UNWANTED)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def write_list(path, urls):
    """A list like the official one, of labels 0 to 19 in turn and every fifth picture for tests."""
    table = pd.DataFrame({"image_url": urls, "page_url": "x"})
    table["label"] = np.arange(len(urls)) % 20
    table["_split"] = np.where(np.arange(len(urls)) % 5, "train", "test")
    table.to_csv(path, compression="gzip")
    return path


def pictures_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for s in gather.SPLITS for p in folder.glob(f"{s}/*/*")}


def reasons_in(folder):
    """{path of the URL: reason} of failed.csv."""
    with open(folder / "failed.csv", newline="") as file:
        return {line["url"].partition("/")[2].split("/", 2)[2]: line["reason"] for line in csv.DictReader(file)}


# ---------------------------------------------------------------------------------------------------- the list


@pytest.mark.parametrize(("images", "seed", "labels"), [(-1, 0, 0), (40, 831486, 0), (100, 7, 5), (10**6, 1, 3)])
def test_the_subset_is_the_published_script_s(tmp_path, images, seed, labels):
    """Failure: two people train on other pictures with the same seed, and compare their accuracies."""
    path = write_list(tmp_path / "list.csv.gz", [f"http://h/{n}.jpg" for n in range(997)])
    np.random.seed(seed)  # as assemble_data.py does it
    df = pd.read_csv(path, index_col=0, compression="gzip")
    df = df.iloc[np.random.permutation(df.shape[0])]
    if labels > 0:
        df = df.loc[df["label"] < labels]
    if images > 0 and images < df.shape[0]:
        df = df.iloc[:images]
    rows, _, _ = flickr_style.read_list(path)
    chosen = [rows[index] for index in flickr_style.choose(rows, images, seed, labels)]
    assert [tuple(row) for row in chosen] == list(zip(df["image_url"], df["label"], df["_split"]))


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/flickr_style is not here")
def test_the_real_list():
    """Failure: labels get other styles' names, or pictures of the official list other names than their own."""
    rows, names, _ = flickr_style.read_list(REAL)
    assert len(rows) == 80_000 and sum(row.split == "test" for row in rows) == 16_000
    assert names == flickr_style.STYLES == tuple(REAL.with_name("style_names.txt").read_text().split("\n")[:20])
    places = flickr_style.places(rows, names)
    assert len(set(places)) == 80_000
    assert all(place.endswith("/" + row.url.rpartition("/")[2]) for place, row in zip(places, rows))


def test_names_from_a_hostile_list():
    """Failure: a list writes outside of its folder, or one picture over another."""
    urls = [
        "http://h/..%2f..%2fx.jpg", "http://h/a/..", "http://h/", "http://h/.hidden.jpg", "http://h/x\\y.jpg",
        "http://h/aux.jpg", "http://h/" + "a" * 300 + ".jpg", "http://h/run.sh", "http://h/é\n.jpg", "http://h/:x.jpg",
        "http://[::1/x.jpg", "ftp://h/z.jpg", "http://h/1/same.jpg", "http://h/2/same.jpg", "http://h/SAME.jpg",
        "http://h/own.jpg?size=2", "http://h/trailing.jpg.",
    ]  # fmt: skip
    rows = [gather.Row(url, 0, "train") for url in urls] + [gather.Row(urls[-2], 1, "test")]
    places = flickr_style.places(rows, ("A", "B"))
    names = [place.split("/") for place in places]
    assert all(len(parts) == 3 and parts[:2] in (["train", "A"], ["test", "B"]) for parts in names)
    assert all(parts[2].isascii() and parts[2][0].isalnum() and parts[2].endswith(".jpg") for parts in names)
    assert len({place.lower() for place in places}) == len(rows)
    assert names[11][2] == "z.jpg"  # whether its URL may be fetched is not a matter of its name


@pytest.mark.parametrize(
    ("text", "styles", "words"),
    [
        ("image_url,label,_split\nhttp://h/a.jpg,20,train\n", None, "label from 0 to 19"),
        ("image_url,label,_split\nhttp://h/a.jpg,-1,train\n", None, "row 1"),
        ("image_url,label,_split\nhttp://h/a.jpg,0,../x\n", None, "row 1"),
        ("image_url,label,_split\nhttp://h/a.jpg,0,train\n", "A\n../B", "'../B'"),
        ("image_url,label,_split\n", None, "no picture"),
        ("url,label\n", None, "_split"),
        ("image_url,label,_split\n" + "x" * 200_000, None, "row 1"),
        (gzip.compress(b"image_url,label,_split\nhttp://h/a.jpg,0,train\n" * 99, mtime=0)[:-9], None, "cannot be read"),
        (gzip.compress(bytes(3 << 20), mtime=0), None, "refused"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be(tmp_path, monkeypatch, text, styles, words):
    """Failure: a label without a name, a folder elsewhere, a full memory, or a traceback."""
    monkeypatch.setattr(flickr_style, "MOST_LIST", 1 << 20)
    (tmp_path / "list.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    if styles:
        (tmp_path / "style_names.txt").write_text(styles)
    with pytest.raises(DataError) as caught:
        flickr_style.read_list(tmp_path / "list.csv")
    assert words in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- the download


def test_two_thousand_urls_and_two_kills(tmp_path):
    """Failure: half a picture under a picture's name, one fetched for nothing, one lost, or a host overrun."""
    good = ("flaky-500", "flaky-503", "flaky-drop", "flaky-truncate", "moved")
    bad = {
        "404": "404", "410": "410", "403": "403", "500": "500", "drop": "without response", "truncate": "ended early",
        "html": "web page", "broken": "is not a picture", "gone": "unavailable",
    }  # fmt: skip
    manners = [m for m in (*good, *bad) for _ in range(8)] + ["flaky-429"] * 2
    manners += ["ok"] * (2000 - len(manners))
    np.random.default_rng(0).shuffle(manners)
    folder = tmp_path / "data"
    code = (
        "import sys; from kstyle.net import download; from kstyle.data.lists import flickr_style\n"
        "download.BACKOFF = 0.05\n"
        f"flickr_style.UNWANTED = {UNWANTED}\n"
        "flickr_style.download(sys.argv[2], list_file=sys.argv[1])"
    )
    with CrowdServer(latency=0.05) as server:
        urls = [server.url(manner, n, HOSTS[n % 4]) for n, manner in enumerate(manners)]
        listed = write_list(tmp_path / "list.csv.gz", urls)

        def run(asked=None):
            process = subprocess.Popen([sys.executable, "-W", "error", "-c", code, listed, folder])
            if asked:
                until(lambda: len(server.requests) >= asked, process)
                process.send_signal(signal.SIGKILL)
            return process.wait(60)

        assert run(asked=600) == -9
        for path, raw in pictures_in(folder).items():
            assert raw == picture(int(Path(path).stem))
        assert run(asked=1300) == -9 and run() == 0
        requests = list(server.requests)
        assert run() == 0  # asks again for nothing but what may have come back
    paths = flickr_style.places(*flickr_style.read_list(listed)[:2])
    expected = {p: picture(n) for n, (m, p) in enumerate(zip(manners, paths)) if m not in bad}
    assert pictures_in(folder) == expected
    beside = {"train.txt", "test.txt", "failed.csv", "style_names.txt", "subset.json", "journal.jsonl"}
    assert {p.name for p in folder.iterdir()} == {"train", "test", *beside}
    lines = [line.rsplit(" ", 1) for s in gather.SPLITS for line in (folder / f"{s}.txt").read_text().splitlines()]
    assert {path for path, _ in lines} == set(expected)
    assert all(path.split("/")[1] == flickr_style.STYLES[int(label)] for path, label in lines)
    reasons = reasons_in(folder)
    assert len(reasons) == 8 * len(bad)
    assert {path: why for path, why in reasons.items() if bad[path.split("/")[0]] not in why} == {}
    assert max(server.most.values()) <= 16 and min(server.most.values()) > 4
    # Of what came before a kill, only what was on its way was asked for again.
    assert sum(server.asked("ok").values()) <= manners.count("ok") + manners.count("moved") + 2 * (
        crowd.WORKERS + crowd.BACKLOG + 1
    )
    again = {path.split("/")[1] for _, _, path in server.requests[len(requests) :]}
    assert again == {"403", "500", "drop", "truncate", "html"}
    facts = json.loads((folder / "subset.json").read_text())
    rows = sorted(
        f"{url}\t{n % 20}\t{'train' if n % 5 else 'test'}\t{hashlib.sha1(picture(n)).hexdigest()}\n"
        for n, (url, manner) in enumerate(zip(urls, manners)) if manner not in bad
    )  # fmt: skip
    assert facts["sha256"] == hashlib.sha256("".join(rows).encode()).hexdigest()
    assert (facts["train"] + facts["test"], facts["failed"], facts["not_tried"]) == (len(expected), 8 * len(bad), 0)


def fetch(server, tmp_path, manners, **options):
    """Downloads one picture of each manner, in process; returns the folder."""
    urls = [manner if "://" in manner else server.url(manner, n) for n, manner in enumerate(manners)]
    write_list(tmp_path / "list.csv.gz", urls)
    return flickr_style.download(tmp_path / "data", list_file=tmp_path / "list.csv.gz", **options)[0]


def test_a_host_that_asks_to_wait_is_left_alone(tmp_path):
    """Failure: a crowd that does not stop when it is asked to is locked out."""
    with CrowdServer(latency=0.02) as server:
        folder = fetch(server, tmp_path, ["ok"] * 10 + ["flaky-429"] + ["ok"] * 200)
    assert len(pictures_in(folder)) == 211
    asked = next(t for t, _, path in server.requests if "429" in path)
    after = [t - asked for t, _, _ in server.requests if t > asked + 0.5]
    assert after and min(after) > 0.98


def test_a_dead_host_is_given_up_and_others_are_not(tmp_path):
    """Failure: with a host or the network down, a run of hours that fetches nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with CrowdServer() as server:
        folder = fetch(server, tmp_path, [f"{dead}/{n}.png" for n in range(3000)] + ["ok"] * 20)
        assert time.monotonic() - start < 60
        assert len(pictures_in(folder)) == 20
        assert {"refused" in why and "given up" in why for why in reasons_in(folder).values()} == {True}
        with pytest.raises(DataError, match=r"not one of 20 pictures .* given up .* refused"):
            flickr_style.download(tmp_path / "none", list_file=tmp_path / "list.csv.gz", images=20)


def test_a_host_that_only_hangs_up_is_given_up(tmp_path):
    """Failure: a host that takes connections and answers none costs a time-out for each picture."""
    with CrowdServer() as server:
        folder = fetch(server, tmp_path, ["ok", *[server.url("drop", n, "localhost") for n in range(900)]])
    assert len(pictures_in(folder)) == 1 and len(server.requests) < 300


def test_an_outage_is_waited_out(tmp_path, monkeypatch):
    """Failure: a router that restarts costs half of the data set."""
    monkeypatch.setattr(download, "BACKOFF", 0.2)
    with CrowdServer(latency=0.01) as server:
        jobs = [(n, server.url("ok", n)) for n in range(300)]
        results = crowd.fetch_all(jobs, tmp_path, accept=lambda path: None, workers=8)
        got = [next(results) for _ in range(20)]
        server.restart(0.5)
        got += list(results)
    assert sorted(key for key, result in filter(None, got) if isinstance(result, request.Received)) == list(range(300))


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("big", "1,000,000,000 bytes, the limit is"),
        ("drip", "took more than"),
        ("file:///etc/hostname", "no http or https URL"),
        ("http://[::1/x.png", "no http or https URL"),
    ],
)
def test_what_is_too_large_too_slow_or_no_url(tmp_path, monkeypatch, manner, words):
    """Failure: one URL fills the disk, holds the run up, or reads a file of the user."""
    monkeypatch.setattr(request, "FILE_SECONDS", 0.2)
    monkeypatch.setattr(crowd, "RETRIES", 1)
    with CrowdServer() as server:
        folder = fetch(server, tmp_path, ["ok", manner])
    assert len(pictures_in(folder)) == 1
    assert [words in why for why in reasons_in(folder).values()] == [True]


def test_a_picture_above_the_pixel_limit_is_refused(tmp_path, monkeypatch):
    """Failure: a small file that unpacks to gigabytes stops the download, or later the training."""
    monkeypatch.setenv("KSTYLE_MAX_PIXELS", "60")
    with CrowdServer() as server, pytest.raises(DataError, match="64 pixels, the limit is 60"):
        fetch(server, tmp_path, ["ok"])


def test_what_is_there_is_looked_at_not_fetched(tmp_path):
    """Failure: after a crash or a copy of the folder all is fetched again, or a damaged file passes for a picture."""
    manners = ["ok"] * 12 + ["404"]
    with CrowdServer() as server:
        folder = fetch(server, tmp_path, manners)
        before, facts = pictures_in(folder), (folder / "subset.json").read_text()
        paths = {int(Path(path).stem): folder / path for path in before}
        journal = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
        kept = [line for line in journal if b"/3.png" not in line and b"/4.png" not in line]
        (folder / "journal.jsonl").write_bytes(b"".join(kept) + b'{"path": "train/De')  # cut short by a crash
        os.utime(paths[1])  # as a copy has it
        paths[2].write_bytes(picture(99))  # another than was fetched; of 3 nothing is noted, and it is sound
        paths[4].write_bytes(b"damaged")

        def asked(**options):
            count = len(server.requests)
            fetch(server, tmp_path, manners, **options)
            return sorted(path for _, _, path in server.requests[count:])

        assert asked() == ["/ok/2.png", "/ok/4.png"]
        assert pictures_in(folder) == before and (folder / "subset.json").read_text() == facts
        assert asked() == [] and asked(retry_failed=True) == ["/404/12.png"]


def test_ctrl_c_between_a_move_and_its_note(tmp_path, monkeypatch):
    """Failure: the picture that was being put in its place when Ctrl-C came is there, and in no list."""
    replace = os.replace

    def struck(source, target):
        replace(source, target)
        if len(list(tmp_path.glob("data/t*/*/*"))) == 3:
            monkeypatch.setattr(os, "replace", replace)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", struck)
    with CrowdServer() as server, pytest.raises(KeyboardInterrupt):
        listed = write_list(tmp_path / "list.csv.gz", [server.url("ok", n) for n in range(9)])
        flickr_style.download(tmp_path / "data", list_file=listed)
    lists = "".join((tmp_path / f"data/{split}.txt").read_text() for split in gather.SPLITS)
    assert {line.rsplit(" ", 1)[0] for line in lists.splitlines()} == set(pictures_in(tmp_path / "data"))
    assert json.loads((tmp_path / "data/subset.json").read_text())["not_tried"] == 6


def test_another_subset_goes_elsewhere(tmp_path):
    """Failure: a folder mixes two subsets, and the training takes both."""
    with CrowdServer() as server:
        small = fetch(server, tmp_path, ["ok"] * 40, images=10)
        assert len(pictures_in(small)) == 10
        with pytest.raises(UsageError, match="not in this subset"):
            fetch(server, tmp_path, ["ok"] * 40, images=10, seed=1)
        fetch(server, tmp_path, ["ok"] * 40, images=30)
    assert len(pictures_in(small)) == 30 and sum(server.asked().values()) == 30


def test_it_is_read_as_a_data_set(tmp_path):
    """Failure: the pictures are there, and no recipe can train on them, or with labels mixed up."""
    with CrowdServer() as server:
        folder = fetch(server, tmp_path, ["ok"] * 40)
    found = flickr_style.read(folder / "subset.json", workers=0)
    assert found.classes == flickr_style.STYLES and len(found.train) == 32
    for path, label in zip(found.test.paths, found.test.labels):
        assert int(Path(path).stem) % 20 == label
