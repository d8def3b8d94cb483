"""Files written whole or not at all, and files of strangers read with limits. No framework is needed."""

import contextlib
import glob
import itertools
import json
import math
import os
import re
import threading
from pathlib import Path

from kstyle.errors import DataError, KStyleError, UsageError

LONGEST = 255  # bytes of a name, not characters: what nearly all file systems allow


def one_line(value):
    """`value` as one line of text, whatever white space is in it."""
    return " ".join(str(value).split())


def plain(value, length=80):
    """`value` as one printable line of at most `length` characters: a file may name its tensors as it likes."""
    text = "".join(c if c.isprintable() else "?" for c in one_line(value))
    return text if len(text) <= length else text[: length - 1] + "…"


def listed(texts, most=5, length=80):
    """`"a, b, c and 4 more"`: the first `most` of some texts, each as `plain` has it."""
    texts = list(texts)
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(plain(text, length) for text in texts[:most]) + more


def legible(text):
    r"""`text` as it can be written in UTF-8: what the system could not decode in a file's name becomes `\xe9`."""
    try:
        return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which Windows allows in names
        return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value, length=120):
    """`repr(value)` as `plain` has it, for messages: also of numbers that Python itself does not write out."""
    try:
        return plain(repr(value), length)
    except ValueError:  # over 4300 digits
        return "a number of thousands of digits"


def amount(count):
    """Bytes in words: `"6.2 GB"`, `"732 MB"`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def reason(error):
    """What an OSError says without the path, or any error, as one line."""
    return one_line(getattr(error, "strerror", None) or error) or type(error).__name__


def cut(text, most):
    """The beginning of `text` that takes at most `most` bytes in a file's name, and no half of a character.

    >>> cut("会会会", 7)
    '会会'
    """
    taken = 0
    for place, character in enumerate(text):
        taken += len(os.fsencode(character))
        if taken > most:
            return text[:place]
    return text


def ending(path, ending, suffix=None):
    """`path` with `ending` put between its stem and its suffix; the stem is cut where the name would be too long.

    Args:
        path: of a file.
        ending: e.g. `"-2"`.
        suffix: another one than the path's.

    Returns:
        A `Path`.

    >>> ending("a/cat.png", "-2").as_posix()
    'a/cat-2.png'
    """
    path = Path(path)
    last = ending + (path.suffix if suffix is None else suffix)
    return path.with_name(cut(path.stem, LONGEST - len(os.fsencode(last))) + last)


@contextlib.contextmanager
def replacing(path, ending=""):
    """`with replacing(path) as beside:` the file written at `beside` becomes `path` if nothing was raised.

    If anything was, nothing new is left in the folder, and an existing file is as it was.

    Args:
        path: of the file.
        ending: of `beside`, for a library that goes by a file's suffix.

    Raises:
        DataError: an OSError in the block or of the renaming, in one line with the path.
    """
    path = Path(path)
    # Beside the target, as a rename is only atomic within a file system. Hidden from globs of results, cut to what a
    # file name may have, and of this process and thread, so that no two write the same one.
    beside = path.with_name(f"{_beside(path)}{os.getpid()}.{threading.get_ident()}.part{ending}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{one_line(path)}: cannot be written ({reason(error)}).") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _beside(path):
    return f".{cut(path.name, 80)}."


def clear_parts(path):
    """Removes what killed processes left of writing `path` by `replacing`; nobody may be writing it meanwhile."""
    path = Path(path)
    for part in path.parent.glob(f"{glob.escape(_beside(path))}*.part"):
        numbers = part.name.removeprefix(_beside(path)).removesuffix(".part")
        if re.fullmatch(r"\d+\.\d+", numbers):
            with contextlib.suppress(OSError):
                part.unlink()


def json_text(value, indent=None):
    """`value` as JSON that every reader takes: a number that is not finite, which JSON does not have, is null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def expanded(path):
    """A path as the user gave it, with `~` and `~name` at its beginning written out: the one place for that.

    `./~` is a file that has this name; so is `~name` where there is such a file and no such user.

    Args:
        path: text, or what `os.fspath` takes. None stays None.

    Returns:
        Text.

    Raises:
        UsageError: there is no such user.
    """
    if path is None:
        return None
    path = os.fsdecode(path)
    full = os.path.expanduser(path)
    if full == path and path.startswith("~"):
        full = os.path.join(os.curdir, path)  # so that it stays itself if it is expanded once more
        if not os.path.lexists(path):
            said = f"{one_line(path)}: no such user's folder. A file of this name is given as {one_line(full)}"
            raise UsageError(said)
    return full


def free_names(path):
    """`path` and, for ever, the names to take if it is taken: `a.png`, `a-2.png`, `a-3.png`, …"""
    path = Path(path)
    yield path
    for number in itertools.count(2):
        yield ending(path, f"-{number}")


def claim_folder(path):
    """Makes the folder `path`, or the next of `free_names` that nobody has, and those above it. Two who ask for one
    name get two folders, at whatever moment they ask.

    Returns:
        The `Path` of the folder that was made.

    Raises:
        DataError: it cannot be made.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for free in free_names(path):
            with contextlib.suppress(FileExistsError):
                free.mkdir()
                return free
    except OSError as error:
        raise DataError(f"{one_line(path)}: cannot be made ({reason(error)}).") from error


@contextlib.contextmanager
def claimed(path):
    """`with claimed("a.png") as free:` nobody else gets the name `free`: `path`, or the next of `free_names`.

    It is taken by an empty file, to be replaced by the real one (`replacing`). If it is still empty at the end,
    because something was raised, it is removed.

    Raises:
        DataError: no file can be made there.
    """
    try:
        for free in free_names(path):
            with contextlib.suppress(FileExistsError):
                free.touch(exist_ok=False)
                break
    except OSError as error:
        raise DataError(f"{one_line(path)}: cannot be written ({reason(error)}).") from error
    try:
        yield free
    finally:
        with contextlib.suppress(OSError):
            if not free.stat().st_size:
                free.unlink()


@contextlib.contextmanager
def parsing(label, raised=Exception):
    """`with parsing(label):` whatever a parser raises on a damaged file is a DataError of one line.

    Args:
        label: the file's name for that line.
        raised: the exceptions that mean damage; by default all, as a damaged file can make a parser fail in any way.
            kstyle's own pass through.
    """
    try:
        yield
    except KStyleError:
        raise
    except raised as error:
        reason = plain(error, 160).rstrip(".") or type(error).__name__
        raise DataError(f"{label}: is damaged or cut short ({reason}).") from error


def read_bytes(path, most):
    """A file's bytes.

    Raises:
        DataError: it has more than `most`. OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise _too_large(path, most)
    return raw


def sha256(path):
    """Of a file's bytes, in hex. OSError: it cannot be read."""
    import hashlib  # here: what --help need not wait for

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_member(archive, entry, most, label):
    """The bytes of a file in a `zipfile.ZipFile`, given its `ZipInfo`.

    Raises:
        DataError: it would unpack to more than `most`. What zipfile raises on damage.
    """
    if entry.file_size > most:  # reading stops at the size that is claimed
        raise _too_large(label, most)
    return archive.read(entry)


def _too_large(label, most):
    return DataError(f"{label}: refused: it has more than {most} bytes.")


def looks_like_html(head):
    """Whether these first bytes of a file are a web page's: what a dead link or a login wall gives under any name."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype", b"<html"))
