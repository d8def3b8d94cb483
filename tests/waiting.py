"""Waiting for what another process does: for the thing itself, with a time that only a fault takes."""

import time


def until(condition, process=None, seconds=300):
    """Returns when `condition()` holds, or `process` has ended, whose exit the test then judges.

    Raises:
        AssertionError: neither, after so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition() and (process is None or process.poll() is None):
        assert time.monotonic() < end, f"still waiting after {seconds} s"
        time.sleep(0.02)
