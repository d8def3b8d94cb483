"""Pictures of several classes: read of a table, learnt by a sigmoid each, scored, told and drawn."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kstyle
from kstyle.data.photos import tree
from kstyle.errors import DataError, UsageError
from kstyle.training.results import several

# Stripes of a colour, a class each: all eight combinations.
COLOURS = {"red": (255, 40, 40), "green": (40, 255, 40), "blue": (40, 40, 255)}


def write(folder, columns):
    """Three pictures of each combination to train on and one to test on, with their table."""
    folder.mkdir()
    rows = [["file", *COLOURS, "split"] if columns else ["file", "labels", "split"]]
    for number in range(8):
        marks = [number >> k & 1 for k in range(3)]
        names = [name for name, there in zip(COLOURS, marks) if there]
        for copy in range(4):
            pixels = np.full((24, 24, 3), 30 + 4 * copy, np.uint8)
            for k, name in enumerate(COLOURS):
                if name in names:
                    pixels[8 * k : 8 * k + 8] = COLOURS[name]
            file = f"{number}-{copy}.png"
            Image.fromarray(pixels).save(folder / file)
            rows.append([file, *(marks if columns else ["|".join(names)]), "test" if copy == 3 else "train"])
    with open(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {columns: write(folder / f"{columns}", columns) for columns in (False, True)}


def test_both_forms_of_a_table_say_the_same(tables):
    """Failure: a column of 0 and 1, or a name between `|`, is another class or lost."""
    names, columns = (tree.read_csv(tables[kind], several=True, workers=0) for kind in (False, True))
    assert names.classes == columns.classes == ("blue", "green", "red")
    for part in ("train", "test"):
        one, other = getattr(names, part), getattr(columns, part)
        assert np.array_equal(one.several, other.several) and one.several.dtype == np.uint8
        numbers = [int(Path(path).name[0]) for path in one.paths]
        assert one.several.tolist() == [[n >> 2 & 1, n >> 1 & 1, n & 1] for n in numbers]
        assert one.per_class(3) == [len(one) // 2] * 3
    assert len(names.train) == 24


def test_rows_of_one_picture_are_put_together(tables, tmp_path):
    """Failure: a table with a row a label gives a picture the last one, or the picture is there twice."""
    folder = tables[False].parent
    table = folder / "rows.csv"
    table.write_text("file,label\n1-0.png,red\n1-0.png,round\n2-0.png,green\n3-0.png,\n4-0.png,red\n1-1.png,red\n")
    found = tree.read_csv(table, several=True, workers=0)
    table.unlink()
    every = {Path(path).name: row.tolist() for split in (found.train, found.test)
             for path, row in zip(split.paths, split.several)}  # fmt: skip
    assert found.classes == ("green", "red", "round")
    assert every == {"1-0.png": [0, 1, 1], "2-0.png": [1, 0, 0], "3-0.png": [0, 0, 0], "4-0.png": [0, 1, 0],
                     "1-1.png": [0, 1, 0]}  # fmt: skip


def test_what_is_no_mark(tables):
    """Failure: a column of sizes becomes a class."""
    table = tables[True].parent / "odd.csv"
    table.write_text("file,red,width\n1-0.png,1,640\n2-0.png,0,480\n")
    with pytest.raises(DataError, match="line 2: expected 0 or 1 for each class, got '640' for width"):
        tree.read_csv(table, several=True)
    table.unlink()


def test_scores_by_hand():
    """Failure: average precision, F1 or the share of whole pictures is another number."""
    probabilities = np.array([[0.9, 0.1, 0.2], [0.8, 0.6, 0.1], [0.7, 0.4, 0.3], [0.2, 0.7, 0.4]])
    marks = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]])
    found = several.scores(probabilities, marks, ["a", "b", "c"])
    # a: of the order 0.9 right, 0.8 wrong, 0.7 right: (1 + 2/3) / 2; b: right, right, right; c: no picture of it.
    assert found.classes["average_precision"].tolist()[:2] == pytest.approx([5 / 6, 1.0])
    assert np.isnan(found.classes["average_precision"]["c"]) and found.mean_average_precision == pytest.approx(11 / 12)
    assert found.classes["f1"].tolist() == pytest.approx([0.8, 0.8, 0.0])
    assert found.macro["f1"] == pytest.approx(0.8) and found.micro["f1"] == pytest.approx(0.8)
    assert found.exact == 0.5
    right = np.where(marks, probabilities, 1 - probabilities)
    assert found.loss == pytest.approx(-np.log(right).mean())
    assert json.loads(json.dumps(found.as_json()))["classes"][2]["average_precision"] is None
    with pytest.raises(DataError, match="from 0 to 1"):
        several.scores(probabilities * 9, marks, ["a", "b", "c"])


RECIPE = {
    "model": "mnist_cnn", "epochs": 40, "batch": 8, "loss": "binary_crossentropy", "metrics": ["f1"],
    "data": {"name": "csv", "labels": "several", "normalize": "unit",
             "photographs": {"size": 24, "resize": 24, "crop": "center", "workers": 0}},
    "optimizer": {"name": "adam", "learning_rate": 0.003},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KSTYLE_CACHE", str(folder / "cache"))
        return kstyle.train(RECIPE, tables[False], folder / "run")


def test_a_training_tells_each_class(run, tables, tmp_path, monkeypatch):
    """Failure: classes exclude each other, or the history and the files say something else than the scores."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    assert run.scores.mean_average_precision == run.scores.macro["f1"] == run.scores.exact == 1
    last = run.history.iloc[-1]
    assert last["val_accuracy"] == 1 and last["val_f1"] == pytest.approx(1)
    assert last["val_loss"] == pytest.approx(run.scores.loss, abs=1e-6)
    said = json.loads((run.folder / "scores.json").read_text())
    assert said["mean_average_precision"] == 1 and said["metrics"]["f1"] == pytest.approx(1)
    table = pd.read_csv(run.folder / "per_class.csv", index_col=0)
    assert list(table.index) == ["blue", "green", "red"] and table["support"].tolist() == [4] * 3
    assert not (run.folder / "confusion.csv").exists()
    assert kstyle.evaluate(run.folder, tables[False]).as_json() == run.scores.as_json()
    # A table of other columns, and of a class that the network does not know.
    other = tables[True].parent / "other.csv"
    other.write_text("file,red,purple,split\n1-3.png,1,0,test\n0-3.png,0,1,test\n")
    found = kstyle.evaluate(run.folder, other)
    other.unlink()
    assert found.count == 2 and found.unknown == ("purple",) and found.classes["support"].tolist() == [0, 0, 1]
    assert found.classes["average_precision"]["red"] == 1


