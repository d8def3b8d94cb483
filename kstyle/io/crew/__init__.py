"""Processes that work for this one: on this machine (`local`), or on the nodes of a Ray cluster (`cluster`).

Both do a `Work` and have one function for it, `unordered`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """What each process does. The functions are found again by their names in the other process.

    Attributes:
        prepare: `prepare(data, sharing)` is called once in each process, before its first task, and what it returns is
            kept there; `sharing` is how many processes share the devices that it sees.
        data: bytes for `prepare`.
        function: `function(prepared, *task)` does a task and returns its result, which has to be picklable.
    """

    prepare: Callable[[bytes, int], Any]
    data: bytes
    function: Callable[..., Any]


@dataclass(frozen=True)
class Lost:
    """In place of a result: each process that had the task ended before it was done. `why`: what is known of that."""

    why: str
