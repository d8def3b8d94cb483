"""Photographs that a list names, gathered into a folder: what is there, what is missing, what is gone for good."""

import collections
import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from kstyle.errors import DataError, UsageError
from kstyle.io.files import replacing

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp")  # what a picture in the folder may end with
DECODERS = 4  # pictures of unknown origin looked into at once

_TICK = 0.1  # seconds between two reports of progress

log = logging.getLogger("kstyle")


class Row(NamedTuple):
    """A line of a list: `label` is an index into the names of the classes, `split` is one of `SPLITS`."""

    url: str
    label: int
    split: str


@dataclass(frozen=True)
class State:
    """How far a download is.

    Attributes:
        done, failed, total: pictures; `done` counts those that were there already.
        bytes: received in this run.
        rate: pictures a second, good or failed, in this run.
    """

    done: int
    failed: int
    total: int
    bytes: int
    rate: float


class Collection:
    """A folder `split/class/file` that is to hold these pictures, as a context manager.

    `journal.jsonl` in it has a line of JSON for each picture that came or is gone for good. It is only ever appended
    to: a line that a crash cut short is passed over, and what it would have said is found out again.

    Args:
        root: the folder; one process at a time.
        chosen: `{path: Row}`, paths relative to `root`.
        facts: how they were chosen, for subset.json.
        names: of the classes.
        unwanted: `{SHA-1 in hex: reason}` of contents that stand for a picture that is gone.
        retry_failed: ask again for what was gone for good.
        progress: called as `progress(State)` several times a second.

    Attributes:
        here: `{path: SHA-1}` of the pictures that are there.
        failed: `{path: reason}`.

    Raises:
        UsageError: the folder holds pictures that are not among these.
        OSError: it cannot be written.
    """

    def __init__(self, root, chosen, facts, names, unwanted, *, retry_failed=False, progress=None):
        self.root, self.chosen, self.facts, self.names, self.unwanted = root, chosen, facts, names, unwanted
        self.progress = progress
        self.here, self.failed = {}, {}
        self._bytes = self._settled = 0
        self._moving = None
        self._started = self._reported = time.monotonic()
        path = root / "journal.jsonl"
        self._unchecked = self._compare(_read_journal(path), retry_failed)
        self._journal = open(path, "ab")  # noqa: SIM115 - closed in __exit__
        if self._journal.tell():
            self._journal.write(b"\n")  # ends a line that was cut short; an empty one means nothing

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._journal.close()

    def _compare(self, noted, retry_failed):
        """Sorts the pictures by what the folder and the journal say; returns those to look into, {path: SHA-1 noted}.

        A file is trusted if size and time are those noted; for another, its contents decide.
        """
        found = _files(self.root)
        strangers = [path for path in found if path not in self.chosen]
        if strangers:
            raise UsageError(
                f"{self.root} holds {len(strangers)} pictures that are not in this subset, such as {strangers[0]}: "
                "name another folder, or choose as before."
            )
        unchecked = {}
        for path, row in self.chosen.items():
            entry = noted.get(path, {})
            if entry.get("url") != row.url:
                entry = {}
            if path in found:
                if entry.get("sha1") and found[path] == (entry.get("size"), entry.get("time")):
                    self.here[path] = entry["sha1"]
                else:
                    unchecked[path] = entry.get("sha1")
            elif entry.get("gone") and not retry_failed:
                self.failed[path] = entry["gone"]
        return unchecked

    def complete(self, workers, per_host):
        """Fetches what is missing and writes the lists, also when interrupted.

        Returns: what is in subset.json.
        """
        try:
            self._look_into()
            self._fetch(workers, per_host)
        except KeyboardInterrupt:
            if self._moving and (self.root / self._moving[0]).exists():  # stopped between moving a file and noting it
                self._keep(*self._moving)
            facts = self._write()
            log.warning(
                "Interrupted with %d of %d pictures in %s; the same command goes on from there.",
                len(self.here), len(self.chosen), self.root,
            )  # fmt: skip
            self._say(facts)
            raise
        facts = self._write()
        self._say(facts)
        return facts

    def _look_into(self):
        """Looks into files that the journal does not vouch for. Keeps those with the contents that it notes
        and, where it notes none, those that are pictures; deletes the others."""
        pool = ThreadPoolExecutor(DECODERS)
        try:
            answers = pool.map(lambda item: self._examined(*item), self._unchecked.items())
            for path, sha1 in zip(self._unchecked, answers):
                if sha1:
                    stat = os.stat(self.root / path)
                    self._keep(path, sha1, stat.st_size, stat.st_mtime_ns)
                else:
                    (self.root / path).unlink()
                self._report()
        finally:
            pool.shutdown(cancel_futures=True)

    def _examined(self, path, noted):
        """The SHA-1 of a file if it is the one noted or, where none is, if it is a picture; else None."""
        with open(self.root / path, "rb") as file:
            sha1 = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
        if sha1 == noted:
            return sha1
        if not noted and sha1 not in self.unwanted:
            with contextlib.suppress(DataError):
                verify(self.root / path)
                return sha1
        return None

    def _fetch(self, workers, per_host):
        from kstyle.data.lists import crowd

        incoming = self.root / ".incoming"
        shutil.rmtree(incoming, ignore_errors=True)  # half-received files of a killed run; the lists below likewise
        for left in self.root.glob(".*.part"):
            left.unlink()
        incoming.mkdir()
        jobs = [(p, row.url) for p, row in self.chosen.items() if p not in self.here and p not in self.failed]
        self._started = time.monotonic()
        results = crowd.fetch_all(
            jobs, incoming, accept=verify, unwanted=self.unwanted, workers=workers, per_host=per_host
        )
        try:
            with contextlib.closing(results):
                for result in results:
                    if result:
                        self._take(*result)
                    self._report()
            self._report(last=True)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _take(self, path, result):
        self._settled += 1
        if hasattr(result, "sha1"):
            target = self.root / path
            self._moving = path, result.sha1, result.size, result.time
            try:
                os.replace(result.path, target)
            except FileNotFoundError:  # its class has no folder yet
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(result.path, target)
            self._bytes += result.size
            self._keep(*self._moving)
        else:
            self.failed[path] = result.reason
            if result.lasting:
                self._note(path, gone=result.reason)

    def _keep(self, path, sha1, size, time):
        self.here[path] = sha1
        self._note(path, sha1=sha1, size=size, time=time)

    def _note(self, path, **facts):
        line = json.dumps({"path": path, "url": self.chosen[path].url, **facts})
        self._journal.write(line.encode() + b"\n")
        self._journal.flush()

    def _report(self, last=False):
        now = time.monotonic()
        if self.progress and (last or now - self._reported > _TICK):
            self._reported = now
            rate = self._settled / max(now - self._started, 1e-9)
            self.progress(State(len(self.here), len(self.failed), len(self.chosen), self._bytes, rate))

    def _write(self):
        """Writes the lists, each as a whole; returns what is in subset.json."""
        here = {path: row for path, row in self.chosen.items() if path in self.here}
        digest = hashlib.sha256()
        for line in sorted(f"{row.url}\t{row.label}\t{row.split}\t{self.here[path]}\n" for path, row in here.items()):
            digest.update(line.encode())
        counts = collections.Counter(row.split for row in here.values())
        facts = {
            **self.facts,
            **{split: counts[split] for split in SPLITS},
            "failed": len(self.failed),
            "not_tried": len(self.chosen) - len(here) - len(self.failed),
            "sha256": digest.hexdigest(),
        }
        failed = io.StringIO(newline="")
        table = csv.writer(failed, lineterminator="\n")
        table.writerow(["url", "label", "split", "reason"])
        table.writerows((*row, self.failed[path]) for path, row in self.chosen.items() if path in self.failed)
        texts = {
            f"{split}.txt": "".join(f"{path} {row.label}\n" for path, row in here.items() if row.split == split)
            for split in SPLITS
        }
        texts["failed.csv"] = failed.getvalue()
        texts["style_names.txt"] = "".join(f"{name}\n" for name in self.names)
        texts["subset.json"] = json.dumps(facts, indent=2) + "\n"  # last: it says what the others hold
        for name, text in texts.items():
            with replacing(self.root / name) as beside:
                beside.write_text(text, "utf-8", newline="")
        return facts

    def _say(self, facts):
        log.info(
            "%d train and %d test pictures, %d failed (see failed.csv), subset %s",
            facts["train"], facts["test"], facts["failed"], facts["sha256"][:16],
        )  # fmt: skip


def verify(path):
    """Decodes a picture file, all of it.

    Raises:
        DataError: it is no picture that kstyle trains on, damaged, or above the pixel limit of
            `kstyle.pictures.images`.
    """
    from kstyle.data.batches import opening

    try:
        opening.open_rgb(path)
    except DataError as error:  # the message has the temporary file's name, which means nothing to the user
        raise DataError(str(error).removeprefix(f"{path}: ")) from error


def _read_journal(path):
    """The last entry of each picture, {path: dict}."""
    noted = {}
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                    noted[entry["path"]] = entry
    return noted


def _files(root):
    """The pictures in `split/class/` below `root`, {path: (size, time)}."""
    found = {}
    for split in SPLITS:
        for path in sorted((root / split).glob("*/*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                stat = path.stat()
                found[path.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found
