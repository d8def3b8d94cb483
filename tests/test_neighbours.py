"""Threads beside other programs: how busy the machine is, and how a step's work is divided then."""

import pytest

from kstyle import backend
from kstyle.backend.base import neighbours


def measured(monkeypatch, *readings):
    """`Neighbours` with a clock and counters of its own: each reading is (seconds, all programs', this one's)."""
    left = list(readings)
    found = neighbours.Neighbours(lambda: left[0][1:])

    class Clock:
        @staticmethod
        def monotonic():
            return left[0][0]

    monkeypatch.setattr(neighbours, "time", Clock)
    answers = []
    while left:
        answers.append(found.cores())
        left.pop(0)
    return answers


def test_cores_that_others_use(monkeypatch):
    """Failure: the program's own work counts as that of others, or a few milliseconds decide."""
    found = measured(monkeypatch, (10, 100, 5), (10.4, 101, 5.5), (12, 104, 7), (14, 105, 9), (14.1, 109, 9))
    assert found == [None, None, 1.0, 0.0, None]


@pytest.mark.parametrize("error", [OSError, ValueError, AttributeError])
def test_a_system_that_does_not_say(error):
    """Failure: painting ends on macOS, or in a container without /proc."""

    def read():
        raise error

    assert neighbours.Neighbours(read).cores() is None


@pytest.mark.skipif(
    backend.NAME != "torch" or backend.accelerated(), reason="the others' threads divide work as they go"
)
def test_threads_follow_the_neighbours(monkeypatch):
    """Failure: a painting crawls beside another program, or keeps too many threads when that has ended, or changes a
    number that the user set."""
    import torch

    from kstyle.backend import torch as ours

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    others = []
    monkeypatch.setattr(ours._neighbours, "cores", lambda: others.pop())
    monkeypatch.setattr(ours, "cores", lambda: 2)
    monkeypatch.setattr(ours, "_threads", 2)

    def after(beside):
        others.append(beside)
        backend.adapt_threads()
        return torch.get_num_threads()

    try:
        torch.set_num_threads(2)
        assert [after(beside) for beside in (0.1, 1.0, None, 0.9, 0.0)] == [2, 4, 4, 4, 2]
        after(1.0)
        backend.configure(deterministic=True)  # rounding depends on how work is divided
        assert torch.get_num_threads() == 2 and after(1.0) == 2
        backend.configure(deterministic=False)
        torch.set_num_threads(1)
        assert after(1.0) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        torch.set_num_threads(2)
        assert after(1.0) == 2
    finally:
        torch.set_num_threads(before)
        backend.configure(deterministic=False)
