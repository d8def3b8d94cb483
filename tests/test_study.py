"""`kstyle train --vary`: every combination once, with its mean over seeds; stopped, it goes on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kstyle.errors import UsageError
from kstyle.training import study, train
from kstyle.training.results import plots

SMALL = ["--set", "data.test_limit=60", "--epochs", 1, "--set", "batch=20"]
VARIED = ["--vary", "data.train_limit=60,120", "--vary", "optimizer.learning_rate=0.001,0.01"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_combination_once(place, command, monkeypatch):
    """Failure: a combination is left out or trained twice, a mean is of other runs, a stopped study begins anew."""
    trained, done = [], train.train

    def counted(recipe, data, run, resume, **more):
        trained.append((Path(run).name, resume))
        if len(trained) == 3:
            raise train.Interrupted(run)
        return done(recipe, data, run, resume, **more)

    monkeypatch.setattr(train, "train", counted)
    arguments = ["train", "digits_cnn", *VARIED, "--seeds", 2, "--run", "study", *SMALL]
    code, _, errors = command(*arguments)
    assert code == 130 and "The same command goes on" in errors
    assert pd.read_csv("study/study.csv")["state"].tolist() == ["done"] * 2 + ["waiting"] * 6
    code, out, errors = command(*arguments, "--json")
    assert code == 0 and len(trained) == 9, errors  # the third once more
    assert not any(resume for _, resume in trained)
    table, means = pd.read_csv("study/study.csv"), pd.read_csv("study/summary.csv")
    rows = [(size, rate, seed) for size in (60, 120) for rate in (0.001, 0.01) for seed in (0, 1)]
    assert list(zip(table["data.train_limit"], table["optimizer.learning_rate"], table["seed"])) == rows
    for row in table.itertuples():
        facts = json.loads((Path(row.run) / "run.json").read_text())
        assert facts["seed"] == row.seed and facts["pictures"]["train"] == row.train_pictures == row._1
        assert json.loads((Path(row.run) / "scores.json").read_text())["top1"] == pytest.approx(row.top1)
    assert means["seeds"].tolist() == [2] * 4
    assert means["top1"].tolist() == pytest.approx(table["top1"].to_numpy().reshape(4, 2).mean(1).tolist())
    assert json.loads(out)["summary"][3]["highest"] == pytest.approx(table["top1"][6:].max())
    with Image.open("study/study.png") as image:
        assert image.width > 500
    assert command(*arguments)[0] == 0 and len(trained) == 9  # all are there


def test_one_that_fails_is_told(place, command):
    """Failure: one training that diverges ends the study, or is counted as done."""
    rates = ["--vary", "optimizer.learning_rate=0.003,1e30"]
    code, out, errors = command("train", "digits_cnn", *rates, "--run", "study", *SMALL, "--json")
    assert code == 1 and "optimizer.learning_rate=1e30" in errors
    found = json.loads(out)
    assert [row["state"] for row in found["rows"]] == ["done", "failed"] and len(found["summary"]) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--vary", "batch=8,16"], "need a RECIPE and --run DIR"),
        (["--vary", "bacth=8,16", "--run", "study"], "unknown key 'bacth'"),
        (["--vary", "seed=1,2", "--run", "study"], "--seeds N"),
        (["--vary", "batch=8,16", "--run", "study", "--resume"], "leave --resume"),
    ],
)
def test_what_cannot_be(place, command, more, said):
    """Failure: the last of a hundred trainings is one that cannot be, and that is found after hours."""
    code, _, errors = command("train", "digits_cnn", *more)
    assert code == 2 and said in errors and not Path("study").exists()


def test_the_plot_has_every_line(tmp_path):
    """Failure: a combination is not on the plot, or values that are no numbers stop it."""
    sizes = [({"size": str(n), "net": net}, 0.5 + n / 1e4) for n in (10, 100, 1000) for net in ("a", "b")]
    names = [({"net": "a$b"}, 0.5), ({"net": "c"}, 0.25)]
    for number, points in enumerate((sizes, names)):
        plots.study(points, tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as image:
            shown = np.asarray(image.convert("RGB")).astype(int)
        for colour in (plots.TRAIN, plots.VALIDATION)[: 2 - number]:
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(shown - rgb).max(axis=2) < 12).mean() > 1e-4


def test_from_python(tmp_path):
    """Failure: what the command line has cannot be had in Python, or a run's folder is taken for a study's."""
    small = {"data.test_limit": 60, "data.train_limit": 60, "epochs": 1}
    found = study.study("digits_cnn", {"batch": [20, 30]}, tmp_path / "study", overrides=small)
    assert found["batch"].tolist() == ["20", "30"] and found["state"].tolist() == ["done", "done"]
    with pytest.raises(UsageError, match="is a run"):
        study.grid("digits_cnn", [], found["run"][0])
