"""Neural style transfer and image-classification recipes, written once in Keras 3.

Importing kstyle loads no framework: that happens inside the first call, on the backend that `KERAS_BACKEND` names or,
unset, Keras' own settings do, or the first one installed of torch, jax and tensorflow.
"""

__version__ = "0.1.0"

from kstyle import startup
from kstyle.errors import DataError, KStyleError, UsageError

__all__ = ["DataError", "KStyleError", "UsageError", "evaluate", "export", "predict", "presets", "stylize", "train"]

BACKEND, BACKEND_WHY = startup.settle()

_LAZY = {
    "stylize": "kstyle.style.transfer",
    "presets": "kstyle.config",
    "train": "kstyle.training.train",
    "evaluate": "kstyle.training.results.evaluate",
    "predict": "kstyle.training.results.evaluate",
    "export": "kstyle.training.results.export",
}
_LIGHT = ("presets",)  # without a framework


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'kstyle' has no attribute '{name}'")
    import importlib

    if name not in _LIGHT:
        importlib.import_module("kstyle.backend")  # first: it says what is wrong with KERAS_BACKEND
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__():
    return sorted([*globals(), *_LAZY])
