"""Class names of one set and of another: which are the same."""

import unicodedata

from kstyle.errors import DataError
from kstyle.io.files import plain


def matched(names, known):
    """Which of the `known` class names each of `names` is.

    The same text is the same class, in whatever order. Else texts that differ in case, in blanks around them, or in how
    an accent is stored (macOS takes letters apart) are, where only one of each side fits.

    Args:
        names, known: sequences of texts.

    Returns: {name: the known name, or None}.

    Raises:
        DataError: one of the two has a name twice, so that it says nothing.
    """
    for side in (names, known):
        if len(set(side)) < len(side):
            twice = next(name for name in side if list(side).count(name) > 1)
            raise DataError(f"Expected class names that differ; '{plain(twice)}' is there twice.")
    found = {name: name if name in set(known) else None for name in names}
    near, taken = {}, set(found.values())
    for name in known:
        near.setdefault(_folded(name), []).append(name)
    asking = [_folded(name) for name, same in found.items() if same is None]
    for name, same in found.items():
        fits = [other for other in near.get(_folded(name), []) if other not in taken]
        if same is None and len(fits) == 1 and asking.count(_folded(name)) == 1:
            found[name] = fits[0]
    return found


def _folded(name):
    return unicodedata.normalize("NFC", name.strip()).casefold()
