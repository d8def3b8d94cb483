"""Which files a folder, list or table of photographs holds, and what becomes of those that are none."""

import io
import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from failing import fails
from PIL import Image

import kstyle
from kstyle.data.batches import arrays
from kstyle.data.photos import tree as photos
from kstyle.data.sets import hymenoptera
from kstyle.errors import DataError, UsageError
from kstyle.io import runs

SHARED = Path(__file__).parents[2] / "shared/data/hymenoptera"


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))


def save(path, number=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (number, 90, 200 - number)).save(path, **options)
    return path


def fill(folder, counts):
    """`{"ants": 3}`: pictures 0.png … 2.png in the folder ants."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(folder / name / f"{number}.png", number)
    return folder


def names(split):
    return [os.path.basename(path) for path in split.paths]


@pytest.fixture
def odd(tmp_path):
    """A folder as people have them."""
    root = fill(tmp_path / "odd", {"good": 5, "empty": 0, "one": 1, ".hidden": 2})
    (root / "good/notes.txt").write_text("none")
    (root / "good/Thumbs.db").write_bytes(b"none")
    (root / "good/.DS_Store").write_bytes(b"none")
    jpeg = save(root / "good/cut.jpg").read_bytes()
    (root / "good/cut.jpg").write_bytes(jpeg[:-20])
    (root / "good/no.suffix").write_bytes(jpeg)
    (root / "good/empty.jpg").touch()
    (root / "good/fake.jpg").write_text("<html>")
    os.mkfifo(root / "good/pipe.jpg")
    save(root / "good/a.gif")
    Image.new("CMYK", (40, 30)).save(root / "good/cmyk.jpg")
    Image.new("L", (6000, 5000)).save(root / "good/large.png", compress_level=1)
    Image.new("1", (11000, 10000)).save(root / "good/huge.png", compress_level=1)
    Image.new("RGB", (9, 9)).save(root / "good/program.eps")
    save(root / "lost.png")
    (root / "good/loop").symlink_to(root / "good")
    return root


def test_odd_folder(odd, caplog):
    """Failure: a broken or foreign file stops the reading, is trained on, or vanishes without a word."""
    with caplog.at_level(logging.WARNING, "kstyle"):
        found = photos.read_folder(odd, workers=2)
    assert found.classes == ("good", "one")
    taken = set(names(found.train) + names(found.test))
    assert taken == {"0.png", "1.png", "2.png", "3.png", "4.png", "no.suffix", "a.gif", "cmyk.jpg", "large.png"}
    skipped = {os.path.basename(path): reason for path, reason in found.skipped}
    assert set(skipped) == {
        "notes.txt", "Thumbs.db", ".DS_Store", "cut.jpg", "empty.jpg", "fake.jpg", "pipe.jpg", "huge.png",
        "program.eps", "lost.png",
    }  # fmt: skip
    assert "truncated" in skipped["cut.jpg"] and "110,000,000 pixels" in skipped["huge.png"]
    assert ".eps" in skipped["program.eps"] and "folder" in skipped["lost.png"]
    assert not any(reason.startswith(os.sep) for reason in skipped.values())
    lines = [record.getMessage() for record in caplog.records]
    assert sum("10 of 20 files are left out" in line and "7 more" in line for line in lines) == 1
    assert any("no picture at all" in line and "empty" in line for line in lines)
    # One picture cannot be on both sides.
    assert any("no picture in test: one" in line for line in lines) and 1 in found.train.labels


def test_an_odd_folder_trains(odd, tmp_path, caplog):
    """Failure: the file that nobody opened stops the training in its third hour, or nobody learns what was left out."""
    overrides = {
        "model.weights": None, "data.normalize": "unit", "batch": 4,
        "data.photographs.size": 48, "stages": [{"train": "head", "epochs": 1}, {"train": "all", "epochs": 1}],
    }  # fmt: skip
    done = kstyle.train("folder", data=odd, run=tmp_path / "run", overrides=overrides)
    assert len(done.history) == 2 and np.isfinite(done.history["loss"]).all()
    (seen,) = kstyle.predict(tmp_path / "run", [odd / "good/cmyk.jpg"])
    assert {each["class"] for each in seen["predictions"]} == {"good", "one"}
    skipped = dict(runs.facts(tmp_path / "run")["pictures"]["skipped"])
    assert len(skipped) == 10 and "truncated" in skipped[str(odd / "good/cut.jpg")]
    for line in ("10 of 20 files are left out", "no picture at all", "no picture in test: one"):
        assert line in caplog.text


def test_split_of_a_folder(tmp_path):
    """Failure: a class is missing on one side, or another class or a second start moves pictures to the other."""
    root = fill(tmp_path / "set", {"ants": 10, "bees": 5})
    first = photos.read_folder(root, test_fraction=0.2, seed=3)
    assert np.bincount(first.test.labels).tolist() == [2, 1] and np.bincount(first.train.labels).tolist() == [8, 4]
    assert not set(first.train.paths) & set(first.test.paths)
    fill(root, {"aardvarks": 4})
    second = photos.read_folder(root, test_fraction=0.2, seed=3)
    assert set(first.test.paths) < set(second.test.paths)
    assert set(photos.read_folder(root, seed=4).test.paths) != set(second.test.paths)
    train, held = arrays.hold_out(second.train, 0.5, 0)
    assert len(train) + len(held) == len(second.train) and isinstance(held, photos.Photos)
    assert len(arrays.take(second.train, 6, 0)) == 6
    fails(UsageError, lambda: photos.read_folder(root, test_fraction=1.0), "above 0 and below 1")


def test_split_folders(tmp_path, caplog):
    """Failure: the pictures to test on are trained on, or a class of one side alone shifts the numbers of others."""
    root = tmp_path / "set"
    fill(root / "train", {"b": 3, "c": 2})
    fill(root / "val", {"a": 1, "b": 1})
    found = photos.read_folder(root)
    assert found.classes == ("a", "b", "c")
    assert found.train.labels.tolist() == [1, 1, 1, 2, 2] and found.test.labels.tolist() == [0, 1]
    fill(root / "test", {"b": 4})
    with caplog.at_level(logging.WARNING, "kstyle"):
        found = photos.read_folder(root)
    assert len(found.test) == 4 and "not read: val" in caplog.text
    fill(tmp_path / "vehicles", {"train": 3, "plane": 3})  # a class may be called train
    assert photos.read_folder(tmp_path / "vehicles").classes == ("plane", "train")
    fill(tmp_path / "numbers", {"10": 2, "9": 2})
    assert photos.read_folder(tmp_path / "numbers").classes == ("9", "10")
    (tmp_path / "bare").mkdir()
    fails(DataError, lambda: photos.read_folder(tmp_path / "bare"), "a folder for each class")
    fails(DataError, lambda: photos.read_folder(tmp_path / "gone"), "gone", "No such file")


def test_verdicts_are_remembered(tmp_path, monkeypatch):
    """Failure: every start decodes all pictures again, or a picture that broke since passes for good."""
    root = fill(tmp_path / "set", {"a": 4, "b": 4})
    (root / "a/bad.jpg").write_text("none")

    def opened():
        seen = []
        found = photos.read_folder(root, progress=lambda done, total: seen.append(total))
        return len(seen), found

    count, first = opened()
    assert count == 9
    count, second = opened()  # what is bad is tried again: it may have been mended
    assert count == 1 and second.sha256 == first.sha256
    path = Path(first.train.paths[0])
    save(path, 77)
    os.utime(path, ns=(1, 1))
    count, third = opened()
    assert count == 2 and third.sha256 != first.sha256
    path.write_bytes(path.read_bytes()[:60])
    assert len(opened()[1].skipped) == 2
    (cache,) = (tmp_path / "cache/photos").iterdir()
    cache.write_text('{"pillow": 3, "files": [')
    assert opened()[0] == 9
    monkeypatch.setenv("KSTYLE_CACHE", str(path / "not a folder"))
    assert opened()[0] == 9


def test_the_sum_is_of_content(tmp_path):
    """Failure: a run does not know that its pictures or their labels have changed, or a moved folder is another."""
    sums = []
    for name in ("here", "there"):
        root = fill(tmp_path / name, {"a": 3, "b": 3})
        sums.append(photos.read_folder(root).sha256)
    assert sums[0] == sums[1]
    (root / "a").rename(root / "c")
    assert photos.read_folder(root).sha256 != sums[0]


def test_lists(tmp_path):
    """Failure: a blank in a path, a path relative to elsewhere or a missing file breaks the list or shifts labels."""
    root = fill(tmp_path / "set", {"images": 4, "more images": 2})
    apart = save(tmp_path / "apart.png")
    (root / "train.txt").write_text(f"images/0.png 1\nmore images/1.png\t0\r\n\n{apart} 1\nimages/9.png 0\n", "utf-8")
    (root / "lists").mkdir()
    (root / "lists/held.txt").write_text("../images/2.png 0\nimages/3.png 1\n")
    found = photos.read_list(root, test="lists/held.txt")
    assert names(found.train) == ["0.png", "1.png", "apart.png"] and found.train.labels.tolist() == [1, 0, 1]
    assert names(found.test) == ["2.png", "3.png"] and found.classes == ("0", "1")
    assert [reason for _, reason in found.skipped] == ["there is no such file"]
    (root / "style_names.txt").write_text("Noir\nHazy\nNever\n")
    assert photos.read_list(root, test="lists/held.txt").classes == ("Noir", "Hazy")
    (root / "val.txt").write_text("images/1.png 3\n")
    fails(DataError, lambda: photos.read_list(root), "line 1", "label 3", "0 to 2")
    (root / "val.txt").write_text("images/1.png Noir\n")
    fails(DataError, lambda: photos.read_list(root), "val.txt", "a path and a number in line 1")


@pytest.mark.parametrize("path", ["../secret.png", "images/../../secret.png", "link.png", "out/secret.png", "a\0b"])
def test_lists_lead_nowhere_else(tmp_path, path):
    """Failure: a downloaded list reads, and by way of a model publishes, files that are not of the set."""
    save(tmp_path / "secret.png")
    root = fill(tmp_path / "set", {"images": 2})
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path)
    (root / "train.txt").write_text(f"images/0.png 0\n{path} 0\n")
    fails(DataError, lambda: photos.read_list(root), "refused", "line 2")
    (root / "set.csv").write_text(f"image,class\nimages/0.png,a\n{path},a\n")
    fails(DataError, lambda: photos.read_csv(root), "refused" if "\0" not in path else "")


def test_tables(tmp_path):
    """Failure: a class called NA or 007 is lost or renamed, or the column of splits is passed over."""
    root = fill(tmp_path / "set", {"images": 6})
    rows = [
        f"images/{number}.png,{row}"
        for number, row in enumerate(("NA,train", "007,train", "NA,val", "007,test", "NA,Test"))
    ]
    table = root / "labels.csv"
    table.write_text("\n".join(["Filename, Label ,split", *rows]), "utf-8-sig")
    found = photos.read_csv(root)
    assert found.classes == ("007", "NA") and found.train.labels.tolist() == [1, 0]
    assert names(found.test) == ["3.png", "4.png"] and found.name == "labels"
    table.write_text("image,kind\nimages/0.png,a\n")
    fails(DataError, lambda: photos.read_csv(table), "label or class", "kind")
    table.write_text("image,class,split\nimages/0.png,a,later\n")
    fails(DataError, lambda: photos.read_csv(table), "line 2", "later")
    table.write_bytes(b"\xff\xfe\x00")
    fails(DataError, lambda: photos.read_csv(table), "labels.csv")
    (root / "other.csv").touch()
    fails(DataError, lambda: photos.read_csv(root), "found 2")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real photographs are not in {SHARED}")
def test_hymenoptera():
    """Failure: the tutorial's 244 and 153 photographs are not what is trained and tested on."""
    found = hymenoptera.read(SHARED.parent)
    assert found.classes == ("ants", "bees") and (len(found.train), len(found.test)) == (244, 153)
    assert [os.path.basename(path) for path, _ in found.skipped] == ["imageNotFound.gif"]
    assert (SHARED / hymenoptera.SOURCE.marks[0]).is_file()


