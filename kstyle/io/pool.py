"""Processes that work for this one, and end with it."""

import contextlib
import os
import signal
import threading

from kstyle.io import signals


def unordered(tasks, jobs):
    """What functions return, in the order in which they are done, from `jobs` processes.

    The processes work in the folder that this one is in now. They leave Ctrl-C and a closed terminal to this one. They
    end with it, however it ends, and when the generator is closed.

    Args:
        tasks: [(function, arguments)], of what can be sent to another process.
        jobs: how many processes.

    Returns:
        A generator. It raises `concurrent.futures.process.BrokenProcessPool` where a process was ended from outside.
    """
    import joblib  # here: for several jobs only

    # Copy on write: a result may be made in an array that the jobs share.
    parallel = joblib.Parallel(
        jobs, return_as="generator_unordered", batch_size=1, mmap_mode="c",
        initializer=_begin, initargs=(os.getpid(), os.getcwd()),
    )  # fmt: skip
    with _ignored(), _quiet():  # which the processes inherit
        return parallel(joblib.delayed(function)(*arguments) for function, arguments in tasks)


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
