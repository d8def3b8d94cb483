"""kstyle batch: folders of pictures in one style, stopped and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batches import STYLE, picture, summary
from PIL import Image
from waiting import until

import kstyle
from kstyle import backend, cli
from kstyle.cli.common import progress as cli_progress
from kstyle.errors import DataError, UsageError
from kstyle.io.crew import Work, local
from kstyle.style import transfer
from kstyle.style.jobs import batch, contents

ROOT = Path(__file__).parents[1]
torch_only = pytest.mark.skipif(backend.NAME != "torch", reason="a compiled step a shape takes seconds")


def modified(folder="out"):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("*.png")}


@torch_only
def test_two_hundred_pictures(run, monkeypatch):
    """Failure: a broken picture ends the night's work, or what was done before Ctrl-C is done again."""
    for number in range(200):
        picture(f"in/p{number}.png", number, (32 + number % 2 * 8, 32))
    broken = [Path(f"in/p{number}.png") for number in (3, 50, 51, 120, 199)]
    broken[0].write_bytes(b"")
    broken[1].write_text("no picture")
    broken[2].write_bytes(broken[2].read_bytes()[:60])
    picture(broken[3], size=(300, 5))
    broken[4].unlink()
    broken[4].symlink_to("nowhere.png")
    steps = []
    counted = cli_progress.Progress.step

    def step(self, step):
        counted(self, step)
        steps.append(1)
        if len(steps) == 80:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_progress.Progress, "step", step)
    code, printed, errors = run("in", "-q", "--together", "1")
    assert (code, printed) == (130, "") and "stopped with 79 of 200 pictures done; the same command" in errors
    assert len(modified()) == 79 and not list(Path("out").glob(".*"))

    before = modified()
    code, printed, errors = run("in", "-q")
    assert (code, printed, len(steps)) == (1, "", 80 + 8)  # 116 pictures of two shapes, 16 as one
    assert len(modified()) == 195 and before.items() <= modified().items()
    lines = errors.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["kstyle", str(path)] for path in broken]
    words = ["empty", "not a picture", "cut short|cannot be read", "the network needs", "is a link to nothing"]
    assert all(any(w in line for w in word.split("|")) for line, word in zip(lines, words)), errors

    code, got = summary(run("in", "--json"))
    assert (code, got["done"], got["skipped"], len(steps)) == (1, 0, 195, 88)
    assert [failure["file"] for failure in got["failed"]] == [str(path) for path in broken]


def test_done_is_what_these_settings_made_of_this_content(run):
    """Failure: a changed photograph keeps its old painting, or an untouched one is painted again."""
    for name in "abc":
        picture(f"in/{name}.png", ord(name))
    assert run("in", "-q") == (0, "", "")
    before = modified()
    picture("in/a.png", 99)
    os.utime("in/b.png", (1, 1))  # copied, not changed
    Path("out/c.png").unlink()
    assert summary(run("in", "--json"))[1].items() >= {"done": 2, "skipped": 1, "failed": []}.items()
    after = modified()
    assert after["b.png"] == before["b.png"] and after["a.png"] > before["a.png"]
    code, _, errors = run("in", "--style-weight", "3")
    assert code == 0 and "with other settings than before: 3 pictures (style.weight 20.0, now 3.0)" in errors
    assert summary(run("in", "--style-weight", "3", "--json"))[1]["skipped"] == 3
    assert summary(run("in", "--style-weight", "3", "--json", "--force"))[1]["done"] == 3


