"""Settings that cannot be: exit code 2 and the key, before anything is painted; and JSON that every reader takes."""

import json
import math
from pathlib import Path

import pytest
from pictures import SHALLOW
from PIL import Image

import kstyle
from kstyle import cli, config
from kstyle.errors import UsageError
from kstyle.io import files, runs
from kstyle.style import settings as style_settings
from kstyle.training.results import evaluate
from kstyle.training.setup import settings as train_settings

NUMBER = "9" * 25


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The arguments of a small `kstyle stylize`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(SHALLOW)
    Image.linear_gradient("L").resize((48, 48)).convert("RGB").save("a.png")
    return ["stylize", "a.png", "a.png", "-o", "out.png", "-p", "p.yaml", "--size", "32", "--steps", "1"]


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("content.layers={}", "content.layers names no layer"),
        ("content.layers={block2_conv1: 0}", "content.layers names no layer that counts"),
        ("style.layers={}", "'style.layers': names no layer"),
        ("style.layers={block2_conv1: 0}", "'style'"),
        ("clamp=[1,0]", "'clamp': expected [lowest, highest]"),
        ("clamp=[.5,.5]", "'clamp': expected [lowest, highest]"),
        ("clamp=[0,.inf]", "'clamp.1': expected a finite number"),
        ("style.scale=0.001", "'style.scale'"),
        ("style.scale=1000", "'style.scale'"),
        ("style.scale=0.02", "style.scale: at 0.02 times 32 the style pictures' long side is 1 pixels"),
        ("optimizer.learning_rate=-1", "learning_rate must be a number above 0; got -1"),
        ("optimizer.learning_rate=0", "learning_rate must be"),
        ("optimizer.learning_rate=.nan", "learning_rate must be"),
        ("optimizer.learning_rate=true", "learning_rate must be"),
        ("optimizer.learning_rate={class_name: CosineDecay, initial_learning_rate: -1}", "initial_learning_rate must"),
        ("optimizer.epsilon=.inf", "'optimizer.epsilon': expected a finite number"),
        ("style.weight=true", "'style.weight': expected a number; got true"),
        (f"scales.steps=[{NUMBER}]", "'scales.steps.0': expected a whole number below 2^63"),
        (f"style.weight={'1' * 5000}", "is a whole number of 5000 digits"),
    ],
)
def test_presets(small, capsys, text, key):
    """Failure: a black picture with exit code 0, a picture that runs away, or a traceback that names no setting."""
    assert call(*small, "--set", text, "-q") == 2
    errors = capsys.readouterr().err
    assert key in errors and errors.count("\n") == 1 and len(errors) < 700
    assert not Path("out.png").exists()


@pytest.mark.parametrize("option", [("--seed", 2**64), ("--seed", 2**63), ("--seed", -1), ("--steps", 10**12)])
def test_numbers_of_options(small, capsys, option):
    """Failure: an OverflowError of some framework, or a step count that never ends."""
    assert call(*small, *option, "-q") == 2
    assert option[0].strip("-") in capsys.readouterr().err
    with pytest.raises(UsageError):
        kstyle.stylize("a.png", "a.png", "p.yaml", **{"size": 32, "steps": 1, option[0].strip("-"): option[1]})
    with pytest.raises(UsageError):
        kstyle.stylize("a.png", "a.png", "p.yaml", **{"size": 32, "steps": 1, option[0].strip("-"): True})


def _numbers(model, key=""):
    """The keys of a model's settings that are numbers, with a value that they may have."""
    for name, field in model.model_fields.items():
        path = f"{key}{name}"
        if field.annotation is float or (field.annotation is int and name != "stages"):
            yield path
        elif isinstance(field.annotation, type) and issubclass(field.annotation, config.BaseModel):
            yield from _numbers(field.annotation, f"{path}.")


@pytest.mark.parametrize(
    ("module", "model", "name"),
    [
        (style_settings, style_settings.StyleSettings, "kstyle"),
        (train_settings, train_settings.TrainSettings, "digits_cnn"),
    ],
)
def test_every_number(module, model, name):
    """Failure: one of all the settings that are numbers takes `.nan`, `.inf`, `true` or a number no computer has."""
    keys = list(_numbers(model))
    assert len(keys) > 15
    for key in keys:
        for value in (math.nan, math.inf, -math.inf, 10**5000, True):
            if value is True and key.startswith("augment."):
                continue  # ImageDataGenerator's keywords take it
            with pytest.raises(UsageError) as caught:
                module.load(name, {key: value})
            assert key.split(".")[-1] in str(caught.value) and len(str(caught.value)) < 700


def test_other_settings_of_trainings():
    """Failure: as above, of what is an argument of a network or an optimiser, or in a list."""
    for key, value in (
        ("model.dropout", math.nan),
        ("optimizer.arguments.epsilon", math.inf),
        ("data.normalize", {"mean": [math.inf], "std": [1]}),
        ("schedule", {"name": "values", "values": {0: math.inf}}),
        ("seed", 2**64),
        ("optimizer.learning_rate", -1),
        ("optimizer.learning_rate", "fast"),
    ):
        with pytest.raises(UsageError) as caught:
            train_settings.load("digits_cnn", {key: value})
        assert key.split(".")[-1] in str(caught.value)
    assert train_settings.load("digits_cnn", {"augment.horizontal_flip": True}).augment.horizontal_flip == 0.5
    assert train_settings.load("digits_cnn", {"optimizer.learning_rate": "1e-3"}).optimizer.learning_rate == 1e-3


def test_json_has_no_infinity(small, capsys):
    """Failure: a script's JSON reader stops at `Infinity`, which JSON does not have."""

    def refuse(name):
        raise AssertionError(name)

    assert call(*small, "--json", "--set", "style.weight=3e38", "--set", "content.weight=3e38", "--init", "noise") == 0
    summary = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert summary["steps"] == 1 and None in summary.values()
    text = files.json_text({"a": [1.5, math.nan, {"b": (-math.inf, "ü")}], 2: None})
    assert json.loads(text, parse_constant=refuse) == {"a": [1.5, None, {"b": [None, "ü"]}], "2": None}
    for path in Path(cli.__file__).parent.rglob("*.py"):
        assert "json.dumps" not in path.read_text(), f"{path.name} has a JSON of its own"


def test_evaluation_waits_for_no_training(tmp_path, monkeypatch):
    """Failure: the scores in a run's folder are half one evaluation's, half another's or the training's."""
    (tmp_path / "run.json").write_text("{}")
    with runs.locks.held(tmp_path, "training"), pytest.raises(UsageError, match=r"in use .training, by process"):
        evaluate.evaluate(tmp_path)
    with pytest.raises(kstyle.DataError, match="no run folder"):
        evaluate.evaluate(tmp_path / "nowhere")
