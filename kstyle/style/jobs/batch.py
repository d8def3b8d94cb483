"""Many contents in one style. A record beside the results lets the next run go on where this one stopped."""

import contextlib
import dataclasses
import functools
import logging
import logging.handlers
import os
import pickle
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kstyle import backend, plugins
from kstyle.errors import DataError, UsageError
from kstyle.io import locks, pool, scratch, signals
from kstyle.io.files import one_line, reason
from kstyle.pictures import images
from kstyle.style import arguments, transfer
from kstyle.style.engine import memory
from kstyle.style.engine.loop import Step
from kstyle.style.jobs.contents import Content, Paths, collect
from kstyle.style.jobs.films import frames
from kstyle.style.jobs.record import Record, made, made_with
from kstyle.style.keeping.beside import InWork
from kstyle.style.target import put

log = logging.getLogger("kstyle")

# Where nobody says how many pictures are painted together, a batch has as many as add up to this number of pixels. On a
# processor that is one picture of 512 pixels, as larger batches were no faster (docs/benchmarks.md); on a GPU it is one
# of 1024. It never has more than MOST_TOGETHER pictures, since those in work are lost if the program is stopped.
AT_ONCE, AT_ONCE_ACCELERATED, MOST_TOGETHER = 512**2, 1024**2, 16
# Bytes of decoded pictures that wait for others of their shape; one of 9 megapixels is 108 million.
MOST_WAITING = 1 << 30


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


def stylize_all(
    painter: transfer.Painter,
    contents: Paths | Iterable[Content],
    folder: str | os.PathLike[str],
    size: int = 512,
    steps: int | None = None,
    seed: int = 0,
    callback: Callable[[Step], Any] | None = None,
    *,
    recursive: bool = False,
    suffix: str = ".png",
    force: bool = False,
    motion: frames.Motion | None = None,
    jobs: int = 1,
    together: int | None = None,
) -> Generator[tuple[Content, Outcome], None, None]:
    """Paints many contents in one style: a generator of what became of each.

    Network and style targets are prepared once, and only if something is to be painted. What the record in the folder,
    `batch.json`, calls done is skipped: the result is there, of a content of the same bytes, and was made with the same
    settings. A content that cannot be painted does not stop the rest.

    Args:
        painter: a `kstyle.Painter`.
        contents: paths of files and folders, or what `collect` returned.
        folder: of the results; made if need be. Each is named as its content; of two with one name, the second in
            natural order gets a number, and keeps it. A file that is not in the record is never replaced.
        size, steps, seed, callback: as for `Painter.paint`.
        recursive: pictures in folders below too; results keep the tree.
        suffix: of the results, one of `kstyle.pictures.images.FORMATS`.
        force: nothing is skipped.
        motion: a `kstyle.style.jobs.films.frames.Motion` if the contents are the frames of a film, in order: each
            begins from the result before it and is held to it.
        jobs: processes that paint at the same time, each with its share of the processor's cores and a network of its
            own; small pictures leave cores idle. `callback` is not called then.
        together: pictures of one shape that are painted as a batch. None: as many as keep the machine busy; but 1 for a
            film, with several jobs, and for a deterministic painter, as rounding depends on what else is in the batch.

    Returns:
        A generator of `(Content, Outcome)`: in natural order, or, where several are painted at a time, in the order in
        which they are done. Before the first, names are settled and the record is written. Each picture is noted as
        soon as it is done, so that the next run goes on from there, whatever stops the generator.

    Raises:
        UsageError: contents as `collect`, a suffix that is not written, `jobs` or `together` above 1 for a film, both
            above 1, settings that no content can be painted with, and a folder that another process paints into.
        DataError: the folder or a result cannot be written, the record is damaged, no weights can be had, or a job
            ended, for want of memory most likely.
        Interrupted, KeyboardInterrupt: Ctrl-C, as `Painter.paint`; of a picture in work that has taken over a minute a
            checkpoint is kept, which the next run goes on from, of others nothing.

    >>> import kstyle
    >>> painter = kstyle.Painter("night.jpg")  # doctest: +SKIP
    >>> for content, outcome in kstyle.batch(painter, "photos", "painted", size=256):  # doctest: +SKIP
    ...     print(content.name, outcome.state)
    """
    if suffix not in images.FORMATS:
        raise UsageError(f"Pictures are written as {', '.join(images.FORMATS)}, not '{suffix}'.")
    if jobs < 1 or (jobs > 1 and motion is not None):
        raise UsageError(f"jobs must be 1 or more, and 1 for a film, whose frames follow each other; got {jobs}.")
    together = _together(together, size, jobs == 1 and motion is None, painter.deterministic)
    arguments.check_numbers(size, steps, seed)
    given: Any = [contents] if isinstance(contents, (str, os.PathLike)) else list(contents)
    if not all(isinstance(content, Content) for content in given):
        given = collect(given, recursive, folder)
    if motion is not None:
        frames.check(motion, painter.settings)
    stack = contextlib.ExitStack()
    try:
        results = made(folder)
        stack.enter_context(locks.held(results, "painting pictures"))
        record = Record(results)
        names = record.assign(given, suffix)
        record.clear(names)
        digest = record.settings(made_with(painter, size, steps, seed, motion), names)
        record.save()
    except BaseException:
        stack.close()
        raise
    contents, options = dict(zip(names, given)), (size, steps, seed)
    if jobs > 1:
        outcomes = _at_once(painter, contents, record, digest, options, force, jobs)
    elif together > 1:
        outcomes = _in_batches(painter, contents, record, digest, (*options, callback), force, together)
    else:
        outcomes = _one_by_one(painter, contents, record, digest, (*options, callback), force, motion)
    return _until(outcomes, record, stack)


