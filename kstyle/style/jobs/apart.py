"""A batch painted in other processes, of this machine or of a cluster. This one alone writes the record."""

import contextlib
import dataclasses
import logging
import logging.handlers
import os
import pickle
from pathlib import Path

from kstyle import plugins
from kstyle.errors import DataError
from kstyle.io import locks
from kstyle.io.crew import Lost, Work
from kstyle.io.files import one_line
from kstyle.style.engine import memory
from kstyle.style.jobs.outcomes import Outcome, look, paint_in_work
from kstyle.style.keeping.beside import InWork

log = logging.getLogger("kstyle")


def paint(painter, contents, record, digest, options, force, others):
    """A generator of `(Content, Outcome)`: those that are done before, then the others as they get done.

    Args:
        painter: a `kstyle.Painter`; each process gets a copy, and loads the network.
        contents: {name of the result: `Content`}.
        record: a `kstyle.style.jobs.record.Record`.
        digest: of the settings, from `Record.settings`.
        options: size, steps and seed, as for `Painter.paint`.
        force: paint what is done before, too.
        others: the processes, `unordered(work, tasks)` as `kstyle.io.crew.chosen` gives it.
    """
    stamps = {}
    for name, content in contents.items():
        stamps[name], outcome = look(content, name, record, digest, force)
        if outcome is not None:
            del stamps[name]
            yield content, outcome
    if not stamps:
        return
    painter.load()  # before the processes: weights are downloaded once, and if there are none no process is started
    # Full paths: on another machine the current folder may be another.
    folder = Path(os.path.abspath(record.folder))
    tasks = {name: (_located(contents[name]), folder / name, stamp, force, options) for name, stamp in stamps.items()}
    # The painter by itself, as it may be of classes that a plugin has.
    data = pickle.dumps((plugins.loaded(), folder, locks.holder(folder), pickle.dumps(painter)))
    with contextlib.closing(others(Work(_prepare, data, _paint), tasks)) as results:
        for name, result in results:
            content = contents[name]
            if isinstance(result, Lost):
                why = f"the process that painted it was ended, and so was the next ({result.why})."
                yield content, Outcome("failed", None, why)
                continue
            outcome, said = result
            for level, message in said:
                log.log(level, "%s: %s", content.path, message)
            if outcome.state == "done":
                outcome = dataclasses.replace(outcome, path=record.folder / name)
                record.keep(name, stamps[name])
            yield content, outcome


def _located(content):
    return dataclasses.replace(content, path=Path(os.path.abspath(content.path)))


def _prepare(data, sharing):
    """In another process: the painter, its network loaded, with its share of the memory."""
    files, folder, holder, painter = pickle.loads(data)
    if locks.holder(folder) != holder:
        raise DataError(f"{one_line(folder)} is another folder here than where the batch was started: it is not shared")
    plugins.load(files)
    painter = pickle.loads(painter)
    painter.load()
    painter.max_memory = (painter.max_memory or memory.available()) // sharing
    return painter


def _paint(painter, content, target, stamp, force, options):
    """In another process: `(outcome, [(level, message)] that were logged)`."""
    notes = logging.handlers.BufferingHandler(capacity=1000)
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        work = InWork(painter, options, target, stamp, force, stops=False)
        outcome, _ = paint_in_work(work, content.path, content, target)
    finally:
        log.removeHandler(notes)
    return outcome, [(note.levelno, note.getMessage()) for note in notes.buffer]
