"""One content of a batch: whether it is to be painted, how, and what became of it."""

import contextlib
import functools
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io.files import one_line, reason
from kstyle.style.target import put

log = logging.getLogger("kstyle")


@dataclass(frozen=True)
class Outcome:
    """What became of a content.

    Attributes:
        state: `"done"`, `"skipped"` (it was done before) or `"failed"`.
        path: of the result; None where it failed.
        error: why it failed, in one line without the file's name; "" otherwise.
        seconds: that it took.
    """

    state: str
    path: Path | None = None
    error: str = ""
    seconds: float = 0.0


def look(content, name, record, digest, force, chain=None):
    """`(stamp, outcome)` of a content: what the record is to say of it; and an `Outcome` if it failed or is skipped, or
    None if it is to be painted."""
    begun = time.perf_counter()
    try:
        # Before it is read, so that one that changes meanwhile is painted again.
        stamp = {**record.stamp(name, content), "settings": digest}
    except (DataError, OSError) as error:
        return None, failed(content, error, begun)
    if force or not record.is_done(name, stamp, chain):
        return stamp, None
    record.note(name, {**record.entries[name], **stamp})
    return stamp, Outcome("skipped", record.folder / name)


def paint_in_work(work, picture, content, target):
    """`paint` of a `kstyle.style.keeping.beside.InWork`."""
    outcome, result = paint(functools.partial(work.paint, picture), content, target)
    if result is not None:
        work.done()
    return outcome, result


def paint(make, content, target):
    """`(outcome, result)` of a painting, what `make()` returns, which is written; the result is None where it failed.

    Raises:
        UsageError: no content can be painted with these settings. DataError: it cannot be written.
    """
    begun = time.perf_counter()
    try:
        result = make()
    except UsageError:
        raise
    except Exception as error:
        return failed(content, error, begun), None
    with contextlib.suppress(OSError):  # if there can be no folder, `put` finds another place and says why
        target.parent.mkdir(parents=True, exist_ok=True)
    put(result, target)
    return Outcome("done", target, seconds=time.perf_counter() - begun), result


def failed(content, error, begun):
    """The `Outcome` of a content that an error kept from being painted."""
    log.debug("%s", content.path, exc_info=error)
    return Outcome("failed", None, _said(error, content), time.perf_counter() - begun)


def _said(error, content):
    """Why a content failed, in one line without its name."""
    if isinstance(error, OSError):
        return f"{reason(error)}."
    text = one_line(error)
    if not isinstance(error, DataError):
        if backend.out_of_memory(error):  # while reading or writing; while painting, Painter.paint says which size fits
            return "takes more memory than there is: make the file smaller."
        return f"unexpected {type(error).__name__}: {text[:300]}"
    return text.removeprefix(f"{one_line(content.path)}: ")
