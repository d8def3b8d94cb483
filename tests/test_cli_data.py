"""`kstyle data`: what it prints and writes."""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kstyle.cli.data import data as command
from kstyle.data import DATASETS, find
from kstyle.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))
from server import Server


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run("list")` -> what it printed, on a machine with no data sets."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("KSTYLE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        return CliRunner().invoke(command, [str(part) for part in arguments], catch_exceptions=False).stdout

    return run


def test_list(run, tmp_path):
    """Failure: the user cannot tell what a recipe would have to download."""
    lines = {line.split()[0]: line for line in run("list").splitlines()}
    assert set(lines) == set(DATASETS)
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
        source = find.Source(**{**DATASETS["mnist"].__dict__, "url": server.url, "sums": sums})
        monkeypatch.setitem(DATASETS, "mnist", source)
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
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz"):
        run("check", "mnist", "--data", tmp_path)
