"""`kstyle.pull`: a run or a style network from the Hugging Face Hub, as untrusted as any stranger's file."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kstyle.errors import DataError, UsageError
from kstyle.hub import client, known
from kstyle.io.files import expanded, listed, one_line, plain, reason
from kstyle.net import download


@dataclass(frozen=True)
class Pulled:
    """What came.

    Attributes:
        path: the run's folder, or the style network's file.
        kind: `"run"` or `"network"`.
        files: {name: bytes}.
        left: names of files in the repository that were not taken.
        revision: the commit that it is of.
    """

    path: Path
    kind: str
    files: dict[str, int]
    left: list[str]
    revision: str


def pull(
    repository: str,
    folder: str | os.PathLike[str] | None = None,
    code: bool = False,
    revision: str | None = None,
    progress: Callable[[int, int | None], Any] | None = None,
) -> Pulled:
    """Fetches a run or a style network that `kstyle.push` put into a repository of the Hub.

    Whoever has the repository is a stranger: files are taken by the names that kstyle gives them and no others, none is
    larger than its kind may be, nothing in them is run, and each is looked at as data before the folder gets its name.
    So it is there whole or not at all.

    Args:
        repository: OWNER/NAME. `HF_ENDPOINT` says on which server.
        folder: where it goes; there must be nothing in it. None: NAME, in the current folder.
        code: take the Python file too that a run's network is in. It is not run here; `kstyle evaluate RUN
            --allow-code` would.
        revision: branch, tag or commit; None: the newest.
        progress: called as `progress(done, total)` in bytes.

    Returns:
        A `Pulled`.

    Raises:
        UsageError: no name of a repository; the folder holds something; huggingface_hub is not installed.
        DataError: it is not there, not for you to see, no run or network of kstyle's, too large or damaged.

    >>> import kstyle
    >>> kstyle.pull("me/night").path  # doctest: +SKIP
    PosixPath('night/style.keras')
    """
    repository = known.repository(repository)
    target = Path(expanded(folder) if folder is not None else repository.partition("/")[2])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{one_line(target)}: is there already: name another folder (-o).")
    hub = client.library()
    with client.talking(repository):
        api = hub.HfApi(library_name="kstyle")
        told = api.repo_info(repository, revision=revision, files_metadata=True)
        there = {each.rfilename: each for each in told.siblings or ()}
    headers = hub.utils.build_hf_headers(library_name="kstyle")

    def fetch(name, most, into, done, total):
        each = there[name]
        if each.size is not None and each.size > most:
            raise DataError(f"{repository}: {name} has {each.size:,} bytes, and may have {most:,}.")
        download.fetch(
            hub.hf_hub_url(repository, name, revision=told.sha, endpoint=api.endpoint),
            into / name,
            sha256=each.lfs.sha256 if each.lfs else None,
            headers=headers,
            most=most,
            progress=progress and (lambda now, _: progress(done + now, total)),
        )

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kstyle-pull-", dir=target.parent) as spare:
            beside = Path(spare) / "pulled"
            beside.mkdir()
            kind, wanted = _wanted(repository, there)
            total, done = sum(there[name].size or 0 for name in wanted), 0
            for name, most in wanted.items():
                fetch(name, most, beside, done, total)
                done += (beside / name).stat().st_size
            if kind == "run":
                source = known.code(known.facts(beside))
                if code and source:
                    _take_code(repository, there, source, fetch, beside, done, total)
                known.check_run(beside)
            else:
                known.check_network(beside / known.NETWORK)
            files = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
            os.rename(beside, target)  # also in the place of an empty folder
    except OSError as error:
        raise DataError(f"{one_line(target)}: cannot be written ({reason(error)}).") from error
    left = sorted(plain(name) for name in there if name not in files)
    return Pulled(target / known.NETWORK if kind == "network" else target, kind, files, left, str(told.sha))


def _wanted(repository, there):
    """`(kind, {name: bytes that it may have})` of what is taken of a repository."""
    if known.NETWORK in there:
        kind, names = "network", known.NETWORK_FILES
    elif all(name in there for name in known.REQUIRED):
        kind, names = "run", {**known.REQUIRED, **known.FURTHER}
    else:
        holds = f"it holds {listed(there)}" if there else "it is empty"
        expected = f"{known.NETWORK}, or {', '.join(known.REQUIRED)}"
        raise DataError(f"{repository}: no run or style network of kstyle's: expected {expected}; {holds}.")
    return kind, {name: most for name, most in names.items() if name in there}


def _take_code(repository, there, source, fetch, beside, done, total):
    name, digest = source
    if name not in there:
        raise DataError(f"{repository}: has no {name}, in which the run's network is.")
    fetch(name, known.MOST_CODE, beside, done, total)
    if download.misfit(beside / name, {"sha256": digest}):
        raise DataError(f"{repository}: {name} is another than the run was trained with.")
