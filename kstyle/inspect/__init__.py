"""Looking into networks: their layers, what these see in a picture, what excites them, what a decision hangs on.

Each function takes for `model` what `kstyle.inspect.open` takes: a run's folder, a `.keras` file, a `keras.Model`, the
name of a network.

>>> import kstyle
>>> list(kstyle.inspect.layers("vgg19", values=False).index[:3])
['block1_conv1', 'block1_conv2', 'block1_pool']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers
    from kstyle.inspect.ascent.channel_pictures import Filters, filters
    from kstyle.inspect.ascent.dream import dream
    from kstyle.inspect.ascent.zoom import zoom
    from kstyle.inspect.driving import Patch, patches
    from kstyle.inspect.maps import Activations, activations
    from kstyle.inspect.near.embedding import embedding
    from kstyle.inspect.near.neighbours import neighbours
    from kstyle.inspect.pages.page import page
    from kstyle.inspect.subject import Subject, open
    from kstyle.inspect.table import layers
    from kstyle.inspect.why.attribution import attribution
    from kstyle.inspect.why.heat import Attribution

# {name: the module it is in}. No module in this room is called as a function, or its import would hide that.
_LAZY = {
    "Activations": "kstyle.inspect.maps",
    "Attribution": "kstyle.inspect.why.heat",
    "Filters": "kstyle.inspect.ascent.channel_pictures",
    "Patch": "kstyle.inspect.driving",
    "Subject": "kstyle.inspect.subject",
    "activations": "kstyle.inspect.maps",
    "attribution": "kstyle.inspect.why.attribution",
    "dream": "kstyle.inspect.ascent.dream",
    "embedding": "kstyle.inspect.near.embedding",
    "filters": "kstyle.inspect.ascent.channel_pictures",
    "layers": "kstyle.inspect.table",
    "neighbours": "kstyle.inspect.near.neighbours",
    "open": "kstyle.inspect.subject",
    "page": "kstyle.inspect.pages.page",
    "patches": "kstyle.inspect.driving",
    "zoom": "kstyle.inspect.ascent.zoom",
}

__all__ = [
    "Activations",
    "Attribution",
    "Filters",
    "Patch",
    "Subject",
    "activations",
    "attribution",
    "dream",
    "embedding",
    "filters",
    "layers",
    "neighbours",
    "open",
    "page",
    "patches",
    "zoom",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'kstyle.inspect' has no attribute '{name}'")
        importlib.import_module("kstyle.backend")  # first: it says what is wrong with KERAS_BACKEND
        return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
