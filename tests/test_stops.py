"""Signals and full disks: what was painted is written somewhere, and nothing is left behind."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from batches import STYLE, picture, summary
from PIL import Image

from kstyle import cli
from kstyle.cli.common import progress as cli_progress
from kstyle.io.crew import local
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.jobs import batch

ROOT = Path(__file__).parents[1]
SIGHUP = getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.fixture(autouse=True)
def unheard():
    """A signal that kstyle does not take fails the test and does not end all of them."""

    def fail(number, frame):
        raise AssertionError(f"signal {number} was not taken")

    before = {number: signal.signal(number, fail) for number in {signal.SIGTERM, SIGHUP}}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def stylize(place, capsys):
    """`stylize("-q")` -> (exit code, stdout, stderr) of a small painting into out.png."""
    picture("in/a.png", size=(48, 32))

    def stylize(*more, steps=4):
        options = ["-p", str(place / "shallow.yaml"), "--size", "48", "--steps", str(steps), "-o", "out.png"]
        with pytest.raises(SystemExit) as ended:
            cli.main(["stylize", "in/a.png", STYLE, *options, *more])
        return (ended.value.code or 0, *capsys.readouterr())

    return stylize


def at_step(monkeypatch, step, *numbers):
    def told(self, now):
        if now.step == step:
            for number in numbers:
                signal.raise_signal(number)

    monkeypatch.setattr(cli_progress.Progress, "step", told)


def size(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def within(monkeypatch, owner, name, *numbers):
    """Signals come while a function runs, before what it does."""
    real = getattr(owner, name)

    def struck(*arguments, **options):
        for number in numbers:
            signal.raise_signal(number)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, struck)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (SIGHUP, 128 + SIGHUP)])
def test_any_stop_is_an_orderly_one(stylize, monkeypatch, number, code):
    """Failure: a machine that shuts down, or a terminal that is closed, throws the painting away."""
    at_step(monkeypatch, 1, number)
    got, _, errors = stylize()
    assert got == code and "stopped after 2 of 4 steps; the picture so far is in out.png" in errors
    assert size("out.png") == (48, 32)


@pytest.mark.parametrize("place_of_it", ["result", "write"])
def test_a_second_stop_changes_nothing(stylize, monkeypatch, place_of_it):
    """Failure: whoever presses Ctrl-C twice loses what the first kept."""
    at_step(monkeypatch, 1, signal.SIGINT)
    owner, name = {"result": (transfer.Painter, "_result"), "write": (images, "to_pil")}[place_of_it]
    within(monkeypatch, owner, name, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    code, _, errors = stylize()
    assert code == 130 and "the picture so far is in out.png" in errors
    assert size("out.png") == (48, 32) and not list(Path().glob(".*"))


def test_a_stop_while_the_result_is_written_waits(stylize, monkeypatch):
    """Failure: Ctrl-C in the last second of an hour leaves nothing."""
    within(monkeypatch, images, "to_pil", signal.SIGINT)
    code, _, errors = stylize()
    assert code == 130 and "out.png: 48×32, 4 steps" in errors and size("out.png") == (48, 32)


@pytest.mark.parametrize("together", ["1", "2"])
def test_a_stop_while_a_batch_writes(run, monkeypatch, together):
    """Failure: pictures that are painted are not written, or not in the record, and painted again."""
    for name in "abcd":
        picture(f"in/{name}.png", ord(name))
    with monkeypatch.context() as patched:
        within(patched, images, "to_pil", signal.SIGTERM)
        code, got = summary(run("in", "--json", "--together", together))
    assert (code, got["interrupted"], len(list(Path("out").glob("*.png")))) == (143, True, int(together))
    code, got = summary(run("in", "--json", "--together", together))
    assert (code, got["done"], got["skipped"]) == (0, 4 - int(together), int(together))


@pytest.fixture
def full(monkeypatch, tmp_path):
    """`full(folder)`: the disk that it is on takes nothing more; another one has the system's temporary folder."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def full(folder, suffix=".png"):
        real = os.replace

        def replace(source, target):
            if Path(target).resolve().parent == Path(folder).resolve() and str(target).endswith(suffix):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)

    return full


def test_a_full_disk_does_not_lose_a_painting(stylize, full, tmp_path):
    """Failure: an hour's painting is thrown away because its folder takes nothing more."""
    full(".")
    code, printed, errors = stylize()
    (kept,) = (tmp_path / "tmp").glob("kstyle-*/out.png")
    assert (code, printed) == (1, "") and f"(No space left on device); the picture is in {kept}." in errors
    with Image.open(kept) as image:
        assert image.size == (48, 32) and "kstyle" in image.text
    assert [path.name for path in Path().iterdir()] == ["in"]


def test_a_snapshot_that_fails_does_not_end_the_painting(stylize, full):
    """Failure: a disk that is full for a moment ends a painting of an hour."""
    full(".", "-step0002.png")
    code, _, errors = stylize("--save-every", "1")
    assert code == 0 and errors.count("cannot be written") == 1 and "The painting goes on" in errors
    assert sorted(path.name for path in Path().glob("*.png")) == [
        *(f"out-step000{number}.png" for number in (1, 3, 4)),
        "out.png",
    ]


def test_a_full_disk_loses_nothing_of_a_batch(run, full, tmp_path):
    """Failure: of pictures painted together those after the one that could not be written are lost."""
    picture("in/a.png", 1), picture("in/b.png", 2)
    full("out")
    code, _, errors = run("in", "-q", "--together", "2")
    kept = sorted(path.name for path in (tmp_path / "tmp").glob("kstyle-*/*.png"))
    assert code == 1 and kept == ["a.png", "b.png"] and errors.count("the picture is in") == 2


def test_a_film_leaves_no_folder_behind(run, monkeypatch, tmp_path):
    """Failure: the frames of every film that was stopped or killed stay in the system's temporary folder."""
    folder = tmp_path / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    killed = folder / "kstyle-film-killed"
    killed.mkdir(parents=True)
    (killed / "000001.png").touch()
    os.utime(killed, (1, 1))
    shown = [Image.fromarray(np.full((32, 32, 3), grey, "uint8")) for grey in (40, 200)]
    shown[0].save("in.gif", save_all=True, append_images=shown[1:])
    at_step(monkeypatch, 0, signal.SIGTERM)
    assert run("in.gif", "-q")[0] == 143
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="no sessions elsewhere")
def test_jobs_end_with_who_started_them():
    """Failure: painting goes on for minutes, in processes of a gigabyte, after the command was killed."""
    code = """
import time
from kstyle.io.crew import Work, local
work = Work(lambda *_: None, b"", lambda _, seconds: time.sleep(seconds) or print("on", flush=True))
list(local.unordered(work, {1: (0,), 2: (60,)}, 2))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=-1, text=True, start_new_session=True)
    assert process.stdout.readline() == "on\n"
    process.kill()
    process.wait(20)
    with pytest.raises(ProcessLookupError):
        for _ in range(400):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    process.stdout.close()


def test_a_batch_uses_such_jobs(painter, monkeypatch):
    """Failure: as above, in the command itself."""
    started = []

    def unordered(work, tasks, jobs):
        started.append((len(tasks), jobs))
        yield from ()

    monkeypatch.setattr(local, "unordered", unordered)
    picture("in/a.png"), picture("in/b.png")
    list(batch.stylize_all(painter, "in", "out", 32, 1, jobs=2))
    assert started == [(2, 2)]
