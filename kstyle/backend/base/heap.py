"""How much freed memory the C library keeps, and memory that is taken beside it."""

import contextlib
import ctypes
import math
import mmap

import numpy as np


def keep_memory(all_of_it):
    """Lets glibc keep what is freed for the next step. By default it gives every large array back to the system, which
    then clears the same pages anew: a fifth of a training step's time on some machines. Of a painting it keeps half a
    gigabyte: with all of it large pictures leave holes that nothing else fits into (docs/benchmarks.md)."""
    with contextlib.suppress(OSError, AttributeError):  # another system, another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0 if all_of_it else 65536)  # M_MMAP_MAX: how many arrays may have a mapping of their own
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: bytes from which on they have one, the largest it takes
        mallopt(-1, 2**31 - 1 if all_of_it else 2**29)  # M_TRIM_THRESHOLD: bytes that are kept at the heap's end


def give_back():
    """Gives what glibc keeps back to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def zeros(shape, dtype):
    """Zeros that take memory page by page with the first writing; reading takes none. The C library's own do so only
    where it has no freed piece of that size, which it clears by writing."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < 2**20 or not hasattr(mmap, "MAP_PRIVATE"):  # the latter: Windows
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype).reshape(shape)