def test_the_network_is_loaded_once_and_not_for_nothing(painter, place, monkeypatch):
    """Failure: each of a thousand pictures costs the network and the style targets again."""
    loads, made = [], []
    load, style_targets = transfer.features.load, transfer.targets.style_targets
    monkeypatch.setattr(transfer.features, "load", lambda *a, **k: loads.append(1) or load(*a, **k))
    monkeypatch.setattr(transfer.targets, "style_targets", lambda *a, **k: made.append(1) or style_targets(*a, **k))
    for number in range(3):
        picture(f"in/{number}.png", number)
    outcomes = [outcome for _, outcome in batch.stylize_all(painter, "in", "out", 32, 1)]
    assert [o.state for o in outcomes] == ["done"] * 3 and (len(loads), len(made)) == (1, 1)
    fresh = transfer.Painter(STYLE, place / "shallow.yaml", precision="float32", deterministic=True)
    again = [outcome for _, outcome in batch.stylize_all(fresh, "in", "out", 32, 1)]
    assert [o.state for o in again] == ["skipped"] * 3 and len(loads) == 1
    with Image.open("out/0.png") as image:  # the same as alone
        alone = kstyle.stylize("in/0.png", STYLE, place / "shallow.yaml", 32, 1, precision="float32")
        np.testing.assert_array_equal(np.asarray(image), np.asarray(alone.image))
        assert json.loads(image.text["kstyle"])["size"] == [25, 32]


def test_jobs_work_where_they_are_started(tmp_path, monkeypatch):
    """Failure: a program that changes its folder between two batches is told that there are no such files."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        work = Work(lambda *_: None, b"", lambda *_: os.getcwd())
        assert {folder for _, folder in local.unordered(work, {1: (), 2: ()}, 2)} == {str(tmp_path / name)}


@torch_only
def test_several_at_once(run, place):
    """Failure: other pictures than one by one, a failure that is lost, or the next run knows nothing of it."""
    for number in range(5):
        picture(f"in/{number}.png", number)
    Path("in/2.png").write_text("no picture")
    code, got = summary(run("in", "--jobs", "2", "--json", "--precision", "float32"))
    assert (code, got["done"], [failure["file"] for failure in got["failed"]]) == (1, 4, ["in/2.png"])
    for number in (0, 4):
        alone = kstyle.stylize(f"in/{number}.png", STYLE, place / "shallow.yaml", 32, 1, precision="float32")
        with Image.open(f"out/{number}.png") as image:  # a step's rounding depends on the number of threads
            assert np.abs(np.asarray(image, int) - np.asarray(alone.image, int)).max() <= 1
            assert json.loads(image.text["kstyle"])["seed"] == 0
    picture("in/2.png", 2)
    code, got = summary(run("in", "--jobs", "2", "--json", "--precision", "float32"))
    assert (code, got["done"], got["skipped"]) == (0, 1, 4)
    code, _, errors = run("in", "--frames", "--jobs", "2")
    assert code == 2 and "1 for a film" in errors


@torch_only
def test_pictures_in_batches(run, place, monkeypatch):
    """Failure: other pictures than one by one, or one that is lost, done twice or taken for another."""
    for number in range(7):
        picture(f"in/{number}.png", number, (36, 28) if number % 3 else (28, 36))
    Path("in/4.png").write_text("no picture")
    sizes, together = [], transfer.Painter.paint_together
    monkeypatch.setattr(
        transfer.Painter, "paint_together", lambda self, some, *a: sizes.append(len(some)) or together(self, some, *a)
    )
    code, got = summary(run("in", "--together", "2", "--json", "--precision", "float32"))
    assert (code, got["done"], [failure["file"] for failure in got["failed"]]) == (1, 6, ["in/4.png"])
    assert sizes == [2, 2]  # 0 and 3, 1 and 2; 5 and 6 have no partner
    for number in (0, 2, 3, 5, 6):
        alone = kstyle.stylize(f"in/{number}.png", STYLE, place / "shallow.yaml", 32, 1, precision="float32")
        with Image.open(f"out/{number}.png") as image:
            assert np.abs(np.asarray(image, int) - np.asarray(alone.image, int)).max() <= 1
    picture("in/4.png", 4)
    code, got = summary(run("in", "--together", "2", "--json", "--precision", "float32"))
    assert (code, got["done"], got["skipped"]) == (0, 1, 6)
    for wrong in (["--frames"], ["--jobs", "2"]):
        code, _, errors = run("in", "--together", "2", *wrong)
        assert code == 2 and "together must be 1" in errors


def test_a_batch_that_is_too_large_is_painted_one_by_one(painter, monkeypatch):
    """Failure: a GPU whose memory is not enough for eight pictures makes none of them."""
    picture("in/a.png", 1), picture("in/b.png", 2)

    def too_large(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(transfer.Painter, "paint_together", too_large)
    outcomes = [outcome for _, outcome in batch.stylize_all(painter, "in", "out", 32, 1, together=8)]
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    monkeypatch.setattr(backend, "accelerated", lambda: True)
    assert [batch._together(None, size, True, False) for size in (128, 512, 2048)] == [16, 4, 1]
    assert batch._together(None, 128, True, True) == batch._together(None, 128, False, False) == 1


@torch_only
def test_several_at_once_are_stopped_and_gone_on_with(place, capsys):
    """Failure: Ctrl-C leaves processes, tracebacks or half-written pictures, or what was done is done again."""
    for number in range(100):  # far more than are done before the signal comes
        picture(f"in/{number}.png", number)
    command = [sys.executable, str(ROOT / "cli.py"), "batch", "in", "--style", STYLE, "-o", "out", "--jobs", "2"]
    command += ["-p", str(place / "shallow.yaml"), "--size", "48", "--steps", "20", "--json"]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True)
    until(lambda: len(modified()) >= 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    printed, errors = process.communicate(timeout=300)
    got = json.loads(printed)
    assert (process.returncode, got["interrupted"], errors) == (130, True, "") and 2 <= got["done"] < 100
    until(lambda: gone(process.pid))  # they end a moment later
    before = modified()
    for path in [path for path in Path("in").iterdir() if path.name not in before][3:]:
        path.unlink()
    with pytest.raises(SystemExit) as ended:
        cli.main([*command[2:-1], "--jobs", "1", "-q"])
    assert (ended.value.code or 0, capsys.readouterr().err, len(modified())) == (0, "", len(before) + 3)
    results = json.loads(Path("out/batch.json").read_text())["results"].values()
    assert sum("bytes" in entry for entry in results) == len(before) + 3
    assert len(before.items() & modified().items()) >= got["done"]


def gone(group):
    """Whether a process group has no process left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_job_that_is_killed_ends_it(painter, monkeypatch):
    """Failure: the machine runs out of memory, and the batch hangs or says what nobody understands."""
    picture("in/a.png"), picture("in/b.png")
    monkeypatch.setattr(transfer.Painter, "__reduce__", lambda self: (Deadly, ()))
    with pytest.raises(DataError, match="try fewer jobs"):
        list(batch.stylize_all(painter, "in", "out", 32, 1, jobs=2))