def test_hymenoptera_is_unpacked_whole(tmp_path, monkeypatch):
    """Failure: a forged zip writes elsewhere, fills the disk, or leaves half of itself behind."""
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    archive = tmp_path / "hymenoptera_data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for part in ("train", "val"):
            for kind in ("ants", "bees"):
                packed.writestr(f"hymenoptera_data/{part}/{kind}/1.png", picture.getvalue())
        packed.writestr("hymenoptera_data/train/ants/../../../../escaped.png", b"")
        packed.writestr("/tmp/escaped.png", b"")
    monkeypatch.setattr(hymenoptera, "MOST_BYTES", 3 * len(picture.getvalue()))
    fails(DataError, lambda: hymenoptera.read(archive), "refused")
    assert os.listdir(tmp_path) == ["hymenoptera_data.zip"]
    monkeypatch.undo()
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    assert len(hymenoptera.read(archive).train) == 2
    assert sorted(os.listdir(tmp_path)) == ["cache", "hymenoptera_data", "hymenoptera_data.zip"]
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut/hymenoptera_data.zip"
    whole = archive.read_bytes()
    no_text, at = bytearray(whole), whole.find(b"PK\1\2")
    no_text[at + 9], no_text[at + 46] = 8, 255  # a name that is said to be UTF-8 and is not
    for broken in (whole[:200], no_text):
        cut.write_bytes(broken)
        fails(DataError, lambda: hymenoptera.unpack(cut), "damaged")
        assert os.listdir(tmp_path / "cut") == ["hymenoptera_data.zip"]
