"""`~` in paths: written out once, at the door, whoever asks: an option, a setting, the environment, Python."""

import json
import os
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from pictures import SHALLOW
from PIL import Image

import kstyle
from kstyle import cli
from kstyle.cli.common import options
from kstyle.data.batches import verdicts
from kstyle.data.sets import find
from kstyle.errors import UsageError
from kstyle.models import registry, weights
from kstyle.style import settings as style_settings
from kstyle.training.setup import settings as train_settings

# Arguments and options that are paths, or words or paths; those with FILE or DIR in their help are found by it.
NAMES = {"content", "contents", "styles", "style", "run", "paths", "pictures", "recipe", "list_file", "folder"}
SMALL = ["--set", "data.train_limit=100", "--set", "data.test_limit=50", "--epochs", 1]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder, an empty one; the working directory is another."""
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "home"


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code or 0


def _parameters(command, name):
    for parameter in command.params:
        yield f"{name} {parameter.name}", parameter
    for each in getattr(command, "commands", {}).values():
        yield from _parameters(each, f"{name} {each.name}")


def test_every_path_of_every_command_is_one_type():
    """Failure: one option of one command takes `--data=~/pics` for a folder called `~`."""
    found = dict(_parameters(cli.cli, "kstyle"))
    said = {name: f"{p.metavar} {' '.join(p.opts)}" for name, p in found.items()}
    paths = [n for n in found if n.split()[-1] in NAMES or "FILE" in said[n] or "DIR" in said[n]]
    assert len(paths) > 35
    assert not [name for name in paths if not isinstance(found[name].type, options.Path)]
    assert not [name for name, p in found.items() if type(p.type) in (click.Path, click.File)]


def test_settings_that_are_paths(home):
    """Failure: what `--set` or a recipe's file says with `~` is recorded as it was, and found by nothing later."""
    said = {"data.path": "~/pics", "model.weights": Path("~/w.pth")}
    checked = train_settings.load("digits_cnn", said)
    assert (checked.data.path, checked.model.weights) == (str(home / "pics"), str(home / "w.pth"))
    assert train_settings.load("digits_cnn", {"model.weights": "imagenet"}).model.weights == "imagenet"
    assert style_settings.load("kstyle", {"init": "~/x.png"}).init == str(home / "x.png")
    (home / "own.yaml").write_text(SHALLOW)
    style_settings.load("~/own.yaml")
    with pytest.raises(UsageError, match=r"'data.path': ~no-one-at-all/x: no such user"):
        train_settings.load("digits_cnn", {"data.path": "~no-one-at-all/x"})


def test_the_environment(home, monkeypatch):
    """Failure: a line in a service's file, which no shell has read, names another folder."""
    for name in ("KSTYLE_DATA", "KSTYLE_CACHE", "KSTYLE_WEIGHTS", "KERAS_HOME"):
        monkeypatch.setenv(name, "~/here")
    assert verdicts.cache_folder() == home / "here" and find.keras_folder() == home / "here" / "datasets"
    with pytest.raises(kstyle.DataError, match=f"KSTYLE_WEIGHTS names {home / 'here'}"):
        weights.obtain(registry.get("vgg16"), "torchvision")


def test_training(home, capsys):
    """Failure: a run is made in a folder `~` here, or `evaluate` and `--resume` do not find what `train` made."""
    assert call("train", "digits_cnn", "--run=~/r", *SMALL, "-q") == 0
    assert call("train", "--resume", "--run=~/r", "-q") == 0
    assert call("evaluate", "~/r", "--sheet=~/sheet.png", "--json") == 0
    assert kstyle.evaluate("~/r").count == 50 and kstyle.evaluate(Path("~/r")).count == 50
    Image.new("L", (8, 8), 99).save(home / "a.png")
    (found,) = kstyle.predict("~/r", ["~/a.png"])
    assert found["path"] == str(home / "a.png") and "predictions" in found
    capsys.readouterr()
    assert call("predict", "~/r", "~/a.png", "--csv") == 0 and str(home / "a.png") in capsys.readouterr().out
    assert (home / "sheet.png").is_file() and not os.listdir()


def test_painting(home, capsys):
    """Failure: a picture lands in a folder `~` here, or its record says `~`, which elsewhere is another folder."""
    (home / "p.yaml").write_text(SHALLOW)
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)).save(home / f"{name}.png")
    small = ("-p", "~/p.yaml", "--size", 32, "--steps", 1, "--set", "init=~/a.png")
    assert call("stylize", "~/a.png", "~/b.png", "-o~/out.png", "--mask=~/a.png", *small) == 0
    with Image.open(home / "out.png") as image:
        record = json.loads(image.text["kstyle"])
    assert (record["init"], record["preset"]) == (str(home / "a.png"), str(home / "p.yaml"))
    assert call("batch", "~/a.png", "--style=~/b.png", "--output=~/many", *small) == 0
    assert (home / "many" / "a.png").is_file()
    result = kstyle.stylize("~/a.png", Path("~/b.png"), "~/p.yaml", size=32, steps=1, init="~/a.png")
    assert result.write("~/again.png") == home / "again.png"
    assert not os.listdir()


def test_a_folder_that_is_called_so(home):
    """Failure: a file or folder called `~`, given as `./~`, cannot be named at all."""
    Path("~").mkdir()
    Image.new("RGB", (40, 40), "red").save("./~/a.png")
    shutil.copy("./~/a.png", "~note.png")
    for name in ("./~/a.png", "~note.png"):
        assert kstyle.pictures.images.read(name).size == (40, 40)
