"""Folders that one process has at a time, and names that nobody else gets. No framework is needed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kstyle.errors import DataError, UsageError
from kstyle.io import files, locks

ROOT = Path(__file__).parents[1]


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of `tmp_path`; `subprocess.Popen`."""
    held = f"with locks.held({str(tmp_path)!r}, 'training'): print('held', flush=True), input()"
    code = f"from kstyle.io import locks\n{held}"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_learns_who_the_first_is(other, tmp_path):
    """Failure: two trainings write into one folder, or the second is refused without a word by whom."""
    with pytest.raises(UsageError) as refused, locks.held(tmp_path, "training"):
        pass
    said = str(refused.value)
    assert f"in use (training, by process {other.pid} on " in said and " since 2" in said and "\n" not in said
    assert refused.value.holder.pid == other.pid


def test_a_lock_dies_with_its_process(other, tmp_path):
    """Failure: after a crash a folder is locked for ever, and somebody has to find and remove a hidden file."""
    other.kill()
    other.wait()
    with locks.held(tmp_path, "batch"):
        assert locks.holder(tmp_path).pid == os.getpid()
    assert not list(tmp_path.iterdir()), "something is left in the folder"


def test_two_in_one_process(tmp_path):
    """Failure: two threads of a notebook train into one folder."""
    with locks.held(tmp_path, "training"):
        with pytest.raises(locks.Held, match=r"\(training, by process"), locks.held(tmp_path, "batch"):
            pass
        refused = []

        def second():
            try:
                with locks.held(tmp_path, "batch"):
                    pass
            except locks.Held as error:
                refused.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert refused
    with locks.held(tmp_path, "batch"):
        pass


def test_a_lock_without_a_name(tmp_path):
    """Failure: who comes in the moment before the holder has signed, or meets a damaged note, gets a traceback."""
    with locks.held(tmp_path, "training"):
        for text in ("", "[]", '{"pid": "x"}'):
            (tmp_path / locks.HOLDER).write_text(text)
            with pytest.raises(locks.Held, match="in use by another process"), locks.held(tmp_path, "batch"):
                pass


def test_folders_that_cannot_be_locked(tmp_path):
    """Failure: a folder appears that nobody asked for, or a traceback, or a wait for ever."""
    with pytest.raises(DataError, match="no such folder"), locks.held(tmp_path / "none", "batch"):
        pass
    assert not (tmp_path / "none").exists()
    (tmp_path / locks.LOCK).mkdir()
    with pytest.raises(DataError, match="cannot be written to"), locks.held(tmp_path, "batch"):
        pass


@pytest.mark.skipif(os.name == "nt" or not os.geteuid(), reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    """Failure: a traceback, or work that is lost at its end."""
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot be written to"), locks.held(tmp_path, "batch"):
        pass


def test_claimed_names(tmp_path):
    """Failure: two that ask at one moment get one name, and one of the two results is lost."""
    made = [files.claim_folder(tmp_path / "runs" / "a.1") for _ in range(3)]
    assert [path.name for path in made] == ["a.1", "a-2.1", "a-3.1"] and all(path.is_dir() for path in made)
    (tmp_path / "b.png").write_text("somebody's")
    with files.claimed(tmp_path / "b.png") as first, files.claimed(tmp_path / "b.png") as second:
        assert (first.name, second.name) == ("b-2.png", "b-3.png")
        with files.replacing(second) as beside:
            beside.write_text("done")
    assert not first.exists() and second.read_text() == "done", "an empty file is left, or a result is gone"
    with pytest.raises(KeyboardInterrupt), files.claimed(tmp_path / "c.png"):
        raise KeyboardInterrupt
    assert not (tmp_path / "c.png").exists()
    with pytest.raises(DataError), files.claimed(tmp_path / "none" / "c.png"):
        pass
    with pytest.raises(DataError):
        files.claim_folder(tmp_path / "b.png" / "run")


def test_many_claim_one_name(tmp_path):
    """Failure: looking whether a name is free and taking it are two things, and somebody comes between."""
    got, ready = [], threading.Barrier(8)

    def claim():
        ready.wait()
        got.append(files.claim_folder(tmp_path / "run"))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 8


def test_the_home_folder(monkeypatch, tmp_path):
    """Failure: `--data=~/pics`, which shells leave alone, means a folder that is called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert files.expanded("~/pics") == os.path.join(tmp_path, "pics") and files.expanded("~") == str(tmp_path)
    assert files.expanded(Path("~/pics")) == os.path.join(tmp_path, "pics")
    for literal in ("./~", "a/~", "a~", "./~/x", "", "-"):
        assert files.expanded(literal) == literal
    assert files.expanded(None) is None
    monkeypatch.chdir(tmp_path)
    Path("~$note.png").touch()
    assert files.expanded("~$note.png") == os.path.join(".", "~$note.png")
    with pytest.raises(UsageError, match=r"no such user's folder.*\./~nobody-is-called-this"):
        files.expanded("~nobody-is-called-this/x")
