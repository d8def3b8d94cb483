"""Names that a user's own Python can add to: losses, optimisers, augmentations, schedules.

Needs no framework, so that settings can be checked against them without one.
"""

from collections.abc import Callable, Iterator
from typing import Any

from kstyle.errors import UsageError


class Names:
    """The names of one kind of things: kstyle's, which stay what they are, and those that were added.

    Args:
        kind: what they are names of, for errors.
        ours: kstyle's own names.

    >>> losses = Names("style loss", ["gatys", "paper"])
    >>> losses.add("mine", len)
    >>> "mine" in losses, list(losses)
    (True, ['gatys', 'paper', 'mine'])
    >>> losses.own["mine"] is len
    True
    """

    def __init__(self, kind: str, ours: Any) -> None:
        self.kind, self._ours = kind, ours
        self.own: dict[str, Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._ours or name in self.own

    def __iter__(self) -> Iterator[str]:
        return iter([*self._ours, *self.own])

    def add(self, name: str, thing: Any) -> None:
        """Adds a name; one that was added before gets another meaning. Raises: as `check`."""
        self.check(name)
        self.own[name] = thing

    def check(self, name: str) -> None:
        """Whether a user may give this name.

        Raises:
            UsageError: it is one of kstyle's, or no name: letters, digits, `_` and `-`.
        """
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise UsageError(f"The name of a {self.kind} is made of letters, digits, _ and -; got {name!r}.")
        if name in self._ours:
            raise UsageError(f"There is a {self.kind} called '{name}' already: give yours another name.")


def called(kind: str, thing: Any) -> Callable:
    """`thing`. UsageError where it cannot be called."""
    if not callable(thing):
        raise UsageError(f"Expected a function for the {kind}; got {type(thing).__name__}.")
    return thing


def name_of(function: Callable) -> str:
    """What a function is called; of an object that can be called its own name, or its class'."""
    return getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__
