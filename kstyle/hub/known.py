"""What a repository on the Hub may hold of a run or of a style network: which files, how large, and what they must be.

What is pulled comes from a stranger. Only these names are looked at, none is a path, and each is opened as data.
"""

import json
import re
from pathlib import Path, PureWindowsPath

from kstyle import config
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.io.files import parsing, plain, read_bytes
from kstyle.style.networks import style_facts

MB = 1 << 20
CARD, NETWORK = "README.md", "style.keras"
# {name: bytes that it may have}, and whether a run is none without it. What resumes a training, its log, which names
# folders, and model.keras, which `kstyle export` writes again, stay where they are.
REQUIRED = {"recipe.yaml": config.LARGEST, "run.json": 16 * MB, runs.RESULT: 2048 * MB}
FURTHER = {
    CARD: MB,
    runs.ARCHITECTURE: 16 * MB,
    "scores.json": 16 * MB,
    **dict.fromkeys(("history.csv", "per_class.csv", "confusion.csv"), 32 * MB),
    **dict.fromkeys(("curves.png", "confusion.png"), 16 * MB),
}
NETWORK_FILES = {CARD: MB, NETWORK: 256 * MB}
MOST_CODE = MB
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_CODE = re.compile(r"\w[\w-]{0,99}\.py")


def repository(name):
    """`name`, where it is one of a repository: its last part becomes a folder's. UsageError: it is none."""
    if not _REPOSITORY.fullmatch(str(name)):
        raise UsageError(f"A repository is OWNER/NAME, of letters, digits and -_. alone; got '{plain(name)}'.")
    return str(name)


def facts(folder):
    """run.json of a run of anybody's. DataError: it is none, or has no list of classes."""
    path = Path(folder) / "run.json"
    found = _json(path)
    if not isinstance(found, dict) or not isinstance(found.get("classes"), list):
        raise DataError(f"{path.name}: is not what a training writes: it has no classes.")
    return found


def code(found):
    """`(name, SHA-256)` of the Python file that a run's network is in, of its run.json; None: it is in none.

    Raises:
        DataError: what is said of it is no file's name and checksum.
    """
    said = found.get("code")
    if said is None:
        return None
    name, digest = (said.get("file"), said.get("sha256")) if isinstance(said, dict) else (None, None)
    if not (isinstance(name, str) and _CODE.fullmatch(name) and re.fullmatch(r"[0-9a-f]{64}", str(digest))):
        raise DataError("run.json: names a Python file that is none, or without its SHA-256.")
    return name, digest


def check_run(folder):
    """Whether a folder of a stranger's holds a run that can be opened, as far as that is told without a framework.

    Raises:
        DataError, UsageError: a file is damaged, or not what its name says.
    """
    facts(folder)
    config.read("train", str(Path(folder) / "recipe.yaml"))
    runs.load_notes(Path(folder) / runs.RESULT)
    for name in ("scores.json", runs.ARCHITECTURE):
        if (Path(folder) / name).exists():
            _json(Path(folder) / name)


def check_network(path):
    """The facts of a style network's file of a stranger's. Raises: as `kstyle.style.networks.style_facts.read`."""
    return style_facts.read(path, kind=None)


def _json(path):
    most = {**REQUIRED, **FURTHER}[path.name]
    with parsing(path.name):
        return json.loads(read_bytes(path, most).decode("utf-8"))


def without_folders(value):
    """A copy in which texts that are paths of this machine have their last part alone."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    if isinstance(value, str) and re.match(r"[/~]|[A-Za-z]:[\\/]|\\\\", value):
        return PureWindowsPath(value).name or value[:1]  # which takes / and \ alike
    return value
