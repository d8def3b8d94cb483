"""Run folders: what a training leaves behind, each file written beside its place and renamed.

recipe.yaml        the resolved recipe: `kstyle train RUN/recipe.yaml` makes the run again
run.json           versions, device, seed, classes, normalisation, where the data came from and its SHA-256
FILE.py            the file that the recipe's network is in, where it is in one
architecture.json  what Keras makes a network again from that was given in Python
history.csv        a line an epoch; curves.png shows it
log.txt            what was said, with the time
state.safetensors  everything a resumed training needs
best.safetensors   the weights of the best epoch so far
weights.safetensors  the result, once the training is done
model.keras          the same with the normalisation before it, in Keras' own layers: pictures to probabilities
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from kstyle.errors import DataError, UsageError
from kstyle.io import locks
from kstyle.io.files import claim_folder, cut, json_text, one_line, reason, replacing

STATE, BEST, RESULT = "state.safetensors", "best.safetensors", "weights.safetensors"
KERAS, ARCHITECTURE = "model.keras", "architecture.json"
STUDY, SUMMARY = "study.csv", "summary.csv"  # of a folder of several runs


@contextlib.contextmanager
def taken(folder, recipe, resume=False, purpose="training", known=(STATE, RESULT)):
    """`with taken(None, "digits_cnn", resume=False) as folder:` the folder of a run that nobody else trains meanwhile.

    Args:
        folder: of the run, made if need be; None: `runs/RECIPE-date-time` under a name that nobody has, so that two
            trainings that start in one second have two folders.
        recipe: its name or file.
        resume: it holds a run to go on with; otherwise it must not hold one.
        purpose: for the message of whoever comes second.
        known: files, any of which says that there is a run; the first, that it can go on.

    A folder that was made here and in which nothing was written is removed again.

    Raises:
        UsageError: another training, or an evaluation, has the folder; or there is a run in it, or none to go on with.
        DataError: the folder cannot be made or written to.
    """
    made = None
    if folder is None:
        folder = made = claim_folder(Path("runs") / f"{cut(Path(recipe).stem, 200)}-{time.strftime('%Y%m%d-%H%M%S')}")
    folder = Path(folder)
    _fits(folder, resume, known)  # before the folder is made
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                made = folder
        if not folder.is_dir():
            raise DataError(f"{one_line(folder)}: is a file, not a folder.")
    except OSError as error:
        raise DataError(f"{one_line(folder)}: cannot be made ({reason(error)}).") from error
    try:
        with locks.held(folder, purpose):
            _fits(folder, resume, known)  # once more: another process may have finished a run in it just now
            yield folder
    finally:
        if made:
            with contextlib.suppress(OSError):  # not where something is in it
                made.rmdir()


def _fits(folder, resume, known):
    if resume and not (folder / known[0]).is_file():
        raise UsageError(f"{one_line(folder)} holds no run to go on with.")
    if not resume and any((folder / name).exists() for name in known):
        raise UsageError(f"{one_line(folder)} holds a run: go on with it (--resume), or name another folder (--run).")


def start(folder, recipe, facts, architecture=None, code=None):
    """Writes recipe.yaml and run.json of a new run from two dicts, architecture.json from a text and a Python file from
    `(name, bytes)` where there is one, into a folder that is `taken`."""
    if code is not None:
        with replacing(Path(folder) / code[0]) as beside:
            beside.write_bytes(code[1])
    if architecture is not None:
        with replacing(Path(folder) / ARCHITECTURE) as beside:
            beside.write_text(architecture, "utf-8")
    write_recipe(folder, recipe)
    write_facts(folder, facts)


def write_recipe(folder, recipe):
    with replacing(Path(folder) / "recipe.yaml") as beside:
        beside.write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")


def clear(folder):
    """Removes what a killed process was writing."""
    for stale in [*Path(folder).glob(".*.part"), *Path(folder).glob(f".*.part{Path(KERAS).suffix}")]:
        stale.unlink(missing_ok=True)


def write_facts(folder, facts):
    with replacing(Path(folder) / "run.json") as beside:
        beside.write_text(json_text(facts, indent=2), "utf-8")


def facts(folder):
    """run.json of a run.

    Raises:
        DataError: it is no run folder.
    """
    try:
        return json.loads((Path(folder) / "run.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no run folder: it has no run.json that can be read.") from error


def begun(folder, sha256, origin):
    """run.json of a run that goes on; what a killed process was writing into its folder is removed.

    Args:
        folder: of the run.
        sha256, origin: of the data that there are now.

    Raises:
        DataError: they are not those it began with.
    """
    said = facts(folder)
    if said["data"]["sha256"] != sha256:
        raise DataError(f"{folder}: the data are not those it began with ({origin}).")
    clear(folder)
    return said


@contextlib.contextmanager
def logged(folder):
    """kstyle's log, with the time of each line, in log.txt of a run folder. A disk that is full loses lines only."""
    log = logging.getLogger("kstyle")
    handler = _Log(Path(folder) / "log.txt", encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = log.level
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


class _Log(logging.FileHandler):
    def emit(self, record):
        with contextlib.suppress(OSError):  # of opening it; of writing, below
            super().emit(record)

    def handleError(self, record):
        pass


def write_history(folder, rows):
    """rows: list of dicts -> history.csv."""
    import pandas as pd

    with replacing(Path(folder) / "history.csv") as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)


def save_arrays(path, arrays, notes=None, before=None):
    """arrays: {name: array}; notes: what JSON can hold. One file, safe to load from strangers.

    `before`: what the file that is there now is called once the new one is whole; None: it is replaced.

    Raises:
        DataError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode  # safetensors would leave it readable by its owner alone
        try:
            save_file(arrays, beside, metadata={"kstyle": json.dumps(notes)})
        except SafetensorError as error:
            raise DataError(f"{path}: cannot be written ({error}).") from error
        beside.chmod(mode)
        with open(beside, "rb") as file:  # all of it is on the disk before it replaces the last good file
            os.fsync(file.fileno())
        if before is not None and Path(path).exists():
            os.replace(path, before)


def load_arrays(path):
    """What `save_arrays` wrote, as `(arrays, notes)`.

    Raises:
        DataError: no such file, or not one of kstyle's.
    """
    with _opened(path) as (file, notes):
        return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118


class Arrays(Mapping):
    """The arrays of what `save_arrays` wrote, each read when it is asked for: all at once may be gigabytes."""

    def __init__(self, path):
        self._path = Path(path)
        with _opened(path) as (file, self.notes):
            self._names = list(file.keys())

    def __getitem__(self, name):
        with _opened(self._path) as (file, _):
            return file.get_tensor(name)

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


def load_notes(path):
    """The notes of what `save_arrays` wrote, without the arrays. Raises: as `load_arrays`."""
    with _opened(path) as (_, notes):
        return notes


@contextlib.contextmanager
def _opened(path):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            yield file, json.loads((file.metadata() or {}).get("kstyle", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)}).") from error


def result_file(folder):
    """The weights a run has to show: its result, the best epoch so far, or the last state."""
    for name in (RESULT, BEST, STATE):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise DataError(f"{folder} has no weights yet: its first epoch was not finished.")
