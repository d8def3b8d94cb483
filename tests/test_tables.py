"""Tables as people write them, folders without classes, and what `kstyle data check` says of one's own pictures."""

import json
import os

import pytest
from click.testing import CliRunner
from PIL import Image

from kstyle.cli.training.data import data as command
from kstyle.data.photos import tables
from kstyle.data.photos import tree as photos
from kstyle.errors import DataError

COLUMNS = photos.COLUMNS


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def fill(folder, counts):
    """`{"ants": 3}`: three pictures in the folder ants, none like another."""
    for number, (name, count) in enumerate(counts.items()):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        for index in range(count):
            Image.new("RGB", (12, 12), (number, index, 90)).save(os.path.join(folder, name, f"{index}.png"))


def rows(raw):
    with open("t.csv", "wb") as file:
        file.write(raw)
    found, _ = tables.read("t.csv", COLUMNS, optional=("split",))
    return [(number, row["path"], row["label"]) for number, row in found]


@pytest.mark.parametrize(
    "raw",
    [
        b"path,label\na.png,cat\nb.png,dog\n",
        "\ufeffpath,label\r\na.png,cat\r\nb.png,dog\r\n".encode(),
        b"path,label\ra.png,cat\rb.png,dog",
        b'Image; Class\n a.png ;cat\n"b.png"; dog \n',
        "path\tlabel\na.png\tcat\nb.png\tdog\n".encode("utf-16"),
        b'label,notes,path\ncat,"old, brown",a.png\ndog,,b.png\n',
        b"path,label,\na.png,cat,\nb.png,dog,,,\n",
        b"path,label,notes\na.png,cat\nb.png, dog\n",
    ],
)
def test_tables_as_programs_write_them(raw):
    """Failure: a table of a spreadsheet is refused for its mark, its separator or the ends of its lines."""
    assert rows(raw) == [(2, "a.png", "cat"), (3, "b.png", "dog")]


def test_empty_rows_and_quotes():
    """Failure: an empty line is an error or moves the numbers of lines; what is in quotes is taken apart."""
    raw = b'sep=;\r\n\r\npath;label\r\n\r\n"a; ""b"".png";NA\r\n;\r\n"c\nd.png";"007"\r\ne, f.png;x\r\n'
    assert rows(raw) == [(5, 'a; "b".png', "NA"), (7, "c\nd.png", "007"), (9, "e, f.png", "x")]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"path,label\na, b.png,cat\n", ["line 2 has 3 fields, the header in line 1 has 2", "in quotes"]),
        (b"path,label\na.png,cat\n\nb.png\n", ["line 4 has 1 fields"]),
        (b"path,kind\na.png,cat\n", ["label or class", "kind"]),
        (b"", ["path or file", "[]"]),
        (b'path,label\n"a.png,cat\nb.png,dog\n', ["from line 2 on", "quote"]),
        ("path,label\na.png,cat\nb.png,caf\u00e9\n".encode("latin-1"), ["line 3", "0xe9", "UTF-8"]),
        (b"\xff\xfe\x00", ["UTF-8"]),
        (b"," * 200_000 + b"\n", ["more than 65,536 characters"]),
        (b",".join(b"c%d" % n for n in range(2000)), ["2,000 columns"]),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(raw, words):
    """Failure: rows with a comma too many lose a class, or the error is a parser's own."""
    with pytest.raises(DataError) as caught:
        rows(raw)
    assert all(word in str(caught.value) for word in ["t.csv: ", *words]) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folders", "files", "words"),
    [
        ({"set": 3}, [], ["3 pictures and no folder"]),
        ({}, [], ["no folder and no picture"]),
        ({"set": 3}, ["labels.csv"], ["labels.csv (data.name=csv reads it)"]),
        ({}, ["train.txt"], ["train.txt (data.name=list reads it)"]),
    ],
)
def test_a_folder_without_classes_is_named_by_what_is_in_it(folders, files, words):
    """Failure: who gives a folder of pictures learns that none was found."""
    os.makedirs("set")
    fill(".", folders)
    for name in files:
        open(os.path.join("set", name), "w").close()
    with pytest.raises(DataError) as caught:
        photos.read_folder("set")
    assert all(word in str(caught.value) for word in words)


def test_one_class_is_nothing_to_train_on():
    """Failure: a folder inside a folder is one class, learnt to a hundred per cent."""
    fill("set/images", {"ants": 3, "bees": 4})
    found = photos.read_folder("set", workers=0)
    with pytest.raises(DataError) as caught:
        found.check_training()
    line = str(caught.value)
    assert "found one: images, 6 pictures; in it are the folders ants, bees" in line and line.endswith("set/images.")
    fill("one", {"ants": 3})
    with pytest.raises(DataError, match=r"found one: ants, 2 pictures\.$"):
        photos.read_folder("one", workers=0).check_training()
    photos.read_folder("set/images", workers=0).check_training()


def check(*arguments):
    ended = CliRunner().invoke(command, ["check", *arguments], catch_exceptions=False)
    return ended.stdout


def test_check_of_ones_own_folder():
    """Failure: `kstyle data check folder` says that there is no such data set."""
    fill("set", {"ants": 5, "bees": 5})
    open("set/ants/broken.jpg", "w").close()
    Image.open("set/ants/0.png").save("set/bees/copy.png")
    report = json.loads(check("folder", "--data", "set", "--json"))
    assert report["classes"] == ["ants", "bees"] and report["drawn"] and report["skipped"][0][0].endswith("broken.jpg")
    assert sum(report["splits"][part]["per_class"]["bees"] for part in ("train", "test")) == 6
    assert any("two classes" in problem for problem in report["problems"]) and len(report["sha256"]) == 64
    printed = check("folder", "--data", "set")
    assert "set apart by kstyle" in printed and "broken.jpg: " in printed and "ants: 4 to train on, 1 to" in printed
    with open("set.csv", "w") as file:
        file.write(
            "path,label\n" + "".join(f"set/{kind}/1.png,{kind}\nset/{kind}/2.png,{kind}\n" for kind in ("ants", "bees"))
        )
    assert json.loads(check("csv", "--data", "set.csv", "--json"))["problems"] == []


def test_check_of_a_published_set():
    """Failure: a half copied set of photographs passes for whole."""
    for part, counts in (("train", {"ants": 2, "bees": 2}), ("val", {"ants": 1, "bees": 0})):
        fill(f"hymenoptera_data/{part}", counts)
    os.rename("hymenoptera_data/train/ants/0.png", "hymenoptera_data/train/ants/0013035.jpg")
    problems = json.loads(check("hymenoptera", "--data", ".", "--json"))["problems"]
    assert "train has 4 pictures, the official set 244." in problems and "test has no picture of bees." in problems
