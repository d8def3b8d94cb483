"""What `--devices N` starts, and how what it started ends without a word of its own."""

import contextlib
import os
import time

import click

import kstyle
from kstyle.errors import KStyleError, UsageError
from kstyle.io import signals

# Seconds that a rank with something to report leaves the first rank to report the same.
FIRST_SAYS = 3


def asked(devices, jax=True):
    """Whether `--devices` asks this process to start others.

    Args:
        jax: on JAX this process does the work on all of them by itself; else it cannot.

    Raises:
        UsageError: it is one of several already, and nobody here has started it; or the backend cannot.
    """
    from kstyle.backend import distribute
    from kstyle.backend.by_torch import launch

    if launch.LAUNCHER in os.environ:
        return False
    if distribute.world() > 1:
        raise UsageError(f"--devices {devices}: torchrun has started {distribute.world()} ranks: leave --devices out.")
    if devices > 1 and kstyle.BACKEND == "jax" and jax:
        distribute.over_devices(devices)
        return False
    if devices > 1 and kstyle.BACKEND != "torch":
        needed = "torch or JAX" if jax else "torch"
        raise UsageError(f"--devices {devices}: several devices need {needed}; this is {kstyle.BACKEND}.")
    return devices > 1


def start(devices, again, **more):
    """Runs this command line as so many ranks. Returns the exit code; arguments and errors as
    `kstyle.backend.by_torch.launch.launch`."""
    from kstyle.backend.by_torch import launch

    return launch.launch(click.get_current_context().find_object(tuple), devices, again, **more)


@contextlib.contextmanager
def one_of_several():
    """For a process that is one of several ranks: whoever started it, and the first rank, speak for it. Alone it does
    nothing."""
    from kstyle.backend import distribute
    from kstyle.backend.by_torch import launch

    launcher = os.environ.get(launch.LAUNCHER)
    if distribute.world() == 1:
        yield
        return
    if launcher:
        signals.end_with(int(launcher))
    if not distribute.first():  # most often all have the same to say
        import logging

        logging.getLogger("kstyle").setLevel(logging.ERROR)
    try:
        yield
    except distribute.Lost:
        if launcher:
            raise click.exceptions.Exit(launch.LOST) from None
        raise
    except KStyleError:
        if not distribute.first():
            time.sleep(FIRST_SAYS)
        raise
    except KeyboardInterrupt:  # the launcher passes stops on, and ends ranks so where another has ended
        if launcher:
            raise click.exceptions.Exit(launch.LOST) from None
        if not distribute.first():
            raise click.exceptions.Exit(130) from None
        raise
