"""`kstyle data download flickr_style`: its options, what it prints, its exit codes, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crowd_server import CrowdServer
from waiting import until

from kstyle.cli import main

REAL = Path(__file__).parents[1] / "../shared/data/flickr_style/flickr_style.csv.gz"


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine with no data sets and no proxy."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys):
    """`run("flickr_style")` -> (exit code, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(["data", "download", *map(str, arguments)])
        return exit.value.code or 0, *capsys.readouterr()

    return run


def write_list(path, urls):
    rows = "".join(f"{url},{n % 20},{'train' if n % 5 else 'test'}\n" for n, url in enumerate(urls))
    path.write_text(f"image_url,label,_split\n{rows}")
    return path


def test_the_options_reach_the_download(run, tmp_path):
    """Failure: an option is taken and does nothing."""
    with CrowdServer() as server:
        listed = write_list(tmp_path / "list.csv", [server.url("ok" if n % 2 else "404", n) for n in range(200)])
        options = ("--list", listed, "--images", 30, "--seed", 3, "--labels", 4, "--workers", 5, "--per-host", 2)
        code, out, err = run("flickr_style", "--to", tmp_path / "here", *options)
        assert code == 0 and out == f"{tmp_path / 'here'}\n" and "failed.csv" in err
        facts = json.loads((tmp_path / "here/subset.json").read_text())
        assert (facts["seed"], facts["images"], facts["labels"]) == (3, 30, 4)
        assert facts["train"] + facts["test"] + facts["failed"] == 30 and facts["failed"] > 0
        assert max(server.most.values()) <= 2
        count = len(server.requests)
        assert run("flickr_style", "--to", tmp_path / "here", *options, "--retry-failed")[0] == 0
        assert len(server.requests) - count == facts["failed"]
        _, out, _ = run("flickr_style", "--list", listed, "--images", 20)
        assert out == f"{tmp_path / 'keras/datasets/flickr_style'}\n"


def test_what_cannot_be_asked_for(run, tmp_path):
    """Failure: options that mean nothing for a data set are passed over, or a traceback."""
    code, out, err = run("mnist", "--images", 5, "--list", "x")
    assert code == 2 and out == "" and all(word in err for word in ("--list", "--images", "mnist"))
    listed = write_list(tmp_path / "list.csv", ["http://127.0.0.1:9/a.jpg"])
    for option, value in (("--seed", -1), ("--workers", 0), ("--per-host", -2)):
        code, _, err = run("flickr_style", "--to", tmp_path, "--list", listed, option, value)
        assert code == 2 and err.count("\n") == 1 and str(value) in err
    code, _, err = run("flickr_style", "--to", tmp_path, "--list", tmp_path / "none.csv")
    assert code == 1 and "none.csv" in err


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/flickr_style is not here")
def test_without_a_network_it_ends_soon(run, tmp_path, monkeypatch):
    """Failure: without a network the user waits for thousands of time-outs, and is told nothing."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there, whatever the network
    start = time.monotonic()
    code, out, err = run("flickr_style", "--to", tmp_path, "--list", REAL, "--images", 2000)
    assert time.monotonic() - start < 60
    assert code == 1 and out == "" and "not one of 2000 pictures" in err and err.count("given up") == 10
    failed = (tmp_path / "failed.csv").read_text().splitlines()
    assert len(failed) == 2001 and all("given up after 3 failed connections" in line for line in failed[1:])


def test_ctrl_c_leaves_lists_and_goes_on(tmp_path):
    """Failure: interrupted at night, the run leaves no list of what it has, half a picture, or a traceback."""
    command = [sys.executable, "-c", "from kstyle.cli import main; main()", "data", "download", "flickr_style"]
    with CrowdServer(latency=0.1) as server:
        listed = write_list(tmp_path / "list.csv", [server.url("ok", n) for n in range(250)])
        command += ["--list", listed, "--to", tmp_path / "data"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
        until(lambda: len(server.requests) >= 100, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 130 and "goes on from there" in err and "Traceback" not in err
        facts = json.loads((tmp_path / "data/subset.json").read_text())
        here = {p.relative_to(tmp_path / "data").as_posix() for p in (tmp_path / "data").glob("t*/*/*")}
        lists = "".join((tmp_path / f"data/{split}.txt").read_text() for split in ("train", "test"))
        assert {line.rsplit(" ", 1)[0] for line in lists.splitlines()} == here
        assert 0 < len(here) < 250 and facts["not_tried"] == 250 - len(here)
        assert subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0
        assert sum(server.asked().values()) <= 250 + 16 + 33  # connections and backlog
    assert len(list((tmp_path / "data").glob("t*/*/*"))) == 250
