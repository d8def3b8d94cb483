"""The record of a folder of results while it is painted: what got done is known, however the run ends."""

import json
from pathlib import Path

from batches import picture, summary

from kstyle.style.jobs import batch
from kstyle.style.jobs.record import JOURNAL, Record


def states(painter):
    return [outcome.state for _, outcome in batch.stylize_all(painter, "in", "out", 32, 1, together=1)]


def test_a_killed_run_loses_no_picture(painter, monkeypatch):
    """Failure: SIGKILL after an hour, and all that was painted is painted again."""
    for number in range(4):
        picture(f"in/{number}.png", seed=number)
    with monkeypatch.context() as killed:
        outcomes = batch.stylize_all(painter, "in", "out", 32, 1, together=1)
        assert [next(outcomes)[1].state for _ in range(3)] == ["done"] * 3
        killed.setattr(Record, "save", lambda self: None)  # a killed process writes nothing more
        outcomes.close()
    text = Path("out", JOURNAL).read_text()
    assert text.count("\n") == 3
    Path("out", JOURNAL).write_text(text[:-20] + '\n{"../x.png": {"content": "/x"}}\n[1]\n{"a": ')  # cut and forged
    assert states(painter) == ["skipped", "skipped", "done", "done"]
    assert not Path("out", JOURNAL).exists() and not Path("x.png").exists()
    assert set(json.loads(Path("out/batch.json").read_text())["results"]) == {f"{number}.png" for number in range(4)}
    assert states(painter) == ["skipped"] * 4


def test_the_record_is_not_written_for_each_picture(run, monkeypatch):
    """Failure: of a folder of 2,000 each picture takes longer than the one before it, only to be noted."""
    for number in range(6):
        picture(f"in/{number}.png", seed=number)
    written, save = [], Record.save
    monkeypatch.setattr(Record, "save", lambda self: written.append(1) or save(self))
    for more in ([], ["--together", "2"]):
        written.clear()
        code, got = summary(run("in", "--json", "--force", *more))
        assert (code, got["done"]) == (0, 6) and len(written) <= 3


def test_a_journal_without_its_record_says_nothing(run):
    """Failure: batch.json is moved away to paint all again, and nothing is painted."""
    picture("in/a.png")
    assert summary(run("in", "--json"))[1]["done"] == 1
    entry = json.loads(Path("out/batch.json").read_text())["results"]
    Path("out", JOURNAL).write_text(json.dumps(entry) + "\n")
    Path("out/batch.json").unlink()
    Path("out/a.png").unlink()
    assert summary(run("in", "--json"))[1]["done"] == 1


def test_settings_of_a_killed_run_are_known(painter, monkeypatch, caplog):
    """Failure: after SIGKILL a run with other steps says that everything has changed, and from what is lost."""
    for number in range(2):
        picture(f"in/{number}.png", seed=number)
    with monkeypatch.context() as killed:
        outcomes = batch.stylize_all(painter, "in", "out", 32, 1, together=1)
        next(outcomes)
        killed.setattr(Record, "save", lambda self: None)  # a killed process writes nothing more
        outcomes.close()
    with caplog.at_level("INFO", "kstyle"):
        assert [o.state for _, o in batch.stylize_all(painter, "in", "out", 32, 2, together=1)] == ["done"] * 2
    assert "1 pictures (steps 1, now 2)" in caplog.text
