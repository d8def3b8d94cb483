"""Scores of a run on its own pictures and on others: classes are matched by name, and nobody's scores are replaced."""

import hashlib
import json
import logging

import numpy as np
import pytest
from PIL import Image

import kstyle
from kstyle import cli, data
from kstyle.errors import DataError
from kstyle.io import runs
from kstyle.training.setup import build, settings

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (210, 30, 30), "yellow": (220, 210, 40)}
RECIPE = """
model: {name: mnist_cnn}
data: {name: folder, normalize: unit, photographs: {size: 16, resize: 16, workers: 0}}
optimizer: {name: adam, learning_rate: 0.002}
epochs: 4
batch: 8
"""


def fill(root, *classes, count=8, call=str):
    """Pictures of these colours, in folders that are called `call(name)`, which differ in one corner."""
    for name in classes:
        (root / call(name)).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (20, 20), COLOURS[name])
            image.putpixel((0, 0), tuple(hashlib.sha256(f"{root}{name}{number}".encode()).digest()[:3]))
            image.save(root / call(name) / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on blue, green and red."""
    root = tmp_path_factory.mktemp("colours")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KSTYLE_CACHE", str(root / "cache"))
        (root / "colours.yaml").write_text(RECIPE)
        kstyle.train(root / "colours.yaml", fill(root / "own", "blue", "green", "red"), root / "run")
    return root / "run"


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A cache of its own, and a folder to work in."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def said(run, folder):
    """The class that the run sees in each test picture of a folder with one test/ for each class."""
    paths = sorted(folder.glob("test/*/*.png"))
    return [
        (path.parent.name, each["predictions"][0]["class"]) for path, each in zip(paths, kstyle.predict(run, paths))
    ]


def split(root, *classes, **options):
    fill(root / "test", *classes, **options)
    fill(root / "train", *classes, **options)
    return root


def kept(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}


@pytest.mark.parametrize(
    "classes",
    [("green", "red", "yellow"), ("blue", "green", "red", "yellow"), ("green",), ("blue", "red"), ("yellow", "red")],
)
def test_classes_are_matched_by_name(trained, tmp_path, classes):
    """Failure: what is green is scored as red, as both stand second, and the run's own scores are lost."""
    root, before = split(tmp_path / "other", *classes), kept(trained)
    scores = kstyle.evaluate(trained, root)
    pairs = said(trained, root)
    known = [(true, seen) for true, seen in pairs if true != "yellow"]
    assert scores.count == len(known) and scores.top1 == np.mean([true == seen for true, seen in known])
    assert scores.confusion.index.tolist() == ["blue", "green", "red"]
    for true, row in scores.confusion.iterrows():
        assert row.tolist() == [known.count((true, seen)) for seen in scores.confusion.columns]
    assert scores.classes["support"].tolist() == [8 * (name in classes) for name in ("blue", "green", "red")]
    expected = {}
    if "yellow" in classes:
        taken = [seen for true, seen in pairs if true == "yellow"]
        expected = {"yellow": {"pictures": 8, "taken_for": {name: taken.count(name) for name in set(taken)}}}
    assert scores.unknown == expected
    after = kept(trained)
    assert {name: after[name] for name in before} == before
    new = json.loads(after[scores.data["file"]])
    assert new["top1"] == scores.top1 and new["unknown"] == expected and new["data"]["own"] is False


def test_other_cases_and_two_data_sets(trained, tmp_path, capsys):
    """Failure: 'Green' is unknown to a run on 'green', or the second data set's scores replace the first's."""
    first, second = split(tmp_path / "a", "green", "red", call=str.title), split(tmp_path / "b", "green", "yellow")
    before = set(kept(trained))
    for root in (first, second, first):
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", str(trained), "--data", str(root)])
        assert not ended.value.code
    printed = capsys.readouterr().out
    assert "not a class of the run, and not counted: yellow, 8 pictures" in printed
    assert "no picture of: blue\n" in printed and "the run's own scores are as they were" in printed
    new = sorted(set(kept(trained)) - before)
    stems = {"confusion": 4, "per_class": 2, "scores": 2}  # the matrix as a table and as a picture
    assert [name.partition("-")[0] for name in new] == [stem for stem, count in stems.items() for _ in range(count)]
    both = [json.loads((trained / name).read_text()) for name in new if name.startswith("scores")]
    assert sorted(row["support"] for one in both for row in one["classes"]) == [0, 0, 0, 8, 8, 8]


def test_its_own_data_are_known_wherever_they_are(trained, tmp_path):
    """Failure: a folder that was moved counts as another, and its scores are kept apart."""
    (trained.parent / "own").rename(tmp_path / "moved")
    before = kept(trained)
    try:
        scores = kstyle.evaluate(trained, tmp_path / "moved")
    finally:
        (tmp_path / "moved").rename(trained.parent / "own")
    assert set(kept(trained)) == set(before) and scores.data["own"] and scores.unknown == {}
    assert scores.top1 == json.loads(before["scores.json"])["top1"]


def test_a_part_is_scored_only_where_that_is_said(trained, tmp_path, caplog):
    """Failure: a fifth of somebody's pictures is scored and called the score, or a test split needs one to train on."""
    fill(tmp_path / "other/test", "blue", "red")
    assert kstyle.evaluate(trained, tmp_path / "other").count == 16 and "are scored" not in caplog.text
    assert kstyle.evaluate(trained, tmp_path / "other/test").count == 4 and "4 of 16 pictures are scored" in caplog.text


def test_a_table_for_a_run_on_folders(trained, tmp_path):
    """Failure: the pictures that someone else's table names cannot be scored, or its other classes end it."""
    rows = [f"own/{name}/{number}.png,{label},test" for number in range(4)
            for name, label in (("red", "red"), ("green", "GREEN"), ("blue", "navy"))]  # fmt: skip
    (trained.parent / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    scores = kstyle.evaluate(trained, trained.parent / "t.csv")
    assert scores.classes["support"].tolist() == [0, 4, 4] and scores.unknown["navy"]["pictures"] == 4
    assert data.layout("csv", tmp_path) == data.layout("hymenoptera", tmp_path) == "folder"
    assert data.layout("csv", trained.parent) == "csv" and data.layout("folder", tmp_path) == "folder"
    with pytest.raises(DataError, match=r"got a table: set data\.name=csv"):
        kstyle.train(trained.parent / "colours.yaml", trained.parent / "t.csv")


def test_data_without_a_common_class(trained, tmp_path):
    """Failure: a score of pictures none of which the run could name."""
    root, before = split(tmp_path / "other", "yellow"), kept(trained)
    with pytest.raises(DataError, match=r"expected some of blue, green, red; got yellow\."):
        kstyle.evaluate(trained, root)
    assert kept(trained) == before


def test_the_start_of_a_training_names_classes(trained, caplog):
    """Failure: nobody sees that 'train' and 'test' became classes before the score comes."""
    recipe = settings.load(str(trained / "recipe.yaml"))
    with caplog.at_level(logging.INFO, "kstyle"):
        build.data(recipe)
    told = "3 classes, pictures to train and to test on: blue 6 and 2, green 6 and 2, red 6 and 2"
    assert told in caplog.messages
    assert runs.facts(trained)["pictures"]["per_class"] == {"train": [6, 6, 6], "test": [2, 2, 2]}


def test_matched():
    """Failure: 007 is taken for 7, or one of two classes that differ in case for the other."""
    from kstyle.data.photos.classes import matched

    assert matched(["b", "a", "x"], ["a", "b"]) == {"b": "b", "a": "a", "x": None}
    assert matched(["007", "10"], ["7", "10"]) == {"007": None, "10": "10"}
    assert matched(["Cat", "cat"], ["cat"]) == {"Cat": None, "cat": "cat"}
    assert matched(["CAT"], ["cat", "Cat"]) == {"CAT": None}
    assert matched([" Cat"], ["cat", "dog"]) == {" Cat": "cat"}
    with pytest.raises(DataError, match="'cat' is there twice"):
        matched(["cat"], ["cat", "cat"])
