"""Callbacks of a painting: functions, Keras' own, lists of both, and how they end it."""

import keras
import numpy as np
import pandas as pd
import pytest

from kstyle.errors import UsageError


@pytest.fixture
def content():
    return np.linspace(0, 1, 32 * 24 * 3, dtype="float32").reshape(32, 24, 3)


SIZES = {"scales.smallest": 32, "scales.steps": [4, 6]}


def test_a_function_ends_the_painting(painter, content):
    """Failure: what a callback returns is ignored, the step after it is taken too, or the next size is begun."""
    steps = []

    def after(step):
        steps.append(step.step)
        return step.step == 2

    others = []
    result = painter.paint(content, 64, 8, callback=[after, others.append])
    assert steps == [0, 1, 2] and len(result.history) == len(others) == 3
    assert result.rgb.shape == (64, 48, 3) and np.isfinite(result.rgb).all()
    whole = painter.paint(content, 64, 8, callback=lambda step: None)
    assert len(whole.history) == 8 and (whole.history["loss"][:3] == result.history["loss"]).all()


def test_keras_own(painter, content, tmp_path):
    """Failure: Keras' callbacks see no losses, cannot stop, or leave their files unfinished."""
    log = tmp_path / "log.csv"
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
    result = painter.paint(content, 32, 8, callback=[keras.callbacks.CSVLogger(log), stop])
    table = pd.read_csv(log)
    assert list(table["epoch"]) == [0, 1] and len(result.history) == 2
    np.testing.assert_allclose(table["loss"], result.history["loss"], rtol=1e-6)
    assert {"content", "style"} <= set(table.columns)


def test_a_batch_ends_as_a_whole(painter, content):
    """Failure: one picture of a batch goes on, though what was asked to watch it has ended it."""
    results = painter.paint_together([content, content[::-1]], 32, 8, callback=lambda step: step.step == 3)
    assert [len(result.history) for result in results] == [4, 4]


def test_what_is_no_callback(painter, content):
    """Failure: it is told after minutes of work, by a traceback."""
    with pytest.raises(UsageError, match="expected a function or a callback of Keras'; got 3"):
        painter.paint(content, 32, 2, callback=[3])
