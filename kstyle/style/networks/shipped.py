"""Style networks that come with kstyle: `style:NAME` stands for the file of one, wherever that may stand."""

import os
from pathlib import Path

from kstyle import config
from kstyle.errors import unknown
from kstyle.io.files import expanded

PREFIX = "style:"


def names():
    """Of the networks that come with kstyle, sorted."""
    return sorted(path.stem for path in _folder().glob("*.keras"))


def located(style):
    """The path of a style network's file that is given as a user may: `style:NAME`, or a path of one's own.

    Args:
        style: text, or what `os.fspath` takes. A file that is really called so is given as `./style:NAME`.

    Returns:
        A `Path`.

    Raises:
        UsageError: no network of this name comes with kstyle.

    >>> from kstyle.style.networks.shipped import located
    >>> located("style:night").name, located("mine.keras").name
    ('night.keras', 'mine.keras')
    """
    if not is_name(style):
        return Path(expanded(style))
    name = os.fspath(style).removeprefix(PREFIX)
    if name not in names():  # also what would lead out of the folder
        raise unknown("style", name, names())
    return _folder() / f"{name}.keras"


def is_name(style):
    """Whether a network that comes with kstyle is asked for, rightly or not."""
    return isinstance(style, str) and style.startswith(PREFIX)


def beside(style):
    """The path by which files that are made of a style network are named: its own; of one that comes with kstyle, the
    same name in the current folder."""
    path = located(style)
    return Path(path.name) if is_name(style) or path.parent == _folder() else path


def _folder():
    return config.shipped("styles")
