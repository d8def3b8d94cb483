"""What a network sees in pictures with the head that it learnt on ImageNet, without a training."""

import logging
import os
from pathlib import Path

from kstyle.errors import DataError, UsageError, did_you_mean
from kstyle.io.files import expanded, one_line
from kstyle.models import registry

log = logging.getLogger("kstyle")

_NAMES = Path(__file__).with_name("imagenet.txt")


def classes():
    """The names of ImageNet's 1000 classes, a list in the order of the heads."""
    return [line for line in _NAMES.read_text("utf-8").splitlines() if not line.startswith("#")]


def network(run):
    """The network that is named in place of a run's folder. Loads no framework.

    Args:
        run: a folder, or the name of a network. What is there as a file or folder is no name.

    Returns:
        Its `kstyle.models.rows.row.Network`, or None.

    Raises:
        UsageError: it is the name of a network without an ImageNet head that kstyle reads, or nearly that of one with.
    """
    name, path = os.fspath(run), expanded(run)
    if os.path.exists(path):
        return None
    known = [row.name for row in registry.rows() if _has_head(row)]
    if name in known:
        return registry.get(name)
    if name in registry.names("classifier"):
        raise UsageError(f"{name} names nothing before it is trained: give a run, or one of {', '.join(known)}.")
    if hint := did_you_mean(name, known):
        raise UsageError(f"{one_line(name)} is no run folder and no network.{hint}")
    return None


def load(row, progress=None):
    """A network with its ImageNet head.

    Args:
        row: from `network`.
        progress: `progress(done, total or None)` in bytes, during a download.

    Returns:
        `(facts, model, normalise)`: as much of a run's run.json as `kstyle.predict` reads, a `keras.Model` from
        normalised pictures to logits, and a `kstyle.training.loop.steps.Normalise`.

    Raises:
        DataError: no weights can be had, or they are without a head.
    """
    from kstyle.models import classifiers
    from kstyle.models.preprocessing import PREPROCESSINGS
    from kstyle.training.loop import steps

    names = classes()
    model = row.make(len(names), row.size)
    loaded = classifiers.load_imagenet(model, progress=progress)
    if not loaded.head:
        raise DataError(f"{row.name}: the weights are without a head of {len(names)} classes: {loaded.message}")
    log.info(loaded.message)
    facts = {"classes": names, "shape": [row.size, row.size, 3], "resize": row.resize, "resample": row.resample}
    return facts, model, steps.Normalise(*PREPROCESSINGS[loaded.preprocessing].rgb)


def _has_head(row):
    """Whether official weights of a network that kstyle reads have its last layer."""
    return row.pretrained and bool(row.weights) and not (row.load or row.borrows)
