"""What kstyle raises when the fault is not its own: one clear line, and the exit code that goes with it."""


class KStyleError(Exception):
    """A problem the user can act on. The command line prints it on one line and exits with `exit_code`."""

    exit_code = 1


class DataError(KStyleError, ValueError):
    """A file, picture, weight or download that cannot be used. Exit code 1."""


class UsageError(KStyleError, ValueError):
    """An option, preset or setting that does not exist or cannot be. Exit code 2."""

    exit_code = 2


def did_you_mean(name, known):
    """`" Did you mean 'nearest'?"`, or nothing where no name in `known` is near."""
    import difflib  # a hundredth of a second that only errors need

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def unknown(kind, name, known):
    """A UsageError that names the nearest match and lists what there is.

    Args:
        kind: what `name` should have been, e.g. `"preset"`.
        name: what was asked for.
        known: the names that exist.
    """
    known = [str(k) for k in known]
    return UsageError(f"Unknown {kind} '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}.")
