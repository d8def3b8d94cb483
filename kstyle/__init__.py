"""Neural style transfer and image-classification recipes, written once in Keras 3.

Importing kstyle loads no framework: that happens inside the first call, on the backend `KERAS_BACKEND` names or, unset,
the first one installed of torch, jax and tensorflow.
"""

__version__ = "0.1.0"

from kstyle.errors import DataError, KStyleError, UsageError

__all__ = ["DataError", "KStyleError", "UsageError", "evaluate", "predict", "presets", "stylize", "train"]

_LAZY = {
    "stylize": "kstyle.style.transfer",
    "presets": "kstyle.recipes",
    "train": "kstyle.training.train",
    "evaluate": "kstyle.training.evaluate",
    "predict": "kstyle.training.evaluate",
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'kstyle' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__():
    return sorted([*globals(), *_LAZY])
