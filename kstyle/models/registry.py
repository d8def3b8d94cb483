"""All networks by name, kstyle's and your own: what a recipe's `model.name` and a preset's `network.extractor` may say.

Needs no framework. A network of your own is a row:

    from kstyle import networks

    networks.register(networks.Network("tiny", build=my_function, options={"width": 8}))
"""

import typing

from kstyle.errors import UsageError, unknown
from kstyle.models.preprocessing import PREPROCESSINGS
from kstyle.models.rows import NETWORKS
from kstyle.models.rows.row import Network, Option, Source

__all__ = ["Extractor", "Network", "Option", "Source", "classifier", "extractor", "find", "get", "names", "register"]

_ROWS = {row.name: row for row in NETWORKS}
_OURS = frozenset(_ROWS)
# What a recipe's `model.name` says where the model is given in Python.
GIVEN = Network("given")


class Extractor(typing.NamedTuple):
    """What a preset's `network.extractor` names.

    Attributes:
        row: the network's `Network`.
        source: key of `row.weights`; None where the network's function gives the weights.
        preprocessing: of these weights, a key of `kstyle.models.preprocessing.PREPROCESSINGS`.
    """

    row: Network
    source: str | None
    preprocessing: str


def register(row: Network) -> Network:
    """Adds a network, for recipes and presets of this process. A row of your own may be registered again, changed.

    Args:
        row: a `Network`.

    Returns:
        The row.

    Raises:
        UsageError: a name that kstyle's own networks have, or a row that lacks what it needs.

    >>> from kstyle import networks
    >>> _ = networks.register(networks.Network("tiny", build="my.module:tiny", options={"width": 8}))
    >>> networks.get("tiny").options["width"].default
    8
    """
    if not isinstance(row, Network):
        raise UsageError(f"A network is registered as a kstyle.models.registry.Network; got {type(row).__name__}.")
    others = {name for each in _ROWS.values() if each.name != row.name for name in (each.name, *each.extractors)}
    if row.name in {*_OURS, GIVEN.name} or not others.isdisjoint({row.name, *row.extractors}):
        raise UsageError(f"There is a network called '{row.name}' already: register yours under another name.")
    if row.build is None and row.features is None:
        raise UsageError(f"The network '{row.name}' has neither 'build' nor 'features': give a function for one.")
    if row.borrows is not None and row.borrows not in _ROWS:
        raise unknown("network", row.borrows, names())
    if row.parts and list(row.parts)[-1] != "head":
        raise UsageError(f"The network '{row.name}': the last of its parts must be 'head'.")
    prepared = {row.prepared_by(source) for source in row.weights} | {row.preprocessing} - {None}
    if row.features is not None and not prepared:
        raise UsageError(f"The extractor '{row.name}' needs 'preprocessing', one of {', '.join(PREPROCESSINGS)}.")
    for each in prepared:
        if each not in PREPROCESSINGS:
            raise unknown("preprocessing", each, PREPROCESSINGS)
    _ROWS[row.name] = row
    return row


def names(kind: str | None = None) -> list[str]:
    """The names there are, in the order of the rows.

    Args:
        kind: `"classifier"`: what a recipe may name; `"extractor"`: what a preset may name; None: all networks.

    Returns:
        A list.

    >>> from kstyle import networks
    >>> "vgg19-torchvision" in networks.names("extractor"), "vgg19-torchvision" in networks.names("classifier")
    (True, False)
    """
    if kind == "extractor":
        return [name for row in _ROWS.values() for name in row.extractors]
    return [name for name, row in _ROWS.items() if kind is None or row.build is not None]


def rows() -> list[Network]:
    """The `Network`s there are, in order."""
    return [*_ROWS.values()]


def find(name: str) -> Network | None:
    """The `Network` of this name, or None."""
    return _ROWS.get(name)


def get(name: str) -> Network:
    """What is known of a network.

    Args:
        name: one of `names()`.

    Returns:
        Its `Network`.

    Raises:
        UsageError: there is none; the message has the nearest name and all there are.

    >>> from kstyle import networks
    >>> networks.get("resnet50").size
    224
    """
    return _row("network", name, names())


def _row(kind, name, known):
    if name not in known:
        raise unknown(kind, name, known)
    return _ROWS[name]


def classifier(name: str) -> Network:
    """The `Network` that a recipe's `model.name` names.

    Raises:
        UsageError: there is none; the message has the nearest name and all there are.
    """
    return GIVEN if name == GIVEN.name else _row("model", name, names("classifier"))


def extractor(name: str) -> Extractor:
    """The `Extractor` that a preset's `network.extractor` names.

    Raises:
        UsageError: there is none; the message has the nearest name and all there are.

    Example:
        >>> from kstyle.models import registry
        >>> registry.extractor("vgg19-torchvision")[1:]
        ('torchvision', 'torch')
    """
    for row in _ROWS.values():
        if name in row.extractors:
            source = row.extractors[name]
            return Extractor(row, source, row.prepared_by(source))
    raise unknown("extractor", name, names("extractor"))
