"""One picture painted by two processes that share its tiles: the loss, the gradient and the picture of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import SHALLOW

from kstyle import backend
from kstyle.backend.by_torch import launch
from kstyle.errors import UsageError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.engine import memory

pytestmark = pytest.mark.skipif(backend.NAME != "torch", reason="ranks are torch's")
SCALES = "scales: {steps: [3, 3, 4], smallest: 160}\n"
ADAM, LBFGS = "{name: adam, learning_rate: 0.03}", "{name: lbfgs, max_step: 0.05}"


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """(folder of what came of the jobs, {(job, ranks): exit codes}, what was printed): see sharing.py."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "preset.yaml").write_text(SHALLOW.replace(ADAM, LBFGS) + SCALES)
    told = {**os.environ, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"}
    program = [sys.executable, str(Path(__file__).with_name("sharing.py")), str(folder)]
    done = subprocess.run(program, env=told, stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return folder, {(name, count): codes for name, count, codes in lines}, done.stdout


def arrays(painted, name):
    """What one process came to, and each of the two ranks."""
    folder, codes, _ = painted
    assert codes[name, 1] == [0] and codes[name, 2] == [0, 0]
    return [dict(np.load(folder / f"{name}-{which}.npz")) for which in ("1-0", "2-0", "2-1")]


@pytest.mark.parametrize("kind", ["tiles", "halves"])
def test_loss_and_gradient(painted, kind):
    """Failure: a sum, a strip around a tile or a half of the network is counted twice, or by one rank alone."""
    one, *ranks = arrays(painted, kind)
    for each in ranks:
        assert each["loss"] == pytest.approx(one["loss"], rel=1e-5)
        away = np.linalg.norm(each["picture"] - one["picture"], axis=-1)
        size = np.linalg.norm(one["picture"])
        # Of single units at their kink rounding decides, see test_tiles.py.
        assert np.median(away) * away.size**0.5 <= 1e-5 * size and np.linalg.norm(away) <= 1e-3 * size
    assert ranks[0]["loss"] == ranks[1]["loss"]


def test_ten_steps(painted):
    """Failure: ranks drift apart, or a size that is shared ends elsewhere than one that is not."""
    one, first, _ = arrays(painted, "steps")
    assert one["shared"].tolist() == [] and first["shared"].tolist() == [320, 640]  # 160 are too few
    assert first["loss"] == pytest.approx(one["loss"], rel=1e-5)
    away = np.abs(first["picture"] - one["picture"])  # single pixels a few times as much: units at their kink
    assert away.mean() <= 1e-5 and np.quantile(away, 0.999) <= 1e-4 and away.max() <= 4e-3


def test_a_stop_and_on(painted):
    """Failure: what is painted by several is lost with a stop, cannot go on, or both ranks write it."""
    folder, codes, printed = painted
    assert codes["stopped", 2] == [143, launch.LOST]
    assert codes["resumed", 2] == [0, 0]
    report = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    assert report["steps"] == 4 and not report["interrupted"]
    assert images.read(folder / "painted.png").size == images.read(folder / "run" / "picture.png").size
    assert not list(folder.glob("painted-*")) and printed.count('"output"') == 1


def test_what_cannot_be_shared(monkeypatch):
    """Failure: each of several ranks paints the whole picture, and the user waits for nothing."""
    monkeypatch.setattr(memory.distribute, "joined", lambda: True)
    monkeypatch.setattr(memory.distribute, "world", lambda: 2)
    preset = {"style": {"loss": "nearest", "layers": {"block2_conv1": 1}}, "content": {"weight": 0}}
    painter = transfer.Painter(np.zeros((64, 64, 3)), preset)
    with pytest.raises(UsageError, match="2 ranks share a picture's tiles, and this preset or network needs it whole"):
        memory.fitted(painter.painting(np.zeros((64, 64, 3)), 64).plan, painter.load())


def test_devices_of_the_command(command, tmp_path):
    """Failure: `--devices` is passed over in silence where it can do nothing."""
    picture = images.write(tmp_path / "picture.png", np.zeros((40, 40, 3), "float32"))
    for more, said in ((["--dry-run"], "--dry-run is about one process"), (["--mask", "-"], "processes cannot share")):
        code, _, told = command("stylize", str(picture), str(picture), "--devices", "2", *more)
        assert (code, said in told) == (2, True), told
