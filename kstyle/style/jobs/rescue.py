"""A painting that cannot be written where it should go is written elsewhere."""

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from kstyle.errors import DataError, KStyleError
from kstyle.io import files, streams
from kstyle.io.files import one_line

log = logging.getLogger("kstyle")


class Elsewhere(DataError):
    """The picture was written, but not where it should be. `path`: where it is; None: nowhere, all places failed."""

    def __init__(self, error, path):
        reason = str(error).rstrip(".")
        where = f"the picture is in {one_line(path)}" if path else "and no other place took the picture either"
        super().__init__(f"{reason}; {where}.")
        self.path = path


def write(result, target):
    """Writes a `kstyle.style.result.Result`, `result.write(target)`. It may have taken hours, so that a full disk or a
    folder that is gone must not lose it.

    Returns:
        The path.

    Raises:
        Elsewhere: (a DataError) it is somewhere else, which the message names: beside `target`, or in the system's
            folder for temporary files, the home folder or the current one, as PNG.
    """
    try:
        return result.write(target)
    except (OSError, KStyleError) as error:
        raise Elsewhere(error, _elsewhere(result, Path(target))) from error


def _elsewhere(result, target):
    if str(target) == streams.STANDARD:
        target = Path("painting.png")
    for place in (lambda: target.parent, _temporary, Path.home, Path.cwd):
        folder = None
        try:
            folder = place()
            with files.claimed(folder / files.ending(target, "", ".png").name) as free:
                return Path(os.path.abspath(result.write(free)))
        except (OSError, RuntimeError, KStyleError) as error:  # RuntimeError: there is no home folder
            log.debug("no rescue: %s", one_line(error))
        if place is _temporary and folder:
            with contextlib.suppress(OSError):
                folder.rmdir()
    return None


def _temporary():
    return Path(tempfile.mkdtemp(prefix="kstyle-"))  # of our own: in the shared one others may have taken the name
