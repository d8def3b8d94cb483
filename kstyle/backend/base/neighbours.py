"""What other programs take of the processor's cores, as Linux counts it. No framework."""

import os
import time

INTERVAL = 1.0  # seconds over which it is measured: longer than a system's time slices, shorter than a user's patience


class Neighbours:
    """Measures from call to call.

    Args:
        read: returns (seconds that all programs computed, seconds that this process did), both ever growing.
    """

    def __init__(self, read=None):
        self._read = read or _read
        self._before = None

    def cores(self):
        """How many cores' worth of work others did since the last answer, 0 for none.

        Returns:
            A float; None where less than `INTERVAL` has passed, at the first call, and where the system does not say.
        """
        if self._before is not None and time.monotonic() - self._before[0] < INTERVAL:
            return None
        try:
            now = (time.monotonic(), *self._read())
        except (OSError, ValueError, IndexError, AttributeError):  # no Linux, or a sandbox without /proc
            return None
        before, self._before = self._before, now
        if before is None:
            return None
        wall, busy, own = (after - earlier for after, earlier in zip(now, before))
        return max(0.0, (busy - own) / wall)


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read():
    """Seconds that all programs, and that this process, computed on the cores that this process may use."""
    mine, busy = os.sched_getaffinity(0), 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *ticks = line.split()
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in mine:
                user, nice, system, _, _, irq, softirq = map(int, ticks[:7])
                busy += user + nice + system + irq + softirq
    own = os.times()
    return busy / os.sysconf("SC_CLK_TCK"), own.user + own.system
