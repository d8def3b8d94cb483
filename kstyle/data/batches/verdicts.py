"""Whether each file is a picture: asked of its content and remembered in the cache folder."""

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path

from kstyle.errors import DataError
from kstyle.io.files import expanded, one_line, replacing


def cache_folder():
    """Where kstyle keeps what it can make again: `$KSTYLE_CACHE` or `~/.cache/kstyle`. It may not exist yet."""
    return Path(expanded(os.environ.get("KSTYLE_CACHE") or "~/.cache/kstyle"))


def below(path, root):
    """`path` relative to `root`, with / on every system; as it is where there is no root."""
    return Path(os.path.relpath(path, root)).as_posix() if root else path


def examine(paths, root="", workers=None, progress=None):
    """Opens every file once, and remembers those that are good in the cache folder: a bad one may be mended.

    Args:
        paths: of the files.
        root: what they are relative to in the cache, which has one file for each root.
        workers, progress: as for `kstyle.data.photos.tree.read_folder`.

    Returns:
        {path: (hex SHA-256 of the file, "") or ("", why it is no picture)}.
    """
    import PIL  # needed first here

    from kstyle.data.batches.workers import Decoder

    cache = cache_folder() / "photos" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    kept = _remembered(cache, PIL.__version__)
    found, stamps, due = {}, {}, []
    for path in dict.fromkeys(paths):
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            found[path] = "", "there is no such file" if missing else getattr(error, "strerror", None) or str(error)
            continue
        if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait for ever
            found[path] = "", "is no file"
            continue
        stamps[path] = [status.st_size, status.st_mtime_ns]
        row = kept.get(below(path, root))
        if isinstance(row, list) and len(row) == 3 and row[:2] == stamps[path] and isinstance(row[2], str):
            found[path] = row[2], ""
        else:
            due.append(path)
    try:
        with Decoder(due, {"task": "examine"}, workers=workers) as decoder:
            for index in range(len(due)):
                decoder.submit(0, index)
            for done in range(1, len(due) + 1):
                _, index, went_well, text = decoder.collect()
                path = due[index]
                reason = text.removeprefix(f"{one_line(path)}: ").rstrip(".")
                found[path] = (text, "") if went_well else ("", reason)
                if went_well:
                    kept[below(path, root)] = [*stamps[path], text]
                if progress:
                    progress(done, len(due))
    finally:
        if due:
            _remember(cache, {"pillow": PIL.__version__, "files": kept})
    return found


def _remembered(cache, version):
    with contextlib.suppress(OSError, ValueError):
        held = json.loads(cache.read_text("utf-8"))
        if isinstance(held, dict) and held.get("pillow") == version and isinstance(held.get("files"), dict):
            return held["files"]
    return {}


def _remember(cache, held):
    with contextlib.suppress(OSError, DataError):  # without it the next start is slower, and that is all
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as beside:
            beside.write_text(json.dumps(held), "utf-8")
