"""What kstyle raises when the fault is not its own: one clear line, and the exit code that goes with it."""


class KStyleError(Exception):
    """A problem the user can act on. The command line prints it on one line and exits with `exit_code`.

    >>> import kstyle
    >>> try:
    ...     kstyle.compare(["one.jpg"])
    ... except kstyle.KStyleError as error:
    ...     print(error.exit_code, error)
    2 Comparing takes two or more pictures, got 1.
    """

    exit_code: int = 1


class DataError(KStyleError, ValueError):
    """A file, picture, weight or download that cannot be used. Exit code 1.

    >>> import kstyle
    >>> kstyle.compare(["gone.jpg", "gone.png"])
    Traceback (most recent call last):
    kstyle.errors.DataError: gone.jpg: there is no such file.
    """


class UsageError(KStyleError, ValueError):
    """An option, preset or setting that does not exist or cannot be. Exit code 2.

    >>> import kstyle
    >>> kstyle.compare(["a.jpg", "b.jpg"], extractor="vgg18")
    Traceback (most recent call last):
    kstyle.errors.UsageError: Unknown extractor 'vgg18'. Did you mean 'vgg19'? Known: ...
    """

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
