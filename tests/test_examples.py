"""The networks in examples/, by their recipes, on real pictures and small: they learn, and a run of them is whole."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from kstyle.training.setup import settings

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
HYMENOPTERA = ROOT.parent / "shared/data/hymenoptera"
SMALL = {
    "vit": ["data.size=16", "model.patch=4", "model.width=24", "model.heads=2", "model.blocks=1", "model.hidden=48",
            "model.head=[48]", "model.head_dropout=0.1", "optimizer.learning_rate=0.004", "data.train_limit=1000"],
    "mlp_mixer": ["data.size=16", "model.patch=4", "model.width=32", "model.blocks=1"],
    # Keras' moving variances come down from 1 slowly, and fast steps are ahead of them.
    "convmixer": ["data.size=16", "model.filters=16", "model.depth=1", "model.momentum=0.9", "checkpoint.keep=last",
                  "optimizer.learning_rate=0.005", "schedule=cosine"],
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_keras_io(name, tmp_path, monkeypatch, command):
    """Failure: a network of the examples does not learn, or its run cannot be scored, or opened by Keras alone."""
    monkeypatch.chdir(tmp_path)
    digits = ["data.name=digits", "data.validation=test", "augment=none", "batch=32"]
    given = [part for setting in (*digits, *SMALL[name]) for part in ("--set", setting)]
    recipe = EXAMPLES / f"networks/{name}.yaml"
    code, out, errors = command("train", recipe, "--allow-code", "--run", "run", "--epochs", 3, "--json", *given)
    assert code == 0 and json.loads(out)["top1"] > 0.7, errors
    code, out, errors = command("evaluate", "run", "--allow-code", "--json")
    assert code == 0 and json.loads(out)["top1"] > 0.7, errors
    probabilities = keras.saving.load_model("run/model.keras").predict(np.zeros((1, 16, 16, 1)), verbose=0)
    assert probabilities.shape == (1, 10) and probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(not HYMENOPTERA.exists(), reason="ants and bees are not here")
def test_very_little_data(tmp_path, monkeypatch, command):
    """Failure: blog.keras.io's two trainings do not run on photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    for part, count in (("train", 8), ("validation", 4)):
        for label in ("ants", "bees"):
            (tmp_path / "data" / part / label).mkdir(parents=True)
            for path in sorted((HYMENOPTERA / part.removesuffix("idation") / label).iterdir())[:count]:
                with Image.open(path) as image:
                    image.convert("RGB").save(tmp_path / "data" / part / label / f"{path.stem}.jpg")
    small = ["--data", "data", "--set", "data.photographs.workers=0", "--set", "batch=8", "--json"]
    code, out, errors = command(
        "train", EXAMPLES / "very_little_data/first_try.yaml", "--allow-code", "--run", "first", "--epochs", 1, *small
    )
    assert code == 0 and json.loads(out)["epochs"] == 1, errors
    assert json.loads(Path("first/run.json").read_text())["pictures"]["test"] == 8
    tiny = ["--set", "model.weights=null", "--set", "data.normalize=unit", "--set", "data.photographs.size=48"]
    code, out, errors = command(
        "train", EXAMPLES / "very_little_data/bottleneck.yaml", "--run", "second", "--epochs", 2, *small, *tiny
    )
    assert code == 0 and json.loads(out)["epochs"] == 2, errors
    assert "computed once" in Path("second/log.txt").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_sound(path, monkeypatch):
    """Failure: an example has a key or a value that there is not."""
    if path.stem == "painting":
        return  # a preset, tests/test_plugins.py
    monkeypatch.setattr("kstyle.plugins._allowed", True)
    assert settings.load(str(path)).description
