"""What is in a data set, and how it differs from what it should be: what `kstyle data check` says."""

import contextlib
import logging

from kstyle.data.batches.arrays import channel_statistics, count_grey, count_shared
from kstyle.errors import DataError

log = logging.getLogger("kstyle")


def of_arrays(dataset, source):
    """The report of a `Dataset`; see `kstyle.data.check`."""
    mean, std = channel_statistics(dataset.train.images)
    report = _report(dataset, source, dataset.train.images.shape[1:])
    report["mean"], report["std"] = ([float(value) for value in values] for values in (mean, std))
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        report["splits"][part] |= {"grey": count_grey(split.images), "boxes": split.boxes is not None}
    if shared := count_shared(dataset.train, dataset.test):
        report["problems"].append(f"{shared:,} test pictures are also in train, to the last byte.")
    return report


def of_photographs(read, source):
    """The report of the `PhotoSet` that `read()` returns, and of all that is warned of while it is read."""
    with _warnings() as warned:
        found = read()
    report = _report(found, source, ())
    warned = [text.removeprefix(f"{found.root}: ") for text in warned]
    if source:  # that its placeholder is left out is as it should be; what else is counts as missing
        warned = [text for text in warned if "left out" not in text]
    report["problems"] = warned + report["problems"]
    try:
        found.check_training()
    except DataError as error:
        report["problems"].append(str(error).removeprefix(f"{found.root}: "))
    return {**report, "drawn": found.drawn, "skipped": [list(entry) for entry in found.skipped]}


def _report(found, source, shape):
    classes, splits, problems = list(found.classes), {}, []
    if source and len(classes) != source.classes:
        problems.append(f"{len(classes)} of {source.classes} classes are here.")
    for number, (part, split) in enumerate((("train", found.train), ("test", found.test))):
        counts = split.per_class(len(classes))
        if source and len(split) != source.pictures[number]:
            problems.append(f"{part} has {len(split):,} pictures, the official set {source.pictures[number]:,}.")
        empty = [name for name, count in zip(classes, counts) if not count]
        if source and empty:
            problems.append(f"{part} has no picture of {', '.join(empty)}.")
        splits[part] = {
            "pictures": len(split), "per_class": dict(zip(classes, counts)), "grey": None, "boxes": False,
        }  # fmt: skip
    return {
        "name": found.name,
        "origin": found.origin,
        "sha256": found.sha256,
        "classes": classes,
        "shape": list(shape),
        "mean": None,
        "std": None,
        "splits": splits,
        "problems": problems,
    }


@contextlib.contextmanager
def _warnings():
    """`with _warnings() as texts:` what kstyle warns of meanwhile is in the list, and not printed."""
    texts = []

    class Listing(logging.Handler):
        def emit(self, record):
            texts.append(record.getMessage())

    handler, before = Listing(logging.WARNING), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield texts
    finally:
        log.removeHandler(handler)
        log.propagate = before
