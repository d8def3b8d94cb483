"""A painting that is kept goes on after whatever stopped it, and the folder of it outlives what happens to disks."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from batches import STYLE, picture, summary
from pictures import SHALLOW, example

import kstyle
from kstyle import backend
from kstyle.cli.common import progress as cli_progress
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style.keeping import checkpoint
from kstyle.style.keeping.checkpoint import Checkpoint

ROOT = Path(__file__).parents[1]
SCALES = "scales: {smallest: 32, factor: 2, steps: [4, 4, 3], carry: true, margin: 4}\n"
LBFGS = SHALLOW.replace("{name: adam, learning_rate: 0.03}", "{name: lbfgs, history: 4}")
PRESETS = {
    "lbfgs": LBFGS + SCALES,
    "tiled": LBFGS + SCALES,
    "average": SHALLOW + SCALES + "average: 0.9\n",
    "sampling": SHALLOW + SCALES + "terms: [{loss: remd, layers: {block1_conv1: 1}, weight: 1, samples: 64}]\n",
}


@pytest.mark.skipif(not hasattr(os, "fork") or backend.NAME != "torch", reason="each life is a fork")
def test_killed_ten_times_it_is_the_same_picture(tmp_path):
    """Failure: after a power cut something goes on from other numbers, or a half-written checkpoint is believed."""
    for name in ("chelsea", "wave"):
        images.write(tmp_path / f"{name}.png", example(name, 200)[:128, :128])
    task = {"kills": 10, "seed": random.randrange(10**6), "presets": list(PRESETS)}
    print("seed", task["seed"])
    for kind, preset in PRESETS.items():
        (tmp_path / f"{kind}.yaml").write_text(preset)
    words = [sys.executable, str(ROOT / "tests/kept_painting.py"), json.dumps(task)]
    there = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    for kind, (whole, *lives) in json.loads(done.stdout.splitlines()[-1]).items():
        said = (kind, lives, done.stdout, done.stderr)
        assert whole == 0 and lives.count(-signal.SIGKILL) >= 8 and lives[-1] == 0, said
        paths = [tmp_path / f"{kind}-{name}" for name in ("whole", "killed")]
        assert paths[0].joinpath("picture.png").read_bytes() == paths[1].joinpath("picture.png").read_bytes(), said
        assert len(paths[1].joinpath("history.csv").read_text().splitlines()) == 1 + 11
    pictures = [tmp_path.joinpath(f"{kind}-whole", "picture.png").read_bytes() for kind in ("lbfgs", "tiled")]
    assert pictures[0] != pictures[1]  # rounded otherwise: it was painted by tiles


@pytest.fixture
def stylize(place, command):
    """`stylize("--run", "run")` -> (exit code, stdout, stderr) of a small painting of four steps."""
    picture("in/a.png", size=(48, 32))
    options = ["-p", place / "shallow.yaml", "--size", 48, "--steps", 4, "-o", "out.png", "--save-seconds", 0]

    def stylize(*more):
        return command("stylize", "in/a.png", STYLE, *options, *more)

    return stylize


@pytest.fixture
def always(monkeypatch):
    """Saved after each step, however long that takes."""
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)


def at_step(monkeypatch, number, act):
    def told(self, step):
        if step.step == number:
            act()

    monkeypatch.setattr(cli_progress.Progress, "step", told)


class Painted:
    """Stands for a painting with a picture of this side."""

    def __init__(self, side=4):
        self.canvas = SimpleNamespace(variables=[np.broadcast_to(np.float32(0), (side, side, 3))])

    def state(self):
        return {"canvas/0000 x": np.ones((4, 4, 3), "float32")}, {"history": []}


def steps_kept(folder):
    _, facts, _ = Checkpoint(folder / "state.safetensors", folder / "state-before.safetensors").load()
    return len(facts["history"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_saves_first(stylize, command, monkeypatch, number, code):
    """Failure: a job that a cluster ends loses its last hour, or goes on from a step half taken."""
    with monkeypatch.context() as patched:
        at_step(patched, 1, lambda: signal.raise_signal(number))
        got, _, errors = stylize("--run", "run", "--deterministic", "--save-seconds", 60)
    assert got == code and "stopped after 2 of 4 steps; the picture so far is in out.png" in errors
    assert "kstyle stylize --resume run" in errors and steps_kept(Path("run")) == 2
    assert command("stylize", "--resume", "run")[0] == 0
    resumed = Path("out.png").read_bytes()
    assert stylize("--run", "other", "--deterministic")[0] == 0 and Path("out.png").read_bytes() == resumed
    code, _, errors = command("stylize", "--resume", "run")
    assert code == 0 and "run is finished" in errors and errors.count("\n") == 1


def test_steps_are_added(stylize, command):
    """Failure: who wants more of a painting begins it anew; one that stood still cannot go on."""
    plateau = ["--set", "plateau.steps=2", "--set", "plateau.gain=0.99"]
    code, got = summary(stylize("--run", "run", "--json", *plateau))
    assert (code, got["steps"]) == (0, 3)  # it had ended by itself
    before = Path("out.png").read_bytes()
    code, got = summary(command("stylize", "--resume", "run", "--extend", 3, "--json"))
    assert (code, got["steps"], got["settings"]["steps"]) == (0, 7, 7) and Path("out.png").read_bytes() != before
    result = kstyle.resume("run")  # given again, without a step
    assert len(result.history) == 7 and result.settings == got["settings"]
    with pytest.raises(UsageError, match="extend must be a whole number of steps"):
        kstyle.resume("run", extend=-1)


def test_arrays_and_pipes_are_kept(tmp_path, place):
    """Failure: what came from Python or through a pipe is gone when the painting is to go on."""
    content, style = example("chelsea", 48), example("wave", 48)
    mask = np.zeros(content.shape[:2], "float32")
    mask[:, :20] = 1
    options = {"preset": place / "shallow.yaml", "size": 32, "steps": 2, "precision": "float32", "deterministic": True}
    first = kstyle.stylize(content, [style, style], masks=["all", mask], run=tmp_path / "run", **options)
    os.chdir(tmp_path)
    again = kstyle.resume(tmp_path / "run")
    np.testing.assert_array_equal(first.rgb, again.rgb)
    longer = kstyle.stylize(
        content, [style, style], masks=["all", mask], run=tmp_path / "more", **options | {"steps": 3}
    )
    np.testing.assert_array_equal(kstyle.resume(tmp_path / "run", extend=1).rgb, longer.rgb)


def edited(name):
    def edit(folder):
        record = json.loads((folder / "painting.json").read_text())
        at = record["made_with"]
        for key in name.split(".")[:-1]:
            at = at[key]
        at[name.split(".")[-1]] = 7 if "sha" not in name else "7" * 64
        (folder / "painting.json").write_text(json.dumps(record))

    return edit


CHANGES = {
    "content": (lambda folder: picture("in/a.png", 5, (48, 32)), "in/a.png has changed"),
    "content gone": (lambda folder: os.remove("in/a.png"), "in/a.png: there is no such file"),
    "settings": (edited("style.weight"), "'style.weight' is 7 now, and was 20"),
    "another kstyle's": (edited("colour"), "painting.json: "),
    "weights": (edited("weights.sha256"), "weights are not those"),
    "no record": (lambda folder: os.remove(folder / "painting.json"), "it has no painting.json"),
    "a damaged record": (lambda folder: (folder / "painting.json").write_text("{"), "is damaged"),
    "removed": (lambda folder: shutil.rmtree(folder), "there is no such folder"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_named(stylize, command, change):
    """Failure: a painting goes on with another photograph or other settings than it began with."""
    act, said = CHANGES[change]
    assert stylize("--run", "run", "-q")[0] == 0
    act(Path("run"))
    code, _, errors = command("stylize", "--resume", "run", "--extend", 1, "-q")
    assert code == 1 and said in errors and errors.count("\n") == 1 and errors.startswith("kstyle: ")


def test_what_does_not_go_together(stylize, command, tmp_path):
    """Failure: an option beside --resume is passed over in silence; a run is begun over another."""
    assert stylize("--run", "run", "-q")[0] == 0
    for arguments, said in (
        (["--resume", "run", "--size", 64], "leave --size out"),
        (["in/a.png", "--resume", "run"], "leave CONTENT out"),
        (["in/a.png", STYLE, "--extend", 3], "give --resume DIR"),
        (["in/a.png", STYLE, "--run", "run"], "holds a run"),
        (["in/a.png"], "Missing argument 'STYLE...'"),
    ):
        code, _, errors = command("stylize", *arguments)
        assert code == 2 and said in errors and errors.count("\n") == 1, errors
    with pytest.raises(UsageError, match="mine"):

        def mine(features, target):
            return features.mean()

        kstyle.stylize("in/a.png", STYLE, size=32, steps=1, terms=mine, run="mine")
    assert not Path("mine").exists()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with two checkpoints, of steps 3 and 2."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "shallow.yaml").write_text(SHALLOW)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoint, "SHARE", 1e9)
        kstyle.stylize(example("chelsea", 32), example("wave", 32), folder / "shallow.yaml", 32, 3, run=folder / "run",
                       save_seconds=0)  # fmt: skip
    return folder / "run"


def damages():
    numbers = random.Random(7)
    yield from (("cut", part / 20) for part in range(20))
    # Half of them in the header, of which a byte means more.
    yield from (("flipped", numbers.random() * (0.1 if i % 2 else 1)) for i in range(20))


@pytest.mark.parametrize(("how", "where"), list(damages()))
def test_a_damaged_checkpoint_is_told_from_a_good_one(kept, tmp_path, caplog, how, where):
    """Failure: a picture is painted on from noise; or a good checkpoint is passed over, or lost at the next save."""
    folder = shutil.copytree(kept, tmp_path / "run")
    state, before = folder / "state.safetensors", folder / "state-before.safetensors"
    raw = bytearray(state.read_bytes())
    place = int(where * len(raw))
    if how == "cut":
        del raw[place:]
    else:
        raw[place] ^= 1 << place % 8
    state.write_bytes(raw)
    files = Checkpoint(state, before)
    _, facts, _ = files.load()
    assert len(facts["history"]) == 2 and caplog.text.count("Going on from the checkpoint before it") == 1
    good = before.read_bytes()

    assert files.save(Painted()) and before.read_bytes() == good  # the damaged one has not taken its place
    before.write_bytes(raw)
    state.write_bytes(raw)
    with pytest.raises(DataError, match=r"state.safetensors: [^\n]*$"):
        Checkpoint(state, before).load()


def test_two_damaged_checkpoints_are_one_line(stylize, command):
    """Failure: a traceback, or the painting begins anew in silence."""
    assert stylize("--run", "run", "-q")[0] == 0
    for name in ("state.safetensors", "state-before.safetensors"):
        Path("run", name).write_bytes(Path("run/state.safetensors").read_bytes()[:1000])
    before = {path.name: path.read_bytes() for path in Path("run").iterdir() if path.suffix != ".txt"}
    code, _, errors = command("stylize", "--resume", "run", "--extend", 1, "-q")
    assert code == 1 and errors.count("\n") == 1 and "state.safetensors" in errors
    assert before == {path.name: path.read_bytes() for path in Path("run").iterdir() if path.suffix != ".txt"}


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MB, and a function that makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield folder, lambda: subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    with contextlib.suppress(OSError), open(folder / "filler", "wb", 0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk(stylize, command, disk, always, monkeypatch):
    """Failure: a disk that is full ends the painting, or takes the last good checkpoint with it."""
    folder, _ = disk
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: fill(folder))
        code, _, errors = stylize("--run", folder / "run", "-q")
    assert code == 1 and errors.count("cannot be written") == 2 and "The painting goes on" in errors
    assert "is painted, but" in errors and errors.count("\n") == 2 and Path("out.png").is_file()
    assert steps_kept(folder / "run") == 2
    (folder / "filler").unlink()
    whole = Path("out.png").read_bytes()
    assert command("stylize", "--resume", folder / "run", "-q")[0] == 0
    assert steps_kept(folder / "run") == 4 and Path("out.png").stat().st_size == len(whole)
    fill(folder)
    code, _, errors = stylize("--run", folder / "new", "-q")
    assert code == 1 and errors.count("\n") == 1 and "No space left" in errors
    code, _, errors = command("stylize", "--resume", folder / "run", "--extend", 1, "-q")
    assert code == 1 and errors.count("\n") == 1 and "No space left" in errors and steps_kept(folder / "run") == 4


def test_a_folder_that_cannot_be_written(stylize, command, disk):
    """Failure: an hour of painting, and then nowhere to save it."""
    folder, lock = disk
    assert stylize("--run", folder / "run", "-q")[0] == 0
    lock()
    for ran in (stylize("--run", folder / "new"), command("stylize", "--resume", folder / "run", "--extend", 1)):
        code, _, errors = ran
        assert code == 1 and errors.count("\n") == 1 and "Read-only file system" in errors


def test_a_folder_that_is_removed(stylize, always, monkeypatch):
    """Failure: somebody tidies up, and the painting ends."""
    at_step(monkeypatch, 2, lambda: shutil.rmtree("run"))
    code, _, errors = stylize("--run", "run", "-q")
    assert code == 1 and "The painting goes on" in errors and "is painted, but" in errors
    assert errors.count("\n") == 2 and Path("out.png").is_file() and not Path("run").exists()


def test_saving_takes_little_of_the_time(tmp_path, monkeypatch):
    """Failure: a large picture is saved every minute for half a minute."""
    clock, spent = [0.0], 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint.runs, "save_arrays", lambda *_, **__: clock.append(clock.pop() + 24))  # seconds
    files, painted = Checkpoint(tmp_path / "state"), Painted(20_000)
    while clock[0] < 20_000:
        clock[0] += 1
        if files.due(painted):
            assert files.save(painted)
            spent += 24
        assert spent <= 0.02 * clock[0]
    assert spent > 0.015 * clock[0]


def test_a_batch_goes_on_inside_a_picture(run, always, monkeypatch):
    """Failure: a batch of large pictures that is stopped every hour never gets one done."""
    picture("in/a.png"), picture("in/b.png", 1)
    options = ["in", "--json", "--deterministic", "--seed", "3"]
    assert run(*options, steps=4)[0] == 0
    os.rename("out", "whole")
    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (None, None, 0))
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: signal.raise_signal(signal.SIGTERM))
        code, got = summary(run(*options, steps=4))
    assert (code, got["done"], got["interrupted"]) == (143, 0, True)
    kept = Path("out/.a.png.state")
    assert len(Checkpoint(kept).load()[1]["history"]) == 3
    seen = []
    monkeypatch.setattr(cli_progress.Progress, "step", lambda self, step: seen.append(step.step))
    code, got = summary(run(*options, steps=4))
    assert (code, got["done"]) == (0, 2) and not list(Path("out").glob(".*.state"))
    assert seen == [3, 0, 1, 2, 3]
    for name in "ab":
        assert Path(f"out/{name}.png").read_bytes() == Path(f"whole/{name}.png").read_bytes()
