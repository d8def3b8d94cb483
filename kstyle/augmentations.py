"""Augmentations of your own, for recipes.

>>> from kstyle import augmentations
>>> augmentations.register("darker", lambda images, random, strength, by=0.2: images * (1 - strength * by))
"""

from collections.abc import Callable
from typing import Any

from kstyle.open_names import called
from kstyle.training.augment.policy import NAMES

__all__ = ["register"]


def register(name: str, function: Callable[..., Any]) -> None:
    """Adds an augmentation: `own: {NAME: {argument: value}}` in a recipe's `augment`.

    It works on pictures that were moved and recoloured by kstyle's augmentations, before erasing and mixing; what it
    returns is clipped to [0, 1].

    Args:
        name: of letters, digits, `_` and `-`; none of the settings of `augment`.
        function: `function(images, random, strength, **arguments)` -> images, in `keras.ops`. images: (B, H, W, C)
            float32 in [0, 1]; random: a `kstyle.backend.Random`, the only source of chance, with `uniform(shape)`,
            `normal(shape)`, `integers`, `permutation`; strength: 0 to 1, a scalar tensor, 0 for pictures as they are.

    Raises:
        UsageError: a name of kstyle's own, or no function.

    >>> from kstyle import augmentations
    >>> augmentations.register("grey-veil", lambda images, random, strength: images + strength * (0.5 - images) / 4)
    """
    NAMES.add(name, called("augmentation", function))
