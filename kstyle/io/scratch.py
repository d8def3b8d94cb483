"""Folders in the system's folder for temporary files that do not stay there, even if a process is killed."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from kstyle.errors import KStyleError
from kstyle.io import locks

PREFIX = "kstyle-film-"
YOUNG = 60.0  # seconds in which a folder may be new and not locked yet


@contextlib.contextmanager
def folder(purpose="painting a film"):
    """`with folder() as path:` an empty folder (but for its lock), removed at the end. What a killed process left of
    such folders is removed first: theirs is locked by nobody."""
    _clear()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as path, locks.held(path, purpose):
        yield path


def _clear():
    own = getattr(os, "getuid", lambda: None)()
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, KStyleError):
            status = left.lstat()
            mine = own is None or status.st_uid == own
            if mine and left.is_dir() and not left.is_symlink() and time.time() - status.st_mtime > YOUNG:
                with locks.held(left, "clearing up", wait=0):
                    pass
                shutil.rmtree(left)
