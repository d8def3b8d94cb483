"""Processes that work for this one: on this machine (`local`), or on the nodes of a Ray cluster (`cluster`).

Both do a `Work` and have one function for it, `unordered`.
"""

import functools
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


def chosen(jobs: int = 1, cluster: str | None = None) -> Callable[[Work, dict], Any] | None:
    """`unordered(work, tasks)` of `local` or of `cluster`; None where this process alone is wanted.

    Args:
        jobs: processes; in a cluster for each GPU, or for each node where there are none.
        cluster: its address.

    Raises:
        UsageError: there can be no work at this address.
    """
    from kstyle.io.crew import cluster as clusters  # here, as both use what is above
    from kstyle.io.crew import local

    if cluster is not None:
        clusters.check(cluster)
        return functools.partial(clusters.unordered, address=cluster, jobs=jobs)
    return functools.partial(local.unordered, jobs=jobs) if jobs > 1 else None
