"""The command line of training: what a run leaves, prints and exits with. One short run serves all."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from waiting import until

from kstyle import backend, cli, config, data
from kstyle.io import checkpoints, runs

ROOT = Path(__file__).parents[1]
SMALL = ["--set", "data.train_limit=600", "--set", "data.test_limit=100", "--set", "batch=16"]


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code or 0


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """`run("recipes")` -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: (call(*arguments), *capsys.readouterr())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert call("train", "digits_cnn", "--epochs", 2, "--run", folder, "-q", *SMALL) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of twelve digits as PNG, each named by what it is, one of them below another folder, and no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    test = data.load("digits").test
    for i in range(12):
        where = folder / "more" if i == 11 else folder
        Image.fromarray(test.images[i, :, :, 0]).save(where / f"{i:02}-is-{test.labels[i]}.png")
    (folder / "notes.txt").write_text("not a picture by its name")
    return folder


def one_line(errors):
    assert errors.startswith("kstyle: ") and errors.count("\n") == 1, errors
    return errors


def test_quiet_is_quiet(run):
    """Failure: a script that calls `kstyle train -q` is mailed a log each night."""
    assert run("train", "digits_cnn", "--epochs", 1, "--run", "r", "-q", *SMALL) == (0, "", "")
    code, printed, errors = run("train", "digits_cnn", "--epochs", 1, "--run", "s", "--json", *SMALL)
    summary = json.loads(printed)
    assert (code, errors) == (0, "") and summary["run"] == "s" and summary["epochs"] == 1
    assert summary["top1"] == json.loads(Path("s/scores.json").read_text())["top1"]


def test_evaluate(run, trained):
    """Failure: the scores are not those of the run's weights, or the confused pairs are missing."""
    code, printed, errors = run("evaluate", trained, "--json", "--sheet", "wrong.png")
    scores = json.loads(printed)
    assert (code, errors) == (0, "") and scores["count"] == 100 and 0.3 < scores["top1"] < 1
    history = list(csv.DictReader((trained / "history.csv").read_text().splitlines()))
    assert scores["top1"] == pytest.approx(float(history[-1]["val_accuracy"]))
    rows = list(csv.reader((trained / "confusion.csv").read_text().splitlines()))
    first = scores["most_confused"][0]
    row = next(r for r in rows[1:] if r[0] == first["true"])
    assert int(row[rows[0].index(first["predicted"])]) == first["count"]
    assert first["share"] == pytest.approx(first["count"] / sum(map(int, row[1:])))
    with Image.open("wrong.png") as sheet:
        assert sheet.format == "PNG" and min(sheet.size) > 200
    code, printed, _ = run("evaluate", trained)
    line = f"{first['count']:5} × {first['true']} taken for {first['predicted']} ({100 * first['share']:.1f} %"
    assert code == 0 and line in printed and f"top-1              {100 * scores['top1']:.2f} %" in printed


def test_small_pictures_of_other_classes(run, trained, monkeypatch):
    """Failure: a subset of a published set, in its own order, is scored by the places that the run's classes have."""
    own, before = data.load("digits"), {path: path.read_bytes() for path in trained.iterdir()}
    classes = ("7", "owl", "3")
    chosen = np.flatnonzero(np.isin(own.test.labels, (7, 3)))
    labels = np.array([0 if label == 7 else 2 for label in own.test.labels[chosen]], np.int32)
    labels[0] = 1
    other = data.Dataset("digits", classes, own.train.part([0]), data.Split(own.test.images[chosen], labels), "mine")
    monkeypatch.setattr(data, "named", lambda *_, **__: other)
    code, printed, errors = run("evaluate", trained, "--json")
    scores = json.loads(printed)
    support = {row["class"]: row["support"] for row in scores["classes"]}
    assert code == 0 and len(support) == 10 and sum(support.values()) == scores["count"] == len(chosen) - 1
    assert support["7"] + support["3"] == scores["count"] and scores["unknown"]["owl"]["pictures"] == 1
    assert scores["top1"] > 0.3 and "not those of the run" in errors
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (trained / scores["data"]["file"]).is_file()


def test_predict_files_and_folders(run, trained, pictures):
    """Failure: a picture is left out, or gets another's prediction."""
    code, printed, errors = run("predict", trained, pictures, "--json", "--top", 3, "--sheet", "seen.jpg")
    found = json.loads(printed)
    assert (code, errors) == (0, "") and len(found) == 12
    assert [entry["path"] for entry in found] == sorted(str(p) for p in pictures.rglob("*.png"))
    for entry in found:
        p = [each["probability"] for each in entry["predictions"]]
        assert len(p) == 3 and p == sorted(p, reverse=True) and sum(p) <= 1 + 1e-6
    right = [f"-is-{entry['predictions'][0]['class']}.png" in entry["path"] for entry in found]
    assert np.mean(right) >= 0.5  # a chance of ten would give 0.1
    with Image.open("seen.jpg") as sheet:
        assert sheet.format == "JPEG"
    one = sorted(pictures.glob("*.png"))[3]
    code, printed, _ = run("predict", trained, one)
    best = next(entry for entry in found if entry["path"] == str(one))["predictions"][0]
    assert code == 0 and printed.startswith(f"{one}: {best['class']} {100 * best['probability']:.1f} %, ")


