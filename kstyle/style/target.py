"""The file that a painting goes to: its name, what it must not replace, its snapshots, and another place at need."""

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from kstyle.errors import DataError, KStyleError
from kstyle.io import files, names, streams
from kstyle.io.files import one_line
from kstyle.pictures import images

log = logging.getLogger("kstyle")


class Target:
    """Where a painting goes.

    `with target:` claims a name that was not given, so that two who paint the same have two pictures; `target.path` is
    then the name that was free.

    Args:
        path: of the picture to be; None: `CONTENT-STYLE.png` in the current folder, or the next free name.
        pictures: content and styles, paths, of which a name is made.
        inputs: further files that are read, none of which may be replaced.
        every: a snapshot, `NAME-stepNNNN`, after every so many steps; None: none.

    Raises:
        UsageError, DataError: the picture cannot be written there, or would replace what is read.
    """

    def __init__(self, path, pictures, inputs=(), every=None):
        self._every, self._failed = every, False
        name = path or _default(pictures)
        self.path = images.check_target(name)
        self._claim = contextlib.nullcontext(self.path) if path else files.claimed(self.path)
        replaced = [self.path, *(names.snapshots(self.path, every) if every else ())]
        names.check_spares(replaced, [*pictures, *inputs])

    def __enter__(self):
        self.path = self._claim.__enter__()
        return self

    def __exit__(self, *error):
        return self._claim.__exit__(*error)

    @property
    def piped(self):
        """Whether it is standard output."""
        return str(self.path) == streams.STANDARD

    def snapshot(self, step):
        """Writes the picture after every so many steps. One that cannot be written is not the end of the painting.

        Args:
            step: `kstyle.style.engine.loop.Step`.
        """
        if not self._every or (step.step + 1) % self._every:
            return
        try:
            images.write(names.snapshot(self.path, step.step + 1), step.image(), step.alpha())
        except KStyleError as error:
            if not self._failed:
                log.warning("%s The painting goes on; of snapshots that fail only this one is told.", error)
            self._failed = True

    def write(self, result):
        """Writes the finished painting, see `put`."""
        return put(result, self.path)


def _default(pictures):
    stems = ["pipe" if streams.is_stream(path) else Path(path).stem for path in pictures]
    return Path(f"{files.cut('-'.join(stems), 150)}.png")


class Elsewhere(DataError):
    """The picture was written, but not where it should be. `path`: where it is; None: nowhere, all places failed."""

    def __init__(self, error, path):
        reason = str(error).rstrip(".")
        where = f"the picture is in {one_line(path)}" if path else "and no other place took the picture either"
        super().__init__(f"{reason}; {where}.")
        self.path = path

    def __reduce__(self):  # from one process to another goes what it says
        return DataError, (str(self),)


def put(result, target):
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
