"""`kstyle train --show-batch`: the sheet has the pictures of the first step, and nothing is trained."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.pictures import sheet
from kstyle.training import preview, train
from kstyle.training.loop import steps

ops = keras.ops
SHIFTED = {"augment": {"pad_crop": 2, "mixup": 0.4}, "batch": 32, "epochs": 1}


@pytest.mark.skipif(backend.NAME != "torch", reason="elsewhere a step is a compiled program, which hands nothing out")
def test_they_are_those_of_the_first_step(tmp_path, monkeypatch):
    """Failure: what is looked at before a training is not what the network gets."""
    seen, drawn = [], []
    monkeypatch.setattr(preview.sheet, "sheet", lambda entries, *_, **__: drawn.extend(entries))
    assert preview.show_batch("digits_cnn", "batch.png", overrides=SHIFTED) == 32

    class Seen(steps.TrainStep):
        def _part(self, x, targets):
            seen.append((ops.convert_to_numpy(x), ops.convert_to_numpy(targets)))
            return super()._part(x, targets)

    monkeypatch.setattr(steps, "TrainStep", Seen)
    train.train("digits_cnn", run=tmp_path / "run", overrides={**SHIFTED, "data.normalize": "unit"})
    pictures, targets = seen[0]
    assert np.array_equal(np.rint(pictures * 255), np.stack([picture for picture, _, _ in drawn]))
    for (_, lines, right), shares in zip(drawn, targets):
        assert right is None and lines[0].split()[0] == str(shares.argmax())
        assert len(lines) == 1 or lines[0].endswith(f" {100 * shares.max():.0f} %")


def test_from_the_command_line(tmp_path, monkeypatch, command):
    """Failure: a run's folder is made, a picture of the data set is replaced, or a sheet is not one."""
    monkeypatch.chdir(tmp_path)
    code, out, errors = command("train", "digits_cnn", "--show-batch", "batch.png", "--set", "batch=8")
    assert code == 0 and "8 pictures of the first batch" in out, errors
    with Image.open("batch.png") as written:
        assert written.width > 300
    assert [path.name for path in Path().iterdir()] == ["batch.png"]
    code, _, errors = command("train", "--resume", "--run", "gone", "--show-batch", "batch.png")
    assert code == 2 and "leave --resume out" in errors
    assert command("train", "digits_cnn", "--show-batch", "batch.gif")[0] == 1


def test_a_picture_of_the_data_is_kept(tmp_path, monkeypatch):
    """Failure: the sheet is written over a photograph that was to be trained on."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    for number in range(8):
        folder = tmp_path / "in" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    small = {"data.photographs": {"size": 16, "resize": "stretch", "workers": 0}, "model": "mnist_cnn"}
    small |= {"model.weights": None, "data.normalize": "unit", "stages": [{"train": "all", "epochs": 1}]}
    victim = tmp_path / "in/a/0.png"
    before = victim.read_bytes()
    with pytest.raises(UsageError):
        preview.show_batch(tmp_path / "in", victim, overrides=small)
    assert victim.read_bytes() == before
    assert preview.show_batch(tmp_path / "in", tmp_path / "sheet.jpg", overrides=small) == 6
    assert sheet.kind(tmp_path / "sheet.jpg") == "JPEG"
