"""What a shell is told when Tab is pressed: `shell_complete` functions of options and arguments. They load no framework
and run no file of the user's."""

from click.shell_completion import CompletionItem

# By which the script that `kstyle completion` prints asks.
VARIABLE = "_KSTYLE_COMPLETE"


def _complete(incomplete, names, other=None):
    """Those names that begin so; where none does, files or folders (`other`)."""
    found = [name for name in names if name.startswith(incomplete)]
    return found or ([CompletionItem(incomplete, type=other)] if other else [])


def files_of(kind):
    """For names of `kind`, a key of `kstyle.config.KINDS`, or files."""

    def complete(context, parameter, incomplete):
        from kstyle import config

        return _complete(incomplete, config.names(kind), "file")

    return complete


def words(*names, other=None):
    """For names that are always the same."""
    return lambda context, parameter, incomplete: _complete(incomplete, names, other)


def colours(context, parameter, incomplete):
    from kstyle.style.colour.modes import MODES

    return _complete(incomplete, MODES)


def extractors(context, parameter, incomplete):
    from kstyle.models import registry

    return _complete(incomplete, registry.names("extractor"))


def _runs():
    from pathlib import Path

    return sorted(path.parent.as_posix() for path in Path("runs").glob("*/run.json"))


def runs(context, parameter, incomplete):
    """Runs in `runs`, where a training leaves them, or any folder."""
    return _complete(incomplete, _runs(), "dir")


def runs_and_networks(context, parameter, incomplete):
    """Runs, or networks that know ImageNet's classes by themselves."""
    from kstyle.models import registry

    return _complete(incomplete, [*_runs(), *registry.names("classifier")], "dir")


def data_sets(context, parameter, incomplete):
    from kstyle import data

    return _complete(incomplete, data.published(), "dir")
