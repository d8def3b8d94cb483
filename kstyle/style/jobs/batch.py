"""Many contents in one style. A record beside the results lets the next run go on where this one stopped."""

import contextlib
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import crew, locks, signals
from kstyle.io.files import one_line
from kstyle.pictures import images
from kstyle.style import arguments, transfer
from kstyle.style.by_network import NetworkPainter
from kstyle.style.engine.loop import Step
from kstyle.style.jobs import apart
from kstyle.style.jobs.contents import Content, Paths, collect
from kstyle.style.jobs.films import frames
from kstyle.style.jobs.outcomes import Outcome, failed, look, paint, paint_in_work
from kstyle.style.jobs.record import Record, made, made_with
from kstyle.style.keeping.beside import InWork

log = logging.getLogger("kstyle")

# Where nobody says how many pictures are painted together, a batch has as many as add up to this number of pixels. On a
# processor that is one picture of 512 pixels, as larger batches were no faster (docs/benchmarks.md); on a GPU it is one
# of 1024. It never has more than MOST_TOGETHER pictures, since those in work are lost if the program is stopped.
AT_ONCE, AT_ONCE_ACCELERATED, MOST_TOGETHER = 512**2, 1024**2, 16
# Bytes of decoded pictures that wait for others of their shape; one of 9 megapixels is 108 million.
MOST_WAITING = 1 << 30


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
    cluster: str | None = None,
) -> Generator[tuple[Content, Outcome], None, None]:
    """Paints many contents in one style: a generator of what became of each.

    Network and style targets are prepared once, and only if something is to be painted. What the record in the folder,
    `batch.json`, calls done is skipped: the result is there, of a content of the same bytes, and was made with the same
    settings. A content that cannot be painted does not stop the rest.

    Args:
        painter: a `kstyle.Painter`, or a `kstyle.style.by_network.NetworkPainter`, which paints one by one, here.
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
        cluster: `"auto"` or `"HOST:PORT"` of a Ray cluster whose nodes paint, and see contents and folder under the
            same paths; `jobs` are then those for each GPU, or for each node where there are none.

    Returns:
        A generator of `(Content, Outcome)`: in natural order, or, where several are painted at a time, in the order in
        which they are done. Before the first, names are settled and the record is written. Each picture is noted as
        soon as it is done, so that the next run goes on from there, whatever stops the generator.

    Raises:
        UsageError: contents as `collect`, a suffix that is not written, `jobs` or `together` above 1 for a film, both
            above 1, settings that no content can be painted with, a folder that another process paints into, and a
            cluster that does not answer.
        DataError: the folder or a result cannot be written, the record is damaged, no weights can be had, or a job
            ended, for want of memory most likely, or all nodes of a cluster did.
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
    if cluster is not None and motion is not None:
        raise UsageError("A film is painted on one machine, as its frames follow each other: leave cluster out.")
    others, network = crew.chosen(jobs, cluster), isinstance(painter, NetworkPainter)
    if network and (others is not None or motion is not None or steps is not None):
        raise UsageError("A style network paints one picture after the other, in no steps: leave out jobs and steps.")
    together = _together(together, size, others is None and motion is None and not network, painter.deterministic)
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
    if others is not None:
        outcomes = apart.paint(painter, contents, record, digest, options, force, others)
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
        stamp, outcome = look(content, name, record, digest, force, chain)
        if outcome is None:
            painter.load()  # here: no content can be painted without weights, so that ends the batch
            target = record.folder / name
            with signals.kept():
                if isinstance(painter, NetworkPainter):
                    outcome, result = paint(functools.partial(painter.paint, content.path, options[0]), content, target)
                elif chain:
                    outcome, result = paint(functools.partial(chain.paint, *options, content), content, target)
                else:
                    work = InWork(painter, options, target, stamp, force)
                    outcome, result = paint_in_work(work, content.path, content, target)
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
                    outcome, _ = paint_in_work(InWork(painter, options, target, stamp, force), picture, content, target)
                    if outcome.state == "done":
                        record.keep(name, stamp)
                yield content, outcome
        else:
            yield from ((content, outcome) for (_, content, _, _), outcome in zip(batch, outcomes))

    for name, content in contents.items():
        begun = time.perf_counter()
        stamp, outcome = look(content, name, record, digest, force)
        if outcome is None:
            try:
                picture = images.read(content.path)
            except Exception as error:
                outcome = failed(content, error, begun)
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
                outcome, _ = paint(lambda result=result: result, content, record.folder / name)
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
