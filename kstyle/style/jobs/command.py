"""The command line that makes a painting again."""

from kstyle import plugins
from kstyle.io import names


def stylize(content, styles, options, given, settings, further=()):
    """A `kstyle stylize` command, for a shell, with the plugins that were loaded.

    Args:
        content, styles: paths.
        options: {name of an option in Python: its value}: preset, size, steps, seed, precision, those that are told.
        given: likewise, of further options; None: not told.
        settings: `(dotted key, value as YAML)` of those that are set beside the preset, what holds last.
        further: words at the end: masks, say.
    """
    words = ["kstyle", "stylize", *map(names.argument, (content, *styles))]
    for key, value in (*options.items(), *given.items()):
        if key in options or value is not None:
            words += [f"--{key.replace('_', '-')}", str(value)]
    for key, text in settings:
        words += ["--set", f"{key}={text}"]
    for path in plugins.loaded():
        words += ["--plugin", path]
    return names.command([*words, *further])
