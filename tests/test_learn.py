"""Style networks: how they learn, their files, what they paint."""

import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import SHALLOW

import kstyle
from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.models import features
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.style.learning import settings as network_settings
from kstyle.style.learning.lesson import Lesson
from kstyle.style.networks import style_facts, style_file
from kstyle.style.networks.network import style_network
from kstyle.style.objectives import objective, targets

ops = keras.ops
EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"width": 0.15, "size": 48, "crop": 32, "batch": 2, "steps": 60, "look": 10, "held_out": 1, "warmup": 2}
SMALL["losses"] = {"style": {"weight": 52}}  # as the preset has it


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of a style, style.png, and of four photographs in photos/, all of them small."""
    folder = tmp_path_factory.mktemp("learn")
    (folder / "photos").mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        images.write(folder / "photos" / f"{name}.png", small(name, (48, 64)), None)
    images.write(folder / "style.png", small("night", (48, 64)), None)
    return folder


def small(name, shape):
    return images.resize_picture(images.read(EXAMPLES / f"{name}.jpg"), shape).rgb


@pytest.fixture(scope="module")
def learned(pictures):
    """Sixty steps of a small network, in float32, with all that a run has."""
    return kstyle.learn(
        pictures / "style.png", pictures / "photos", run=pictures / "run", precision="float32", deterministic=True,
        workers=0, **SMALL,
    )  # fmt: skip


def test_lesson_is_the_objective_of_each():
    """Failure: a network learns by other losses than those that a painting is made with."""
    settings, rng = style_settings.load("kstyle", {"tv.weight": 0.1, "range.weight": 0.2}), np.random.default_rng(0)
    extractor = features.load("vgg19", settings.taps)
    photographs, paintings = rng.random((2, 2, 32, 48, 3)).astype("float32")
    paintings = paintings * 1.2 - 0.1  # beyond what the range allows
    goal = targets.style_targets(extractor, settings, [rng.random((40, 40, 3)).astype("float32")], [1.0])
    got, parts = Lesson(extractor, settings, goal)(*map(ops.convert_to_tensor, (paintings, photographs)))
    each = []
    for painting, photograph in zip(paintings, photographs):
        content = targets.content_targets(extractor, settings, photograph)
        each.append(objective.Objective(extractor, settings, content, goal)(ops.convert_to_tensor(painting)))
    assert set(parts) == set(each[0][1]) == {"content", "style", "tv", "range"}
    for name, value in parts.items():
        np.testing.assert_allclose(float(value), np.mean([float(terms[name]) for _, terms in each]), rtol=1e-4)
    np.testing.assert_allclose(float(got), np.mean([float(total) for total, _ in each]), rtol=1e-4)


def test_it_learns(learned, pictures):
    """Failure: the loss on photographs that were held out does not fall, or the run lacks what shows it."""
    first, last = (row["held_out"] for row in learned.history if row["step"] in (10, 60))
    settings = style_settings.load("kstyle")
    extractor = features.load("vgg19", settings.taps)
    goal = targets.style_targets(extractor, settings, [small("night", (36, 48))], [1.0])
    photograph = ops.convert_to_tensor(small("astronaut", (36, 48))[None])  # the first, held out
    untouched = float(Lesson(extractor, settings, goal)(photograph, photograph)[0])
    assert last < first < untouched
    assert {path.name for path in learned.folder.iterdir()} >= {"network.keras", "sheet.png", "history.csv", "run.json"}


def test_it_begins_with_what_another_learned(learned, pictures, tmp_path):
    """Failure: a network begins with noise, or with one that has other layers."""
    start = str(learned.network.write(tmp_path / "start.keras"))
    given = {"precision": "float32", "workers": 0, **SMALL, "steps": 1, "warmup": 1000, "start": start}
    folders = pictures / "style.png", pictures / "photos"
    begun = kstyle.learn([folders[0], folders[0]], folders[1], run=tmp_path / "run", **given).network.model
    for layer in learned.network.model.layers:
        for wanted, got in zip(layer.get_weights(), begun.get_layer(layer.name).get_weights()):
            np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), atol=1e-4)  # of both styles
    with pytest.raises(UsageError, match=r"start: .*has a width of 0\.15, the recipe of 0\.2"):
        kstyle.learn(*folders, run=tmp_path / "other", **{**given, "width": 0.2})


def test_a_stopped_run_goes_on_to_the_same_weights(learned, pictures):
    """Failure: after a stop other photographs come, or the optimiser, the average or the rate begins anew."""
    folder = pictures / "stopped"
    given = {"run": folder, "precision": "float32", "deterministic": True, "workers": 0, **SMALL}
    half = kstyle.learn(pictures / "style.png", pictures / "photos", callback=lambda look: look.step == 30, **given)
    assert half.history[-1]["step"] == 30
    whole = kstyle.learn(resume=folder)
    for got, wanted in zip(whole.network.model.get_weights(), learned.network.model.get_weights()):
        np.testing.assert_array_equal(got, wanted)
    images.write(pictures / "photos" / "new.png", np.zeros((8, 8, 3), "float32"), None)
    with pytest.raises(DataError, match="photographs are not those"):
        kstyle.learn(resume=folder, extend=2)
    (pictures / "photos" / "new.png").unlink()
    assert kstyle.learn(resume=folder, extend=10).history[-1]["step"] == 70


@pytest.mark.skipif(not hasattr(os, "fork") or backend.NAME != "torch", reason="each life is a fork")
def test_killed_it_goes_on_to_the_same_weights(pictures):
    """Failure: after a power cut a network goes on from other numbers, or a half-written file is believed."""
    (pictures / "shallow.yaml").write_text(SHALLOW)
    task = {"kills": 4, "seed": random.randrange(10**6)}
    root = Path(__file__).parents[1]
    words = [sys.executable, str(root / "tests/kept_learning.py"), json.dumps(task)]
    there = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=pictures, capture_output=True, text=True, env=there)
    said = (task, done.stdout, done.stderr)
    assert done.returncode == 0, said
    lives = json.loads(done.stdout.splitlines()[-1])
    assert lives["whole"] == [0] and lives["killed"] == [-signal.SIGKILL] * 4 + [0], said
    whole, killed = (style_file.read(pictures / name / "network.keras") for name in lives)
    assert whole.facts["learned"]["steps"] == 8
    for got, wanted in zip(killed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted, err_msg=str(said))


def test_steps_are_added_to_minutes(pictures):
    """Failure: a run whose end was settled by time takes no step more when it is to be extended."""
    given = {**SMALL, "minutes": 1e-6, "run": pictures / "minutes", "workers": 0}
    first = kstyle.learn(pictures / "style.png", pictures / "photos", **given).network.facts["learned"]["steps"]
    more = kstyle.learn(resume=pictures / "minutes", extend=3).network.facts["learned"]["steps"]
    assert first >= 1 and more == first + 3


def test_file_keeps_the_network(learned, tmp_path):
    """Failure: what is read paints otherwise than what was written, or the style's picture is lost."""
    path = learned.network.write(tmp_path / "night.keras")
    rgb = np.random.default_rng(0).random((21, 34, 3), "float32")
    np.testing.assert_array_equal(style_file.read(path).paint(rgb), learned.network.paint(rgb))
    assert style_file.read(path).pictures[0].shape == (36, 48, 3)
    result = kstyle.stylize((rgb * 255).astype("uint8"), path, size=34, precision="float32", strength=0.5)
    wanted = (rgb + learned.network.paint(np.round(rgb * 255) / 255)) / 2
    np.testing.assert_allclose(result.rgb, wanted, atol=0.03)
    assert len(kstyle.stylize(rgb, path, size=34, refine=2).history) == 2


