"""What a painting is asked for: what each argument may be, and the checks that need no picture."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from kstyle.errors import UsageError
from kstyle.io.files import shown
from kstyle.models import features
from kstyle.nn import optimizers
from kstyle.pictures.images import Source
from kstyle.style import settings as style_settings
from kstyle.style.passes import sizes

Preset: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
Optimizer: TypeAlias = str | Mapping[str, Any] | keras.optimizers.Optimizer
Extractor: TypeAlias = str | features.Extractor
Term: TypeAlias = Callable[..., Any] | str | Mapping[str, Any]  # of style
Mask: TypeAlias = Source | None  # of which the word "alpha" is one

INITS = ("content", "noise", "style", "detail")  # what to start from where it is no file


def checked(preset, overrides):
    """The settings of a preset as `kstyle.style.settings.load` checks them, and what its optimiser takes, which takes
    Keras to know."""
    settings = style_settings.load(preset, overrides)
    optimizers.check(settings.optimizer.name, settings.optimizer.arguments)
    return settings


def as_overrides(overrides, optimizer=None, extractor=None, terms=None):
    """The overrides of a preset, with the arguments that stand for one; what is set by its key goes before.

    Raises:
        UsageError: an extractor that is given ready made, and settings of another one.
    """
    first = {}
    if optimizer is not None:
        first |= {"optimizer": optimizers.described(optimizer)}
    if isinstance(extractor, features.Extractor):
        extractor.check_alone(overrides)
        first |= {"network": {}, "network.extractor": extractor.name}
    elif extractor is not None:
        first |= {"extractor": extractor}
    if terms is not None:
        first |= {"terms": list(terms) if isinstance(terms, (list, tuple)) else [terms]}
    return {**first, **overrides}  # in this order: optimizer.learning_rate and so on are for that optimiser


def check_numbers(size, steps, seed):
    """UsageError: one of them is not a whole number, or out of range."""
    for name, number in (("size", size), ("steps", steps), ("seed", seed)):
        if isinstance(number, bool):
            raise UsageError(f"{name} must be a whole number; got {number}.")
    smallest, largest = sizes.SMALLEST_SIDE, sizes.LARGEST_SIDE
    if not isinstance(size, (int, np.integer)) or not smallest <= size <= largest:
        raise UsageError(f"size must be a whole number of pixels from {smallest} to {largest}; got {shown(size)}.")
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 1):
        raise UsageError(f"steps must be a whole number, 1 or more; got {shown(steps)}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed must be a whole number, 0 or more; got {shown(seed)}.")
    for name, number, most, said in (("steps", steps or 1, 10**9, "10^9"), ("seed", seed, 2**63 - 1, "2^63 - 1")):
        if number > most:
            raise UsageError(f"{name} must be at most {said}; got {shown(number)}.")


def check_init(init):
    """UsageError: neither one of `INITS` nor a file."""
    if init not in INITS and not Path(init).exists():
        raise UsageError(f"init must be content, noise, style, detail or a picture; there is no file '{init}'.")
