"""Whose a run folder is, and what a run goes on with."""

import json
import time
from pathlib import Path

import keras
import pytest
import yaml

import kstyle
from kstyle import cli
from kstyle.errors import DataError, UsageError
from kstyle.io import locks, runs
from kstyle.training.setup import build, settings

QUICK = {"data.train_limit": 100, "data.test_limit": 50, "batch": 50, "epochs": 1}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Meanwhile(keras.callbacks.Callback):
    """Calls something once, in the middle of a training."""

    def __init__(self, call):
        super().__init__()
        self.call, self.error, self.result = call, None, None

    def on_epoch_begin(self, epoch, logs=None):
        try:
            self.result = self.call()
        except kstyle.KStyleError as error:
            self.error = error


def train(run=None, meanwhile=None, resume=False, recipe="digits_cnn", **overrides):
    overrides = overrides if resume else {**QUICK, **overrides}
    extra = [] if meanwhile is None else [meanwhile]
    return kstyle.train(None if resume else recipe, run=run, resume=resume, overrides=overrides, extra=extra)


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code or 0


def test_two_trainings_with_one_run(here, capsys):
    """Failure: the recipe in a folder is one training's, its weights another's, and both exit with 0."""
    kinds = {
        "train": lambda: call("train", "digits_cnn", "--run", "r", "--seed", 7, "-q"),
        "resume": lambda: call("train", "--resume", "--run", "r", "-q"),
    }
    for kind, second in kinds.items():
        other = Meanwhile(second)
        if kind == "train":
            train("r", other)
        else:
            train("r", other, resume=True, epochs=2)
        assert other.result == 2
        errors = capsys.readouterr().err
        assert "r is in use (training, by process " in errors and errors.count("\n") == 1
    assert yaml.safe_load(Path("r/recipe.yaml").read_text())["seed"] == 0
    assert not list(Path("r").glob(".kstyle*")), "the lock is left"
    assert call("train", "digits_cnn", "--run", "r", "-q") == 2
    assert "r holds a run: go on with it (--resume)" in capsys.readouterr().err


def test_two_trainings_of_one_second(here, monkeypatch):
    """Failure: two jobs that a scheduler starts in one second share a folder."""
    monkeypatch.setattr(time, "strftime", lambda *_: "20200101-000000")
    read, others = build.data, []

    def slowly(*arguments, **options):
        """While the first reads its data, the second begins."""
        if not others:
            others.append(None)
            others[0] = train()
        return read(*arguments, **options)

    monkeypatch.setattr(build, "data", slowly)
    assert train().folder == Path("runs/digits_cnn-20200101-000000")
    assert others[0].folder == Path("runs/digits_cnn-20200101-000000-2")
    assert (others[0].folder / runs.RESULT).is_file()


def test_a_training_that_cannot_begin_leaves_no_folder(here):
    """Failure: after a mistyped option or a missing data set there is an empty run folder."""
    for run in (None, "r"):
        with pytest.raises(UsageError):
            train(run, nonsense=1)
        with pytest.raises(DataError):
            kstyle.train("digits_cnn", run=run, overrides={"data": {"name": "folder", "path": "nowhere"}})
        assert not list(here.glob("r")) and not list(here.glob("runs/*"))
    Path("file").touch()
    Path("own").mkdir()
    for run in ("file", "file/r"):
        with pytest.raises(DataError, match=r"is a file, not a folder|cannot be made"):
            train(run)
    with pytest.raises(DataError):
        kstyle.train("digits_cnn", run="own", overrides={"data": {"name": "folder", "path": "nowhere"}})
    assert Path("own").is_dir(), "a folder that was there before is gone"


def test_more_epochs(here, capsys):
    """Failure: a training that was too short has to be made again from the start, or its recipe tells another story."""
    changes = {"schedule": "constant", "deterministic": True}  # a cosine to 3 epochs begins otherwise than one to 1
    train("r", **changes)
    whole = train("whole", **changes, epochs=3)
    # What a killed training leaves is no obstacle.
    (Path("r") / locks.LOCK).touch()
    (Path("r") / locks.HOLDER).write_text('{"purpose": "training", "pid": 1, "host": "x", "since": "y"}')
    more = train("r", resume=True, epochs=3)
    assert len(more.history) == 3 and more.history["loss"].equals(whole.history["loss"])
    assert yaml.safe_load(Path("r/recipe.yaml").read_text())["epochs"] == 3
    assert json.loads(Path("r/scores.json").read_text()) == json.loads(Path("whole/scores.json").read_text())
    assert call("train", "--resume", "--run", "r", "--epochs", 3, "-q") == 0
    assert call("train", "--resume", "--run", "r", "--epochs", 2, "-q") == 2
    assert "epochs: 2 in all, and r is in epoch 3 already" in capsys.readouterr().err


def test_what_else_is_said_beside_resume(here, capsys):
    """Failure: a recipe or a setting beside --resume is passed over in silence, or the first command with --resume
    at its end, which says what the run says, is refused."""
    train("r")
    before = Path("r/recipe.yaml").read_text()
    same = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    assert call("train", "digits_cnn", *same, "--resume", "--run", "r", "-q") == 0
    assert call("train", "digits_cnn", *same[:-2], "--resume", "--run", "r", "-q") == 0  # its epochs were others
    for more, said in (
        (["digits_cnn"], "'data.train_limit' is None now, and was 100 when r began"),
        (["mnist_cnn"], " now, and was "),
        (["--set", "batch=7"], "'batch' is 7 now, and was 50 when r began: a run goes on with its own recipe"),
        (["--seed", "3"], "'seed' is 3 now, and was 0"),
        (["--set", "nonsense=3"], "unknown key 'nonsense'"),
    ):
        assert call("train", *more, "--resume", "--run", "r", "-q") == 2
        assert said in capsys.readouterr().err
    assert Path("r/recipe.yaml").read_text() == before


def test_a_folder_can_be_moved_and_asked_from_elsewhere(here, monkeypatch):
    """Failure: what a recipe says of a file is found only from the folder in which the training was started."""
    (here / "w.pth").touch()

    checked = settings.absolute(settings.load("digits_cnn", {"model.weights": "w.pth", "data.path": "."}))
    assert (checked.model.weights, checked.data.path) == (str(here / "w.pth"), str(here))
    assert settings.absolute(settings.load("digits_cnn", {"model.weights": "imagenet"})).model.weights == "imagenet"
