"""Stopping in good order: what Ctrl-C, SIGTERM and SIGHUP do, and when they wait.

They raise KeyboardInterrupt where the program happens to be. Where something is finished but not yet written they wait:

    with kept():
        result = paint()   # calls `hold` as soon as it has a result
        write(result)
    # a signal that came meanwhile is raised here
"""

import contextlib
import os
import signal
import threading
import time

# Those that this system has. A closed terminal sends SIGHUP, `kill` and a machine that shuts down send SIGTERM.
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_first = None  # the signal that asked this process to stop
_terminals = []  # descriptors of standard output and error that were one when the command began
_scopes = []  # of `kept`, innermost last


@contextlib.contextmanager
def handled(handler):
    """`with handled(handler):` these signals call `handler(number, frame, before)`; `before` is what handles them
    outside. One that is ignored, as by nohup, stays so. Outside the main thread, which gets the signals, this does
    nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    ours = [number for number, old in before.items() if old is not None and old != signal.SIG_IGN]
    try:
        for number in ours:
            signal.signal(number, lambda number, frame: (_note(number), handler(number, frame, before[number])))
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextlib.contextmanager
def orderly():
    """For a whole command: the first signal is a KeyboardInterrupt. While the program then saves what it has, a second
    is only answered, and a third Ctrl-C is a KeyboardInterrupt again."""
    global _first
    _first, came = None, []
    _terminals[:] = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

    def stop(number, frame, before):
        came.append(number)
        if len(came) == 1 or came.count(signal.SIGINT) > 2:
            raise KeyboardInterrupt
        if len(came) == 2:
            with contextlib.suppress(OSError):
                os.write(2, b"kstyle: stopping, what is painted is kept; Ctrl-C once more gives it up\n")

    with handled(stop):
        yield


@contextlib.contextmanager
def noted(ready=lambda: True):
    """`with noted() as came:` the first stop is only added to the list `came`, for a program that ends by itself where
    its parts fit each other; a second is a KeyboardInterrupt at once, and so is the first if not `ready()`."""
    came = []

    def note(number, frame, before):
        if came or not ready():
            raise KeyboardInterrupt
        came.append(number)
        if 2 in _terminals:  # a step may take minutes
            with contextlib.suppress(OSError):
                os.write(2, b"kstyle: stopping after this step; Ctrl-C once more stops at once\n")

    with handled(note):
        yield came


def exit_code():
    """Of a command that was stopped: 128 and the signal's number, as shells have it; 130 for Ctrl-C."""
    return 128 + (_first or signal.SIGINT)


class _Scope:
    def __init__(self):
        self.held, self.dropped, self.came = False, False, []


@contextlib.contextmanager
def kept():
    """`with kept():` what gets finished in the block is written in it: from `hold` on, signals wait for its end."""
    scope = _Scope()

    def wait(number, frame, before):
        if scope.held:
            scope.came.append(number)
        elif callable(before):
            before(number, frame)
        else:
            _end_by(number)

    try:
        with handled(wait):
            _scopes.append(scope)
            try:
                yield
            finally:
                _scopes.remove(scope)
    finally:
        if scope.came and not scope.dropped:
            signal.raise_signal(scope.came[0])


def hold(stopped=False):
    """Signals wait from now on until the innermost `kept` ends; without one this does nothing.

    Args:
        stopped: this is because of a signal: further ones are forgotten.
    """
    if _scopes and threading.current_thread() is threading.main_thread():
        _scopes[-1].held, _scopes[-1].dropped = True, stopped


def end_with(parent, interval=1.0):
    """Ends this process, at once and whatever it does, when its parent has ended, however that ended.

    Args:
        parent: its process number.
        interval: seconds between two looks.
    """

    def watch():
        while os.getppid() == parent:
            time.sleep(interval)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True, name="kstyle-parent").start()
        return
    from multiprocessing import parent_process  # elsewhere a process keeps the number of a parent that is gone

    if (process := parent_process()) is not None:
        threading.Thread(target=lambda: (process.join(), os._exit(1)), daemon=True, name="kstyle-parent").start()


def _note(number):
    global _first
    _first = _first or number
    if number == getattr(signal, "SIGHUP", None):  # what is written to a terminal that is gone would be an error
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in _terminals:
                os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _end_by(number):
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _is_terminal(descriptor):
    with contextlib.suppress(OSError):
        return os.isatty(descriptor)
    return False
