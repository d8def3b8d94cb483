"""Processes of this machine that work for this one, and end with it."""

import contextlib
import functools
import os
import signal
import threading
import warnings
from concurrent.futures.process import BrokenProcessPool

from kstyle.errors import DataError
from kstyle.io import scratch, signals


def unordered(work, tasks, jobs):
    """The results of tasks, in the order in which they are done, from `jobs` processes.

    The processes work in the folder that this one is in now. They leave Ctrl-C and a closed terminal to this one. They
    end with it, however it ends, and when the generator is closed.

    Args:
        work: a `kstyle.io.crew.Work`.
        tasks: {key: the arguments of a task}, of what can be sent to another process.
        jobs: how many processes; no more than there are tasks.

    Returns:
        A generator of `(key, result)`. An error of a task ends it.

    Raises:
        DataError: a process was ended from outside.
    """
    import joblib  # here: for several jobs only

    jobs = min(jobs, len(tasks))
    with scratch.folder("working in several processes") as apart:
        # Through a file, so that each process reads it once and not with every task.
        shared = os.path.join(apart, "work.pickle")
        with open(shared, "wb") as file:
            file.write(work.data)
        # Copy on write: a result may be made in an array that the jobs share.
        parallel = joblib.Parallel(
            jobs, return_as="generator_unordered", batch_size=1, mmap_mode="c",
            initializer=_begin, initargs=(os.getpid(), os.getcwd()),
        )  # fmt: skip
        do = joblib.delayed(_do)
        with _ignored(), _quiet():  # which the processes inherit
            done = parallel(do(work.prepare, shared, jobs, work.function, key, task) for key, task in tasks.items())
        try:
            yield from done
        except BrokenProcessPool as error:
            raise DataError(
                f"One of {jobs} jobs was ended from outside, most likely for want of memory: try fewer jobs, or a "
                "smaller size. What is done is kept."
            ) from error
        finally:
            with warnings.catch_warnings(action="ignore"):  # joblib's, that some jobs are not done yet: it was stopped
                done.close()


def _do(prepare, shared, sharing, function, key, task):
    return key, function(_prepared(prepare, shared, sharing), *task)


@functools.lru_cache(maxsize=1)
def _prepared(prepare, shared, sharing):
    with open(shared, "rb") as file:
        return prepare(file.read(), sharing)


def _begin(parent, folder):
    """In a new process. Joblib keeps processes for the next call where it has the same arguments for them, so one in
    another folder gets new ones."""
    signals.end_with(parent)
    os.chdir(folder)


@contextlib.contextmanager
def _ignored():
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in signals.STOPS if number != signal.SIGTERM]  # by which alone they can be ended
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _quiet():
    """The process that clears away what stopped ones leave does so without a word: a semaphore that was given back as
    the stop came is none of the user's business."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    try:
        yield
    finally:
        os.environ.pop("PYTHONWARNINGS") if before is None else os.environ.update(PYTHONWARNINGS=before)
