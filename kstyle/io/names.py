"""Names of files that users give: none is both read and replaced, and each is printed so that a shell takes it."""

import os
import shlex

from kstyle.errors import UsageError
from kstyle.io.files import ending, legible, one_line


def same_file(path, other):
    """Whether both are one file that is there, by whatever names and links."""
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError, TypeError):  # one is not there, or no path
        return False


def check_spares(targets, inputs):
    """Check that nothing that is read is replaced by what is written.

    Args:
        targets: paths to be written; None among them is passed over.
        inputs: paths that are read; what is no file's path, such as `"noise"`, is passed over.

    Raises:
        UsageError: a target is one of the inputs: the same file, whatever it is called, or a link to it.
    """
    inputs = [path for path in inputs if path is not None]
    for target in targets:
        for path in inputs if target is not None and os.path.exists(target) else ():
            if same_file(target, path):
                raise UsageError(
                    f"{one_line(target)} would be replaced, and it is read too ({one_line(path)}): give another name."
                )


def snapshot(path, step):
    """What `path` is called, a `Path`, as it is after so many steps.

    >>> snapshot("cat.png", 20).name
    'cat-step0020.png'
    """
    return ending(path, f"-step{step:04d}")


def snapshots(path, every):
    """The files beside `path` that have the name of a `snapshot` after every so many steps."""
    for there in path.parent.glob("*-step*"):
        step = there.stem.rpartition("-step")[2]
        if step.isdecimal() and int(step) % every == 0 and there.name == snapshot(path, int(step)).name:
            yield there


def argument(path):
    """A path as an argument of a command: one that begins with `-` would be taken for an option."""
    text = os.fsdecode(path)
    return os.path.join(os.curdir, text) if text.startswith("-") and text != "-" else text


def command(words):
    """Words as a line for a shell, printable whatever is in them: as `shlex.join`, with bash's `$'…'` where needed."""
    return " ".join(map(_quoted, words))


def _quoted(word):
    if word.isprintable():
        return shlex.quote(word)
    try:
        raw = word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which Windows allows in names: no shell takes it
        return shlex.quote(legible(word))
    text = raw.decode("utf-8", "surrogateescape")
    parts = []
    for character in text:
        if character in "\\'":
            parts.append(f"\\{character}")
        elif character.isprintable():
            parts.append(character)
        else:
            # Three octal digits end by themselves, whatever follows.
            parts += [f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape")]
    return f"$'{''.join(parts)}'"
