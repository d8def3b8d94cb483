"""What is trained on and what is tested on: folders that are splits, copies of a picture, and what a mean needs."""

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kstyle import data
from kstyle.data.batches import arrays
from kstyle.data.photos import tree as photos
from kstyle.errors import DataError


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))


def save(path, number):
    """A picture; that of another number is another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("L", (8, 8), 2 * hashlib.sha256(str(number).encode()).digest()).save(path, "PNG")


def fill(root, **counts):
    """`fill(root, cats=3)`: that many pictures in root/cats, which differ from those of every other folder."""
    for name, count in counts.items():
        for number in range(count):
            save(root / name / f"{number}.png", f"{root}/{name}/{number}")
    return root


def spread(found):
    """{part: {class: pictures}}"""
    return {
        part: {name: int((split.labels == label).sum()) for label, name in enumerate(found.classes)}
        for part, split in (("train", found.train), ("test", found.test))
    }


BOTH = {"train": {"a": 3, "b": 2}, "test": {"a": 1, "b": 1}}


@pytest.mark.parametrize(
    "train, test",
    [
        ("Train", "Test"), ("Training", "Testing"), ("seg_train", "seg_test"), ("train", "eval"), ("TRAIN", "VALID"),
        ("training_set", "test_set"), ("train", "validation"), ("train2017", "val2017"),
        ("seg_train/seg_train", "seg_test/seg_test"), ("flowers_train", "flowers_val"), ("Train-birds", "Test-birds"),
    ],
)  # fmt: skip
def test_splits_by_their_usual_names(tmp_path, train, test):
    """Failure: 'Train' and 'Test' become two classes, and a network learns which is which."""
    root = tmp_path / "set"
    fill(root / train, a=3, b=2)
    fill(root / test, a=1, b=1)
    save(root / "loose.png", 1)
    found = photos.read_folder(root)
    assert spread(found) == BOTH
    assert [os.path.basename(path) for path, _ in found.skipped] == ["loose.png"]


def test_what_lies_beside_splits_is_no_class(tmp_path, caplog):
    """Failure: annotations beside train/ make classes of both, or a folder of pictures is passed over in silence."""
    root = tmp_path / "set"
    fill(root / "train", a=5, b=5)
    (root / "annotations").mkdir()
    (root / "annotations/a.xml").write_text("<box/>")
    assert photos.read_folder(root).classes == ("a", "b") and not caplog.records
    save(root / "masks/1.png", 1)
    save(root / "test/1.png", 2)  # nobody has labelled these
    found = photos.read_folder(root)
    assert spread(found) == {"train": {"a": 4, "b": 4}, "test": {"a": 1, "b": 1}}
    assert "not read: masks, test" in caplog.text
    fill(root / "val", a=1, b=1)
    save(root / "extra/1.png", 3)
    caplog.clear()
    found = photos.read_folder(root)
    assert len(found.train) == 10 and len(found.test) == 2
    assert "the splits are val/ and train/; not read: extra, masks, test" in caplog.text


@pytest.mark.parametrize(
    "folders, says",
    [
        (["Train", "Test"], "Test/, Train/ are called like splits"),
        (["train", "val", "annotations/x"], "called like splits"),
        (["test", "val"], "train has no folder for each class"),
        (["train/a", "train/b", "plane"], "beside it is plane/"),
        (["train/a", "training/a", "test/a"], "one folder to train on, found train/, training/"),
        (["train/a", "train/b", "val/images"], "to test on (images) is among those to train on (a, b)"),
    ],
)  # fmt: skip
def test_what_can_be_neither_splits_nor_classes(tmp_path, folders, says):
    """Failure: guesswork about folders ends in a score of something else."""
    for number, folder in enumerate(folders):
        for each in range(3):
            save(tmp_path / "set" / folder / f"{each}.png", 10 * number + each)
    with pytest.raises(DataError) as caught:
        photos.read_folder(tmp_path / "set")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_splits_below_a_folder_that_is_alone(tmp_path):
    """Failure: what an archive unpacks to, `set/data/train`, is one class called data."""
    fill(tmp_path / "set/data/train", a=3, b=2)
    fill(tmp_path / "set/data/test", a=1, b=1)
    (tmp_path / "set/labels").mkdir()
    assert spread(photos.read_folder(tmp_path / "set")) == BOTH


def test_a_test_split_alone(tmp_path):
    """Failure: pictures to test a run on can be had only with others to train on; or a training takes them."""
    from kstyle.training.setup import build, settings

    root = tmp_path / "set"
    fill(root / "Test", a=3, b=2)
    rows = [f"Test/{name},{name[0]},test" for name in ("a/0.png", "a/1.png", "b/0.png")]
    (root / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    assert spread(photos.read_csv(root))["test"] == {"a": 2, "b": 1}
    assert spread(photos.read_folder(root)) == {"train": {"a": 0, "b": 0}, "test": {"a": 3, "b": 2}}
    with pytest.raises(DataError, match="train holds no pictures"):
        build.data(settings.load("folder"), root)


def test_words_that_are_classes(tmp_path):
    """Failure: a class may no longer be called train, or valid."""
    assert photos.read_folder(fill(tmp_path / "one", train=3, plane=3)).classes == ("plane", "train")
    for name in ("valid", "invalid"):
        fill(tmp_path / "two" / name, monday=3, friday=3)
    assert photos.read_folder(tmp_path / "two").classes == ("invalid", "valid")


def test_a_class_in_another_case_is_the_same_in_both_splits(tmp_path):
    """Failure: Cats to train on and cats to test on are two classes, or the é that macOS took apart is another."""
    apart, composed = "cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    for name, count in (("train/Cats", 2), ("train/" + apart, 2), ("test/cats", 1), ("test/" + composed, 1)):
        fill(tmp_path / "set", **{name: count})
    found = photos.read_folder(tmp_path / "set")
    assert [len(counts) for counts in spread(found).values()] == [2, 2] and found.test.labels.tolist() == [1, 0]


def test_splits_of_a_table(tmp_path, caplog):
    """Failure: Training and Eval in a column are refused, or labels that only the test rows have pass."""
    fill(tmp_path / "set", p=4)
    table = tmp_path / "set/t.csv"
    rows = ["path,label,split", "p/0.png,a,Training", "p/1.png,b,TRAIN", "p/2.png,a,Eval", "p/3.png,b,Testing"]
    table.write_text("\n".join(rows))
    found = photos.read_csv(table)
    assert len(found.train) == 2 and len(found.test) == 1 and "'test' is the test split; not read: val" in caplog.text
    table.write_text("\n".join([*rows[:3], "p/2.png,c,test"]))
    with pytest.raises(DataError, match=r"\(c\).*\(a, b\)"):
        photos.read_csv(table)


def sides(found):
    """{bytes of a picture: on which sides it is}"""
    held = {}
    for part, split in (("train", found.train), ("test", found.test)):
        for path in split.paths:
            held.setdefault(Path(path).read_bytes(), set()).add(part)
    return held


@pytest.mark.parametrize("as_table", [False, True])
def test_copies_stay_on_one_side(tmp_path, as_table):
    """Failure: a picture that was saved three times is trained on and tested on."""
    root = tmp_path / "set"
    for name, first in (("a", 0), ("b", 100)):
        for number in range(30):
            save(root / name / f"{number}.png", first + number // 3)
        save(root / name / "of both.png", 500)
    save(root / "c/0.png", 900)
    save(root / "c/1.png", 900)
    save(root / "d/0.png", 901)
    save(root / "d/1.png", 902)
    (root / "t.csv").write_text(
        "path,label\n" + "".join(f"{p.relative_to(root)},{p.parent.name}\n" for p in sorted(root.rglob("*.png")))
    )
    for seed in range(5):
        found = photos.read_csv(root / "t.csv", seed=seed) if as_table else photos.read_folder(root, seed=seed)
        assert all(len(where) == 1 for where in sides(found).values())
        counts = spread(found)["test"]
        assert 4 <= counts["a"] <= 6 and 4 <= counts["b"] <= 6 and (counts["c"], counts["d"]) == (0, 1)
    train, held = arrays.hold_out(photos.read_folder(root).train.part(slice(0, 48)), 0.2, 0)
    assert not set(train.contents) & set(held.contents) and len(held) >= 6


def test_nothing_to_set_apart(tmp_path):
    """Failure: 'test holds no pictures' is all that is said of one picture a class, or of copies of one."""
    for name in ("a", "b"):
        for number in range(3):
            save(tmp_path / "set" / name / f"{number}.png", name)
    with pytest.raises(DataError, match="no class has two that differ"):
        photos.read_folder(tmp_path / "set")


def test_copies_in_arrays_stay_on_one_side():
    """Failure: what holds for files is forgotten for small pictures."""
    images = np.repeat(np.arange(20, dtype=np.uint8), 2).reshape(-1, 1, 1, 1)
    split = data.Split(images, np.repeat([0, 1], 20).astype(np.int32))
    train, held = data.hold_out(split, 0.2, 0)
    assert not set(train.images.ravel()) & set(held.images.ravel()) and np.bincount(held.labels).tolist() == [4, 4]


def test_given_splits_that_share_pictures_are_named(tmp_path, caplog):
    """Failure: train/ copied as test/ gives 100 % without a word, and one picture has two classes."""
    for part in ("train", "test"):
        for number in range(3):
            save(tmp_path / "set" / part / "a" / f"{number}.png", number)
            save(tmp_path / "set" / part / "b" / f"{number}.png", 10 + number + 50 * (part == "test"))
    save(tmp_path / "set/train/b/other.png", 1)
    with caplog.at_level(logging.WARNING, "kstyle"):
        photos.read_folder(tmp_path / "set")
    assert "3 of 6 test pictures are also in train, to the last byte" in caplog.text
    assert "3 pictures are there under two classes with the same bytes" in caplog.text


def test_a_draw_without_copies_is_as_it_was(tmp_path):
    """Failure: an old run is scored on pictures that it was trained on, as they are divided anew."""
    found = photos.read_folder(fill(tmp_path / "set", ants=7, bees=5), test_fraction=0.3, seed=3)
    assert [os.path.relpath(path, tmp_path / "set") for path in found.test.paths] == EARLIER


EARLIER = ["ants/0.png", "ants/6.png", "bees/2.png", "bees/4.png"]  # as the program before copies were kept together


def test_errors_name_classes():
    """Failure: 'Class 17 has a single picture' of a set whose classes are names."""
    split = data.Split(np.arange(9, dtype=np.uint8).reshape(-1, 1, 1, 1), np.array([0] * 8 + [1], np.int32))
    for call in (
        lambda: data.hold_out(split, 0.2, 0, ("ants", "bees")),
        lambda: data.take(split, 4, 0, ("ants", "bees")),
    ):
        with pytest.raises(DataError, match="Class 'bees' has a single picture"):
            call()


def test_a_mean_needs_no_stratified_draw(tmp_path, monkeypatch):
    """Failure: `normalize: standard` is refused for 3,000 photographs, as one class has a single one of them."""
    from kstyle.data import parts

    monkeypatch.setattr(parts, "STATISTICS", 4)
    found = photos.read_folder(fill(tmp_path / "set", a=9, b=1))
    mean, std = parts.for_training(found, 0, 8, 8, statistics=True).statistics
    assert len(mean) == 3 and (np.asarray(std) > 0).all()
    assert all(0.3 < value < 0.7 for value in mean)
