"""Presets and recipes of your own by name, for a plugin: what a YAML file would say, as a mapping.

>>> from kstyle import settings
>>> optimizer = {"name": "adam", "learning_rate": 0.003}
>>> settings.register_recipe("digits", {"model": "mnist_cnn", "data": "digits", "optimizer": optimizer, "epochs": 9})
"""

from collections.abc import Mapping
from typing import Any

from kstyle import config
from kstyle.errors import UsageError

__all__ = ["register_preset", "register_recipe"]


def register_preset(name: str, preset: Mapping[str, Any]) -> None:
    """Adds a preset: `kstyle stylize … --preset NAME`, `kstyle.stylize(…, preset=NAME)`.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's presets.
        preset: what a preset file says; it is checked when it is used.

    Raises:
        UsageError: a name of kstyle's own, or no mapping.

    >>> import kstyle
    >>> preset = {"description": "a little style", "style": {"layers": {"block1_conv1": 1}}}
    >>> kstyle.settings.register_preset("faint", preset)
    >>> kstyle.presets()["faint"]
    'a little style'
    """
    config.added("stylize").add(name, _mapping("preset", preset))


def register_recipe(name: str, recipe: Mapping[str, Any]) -> None:
    """Adds a recipe: `kstyle train NAME`, `kstyle.train(NAME)`.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's recipes.
        recipe: what a recipe file says; it is checked when it is used.

    Raises: as `register_preset`.

    >>> import kstyle
    >>> data, optimizer = {"name": "digits", "normalize": "unit"}, {"name": "adam", "learning_rate": 0.003}
    >>> recipe = {"model": "mnist_cnn", "data": data, "optimizer": optimizer, "epochs": 3}
    >>> kstyle.settings.register_recipe("three-epochs", recipe)
    >>> run = kstyle.train("three-epochs")  # doctest: +SKIP
    """
    config.added("train").add(name, _mapping("recipe", recipe))


def _mapping(kind, given):
    if not isinstance(given, Mapping):
        raise UsageError(f"Expected a mapping of settings for the {kind}; got {type(given).__name__}.")
    return dict(given)
