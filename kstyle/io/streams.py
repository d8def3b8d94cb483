"""Pictures through pipes: `-` is standard input or output. No framework is needed."""

import contextlib
import io
import os
import shutil
import stat
import sys

from kstyle.errors import DataError, UsageError
from kstyle.io.files import one_line, reason, replacing

STANDARD = "-"
MOST_BYTES = 1 << 28  # of a stream, which has no size to be checked beforehand

_kept = None  # {path: bytes} while a command runs


@contextlib.contextmanager
def remembered():
    """While a command runs a stream may be read several times, as a file may: it is kept from the first time."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def is_stream(path):
    """Whether a path is standard input, a pipe or a device, which can be read only once, from begin to end."""
    if path == STANDARD:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def reading(path):
    """A file opened to be read, or what is in a stream as such a file. Errors as `read`."""
    return io.BytesIO(read(path)) if is_stream(path) else open(path, "rb")


def read(path):
    """The bytes of a stream.

    Raises:
        DataError: it is closed, a terminal, or has more than `MOST_BYTES`. OSError: it cannot be read.
    """
    if _kept is not None and path in _kept:
        return _kept[path]
    label = "standard input" if path == STANDARD else one_line(path)
    with contextlib.ExitStack() as stack:
        if path != STANDARD:
            file = stack.enter_context(open(path, "rb"))
        elif sys.stdin is None or sys.stdin.closed:
            raise DataError(f"{label}: is closed; pipe a picture into the command, or give a file.")
        else:
            file = sys.stdin.buffer
        if file.isatty():
            raise DataError(f"{label}: is a terminal; pipe a picture into the command, or give a file.")
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise DataError(f"{label}: refused: it has more than {MOST_BYTES:,} bytes. Save it as a file first.")
    if _kept is not None:
        _kept[path] = raw
    return raw


@contextlib.contextmanager
def writing(path):
    """`with writing(path) as stream:` what is written to `stream` becomes the file, or goes to standard output for `-`,
    whole and at the end, or not at all.

    Raises:
        DataError: it cannot be written.
    """
    if str(path) == STANDARD:
        stream = io.BytesIO()
        yield stream
        try:
            out = output()
            out.write(stream.getbuffer())
            out.flush()
        except OSError as error:
            raise DataError(f"standard output: cannot be written ({reason(error)}).") from error
        return
    with replacing(path) as beside, open(beside, "w+b") as stream:
        with contextlib.suppress(OSError):  # most often there is no file to replace
            shutil.copymode(path, beside)
        yield stream


def output():
    """Standard output, for bytes.

    Raises:
        UsageError: it is closed, or a terminal.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise UsageError("-o -: standard output is closed; redirect it to a file or a pipe, or give -o FILE.")
    if sys.stdout.isatty():
        raise UsageError("-o -: standard output is a terminal; redirect it to a file or a pipe, or give -o FILE.")
    return sys.stdout.buffer
