"""Where data sets are found and downloaded, and what `kstyle data` prints and writes."""

import dataclasses
import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from failing import fails

from kstyle import data
from kstyle.cli.training.data import data as command
from kstyle.errors import DataError, UsageError
from kstyle.net import download

sys.path.insert(0, str(Path(__file__).parent))
from server import Server


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine with no data sets and no proxy, and little patience."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    for name in ("KSTYLE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run():
    """`run("list")` -> what it printed."""

    def run(*arguments):
        return CliRunner().invoke(command, [str(part) for part in arguments], catch_exceptions=False).stdout

    return run


# ---------------------------------------------------------------------------------------------------- places


def write_mnist(folder, pictures):
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = np.zeros((pictures, 28, 28), np.uint8), np.arange(pictures) % 10
    np.savez(folder / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return folder / "mnist.npz"


def test_where_it_is_looked_for(tmp_path, monkeypatch):
    """Failure: another copy than the one named is trained on."""
    for number, name in enumerate(("keras/datasets", "env/mnist", "own"), 1):
        write_mnist(tmp_path / name, 10 * number)
    assert len(data.load("mnist", download=False).train) == 10
    monkeypatch.setenv("KSTYLE_DATA", str(tmp_path / "env"))
    assert len(data.load("mnist", download=False).train) == 20
    assert len(data.load("mnist", tmp_path / "own").train) == 30
    assert data.locate("mnist") == str(tmp_path / "env/mnist/mnist.npz") and data.locate("cifar10") is None
    fails(DataError, lambda: data.load("cifar10", tmp_path / "own"), "own", "cifar-10-python.tar.gz")
    fails(DataError, lambda: data.load("mnist", tmp_path / "nowhere"), "nowhere")
    monkeypatch.setenv("KSTYLE_DATA", str(tmp_path / "gone"))
    fails(DataError, lambda: data.load("mnist"), "KSTYLE_DATA", "gone")
    fails(UsageError, lambda: data.load("mnits"), "Did you mean 'mnist'?")


def official(monkeypatch, name, **changes):
    """Gives a data set's official download another address, or other checksums."""
    monkeypatch.setitem(data.DATASETS, name, dataclasses.replace(data.DATASETS[name], **changes))


def test_load_downloads_once(tmp_path, monkeypatch):
    """Failure: the official file is fetched to where it is not found again, or unchecked, or half."""
    body = write_mnist(tmp_path / "made", 20).read_bytes()
    with Server(body, ["truncate", "ok"]) as server:
        official(monkeypatch, "mnist", url=server.url, sums={"sha256": hashlib.sha256(body).hexdigest()})
        assert len(data.load("mnist").train) == 20
        kept = tmp_path / "keras/datasets/mnist.npz"
        assert kept.read_bytes() == body and data.locate("mnist") == str(kept)
        assert len(data.load("mnist").train) == 20 and len(server.requests) == 2
    kept.write_bytes(body[:-100])
    fails(DataError, lambda: data.load("mnist"), str(kept), "Delete it")


def test_nothing_here_and_no_network(tmp_path, monkeypatch):
    """Failure: the user is told that it failed, and not what to do."""
    looked = str(tmp_path / "keras/datasets")
    with Server(b"", ["404"]) as server:
        official(monkeypatch, "cifar10", url=server.url)
        fails(DataError, lambda: data.load("cifar10"), looked, "404", "--data", "KSTYLE_DATA", "cifar-10-python")
        asked = len(server.requests)
        fails(DataError, lambda: data.load("cifar10", download=False), "kstyle data download cifar10", "170 MB")
        assert len(server.requests) == asked
    fails(UsageError, lambda: data.download("digits"), "nothing to download")


# ---------------------------------------------------------------------------------------------------- kstyle data


def test_list(run, tmp_path):
    """Failure: the user cannot tell what a recipe would have to download."""
    lines = {line.split()[0]: line for line in run("list").splitlines()}
    assert set(lines) == set(data.published())
    assert lines["tiny_imagenet"].endswith("not here: download 248 MB") and "64×64×3" in lines["tiny_imagenet"]
    assert "scikit-learn" in lines["digits"]
    (tmp_path / "keras/datasets").mkdir(parents=True)
    (tmp_path / "keras/datasets/mnist.npz").write_bytes(b"")
    listed = json.loads(run("list", "--json"))
    assert listed["mnist"]["here"] == str(tmp_path / "keras/datasets/mnist.npz")
    assert listed["cifar10"]["here"] is None and listed["cifar10"]["download_bytes"] > 10**8


def test_download(run, tmp_path, monkeypatch):
    """Failure: the file goes elsewhere than was asked, or its path is not what a script reads."""
    body = b"pictures" * 1000
    with Server(body) as server:
        sums = {"sha256": hashlib.sha256(body).hexdigest()}
        official(monkeypatch, "mnist", url=server.url, sums=sums)
        printed = run("download", "mnist", "--to", tmp_path / "here")
    assert Path(printed.strip()) == tmp_path / "here/mnist.npz"
    assert (tmp_path / "here/mnist.npz").read_bytes() == body


def test_check(run, tmp_path):
    """Failure: a wrong or shortened data set passes for the official one."""
    images = np.zeros((12, 28, 28), np.uint8)
    images[:, :14] = 255
    images[np.arange(12), 27, np.arange(12)] = 255  # so that no two are alike
    labels = np.arange(12, dtype=np.uint8) % 4
    np.savez(tmp_path / "mnist.npz", x_train=images[:8], y_train=labels[:8], x_test=images[7:], y_test=labels[7:])
    report = json.loads(run("check", "mnist", "--data", tmp_path, "--json"))
    assert report["mean"] == [pytest.approx(393 / 784)]  # 14 × 28 + 1 white of 28 × 28
    assert report["std"] == [pytest.approx(np.sqrt(393 * 391) / 784)]
    assert report["splits"]["train"]["per_class"]["3"] == 2 and report["splits"]["test"]["pictures"] == 5
    problems = " ".join(report["problems"])
    assert "train has 8 pictures, the official set 60,000." in problems
    assert "train has no picture of 4, 5, 6, 7, 8, 9." in problems
    assert "1 test pictures are also in train" in problems
    printed = run("check", "mnist", "--data", tmp_path)
    assert "8 pictures, 0 to 2 a class" in printed and "60,000" in printed and report["sha256"] in printed
    with pytest.raises(DataError, match="kstyle data download cifar10"):
        run("check", "cifar10")


def test_check_names_what_is_damaged(run, tmp_path):
    """Failure: a traceback from inside gzip."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:40])
    for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        run("check", "mnist", "--data", tmp_path)


def test_importing_takes_no_framework():
    """Failure: `kstyle data list` takes seconds."""
    slow = ("keras", "torch", "sklearn", "PIL", "requests")
    code = f"import sys, kstyle.data; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