def changed(path, to, facts=None, member=None):
    """A copy of a network's file with other facts, or without a member."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == style_facts.FACTS:
                data = json.dumps(json.loads(data) | (facts or {})).encode()
            if entry.filename != member:
                new.writestr(entry.filename, data)
    return to


@pytest.mark.parametrize(
    "fault",
    [
        {"facts": {"width": 1e9}},
        {"facts": {"width": 0.5}},
        {"facts": {"styles": []}},
        {"facts": {"brush": "large"}},
        {"facts": {"version": 3}},
        {"member": "kstyle.json"},
        {"member": "model.weights.h5"},
        {"member": "style_1.jpg"},
    ],
    ids=str,
)
def test_files_that_lie_or_are_damaged(learned, tmp_path, fault):
    """Failure: a stranger's file takes all memory, shows a traceback, or paints with weights that do not fit."""
    path = changed(learned.network.write(tmp_path / "whole.keras"), tmp_path / "changed.keras", **fault)
    with pytest.raises(DataError) as error:
        style_file.read(path)
    assert "\n" not in str(error.value) and "changed.keras" in str(error.value)


def test_cut_file(learned, tmp_path):
    """Failure: half a download is a traceback."""
    whole = learned.network.write(tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.keras"):
        style_file.read(tmp_path / "cut.keras")


def test_condition():
    """Failure: weights of styles that do not add up to 1, or a size of strokes that was never learned."""
    facts = {"styles": ["one", "two"], "brush": [0.5, 2]}
    np.testing.assert_allclose(style_facts.condition(facts, [1, 3], 0.5), [0.25, 0.75, -1, 1])
    for wrong in ({"blend": [1]}, {"blend": [0, 0]}, {"blend": [-1, 2]}, {"brush": 3}):
        with pytest.raises(DataError):
            style_facts.condition(facts, **wrong)
    with pytest.raises(DataError, match="one size"):
        style_facts.condition({"styles": ["one"], "brush": None}, brush=2)


def test_brush_sizes_and_styles_are_learned(pictures):
    """Failure: a network of two styles and several sizes of strokes paints them all alike."""
    given = {**SMALL, "steps": 30, "brush": [0.5, 2.0]}
    found = kstyle.learn([pictures / "style.png", pictures / "photos" / "coffee.png"], pictures / "photos",
                         run=pictures / "two", workers=0, **given)  # fmt: skip
    rgb = np.random.default_rng(0).random((24, 24, 3), "float32")
    asked = [found.network.paint(rgb, blend, brush) for blend, brush in (([1, 0], 1), ([0, 1], 1), ([1, 0], 2))]
    for one, other in ((0, 1), (0, 2)):
        assert np.abs(asked[one] - asked[other]).mean() > 1e-4


@pytest.mark.parametrize("overrides", [{"losses": {"strength": 0.5}}, {"preset": "nnst"}, {"crop": 8}, {"steps": "x"}])
def test_recipes_that_cannot_be(overrides):
    """Failure: what no network can learn by is told after an hour, or by a traceback."""
    with pytest.raises(UsageError):
        network_settings.load("half", overrides)


def test_what_a_network_does_not_take(learned, tmp_path):
    """Failure: steps or an optimiser are passed over in silence."""
    path, rgb = learned.network.write(tmp_path / "night.keras"), np.zeros((16, 16, 3), "float32")
    for wrong in ({"steps": 5}, {"optimizer": "adam"}, {"tv_weight": 1}, {"colour": "histogram"}, {"strength": 2}):
        with pytest.raises(UsageError):
            kstyle.stylize(rgb, path, size=16, **wrong)
    with pytest.raises(UsageError, match="alone"):
        kstyle.stylize(rgb, [path, rgb], size=16)


@pytest.mark.skipif(backend.NAME != "torch", reason="ONNX files are written through PyTorch")
def test_onnx(tmp_path, monkeypatch):
    """Failure: other programs get a fixed size, or other pictures than kstyle's."""
    runtime = pytest.importorskip("onnxruntime")
    from kstyle.style.networks import onnx_file

    model = style_network(0.15)
    model.get_layer("change").set_weights([np.random.default_rng(0).normal(0, 0.05, (9, 9, 5, 3)), np.zeros(3)])
    facts = {"width": 0.15, "styles": ["noise"], "brush": None, "size": 64, "learned": {}}
    network = style_file.StyleFile(model, facts, (np.zeros((8, 8, 3), "float32"),))
    path, off = onnx_file.write(network.write(tmp_path / "noise.keras"))
    assert off <= 1 / 255
    session = runtime.InferenceSession(path)
    for shape in ((33, 57), (128, 96), (5, 8), (61, 30), (200, 131)):
        rgb = np.random.default_rng(1).random((*shape, 3), "float32")
        painted = session.run(None, {"photograph": rgb[None]})[0][0]
        assert np.abs(painted - rgb).max() > 0.1
        np.testing.assert_allclose(painted, network.paint(rgb), atol=1 / 255)
