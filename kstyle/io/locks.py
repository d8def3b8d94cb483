"""A folder is worked in by one process at a time, and whoever comes second learns who the first is."""

import contextlib
import datetime
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io.files import one_line, plain, reason

# Hidden, and no suffix of a picture. The first is what the system locks, the second says who holds it.
LOCK, HOLDER = ".kstyle.lock", ".kstyle.lock.json"
# Seconds for which a lock is asked for: whoever lets go of one has it for a moment more, while the file is removed.
PATIENCE = 0.2


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        purpose: what for, e.g. `"training"`.
        pid, host: the process, and the machine that it runs on.
        since: local time with its offset, ISO 8601.
    """

    purpose: str
    pid: int
    host: str
    since: str

    def __str__(self):
        return f"{self.purpose}, by process {self.pid} on {self.host} since {self.since}"


class Held(UsageError):
    """Another process, or another part of this one, holds the lock. `holder`: a `Holder`, None if it is not known."""

    def __init__(self, folder, holder):
        who = f"({holder})" if holder else "by another process"
        super().__init__(f"{one_line(folder)} is in use {who}: wait until it has ended, or name another folder.")
        self.holder = holder


@contextlib.contextmanager
def held(folder, purpose, wait=PATIENCE):
    """`with held(folder, "training"):` nobody else can hold a lock of this folder meanwhile.

    The lock is the operating system's: it ends with the process, however that ends, so there is none to be removed by
    hand. It holds within a process too: a second `held` of the same folder fails.

    Args:
        folder: must exist; two hidden files are in it meanwhile.
        purpose: for the message of whoever comes second, e.g. `"training"`.
        wait: seconds to wait for another holder.

    Raises:
        Held: (a UsageError) somebody else holds it; the message says who.
        DataError: there is no such folder, or it cannot be written to.
    """
    from filelock import FileLock, Timeout, UnixFileLock

    folder = Path(folder)
    if not folder.is_dir():  # the library would make it
        raise DataError(f"{one_line(folder)}: there is no such folder.")
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise Held(folder, holder(folder)) from None
    except OSError as error:
        raise DataError(f"{one_line(folder)}: cannot be written to ({reason(error)}).") from error
    try:
        _sign(folder, purpose)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink()
        if isinstance(lock, UnixFileLock):  # the other kinds remove their file themselves
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
        lock.release()


def holder(folder):
    """The `Holder` that a folder's lock names; None if there is none, or it cannot be read."""
    try:
        found = json.loads((Path(folder) / HOLDER).read_text("utf-8"))
        return Holder(plain(found["purpose"]), int(found["pid"]), plain(found["host"]), plain(found["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sign(folder, purpose):
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    told = {"purpose": purpose, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
    # What a killed holder left is overwritten. The lock holds without it, so a full disk does not matter here.
    with contextlib.suppress(OSError):
        (folder / HOLDER).write_text(json.dumps(told), "utf-8")