def test_a_broken_picture_costs_only_itself(run, trained, pictures):
    """Failure: one bad file among thousands loses all predictions, or is passed over in silence."""
    shutil.copytree(pictures, "some")
    Path("some/05-broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    code, printed, errors = run("predict", trained, "some", "nowhere.png", "--csv", "--top", 2, "--sheet", "s.png")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert code == 1 and len(rows) == 24 and {row["rank"] for row in rows} == {"1", "2"}
    assert errors.count("\n") == 2 and "05-broken.png" in errors and "nowhere.png" in errors
    assert Path("s.png").is_file() and "Traceback" not in errors
    code, printed, errors = run("predict", trained, "some/05-broken.png", "--json", "--sheet", "t.png")
    assert code == 1 and "error" in json.loads(printed)[0] and not Path("t.png").exists()
    one_line(errors)


def test_resuming_a_finished_run_changes_nothing(run, trained):
    """Failure: a script that resumes whatever is there trains a finished run anew, or fails on it."""
    shutil.copytree(trained, "again")
    code, printed, _ = run("train", "--resume", "--run", "again", "--json")
    assert code == 0 and json.loads(printed)["epochs"] == 2
    before, after = (runs.load_arrays(folder / runs.RESULT)[0] for folder in (trained, Path("again")))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_an_interrupted_run_goes_on(tmp_path):
    """Failure: Ctrl-C loses the epoch, or what it tells to type does not work."""
    environment = {**os.environ, "KERAS_BACKEND": backend.NAME, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "cli.py"), "train"]
    first = ["digits_cnn", "--run", "a run", *SMALL, "--epochs", "5000", "--set", "checkpoint.every_steps=20"]
    process = subprocess.Popen([*command, *first], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "a run" / runs.STATE).exists, process)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and "kstyle train --resume --run 'a run'" in errors.splitlines()[-1]
    assert (tmp_path / "a run" / runs.STATE).is_file() and not list((tmp_path / "a run").glob(".*.part"))
    assert not (tmp_path / "a run" / runs.RESULT).exists()


def test_recipes(run):
    """Failure: a recipe cannot be found, or is shown other than it trains."""
    code, printed, _ = run("recipes")
    assert code == 0 and [line.split()[0] for line in printed.splitlines()] == config.names("train")
    assert json.loads(run("recipes", "--json")[1]).keys() == set(config.names("train"))
    shown = json.loads(run("recipes", "digits_cnn", "--json")[1])
    assert shown["model"]["name"] == "mnist_cnn" and shown["optimizer"]["name"] == "adam" and shown["seed"] == 0
    assert (
        run("recipes", "digits_cnn")[1].strip() == (ROOT / "configs/train/digits_cnn.yaml").read_text("utf-8").strip()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "digit_cnn"], 2, "Unknown recipe 'digit_cnn'. Did you mean 'digits_cnn'?"),
        (["train"], 2, "Which recipe? Known: "),
        (["train", "RUN"], 2, "is a run. --resume --run goes on with it"),
        (["train", "--resume"], 2, "--resume needs --run DIR"),
        (["train", "--resume", "--run", "nowhere"], 2, "nowhere holds no run to go on with"),
        (["train", "digits_cnn", "--set", "epochs"], 2, "--set expects key=value"),
        (["train", "digits_cnn", "--epochs", "0"], 2, "--epochs"),
        (["recipes", "digit_cnn"], 2, "Did you mean 'digits_cnn'?"),
        (["evaluate", "nowhere"], 1, "nowhere is no run folder"),
        (["evaluate", "RUN", "--sheet", "s.gif"], 1, "s.gif: expected a name that ends in .png or .jpg"),
        (["predict", "nowhere", "a.png"], 1, "nowhere is no run folder"),
        (["predict", "efficientnet_lit0", "a.png"], 2, "Did you mean 'efficientnet_lite0'?"),
        (["predict", "mnist_cnn", "a.png"], 2, "mnist_cnn names nothing before it is trained"),
        (["predict", "RUN"], 2, "FILE|DIR"),
        (["predict", "RUN", "."], 2, "No picture in ."),
        (["predict", "RUN", "a.png", "--json", "--csv"], 2, "choose one"),
        (["predict", "RUN", "a.png", "--sheet", "s.txt"], 1, "s.txt: expected a name"),
        (["export", "nowhere"], 1, "nowhere is no run folder"),
        (["export", "RUN", "--format", "tourch"], 2, "Unknown format 'tourch'. Did you mean 'torch'?"),
    ],
)
def test_mistakes_are_one_clear_line(run, trained, arguments, code, message):
    """Failure: a traceback, or work that is done before the mistake is told."""
    got, printed, errors = run(*[trained if a == "RUN" else a for a in arguments])
    assert (got, printed) == (code, "") and message in one_line(errors)
    assert os.listdir() == []


def test_export(run, trained):
    """Failure: the command writes something else than it says."""
    code, printed, errors = run("export", trained, "-o", "m.safetensors", "--json")
    said = json.loads(printed)
    assert (code, errors) == (0, "") and said["format"] == "torch" and "6 tensors are equal" in said["check"]
    assert said["bytes"] == Path("m.safetensors").stat().st_size
    assert len(checkpoints.read("m.safetensors")) == 6
    code, printed, _ = run("export", trained, "--format", "torch", "--no-check")
    assert code == 0 and printed == f"{trained}/model.safetensors: torch, 0.1 MB; not checked\n"