def test_predictions_need_not_be_one(run, tables, tmp_path, command):
    """Failure: of two things in a picture one is told, or of none the likeliest as if it were there."""
    folder = tables[False].parent
    both, none = kstyle.predict(run.folder, [folder / "5-3.png", folder / "0-3.png"])
    assert both["present"] == ["blue", "red"] and none["present"] == []
    assert all(p["probability"] > 0.5 for p in both["predictions"][:2])
    sheet = tmp_path / "s.png"
    code, printed, errors = command("predict", run.folder, folder / "5-3.png", folder / "0-3.png", "--sheet", sheet)
    assert code == 0, errors
    assert "red " in printed.splitlines()[0] and "green" not in printed and "none of them (" in printed.splitlines()[1]
    printed = command("predict", run.folder, folder / "5-3.png", "--csv")[1].splitlines()
    assert printed[0] == "path,rank,class,probability,present" and [line[-1] for line in printed[1:]] == ["1", "1", "0"]
    code, printed, errors = command("evaluate", run.folder, "--data", tables[False], "--sheet", sheet)
    assert code == 0 and "average precision  100.00 %" in printed and sheet.stat().st_size > 1000, errors
    preview = tmp_path / "b.png"
    assert command("train", run.folder / "recipe.yaml", "--data", tables[False], "--show-batch", preview)[0] == 0


def test_its_files_have_a_sigmoid(run, tables):
    """Failure: who takes the network elsewhere gets probabilities that sum to 1."""
    path = tables[False].parent / "5-3.png"
    (wanted,) = kstyle.predict(run.folder, [path])
    by_name = {p["class"]: p["probability"] for p in wanted["predictions"]}
    opened = keras.saving.load_model(run.folder / "model.keras")
    found = opened.predict(np.asarray(Image.open(path))[None].astype("float32"), verbose=0)
    assert np.allclose(found[0], [by_name[name] for name in ("blue", "green", "red")], atol=1e-4)
    assert kstyle.export(run.folder, "keras").check


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "cross_entropy"}, "write loss: binary"),
        ({"loss": "categorical_crossentropy"}, "write loss: binary"),
        ({"loss": "focal"}, "write loss: binary"),
        ({"loss": "mse"}, "write loss: binary"),
        ({"metrics": ["top3"]}, "top3 is of one class a picture"),
        ({"loss.class_weights": "balanced"}, "loss.class_weights is of pictures of one class each"),
        ({"boxes": True}, "boxes is of pictures of one class each"),
        ({"data.name": "folder"}, "several are read of a table"),
    ],
)
def test_what_cannot_be_of_several(tables, tmp_path, monkeypatch, changes, said):
    """Failure: a recipe that cannot mean it trains on something else."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=said):
        kstyle.train(RECIPE, tables[False], tmp_path / "run", overrides={**changes, "epochs": 1})


def test_losses_with_a_sigmoid(tables, tmp_path, monkeypatch):
    """Failure: a loss that fits is refused, or features that are computed once lose their classes."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    losses = ("binary", {"name": "focal", "sigmoid": True}, {"name": "mse", "activation": "sigmoid"})
    stages = {"epochs": None, "stages": [{"train": "head", "epochs": 1, "views": 1}]}
    for number, loss in enumerate(losses):
        overrides = {"loss": loss, **(stages if number else {"epochs": 1, "augment.mixup": 0.2})}
        found = kstyle.train(RECIPE, tables[False], tmp_path / f"run{number}", overrides=overrides)
        assert np.isfinite(found.scores.loss)
