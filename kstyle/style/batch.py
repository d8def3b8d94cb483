"""Many contents in one style. A record beside the results lets the next run go on where this one stopped."""

import hashlib
import json
import logging
import os
import re
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from kstyle import files, images, runs
from kstyle.errors import DataError, UsageError
from kstyle.files import one_line
from kstyle.style import frames, transfer

log = logging.getLogger("kstyle")

RECORD = "batch.json"
LARGEST_RECORD = 1 << 28  # bytes; a picture takes about 300
# What is taken from a folder. Any other file that Pillow can read has to be named.
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff"}
SUFFIXES |= {".bmp", ".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pnm", ".tga"}
MOST_BYTES = 200  # of a result's stem: file systems allow 255 with all that is put around it


@dataclass(frozen=True)
class Content:
    """A picture to paint.

    Attributes:
        path: of its file.
        name: of its result, below the results' folder, with / and without a suffix: `"cat"`, `"holiday/cat"`.
        key: what the record calls it: its absolute path.
        error: why it cannot be read, "" where that is not known yet.
    """

    path: Path
    name: str
    key: str
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a content.

    Attributes:
        state: `"done"`, `"skipped"` (it was done before) or `"failed"`.
        path: of the result; None where it failed.
        error: why it failed, in one line without the file's name; "" otherwise.
        seconds: that it took.
    """

    state: str
    path: Path | None = None
    error: str = ""
    seconds: float = 0.0


def collect(paths, recursive=False, folder=None):
    """The contents that paths name, in natural order: frame2 before frame10.

    Args:
        paths: of files, and of folders: the pictures directly in them, by suffix, hidden ones left out.
        recursive: those in folders below too; results keep the tree.
        folder: where results go; it is not looked into.

    Returns:
        List of `Content`, each file once. A folder that cannot be read is one with an error.

    Raises:
        UsageError: a path that does not exist, no picture at all, or a folder of contents that is also `folder`.
    """
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    results = None if folder is None else os.path.realpath(folder)
    found = {}

    def add(path, name, error=""):
        key = os.path.abspath(path)
        found.setdefault(key, Content(Path(path), name, key, error))

    for given in map(Path, paths):
        if not os.path.lexists(given):
            raise UsageError(f"{one_line(given)}: there is no such file or folder.")
        if not os.path.isdir(given):
            add(given, given.stem)
            continue
        if os.path.realpath(given) == results:
            raise UsageError(
                f"{one_line(given)} is to be read and written: the next run would paint its own results. "
                "Give another folder for results; one inside it will do."
            )
        for above, below, names in os.walk(given, onerror=lambda error: add(error.filename, "", _reason(error))):
            inside = sorted(b for b in below if not b.startswith(".")) if recursive else []
            below[:] = [b for b in inside if os.path.realpath(os.path.join(above, b)) != results]
            for name in names:
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                    path = Path(above, name)
                    add(path, path.relative_to(given).with_suffix("").as_posix())
    if not found:
        where = ", ".join(one_line(path) for path in paths) or "what was given"
        raise UsageError(f"There is no picture in {where}{'' if recursive else '; folders below need --recursive'}.")
    return sorted(found.values(), key=lambda content: _natural(content.key))


def stylize_all(
    painter, contents, folder, size=512, steps=None, seed=0, callback=None, *, suffix=".png", force=False, motion=None
):
    """Paints many contents in one style: a generator of what became of each.

    Network and style targets are prepared once, and only if something is to be painted. What the record in the folder,
    `batch.json`, calls done is skipped: the result is there, of a content of the same bytes, and was made with the same
    settings. A content that cannot be painted does not stop the rest.

    Args:
        painter: `kstyle.style.transfer.Painter`.
        contents: paths of files and folders, as for `collect`, or what it returned.
        folder: of the results; made if need be. Each is named as its content; of two with one name, the second in
            natural order gets a number, and keeps it. A file that is not in the record is never replaced.
        size, steps, seed, callback: as for `Painter.paint`.
        suffix: of the results, one of `kstyle.images.FORMATS`.
        force: nothing is skipped.
        motion: a `kstyle.style.frames.Motion` if the contents are the frames of a film, in order: each begins from the
            result before it and is held to it.

    Returns:
        A generator of `(Content, Outcome)` in natural order. Names are settled and the record is written before the
        first; after each picture it is written again, so whatever stops the generator, the next run goes on.

    Raises:
        UsageError: contents as `collect`, another suffix, and settings that no content can be painted with.
        DataError: the folder or a result cannot be written, the record is damaged, no weights can be had.
        Interrupted: Ctrl-C during a picture, as `Painter.paint`; of that picture nothing is kept.
    """
    if suffix not in images.FORMATS:
        raise UsageError(f"Pictures are written as {', '.join(images.FORMATS)}, not '{suffix}'.")
    transfer.check_numbers(size, steps, seed)
    given = [contents] if isinstance(contents, (str, os.PathLike)) else list(contents)
    if not all(isinstance(content, Content) for content in given):
        given = collect(given, folder=folder)
    if motion is not None:
        frames.check(motion, painter.settings)
    record = Record(folder)
    names = record.assign(given, suffix)
    digest = record.settings(_made_with(painter, size, steps, seed, motion), names)
    record.save()
    return _each(painter, dict(zip(names, given)), record, digest, (size, steps, seed, callback), force, motion)


def _each(painter, contents, record, digest, options, force, motion):
    chain = None if motion is None else frames.Chain(painter, motion, *options[:2])
    paint = (lambda content: painter.paint(content.path, *options)) if chain is None else partial(chain.paint, *options)
    for name, content in contents.items():
        begun, target = time.perf_counter(), record.folder / name

        def failed(error, content=content, begun=begun):
            log.debug("%s", content.path, exc_info=error)
            return content, Outcome("failed", None, _said(error, content), time.perf_counter() - begun)

        try:
            # Before it is read, so that one that changes meanwhile is painted again.
            stamp = {**record.stamp(name, content), "settings": digest}
        except (DataError, OSError) as error:
            yield failed(error)
            continue
        if not force and record.is_done(name, stamp, chain):
            record.note(name, {**record.entries[name], **stamp})
            outcome = Outcome("skipped", target)
        else:
            painter.load()  # weights that cannot be had are no content's fault, and end it all
            try:
                result = paint(content)
            except UsageError:
                raise
            except Exception as error:
                yield failed(error)
                continue
            _write(target, result)
            record.note(name, {**stamp, **(chain.facts(result) if chain else {})})
            record.save()
            outcome = Outcome("done", target, seconds=time.perf_counter() - begun)
        if chain:
            chain.add(content, target, record.entries[name])
        yield content, outcome
    record.save()


def _write(target, result):
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{one_line(target.parent)}: cannot be made ({_reason(error)}).") from error
    result.write(target)


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
        self.folder = Path(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{one_line(self.folder)}: cannot be made a folder ({_reason(error)}).") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise DataError(f"{one_line(self.folder)}: cannot be written to.")
        runs.clear(self.folder)
        self._file = self.folder / RECORD
        self.entries, self.made_with = self._read() if self._file.exists() else ({}, {})

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

    def save(self):
        """Writes it beside its place and renames."""
        used = {entry.get("settings") for entry in self.entries.values()}
        settings = {digest: made for digest, made in self.made_with.items() if digest in used}
        lines = [f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in self.entries.items()]
        head = f'{{"version": 1,\n"settings": {json.dumps(settings)},\n"results": {{\n'
        with files.replacing(self._file) as beside:
            beside.write_text(head + ",\n".join(lines) + "\n}}\n", "utf-8")

    def note(self, name, entry):
        """What is now known of a result; `save` writes it."""
        self.entries[name] = entry

    def assign(self, contents, suffix):
        """A file name for the result of each, the same in every run."""
        mine = {content.key for content in contents}
        before = {entry["content"]: name for name, entry in self.entries.items() if name.endswith(suffix)}
        # A name belongs to whom it was given, as long as that one is there.
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
        stem, number = above + slash + os.fsencode(stem)[:MOST_BYTES].decode("utf-8", "ignore"), 1
        name = f"{stem}{suffix}"
        while name.casefold() in held or os.path.abspath(self.folder / name) in mine or self._foreign(name):
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name

    def _foreign(self, name):
        return name not in self.entries and os.path.lexists(self.folder / name)

    def settings(self, made_with, names):
        """The digest of what is to be made with; says what has changed since the last run."""
        text = json.dumps(made_with, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        others = [self.entries[name].get("settings") for name in names]
        others = [other for other in others if other not in (None, digest)]
        if others:
            changes = _changes(self.made_with.get(others[-1]), json.loads(text))
            log.info("made again, with other settings than before: %d pictures (%s)", len(others), changes)
        self.made_with[digest] = made_with
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


def _is_below(name):
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _made_with(painter, size, steps, seed, motion):
    """What a result depends on beside its content, as JSON has it."""
    # What is at its default is left out: a setting that a newer kstyle has changes nothing.
    settings = painter.settings.model_dump(mode="json", exclude={"description"}, exclude_defaults=True)
    init = painter.settings.init
    if init not in transfer.INITS:
        settings["init"] = _digest(images.read(init).rgb)
    made_with = {
        **settings,
        "styles": [_digest(style.rgb, mask) for style, mask in zip(painter.styles, painter.style_masks)],
        "blend": painter.blend,
        "precision": painter.precision,
        "size": size,
        "steps": steps,
        "seed": seed,
        **({} if motion is None else {"motion": motion.facts()}),
    }
    if painter.weights is not None:
        made_with["weights"] = _file_digest(painter.weights)
    return made_with


def _file_digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{one_line(path)}: {_reason(error)}.") from error


def _digest(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


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


def _natural(text):
    """A sort key by which frame2 comes before frame10, and parts of a path count one by one."""
    parts = [
        [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", level) if part]
        for level in Path(text.casefold()).parts
    ]
    return parts, text


def _reason(error):
    return one_line(getattr(error, "strerror", None) or error) or type(error).__name__


def _said(error, content):
    """Why a content failed, in one line without its name."""
    if isinstance(error, OSError):
        return f"{_reason(error)}."
    text = one_line(error)
    if not isinstance(error, DataError):
        return f"unexpected {type(error).__name__}: {text[:300]}"
    return text.removeprefix(f"{one_line(content.path)}: ")
