"""Plugins: a user's own Python file, run once, that adds names to kstyle's.

A plugin is a program and can do what its user can. So none is run but those that the person who starts kstyle names:
with `--plugin FILE`, or in Python with `load`. A preset or recipe may say in `plugins:` which it needs, and a recipe in
`model.name` in which file its network is, so that whoever runs it without them is told; that alone runs nothing,
wherever the file came from. `--allow-code` (`allow_code` in Python) runs what recipes and runs name.
"""

import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from kstyle.errors import KStyleError, UsageError, unknown
from kstyle.io.files import expanded, one_line, sha256

__all__ = ["allow_code", "load", "loaded"]

_loaded: dict[str, object] = {}  # {real path: module}
_allowed = False  # whether what recipes and runs name may run


def load(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> None:
    """Runs plugins, each once.

    Args:
        paths: of Python files, one or several.

    Raises:
        UsageError: a file that is not there, is no Python, or ends in an error, which is told with its line.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "mine.py")
    >>> _ = path.write_text("1 / 0")
    >>> load(path)
    Traceback (most recent call last):
    kstyle.errors.UsageError: plugin mine.py, line 1: ZeroDivisionError: division by zero
    """
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        real = os.path.realpath(expanded(path))
        if real not in _loaded:
            _loaded[real] = _run(Path(real))


def loaded() -> list[str]:
    """The plugins that were run, so that another process of kstyle's can run them again.

    Returns:
        Their paths, in the order in which they were run.

    >>> import kstyle
    >>> kstyle.plugins.load(kstyle.plugins.loaded())  # which changes nothing: each is run once
    """
    return list(_loaded)


def allow_code(allow: bool = True) -> None:
    """From now on the Python files that recipes and runs name are run, in this process; as `--allow-code` does.

    Args:
        allow: False: no more, as it is at the start.

    >>> import kstyle
    >>> kstyle.plugins.allow_code()  # doctest: +SKIP
    >>> kstyle.evaluate("runs/of-somebody-else").top1  # doctest: +SKIP
    """
    global _allowed
    _allowed = allow


def function(path: str | os.PathLike[str], name: str, where: str) -> Callable[..., object]:
    """What a plugin calls `name`: a function, or a class.

    Args:
        path: of the plugin. It is run where that is allowed and it was not yet; a copy of one that was run is that.
        where: what names it, for errors.

    Raises:
        UsageError: the plugin is not there, may not run, fails, or has no such function.
    """
    real = os.path.realpath(expanded(path))
    if real not in _loaded and not _allowed:
        if not os.path.isfile(real):
            raise UsageError(f"{where}: there is no file {one_line(path)}.")
        digest = sha256(real)
        same = next((each for each in _loaded if os.path.isfile(each) and sha256(each) == digest), None)
        if same is None:
            raise UsageError(
                f"{where} takes '{one_line(name)}' from {one_line(path)} (SHA-256 {digest}), a program that is not run "
                "unless you say so: add --allow-code if you trust it."
            )
        real = same  # a run's copy of a file that was named
    load(real)
    found = getattr(_loaded[real], name, None)
    if not callable(found):
        there = [key for key, each in vars(_loaded[real]).items() if callable(each) and not key.startswith("_")]
        raise unknown(f"function of {one_line(os.path.basename(real))}", name, there)
    return found


def check(asked: object, beside: Path, where: str) -> None:
    """Checks that what a preset or recipe says it needs was loaded.

    Args:
        asked: what its `plugins` says: a list of files, or one.
        beside: the file that says it; paths in it are relative to its folder.
        where: what errors call it.

    Raises:
        UsageError: it is no list of files, or a plugin was not loaded: how to.
    """
    asked = [asked] if isinstance(asked, str) else asked
    if not isinstance(asked, list) or not all(isinstance(path, str) for path in asked):
        raise UsageError(f"{where}: 'plugins' is a list of Python files.")
    for path in asked:
        file = beside.parent / expanded(path)
        if _allowed:
            load(file)
        elif os.path.realpath(file) not in _loaded:
            raise UsageError(
                f"{where} needs the plugin {one_line(path)}, a program that is not run unless you say so: add "
                f"--plugin {one_line(file)}, if you trust it."
            )


def _run(path):
    label = f"plugin {one_line(path.name)}"
    if not path.is_file():
        raise UsageError(f"{label}: there is no file {one_line(path)}.")
    name = f"kstyle_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that classes in it can be pickled, for jobs
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{label}{_line(error, path)}: {_said(error)}") from error
    return module


class _Loader(importlib.machinery.SourceFileLoader):
    """Leaves no `__pycache__` beside the user's file."""

    def set_data(self, path, data, *, _mode=0o666):
        pass


def _line(error, path):
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _said(error):
    text = one_line(getattr(error, "msg", None) or error) or type(error).__name__
    return text if isinstance(error, KStyleError) else f"{type(error).__name__}: {text.rstrip('.')}"
