"""Starts ranks on this machine, with torch's own launcher: `--devices 4` of `kstyle train` and `kstyle stylize`."""

import logging
import os
import signal
import sys
from pathlib import Path

import kstyle
from kstyle.backend.base.neighbours import cores
from kstyle.errors import DataError, UsageError
from kstyle.io import scratch

# Tells a rank the process that started it, which speaks for all of them.
LAUNCHER = "KSTYLE_LAUNCHER"
# Exit code of a rank that ends because another has: not it is at fault.
LOST = 75
# Seconds for which ranks may finish a step and save, once one has ended or all are to stop.
GRACE = 55


def launch(arguments, count, again, grace=GRACE):
    """Runs `python -m kstyle ARGUMENTS` as `count` ranks and waits for their end.

    Args:
        arguments: of the command line, a list.
        count: of ranks, at least 2: a GPU each where there are GPUs, else a share of the cores each.
        again: the arguments that go on with a run, for who is told that it was ended.
        grace: seconds, in place of `GRACE`.

    Returns:
        The exit code: 0; that of the first rank that failed, which has said why; 128 and the signal's number where this
        process was told to stop, and has told the ranks.

    Raises:
        UsageError: there are GPUs, but fewer.
        DataError: a rank was ended from outside, or the ranks lost each other.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if torch.cuda.is_available() and torch.cuda.device_count() < count:
        raise UsageError(f"--devices {count}: this machine has {torch.cuda.device_count()}.")
    for name in ("elastic", "launcher"):  # their lines would be beside ours
        quiet = logging.getLogger(f"torch.distributed.{name}")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
    root = str(Path(kstyle.__file__).parents[1])
    os.environ |= {
        LAUNCHER: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(grace),
    }
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    with scratch.folder("work on several devices") as folder:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=count, max_restarts=0, run_id="kstyle", rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", local_addr="localhost", logs_specs=DefaultLogsSpecs(str(folder)),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "kstyle", *arguments)
        except SignalException as stop:
            return 128 + stop.sigval
        except ChildFailedError as error:
            return _told(error.failures, count, again)
    return 0


def _told(failures, count, again):
    """The exit code that {rank: torch's failure} comes to. DataError: no rank can have said what happened."""
    # Of several that ended between two looks, those that others made end are not at fault.
    codes = {rank: failure.exitcode for rank, failure in failures.items() if failure.exitcode != LOST}
    codes = {rank: code for rank, code in codes.items() if code != -signal.SIGTERM} or codes
    said = [code for code in codes.values() if code > 0]
    if said:
        return said[0]
    if not codes:
        raise DataError(f"The {count} ranks lost each other; the last saved state is whole.")
    rank, code = next(iter(codes.items()))
    raise DataError(
        f"Rank {rank} of {count} was ended from outside ({signal.Signals(-code).name}), and so all are; the last saved "
        f"state is whole. To go on: the same command with {again}."
    )
