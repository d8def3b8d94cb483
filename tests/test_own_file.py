"""A network in a file of one's own: who may run it, what it is called with, and what a run keeps of it."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

import kstyle
from kstyle import plugins
from kstyle.errors import UsageError
from kstyle.training.setup import build, settings

FILE = """
import keras
from keras import layers
from pathlib import Path

Path("it_ran").touch()

def build(input_shape, num_classes, width=8):
    return keras.Sequential([
        keras.Input(input_shape), layers.Conv2D(width, 3, activation="relu"), layers.GlobalAveragePooling2D(),
        layers.Dense(num_classes),
    ])

def probabilities(input_shape, num_classes):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(num_classes, "softmax")])

def strange(classes, filters):
    return None

def nothing():
    return None
"""
RECIPE = """
model: {name: mine.py:build, width: 4}
data: {name: digits, normalize: unit, train_limit: 200, test_limit: 100}
optimizer: {name: adam, learning_rate: 0.01}
epochs: 1
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The folder of a recipe and its file; the tests work in another."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/mine.py").write_text(FILE)
    (tmp_path / "theirs/digits.yaml").write_text(RECIPE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "theirs/digits.yaml"


def test_code_runs_only_for_who_says_so(recipe, command):
    """Failure: a stranger's recipe, or a stranger's run, starts the program that lies beside it."""
    sha = hashlib.sha256(FILE.encode()).hexdigest()
    refused = f"takes 'build' from {recipe.with_name('mine.py')} (SHA-256 {sha}), a program that is not run"
    code, _, errors = command("train", recipe, "--run", "run")
    assert code == 2 and refused in errors and "--allow-code" in errors and len(errors.splitlines()) == 1
    assert not Path("it_ran").exists() and not Path("run").exists()

    code, _, errors = command("train", recipe, "--run", "run", "--allow-code", "--json")
    assert code == 0 and Path("it_ran").exists(), errors
    Path("it_ran").unlink()
    plugins._loaded.clear()  # as in another process
    kept, run = Path("run/mine.py").read_text(), Path("run").resolve()
    facts = json.loads((run / "run.json").read_text())
    assert kept == FILE and facts["code"] == {"file": "mine.py", "sha256": sha}
    assert yaml.safe_load((run / "recipe.yaml").read_text())["model"] == {
        "name": "mine.py:build", "weights": None, "width": 4,
    }  # fmt: skip
    recipe.with_name("mine.py").unlink()  # the run has its own
    commands = [
        ["evaluate", "run", "--json"], ["predict", "run", "picture.png"], ["export", "run", "-o", "it.keras"],
        ["train", "--resume", "--run", "run", "--epochs", 2],
    ]  # fmt: skip
    Image.new("L", (8, 8)).save("picture.png")
    for each in commands:
        code, _, errors = command(*each)
        assert code == 2 and f"'build' from {run / 'mine.py'} (SHA-256 {sha})" in errors
        assert not Path("it_ran").exists(), each
    for each in commands:
        code, _, errors = command(*each, "--allow-code")
        assert code == 0, errors
    assert json.loads(command("evaluate", "run", "--allow-code", "--json")[1])["count"] == 100
    assert not plugins._allowed  # it was for those commands


def test_who_names_it_runs_it(recipe, command):
    """Failure: a file that is typed on the command line needs a second permission, or is looked for beside a recipe."""
    file = recipe.with_name("mine.py")
    small = ["--set", "data.train_limit=100", "--set", "data.test_limit=50", "--epochs", 1, "--json"]
    code, _, errors = command("train", "digits_cnn", "--set", f"model.name={file}:build", "--run", "a", *small)
    assert code == 0, errors
    code, _, errors = command("train", recipe, "--plugin", file, "--run", "b", *small)
    assert code == 0, errors
    code, _, errors = command("evaluate", "a", "--plugin", file, "--json")  # the run's copy is the same file
    assert code == 0, errors
    study = ["--run", "study", "--seeds", 2, "--set", f"model.name={file}:build", *small]
    for _ in range(2):  # and goes on
        code, out, errors = command("train", "digits_cnn", *study)
        assert code == 0 and [row["state"] for row in json.loads(out)["rows"]] == ["done"] * 2, errors
    plugins._loaded.clear()
    code, _, errors = command("train", "a/recipe.yaml", "--run", "c", *small)
    assert code == 2 and "a/mine.py" in errors


def test_a_changed_file_is_another_network(recipe, command):
    """Failure: weights are filled into a network that is not the one that was trained."""
    assert command("train", recipe, "--run", "run", "--allow-code", "-q")[0] == 0
    plugins._loaded.clear()
    Path("run/mine.py").write_text(FILE.replace("8", "9"))
    for each in (["evaluate", "run"], ["train", "--resume", "--run", "run", "--epochs", 3]):
        code, _, errors = command(*each, "--allow-code")
        assert code == 1 and "mine.py:build is another than when the run began" in errors, each


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("bild", "Unknown function of mine.py 'bild'. Did you mean 'build'?"),
        ("probabilities", "mine.py:probabilities: its last layer, 'dense"),
        ("strange", "mine.py:strange: the parameter 'filters' has no default"),
        ("nothing", "mine.py:nothing: expected a keras.Model; got NoneType"),
    ],
)
def test_what_it_must_be(recipe, function, said):
    """Failure: a mistake in one's own file ends in a traceback, or in a training that cannot learn."""
    overrides = {"model": {"name": f"{recipe.with_name('mine.py')}:{function}"}, "data": "digits"}
    with pytest.raises(UsageError) as caught:
        build.network(settings.load("digits_cnn", overrides), 10, (8, 8, 1), "float32")
    assert said in str(caught.value)


def test_from_python(recipe):
    """Failure: what `--plugin` allows on the command line cannot be had in Python."""
    with pytest.raises(UsageError, match="--allow-code"):
        settings.load(str(recipe))
    plugins.load(recipe.with_name("mine.py"))
    run = kstyle.train(str(recipe), run="run", overrides={"epochs": 1})
    assert run.model.name == "mine.build" and run.model.count_params() == 4 * 9 + 4 + 4 * 10 + 10
    plugins.load("run/mine.py")
    assert kstyle.evaluate("run").top1 == run.scores.top1