def _until(outcomes, record, stack):
    """`outcomes`, then the record is saved and `stack` closed; also where the generator is closed before its end."""
    with stack:
        try:
            with contextlib.closing(outcomes):
                yield from outcomes
        except BaseException:
            with contextlib.suppress(DataError):  # the journal has what got done; the first error is worth more
                record.save()
            raise
        record.save()


def _one_by_one(painter, contents, record, digest, options, force, motion):
    chain = None if motion is None else frames.Chain(painter, motion, *options[:2])
    for name, content in contents.items():
        stamp, outcome = _look(content, name, record, digest, force, chain)
        if outcome is None:
            painter.load()  # here: no content can be painted without weights, so that ends the batch
            target = record.folder / name
            with signals.kept():
                if chain:
                    outcome, result = _paint(functools.partial(chain.paint, *options, content), content, target)
                else:
                    work = InWork(painter, options, target, stamp, force)
                    outcome, result = _work(work, content.path, content, target)
                if result is not None:
                    record.keep(name, {**stamp, **(chain.facts(result) if chain else {})})
        if chain and outcome.path:
            chain.add(content, outcome.path, record.entries[name])
        yield content, outcome


def _together(asked, size, possible, deterministic):
    if asked is None:
        pixels = AT_ONCE_ACCELERATED if backend.accelerated() else AT_ONCE
        return max(1, min(pixels // size**2, MOST_TOGETHER)) if possible and not deterministic else 1
    if asked < 1 or (asked > 1 and not possible):
        raise UsageError(f"together must be 1 or more, and 1 for a film and with several jobs; got {asked}.")
    return asked


def _in_batches(painter, contents, record, digest, options, force, together):
    waiting = {}  # {shape: [(name, content, picture, stamp)]}

    def painted(batch):
        painter.load()
        outcomes = _paint_together(painter, batch, record, options)
        if outcomes is None:
            for name, content, picture, stamp in batch:
                target = record.folder / name
                with signals.kept():
                    outcome, _ = _work(InWork(painter, options, target, stamp, force), picture, content, target)
                    if outcome.state == "done":
                        record.keep(name, stamp)
                yield content, outcome
        else:
            yield from ((content, outcome) for (_, content, _, _), outcome in zip(batch, outcomes))

    for name, content in contents.items():
        begun = time.perf_counter()
        stamp, outcome = _look(content, name, record, digest, force)
        if outcome is None:
            try:
                picture = images.read(content.path)
            except Exception as error:
                outcome = _failed(content, error, begun)
        if outcome is not None:
            yield content, outcome
            continue
        shape = images.fit(picture.size, options[0])
        batch = waiting.setdefault(shape, [])
        batch.append((name, content, picture, stamp))
        if len(batch) == together:
            yield from painted(waiting.pop(shape))
        elif sum(map(_bytes, waiting.values())) > MOST_WAITING:
            yield from painted(waiting.pop(max(waiting, key=lambda shape: _bytes(waiting[shape]))))
    for batch in waiting.values():
        yield from painted(batch)


def _bytes(batch):
    """Of its pictures and their opacity, as the floats that they become."""
    parts = [part for _, _, picture, _ in batch for part in (picture.values, picture.alpha) if part is not None]
    return sum(4 * part.size for part in parts)


def _paint_together(painter, batch, record, options):
    """An `Outcome` for each of `batch`, written and in the record; None where they have to be painted one by one."""
    if len(batch) == 1:
        return None
    begun, outcomes, fault = time.perf_counter(), [], None
    with signals.kept():
        try:
            results = painter.paint_together([picture for _, _, picture, _ in batch], *options)
        except UsageError:
            raise
        except Exception as error:  # one picture is at fault, or a batch takes too much memory: one by one it shows
            log.info("a batch of %d is painted one by one (%s)", len(batch), one_line(error)[:300])
            log.debug("", exc_info=error)
            return None
        seconds = (time.perf_counter() - begun) / len(batch)
        for result, (name, content, _, stamp) in zip(results, batch):
            try:
                outcome, _ = _paint(lambda result=result: result, content, record.folder / name)
            except DataError as error:  # the others are painted too: they are written before this ends the run
                if fault:
                    log.warning("%s", error)
                fault = fault or error
                continue
            record.keep(name, stamp)
            outcomes.append(dataclasses.replace(outcome, seconds=seconds))
        if fault:
            raise fault
    return outcomes


def _at_once(painter, contents, record, digest, options, force, jobs):
    stamps = {}
    for name, content in contents.items():
        stamps[name], outcome = _look(content, name, record, digest, force)
        if outcome is not None:
            del stamps[name]
            yield content, outcome
    if stamps:
        painter.max_memory = (painter.max_memory or memory.available()) // jobs
        painter.load()  # before the jobs: weights are downloaded once, and if there are none no job is started
        with scratch.folder("painting several pictures at once") as apart:
            # Through a file, so that each process reads it once and not with every content.
            shared = os.path.join(apart, "painter.pickle")
            with open(shared, "wb") as file:
                pickle.dump(plugins.loaded(), file)
                pickle.dump(painter, file)
            tasks = [
                (_paint_there, (shared, name, contents[name], record.folder / name, stamp, force, options))
                for name, stamp in stamps.items()
            ]
            yield from _painted(pool.unordered(tasks, min(jobs, len(stamps))), contents, record, stamps, jobs)


def _painted(outcomes, contents, record, stamps, jobs):
    """`outcomes` of `_paint_there` from jobs, noted in the record."""
    try:
        for name, outcome, said in outcomes:
            for level, message in said:
                log.log(level, "%s: %s", contents[name].path, message)
            if outcome.state == "done":
                record.keep(name, stamps[name])
            yield contents[name], outcome
    except BrokenProcessPool as error:
        raise DataError(
            f"One of {jobs} jobs was ended from outside, most likely for want of memory: try fewer jobs, or a "
            "smaller size. What is done is kept."
        ) from error
    finally:
        with warnings.catch_warnings(action="ignore"):  # joblib's, that some jobs are not done yet: it was stopped
            outcomes.close()


def _look(content, name, record, digest, force, chain=None):
    """`(stamp, outcome)` of a content: what the record is to say of it; and an `Outcome` if it failed or is skipped, or
    None if it is to be painted."""
    begun = time.perf_counter()
    try:
        # Before it is read, so that one that changes meanwhile is painted again.
        stamp = {**record.stamp(name, content), "settings": digest}
    except (DataError, OSError) as error:
        return None, _failed(content, error, begun)
    if force or not record.is_done(name, stamp, chain):
        return stamp, None
    record.note(name, {**record.entries[name], **stamp})
    return stamp, Outcome("skipped", record.folder / name)


def _work(work, picture, content, target):
    """`_paint` of what is `InWork`."""
    outcome, result = _paint(functools.partial(work.paint, picture), content, target)
    if result is not None:
        work.done()
    return outcome, result


def _paint(paint, content, target):
    """`(outcome, result)`; the result is None where it failed."""
    begun = time.perf_counter()
    try:
        result = paint()
    except UsageError:
        raise
    except Exception as error:
        return _failed(content, error, begun), None
    with contextlib.suppress(OSError):  # if there can be no folder, `put` finds another place and says why
        target.parent.mkdir(parents=True, exist_ok=True)
    put(result, target)
    return Outcome("done", target, seconds=time.perf_counter() - begun), result


def _failed(content, error, begun):
    log.debug("%s", content.path, exc_info=error)
    return Outcome("failed", None, _said(error, content), time.perf_counter() - begun)


@functools.lru_cache(maxsize=1)
def _shared(path):
    """In a job: the painter from the file that the main process wrote, its network loaded. Read once a process."""
    with open(path, "rb") as file:
        plugins.load(pickle.load(file))
        painter = pickle.load(file)
    painter.load()
    return painter


def _paint_there(shared, name, content, target, stamp, force, options):
    """In a job: `(name, outcome, [(level, message)] that were logged)`."""
    own = _shared(shared)
    notes = logging.handlers.BufferingHandler(capacity=1000)
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        outcome, _ = _work(InWork(own, options, target, stamp, force, stops=False), content.path, content, target)
    finally:
        log.removeHandler(notes)
    return name, outcome, [(note.levelno, note.getMessage()) for note in notes.buffer]


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
