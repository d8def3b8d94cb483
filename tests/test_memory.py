"""What a picture's optimiser takes of the machine's memory."""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kstyle import backend
from kstyle.nn import optimizers

ops = keras.ops


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_zeros_to_fill():
    """Failure: the history begins with what was in memory before, or with another shape."""
    zeros = backend.zeros_to_fill((3, 5))
    assert np.array_equal(ops.convert_to_numpy(zeros), np.zeros((3, 5)))
    assert ops.convert_to_numpy(backend.zeros_to_fill((2,), dtype="int32")).dtype == np.int32


@pytest.mark.skipif(
    sys.platform != "linux" or backend.NAME != "torch" or backend.accelerated(), reason="torch on a CPU under Linux"
)
def test_a_history_takes_memory_as_it_fills():
    """Failure: gatys takes the memory of a hundred pairs in its first step, 1.6 times that of the authors' program."""
    side, history = 300, 100
    picture = keras.Variable(np.zeros((side, side, 3), "float32"))
    all_pairs = 2 * history * picture.value.nelement() * 4
    before = resident()
    optimizer = optimizers.make("lbfgs", history=history, first_step=0.01)
    optimizer.build([picture])
    for step in range(3):
        optimizer.apply([ops.cast(picture.value * (1 + step) - 1, "float32")], [picture])
    assert optimizer._state[0]["length"].value > 0  # a pair is stored
    assert resident() - before < all_pairs / 4