class Deadly:
    """A painter that does to its process what the system does to one that takes too much memory."""

    def load(self):
        os.kill(os.getpid(), signal.SIGKILL)


def test_names(run):
    """Failure: a result replaces another, a picture of the user's, or gets another name in the next run."""
    picture("in/a.jpg", 1), picture("in/a.png", 2), picture("in/A.webp", 3)
    picture("out/b.png", 4), picture("in/b.png", 5)
    mine = Path("out/b.png").read_bytes()
    run("in/a.jpg", "in/a.png", "-q")
    first = {
        name: entry["content"] for name, entry in json.loads(Path("out/batch.json").read_text())["results"].items()
    }
    assert {name: Path(content).name for name, content in first.items()} == {"a.png": "a.jpg", "a-2.png": "a.png"}
    assert summary(run("in", "--json"))[1].items() >= {"done": 2, "skipped": 2}.items()
    assert set(modified()) == {"a.png", "a-2.png", "A-3.png", "b.png", "b-2.png"}
    assert Path("out/b.png").read_bytes() == mine
    shutil.move("in", "moved")
    assert summary(run("moved", "--json"))[1]["skipped"] == 4
    run("moved", "--format", "jpg", "-q")
    assert len(list(Path("out").glob("*.jpg"))) == 4


def test_trees_and_natural_order(place):
    """Failure: frame10 comes before frame2, results are taken for contents, or folders are mixed up."""
    for name in ("in/frame10.png", "in/frame2.png", "in/sub/frame1.png", "in/out/old.png", "in/.hidden.png"):
        picture(name)
    Path("in/notes.txt").write_text("no picture, and not called one")
    assert [c.name for c in contents.collect("in")] == ["frame2", "frame10"]
    found = contents.collect(["in", "in/frame2.png"], recursive=True, folder="in/out")
    assert [c.name for c in found] == ["frame2", "frame10", "sub/frame1"]
    with pytest.raises(UsageError, match="in is to be read and written"):
        contents.collect(["in"], folder="in")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_may_not_be_read(run):
    """Failure: one locked folder among many ends the run, or is passed over in silence."""
    picture("in/a.png"), picture("in/locked/b.png")
    Path("in/locked").chmod(0)
    try:
        code, got = summary(run("in", "--recursive", "--json"))
    finally:
        Path("in/locked").chmod(0o755)
    assert (code, got["done"]) == (1, 1) and "ermission denied" in got["failed"][0]["error"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["nothing"], "nothing: there is no such file or folder."),
        (["empty"], "There is no picture in empty"),
        (["in", "-p", "gaty"], "Unknown preset 'gaty'. Did you mean 'gatys'?"),
        (["in", "--set", "style.wieght=3"], "Did you mean 'weight'?"),
        (["in", "--style", "nothing.png"], "nothing.png: there is no such file."),
        (["in", "-o", "in/a.png"], "in/a.png: cannot be made a folder"),
        (["in", "-o", "in"], "in is to be read and written"),
        (["in", "--temporal", "2"], "--temporal is for a film's frames: give --frames too."),
        (["in", "--frames", "--frame-steps", "0"], "The steps of a frame must be"),
        (["in", "--frames", "--set", "colour=histogram-after"], "use 'histogram' or 'none' for frames."),
        (["in", "--format", "gif"], "gif"),
        (["in", "--size", "4"], "size must be a whole number"),
        (["clip.mp4"], "clip.mp4: a video takes ffmpeg, which is not installed"),
        (["clip.mp4", "in"], "clip.mp4 is a video: give it alone"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(place, capsys, monkeypatch, more, words):
    """Failure: an hour of painting before a typing error is noticed; an exit code that says pictures failed."""
    picture("in/a.png")
    Path("empty").mkdir()
    Path("clip.mp4").write_bytes(b"")
    monkeypatch.setenv("PATH", "")
    options = ["--style", STYLE, "-p", str(place / "shallow.yaml"), "--size", "32", "--steps", "1"]
    output = [] if "-o" in more else ["-o", "out"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", *options, *output, *more])
    printed, errors = capsys.readouterr()
    assert (ended.value.code, printed) == (2, "") and errors.startswith("kstyle: ") and errors.count("\n") == 1
    assert words in errors and not list(Path().glob("out/*.png"))


@pytest.mark.parametrize("text", ["{", '{"version": 1, "settings": {}, "results": {"../a.png": {"content": "x"}}}'])
def test_a_record_that_is_none(run, text):
    """Failure: a traceback, or a file from a stranger decides where pictures are written."""
    picture("in/a.png")
    Path("out").mkdir()
    Path("out/batch.json").write_text(text)
    code, _, errors = run("in", "-q")
    assert (
        code == 2
        and "out/batch.json: is not a record that kstyle wrote" in errors
        and os.listdir("out") == ["batch.json"]
    )


def test_a_full_disk_ends_it(painter, monkeypatch):
    """Failure: two hundred pictures are painted, and none is kept."""
    picture("in/a.png"), picture("in/b.png")

    def full(*arguments, **options):
        raise DataError("out/a.png: cannot be written (No space left on device).")

    monkeypatch.setattr(batch.images, "write", full)
    with pytest.raises(DataError, match="No space left"):
        list(batch.stylize_all(painter, "in", "out", 32, 1))
