"""What kstyle 0.1.0 wrote still opens, and still means the same: tests/release_0_1, made by that release.

settings.json: every preset and recipe as it was resolved, and rates of the schedules named after posts. run/: three
epochs of `digits_cnn` by SGD. painted/: a batch of contents/a.png in the style of contents/b.png by shallow.yaml.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kstyle
from kstyle import backend, cli
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.training.schedules import schedules
from kstyle.training.setup import sections
from kstyle.training.setup import settings as train_settings

OLD = Path(__file__).parent / "release_0_1"
SAID = json.loads((OLD / "settings.json").read_text())
PROBABILITIES = {"9": 0.8863, "8": 0.0254, "7": 0.0253, "3": 0.0249, "0": 0.0141}  # of contents/a.png
on_torch = pytest.mark.skipif(backend.NAME != "torch", reason="made on torch: dropout draws other numbers elsewhere")


def unlike(old, new, path=""):
    """Keys of `old` that are not in `new`, or mean something else there. New keys are new settings."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from unlike(value, new[key], f"{path}.{key}") if key in new else [f"{path}.{key} is gone"]
    elif old != new:
        yield f"{path}: {old}, now {new}"


@pytest.mark.parametrize("name", SAID["presets"])
def test_presets_mean_the_same(name):
    """Failure: a preset's weight, step or scaling changes unsaid, and a picture cannot be made again."""
    now = style_settings.load(name, {}).model_dump(mode="json")
    assert not list(unlike(SAID["presets"][name], now))


@pytest.mark.parametrize("name", SAID["recipes"])
def test_recipes_mean_the_same(name):
    """Failure: a recipe's score was measured with other settings than those that it now has."""
    said = dict(SAID["recipes"][name])
    # `folder` takes the best network at hand now; what a run of before says is its own.
    given = {"model": said["model"]} if name == "folder" else {}
    now = train_settings.load(name, given).model_dump(mode="json")
    for key, section in (("optimizer", sections.Optimizer), ("schedule", schedules.Schedule)):
        said[key] = section.model_validate(said[key]).model_dump(mode="json")  # by today's name
    assert not list(unlike(said, now))


@pytest.mark.parametrize("name", SAID["schedules"])
def test_schedules_named_after_posts(name):
    """Failure: an old recipe with such a schedule does not open, or trains at other rates."""
    schedule = schedules.Schedule(name=name)
    rates = [schedules.rate(schedule, 0.1, step, 10, 320) for step in range(0, 3200, 37)]
    np.testing.assert_allclose(rates, SAID["schedules"][name], rtol=1e-9)


def test_a_run_still_predicts():
    """Failure: weights of an old run are read in another order, or its normalisation is lost."""
    (found,) = kstyle.predict(OLD / "run", [OLD / "contents/a.png"])
    assert {p["class"]: p["probability"] for p in found["predictions"]} == pytest.approx(PROBABILITIES, abs=2e-3)


@on_torch
def test_a_run_goes_on(tmp_path):
    """Failure: the optimiser's state, the order of pictures or the schedule of an old run are lost on resuming."""
    shutil.copytree(OLD / "run", tmp_path / "run")
    kstyle.train(None, run=tmp_path / "run", resume=True, overrides={"epochs": 4})
    history = pd.read_csv(tmp_path / "run/history.csv")
    before = pd.read_csv(OLD / "run/history.csv")
    pd.testing.assert_frame_equal(history[:3][before.columns], before)
    # The release's own fourth epoch; rounding of another processor grows in 23 steps to some thousandths.
    last = history.iloc[3]
    assert (last["loss"], last["val_loss"]) == pytest.approx((0.2799, 0.1243), rel=0.03)


def test_a_batch_is_known_as_done(tmp_path, monkeypatch, capsys):
    """Failure: an update paints a folder of a thousand pictures again."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    given = "batch contents/a.png --style contents/b.png -o painted -p shallow.yaml --size 32 --steps 3 --seed 4"
    with pytest.raises(SystemExit) as ended:
        cli.main([*given.split(), "--deterministic", "--precision", "float32", "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert not ended.value.code and (summary["done"], summary["skipped"]) == (0, 1)


@on_torch
def test_a_picture_is_made_again(tmp_path):
    """Failure: the settings in an old picture's text paint something else."""
    with Image.open(OLD / "painted/a.png") as picture:
        said, old = json.loads(picture.text["kstyle"]), np.asarray(picture, int)
    result = kstyle.stylize(
        OLD / "contents/a.png", OLD / "contents/b.png", preset=str(OLD / "shallow.yaml"), size=max(said["size"]),
        steps=said["steps"], seed=said["seed"], precision=said["precision"], deterministic=said["deterministic"],
    )  # fmt: skip
    assert np.abs(np.asarray(images.to_pil(result.rgb), int) - old).max() <= 1
    assert not list(unlike({k: said[k] for k in ("content", "style", "optimizer", "clamp", "scales")}, result.settings))
