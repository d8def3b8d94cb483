"""A picture of a batch in work: one that takes longer than a minute has a checkpoint beside the result to be."""

import contextlib
import logging

from kstyle.errors import DataError
from kstyle.io import files
from kstyle.style.keeping.checkpoint import Checkpoint, finish

log = logging.getLogger("kstyle")


class InWork:
    """A picture to be painted, from where a run that was ended had come to.

    Args:
        painter: `kstyle.style.transfer.Painter`.
        options: size, steps, seed and callback, as for `Painter.paint`.
        target: path of the result.
        stamp: what tells the content and the settings, {"sha256", "settings"} of a `kstyle.style.jobs.record.Record`.
        fresh: begin anew, whatever there is.
        stops: a stop waits for the end of a step where there is something to save.
    """

    def __init__(self, painter, options, target, stamp, fresh=False, stops=True):
        self._painter, self._options, self._fresh, self._stops = painter, options, fresh, stops
        of = {"sha256": stamp["sha256"], "settings": stamp["settings"], "weights": painter.load().sha256}
        self._checkpoint = _Beside(target.with_name(f".{files.cut(target.name, 200)}.state"), of=of)

    def paint(self, content):
        """Paints it, a picture as for `Painter.paint`; returns and raises the same."""
        painting = self._painter.painting(content, *self._options)
        if found := None if self._fresh else self._found():
            painting.resume(*found)
            log.info("%s: on after step %d of %d", painting.content.name, len(painting.history.rows), painting.steps)
        ready = (lambda: painting.canvas is not None and self._checkpoint.late) if self._stops else None
        return finish(self._painter, painting, self._checkpoint, ready)

    def done(self):
        """The picture is written: there is nothing to go on with."""
        self._checkpoint.remove()

    def _found(self):
        try:
            arrays, facts, of = self._checkpoint.load() or (None, None, None)
        except DataError as error:
            log.warning("%s The picture is begun anew.", error)
            return None
        return (arrays, facts) if of == self._checkpoint.of else None


class _Beside(Checkpoint):
    def save(self, painting):
        with contextlib.suppress(OSError):  # if there can be no folder, the file's own error says why
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return super().save(painting)
