"""Neural style transfer and image-classification recipes, written once in Keras 3.

Importing kstyle loads no framework: that happens inside the first call, on the backend that `KERAS_BACKEND` names or,
unset, Keras' own settings do, or the first one installed of torch, jax and tensorflow.

What `__all__` lists is the public API and keeps its meaning; everything below, `kstyle.style.engine` say, may move.

>>> import kstyle
>>> "gatys" in kstyle.presets()
True
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

from kstyle import startup
from kstyle.errors import DataError, KStyleError, UsageError

if TYPE_CHECKING:  # the same names for type checkers, which do not follow __getattr__
    from kstyle import (
        aims,
        augmentations,
        callbacks,
        inspect,
        losses,
        networks,
        optimizers,
        plugins,
        schedules,
        settings,
    )
    from kstyle.config import presets
    from kstyle.data import download
    from kstyle.hub.pull import pull
    from kstyle.hub.push import push
    from kstyle.models.features import Extractor
    from kstyle.reports.report import report
    from kstyle.style.jobs.batch import stylize_all as batch
    from kstyle.style.jobs.film import film
    from kstyle.style.jobs.sweep import sweep
    from kstyle.style.judge.compare import compare
    from kstyle.style.learning.learn import learn
    from kstyle.style.networks.style_facts import styles
    from kstyle.style.result import Result
    from kstyle.style.stylize import resume, stylize
    from kstyle.style.transfer import Painter
    from kstyle.training.results.evaluate import evaluate, predict
    from kstyle.training.results.export import export
    from kstyle.training.train import Run, train

__all__ = [
    "DataError",
    "Extractor",
    "KStyleError",
    "Painter",
    "Result",
    "Run",
    "UsageError",
    "aims",
    "augmentations",
    "batch",
    "callbacks",
    "compare",
    "download",
    "evaluate",
    "export",
    "film",
    "inspect",
    "learn",
    "losses",
    "networks",
    "optimizers",
    "plugins",
    "predict",
    "presets",
    "pull",
    "push",
    "report",
    "resume",
    "schedules",
    "settings",
    "styles",
    "stylize",
    "sweep",
    "train",
]

BACKEND, BACKEND_WHY = startup.settle()

# {name: (the module it is in, what it is called there)}; "" stands for the module itself.
_LAZY = {
    "Extractor": ("kstyle.models.features", "Extractor"),
    "Painter": ("kstyle.style.transfer", "Painter"),
    "Result": ("kstyle.style.result", "Result"),
    "Run": ("kstyle.training.train", "Run"),
    "aims": ("kstyle.aims", ""),
    "augmentations": ("kstyle.augmentations", ""),
    "batch": ("kstyle.style.jobs.batch", "stylize_all"),
    "callbacks": ("kstyle.callbacks", ""),
    "compare": ("kstyle.style.judge.compare", "compare"),
    "download": ("kstyle.data", "download"),
    "evaluate": ("kstyle.training.results.evaluate", "evaluate"),
    "export": ("kstyle.training.results.export", "export"),
    "film": ("kstyle.style.jobs.film", "film"),
    "inspect": ("kstyle.inspect", ""),
    "learn": ("kstyle.style.learning.learn", "learn"),
    "losses": ("kstyle.losses", ""),
    "networks": ("kstyle.networks", ""),
    "optimizers": ("kstyle.optimizers", ""),
    "plugins": ("kstyle.plugins", ""),
    "predict": ("kstyle.training.results.evaluate", "predict"),
    "presets": ("kstyle.config", "presets"),
    "pull": ("kstyle.hub.pull", "pull"),
    "push": ("kstyle.hub.push", "push"),
    "report": ("kstyle.reports.report", "report"),
    "resume": ("kstyle.style.stylize", "resume"),
    "schedules": ("kstyle.schedules", ""),
    "settings": ("kstyle.settings", ""),
    "styles": ("kstyle.style.networks.style_facts", "styles"),
    "stylize": ("kstyle.style.stylize", "stylize"),
    "sweep": ("kstyle.style.jobs.sweep", "sweep"),
    "train": ("kstyle.training.train", "train"),
}
# Without a framework, or not before they need one.
_LIGHT = (
    *("compare", "download", "inspect", "networks", "plugins", "presets", "pull", "push", "report", "schedules"),
    *("settings", "styles"),
)

if not TYPE_CHECKING:  # a type checker is to find a misspelt name

    def __getattr__(name):
        if name not in _LAZY:
            raise AttributeError(f"module 'kstyle' has no attribute '{name}'")
        import importlib

        if name not in _LIGHT:
            importlib.import_module("kstyle.backend")  # first: it says what is wrong with KERAS_BACKEND
        module, called = _LAZY[name]
        found = importlib.import_module(module)
        return getattr(found, called) if called else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
