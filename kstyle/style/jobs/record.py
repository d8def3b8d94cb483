"""`batch.json`: which content each result in a folder is of, and what it was made with."""

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import one_line, reason
from kstyle.pictures import bands, images
from kstyle.style import arguments
from kstyle.style.by_network import NetworkPainter
from kstyle.style.passes.size_plan import as_recorded

log = logging.getLogger("kstyle")

RECORD = "batch.json"
# During a run each picture that is done adds a line to the journal. To write the whole record each time would take
# longer with every picture.
JOURNAL = ".batch.jsonl"
LARGEST_RECORD = 1 << 28  # bytes; a picture takes about 300
# Of a name of a result. File systems allow 255, and a suffix, a number and the mark of a half-written file are added.
MOST_BYTES = 200


@dataclass
class Record:
    """`batch.json`: which content each result is of, and what it was made with.

    Args:
        folder: of the results; made if need be.

    Attributes:
        entries: {name of a result: {content, bytes, mtime, sha256, settings}}; one that is only planned has no
            `settings`.
        made_with: {digest: settings}.

    Raises:
        DataError: the folder cannot be made or written, or the file in it is not a record.
    """

    folder: Path
    entries: dict = field(init=False)
    made_with: dict = field(init=False)

    def __post_init__(self):
        self.folder = made(self.folder)
        self._file = self.folder / RECORD
        self._journal = self.folder / JOURNAL
        self.entries, self.made_with, self._now = {}, {}, None
        if self._file.exists():
            self.entries, self.made_with = self._read()
            self.entries |= self._killed()

    def _read(self):
        try:
            kept = json.loads(files.read_bytes(self._file, LARGEST_RECORD))
            entries, made_with = kept["results"], kept["settings"]
            sound = kept["version"] == 1 and isinstance(made_with, dict) and all(map(_is_below, entries))
            if not sound or not all(isinstance(entry["content"], str) for entry in entries.values()):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise DataError(
                f"{one_line(self._file)}: is not a record that kstyle wrote, or is damaged; move it away to paint "
                "everything again."
            ) from error
        return entries, made_with

    def _killed(self):
        """What is in the journal that a killed run left; its last line may be cut short."""
        try:
            lines = files.read_bytes(self._journal, LARGEST_RECORD).decode("utf-8", "replace").splitlines()
        except (OSError, DataError):
            return {}
        found = {}
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                ((name, entry),) = json.loads(line).items()
                if _is_below(name) and isinstance(entry["content"], str):
                    found[name] = entry
        return found

    def save(self):
        """Writes the record, whole or not at all, and removes the journal: all that it says is in the record now."""
        # This run's settings are kept even where no result was made with them yet: should the run be killed, its
        # journal has their digest only.
        used = {self._now, *(entry.get("settings") for entry in self.entries.values())}
        settings = {digest: made for digest, made in self.made_with.items() if digest in used}
        lines = [f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in self.entries.items()]
        head = f'{{"version": 1,\n"settings": {json.dumps(settings)},\n"results": {{\n'
        with files.replacing(self._file) as beside:
            beside.write_text(head + ",\n".join(lines) + "\n}}\n", "utf-8")
        with contextlib.suppress(OSError):
            self._journal.unlink()

    def clear(self, names):
        """Removes the half-written files of the record and of these results that a killed run left, and no others."""
        for path in (self._file, *(self.folder / name for name in names)):
            files.clear_parts(path)

    def note(self, name, entry):
        """What is now known of a result; `save` writes it."""
        self.entries[name] = entry

    def keep(self, name, entry):
        """`note` of a result that got done: known to the next run from now on, however this one ends.

        Raises:
            DataError: it cannot be written.
        """
        self.note(name, entry)
        try:
            with open(self._journal, "a", encoding="utf-8") as journal:
                journal.write(json.dumps({name: entry}) + "\n")
        except OSError as error:
            raise DataError(f"{one_line(self._journal)}: cannot be written ({reason(error)}).") from error

    def assign(self, contents, suffix):
        """A file name for the result of each, the same in every run."""
        mine = {content.key for content in contents}
        before = {entry["content"]: name for name, entry in self.entries.items() if name.endswith(suffix)}
        # A content keeps its name, and no other gets it, as long as that content's file exists.
        held = {n.casefold() for n, e in self.entries.items() if e["content"] in mine or os.path.exists(e["content"])}
        names = []
        for content in contents:
            name = before.get(content.key) or self._free(content, suffix, held, mine)
            held.add(name.casefold())
            names.append(name)
        for name, content in zip(names, contents):
            if self.entries.get(name, {}).get("content") != content.key:
                self.entries[name] = {**self.entries.get(name, {}), "content": content.key}
        return names

    def _free(self, content, suffix, held, mine):
        above, slash, stem = content.name.rpartition("/")
        stem, number = above + slash + files.cut(stem, MOST_BYTES), 1
        name = f"{stem}{suffix}"
        while name.casefold() in held or os.path.abspath(self.folder / name) in mine or self._foreign(name):
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name

    def _foreign(self, name):
        return name not in self.entries and os.path.lexists(self.folder / name)

    def settings(self, made_with, names):
        """Notes what this run paints with, and logs what has changed since the last run. Returns the digest of it."""
        text = json.dumps(made_with, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        others = [self.entries[name].get("settings") for name in names]
        others = [other for other in others if other not in (None, digest)]
        if others:
            changes = _changes(self.made_with.get(others[-1]), json.loads(text))
            log.info("made again, with other settings than before: %d pictures (%s)", len(others), changes)
        self.made_with[digest], self._now = made_with, digest
        return digest

    def stamp(self, name, content):
        """{content, bytes, mtime, sha256}: what tells whether a content is the one that was painted."""
        if content.error:
            raise DataError(content.error)
        status = os.stat(content.path)
        stamp = {"content": content.key, "bytes": status.st_size, "mtime": status.st_mtime_ns}
        kept = self.entries[name]
        if all(kept.get(key) == value for key, value in stamp.items()) and "sha256" in kept:
            return {**stamp, "sha256": kept["sha256"]}
        if not os.path.isfile(content.path):  # a pipe would be waited for
            raise DataError("is not a file.")
        return {**stamp, "sha256": _file_digest(content.path)}

    def is_done(self, name, stamp, chain):
        kept = self.entries[name]
        same = all(kept.get(key) == stamp[key] for key in ("sha256", "settings"))
        return same and (self.folder / name).is_file() and (chain is None or chain.goes_on(kept))


def made(folder):
    """The `Path` of a folder for results, made if need be. DataError: it cannot be made or written to."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{one_line(folder)}: cannot be made a folder ({reason(error)}).") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{one_line(folder)}: cannot be written to.")
    return folder


def _is_below(name):
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def made_with(painter, size, steps, seed, motion):
    """What a result depends on beside its content, as JSON has it."""
    if isinstance(painter, NetworkPainter):
        return painter.made_with(size)
    # Settings at their default are left out: one that a newer kstyle adds must not have everything painted again.
    settings = painter.settings.model_dump(mode="json", exclude={"description"}, exclude_defaults=True)
    settings["scales"] = as_recorded(settings.get("scales", {}), size)
    if not settings["scales"]:
        del settings["scales"]
    init = painter.settings.init
    if init not in arguments.INITS:
        settings["init"] = bands.digest(images.read(init).values)
    found = {
        **settings,
        "styles": painter.styles.digests(),
        "blend": painter.styles.blend,
        "precision": painter.precision,
        "size": size,
        "steps": steps,
        "seed": seed,
        **({} if motion is None else {"motion": motion.facts()}),
    }
    if painter.weights is not None:
        found["weights"] = _file_digest(painter.weights)
    if painter.given is not None:
        found["network"] = {**painter.given.facts(), "sha256": painter.given.sha256}
    return found


def _file_digest(path):
    try:
        return files.sha256(path)
    except OSError as error:
        raise DataError(f"{one_line(path)}: {reason(error)}.") from error


def _changes(before, now):
    """`style.weight 20, now 40`, at most three."""
    before, now = _flat(before or {}), _flat(now)
    keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    said = [f"{key} {before.get(key)}, now {now.get(key)}" for key in keys[:3]]
    return "; ".join(said) + (f"; {len(keys) - 3} more" if len(keys) > 3 else "")


def _flat(settings, above=""):
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat
