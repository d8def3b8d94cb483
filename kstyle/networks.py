"""Networks by name, and those of your own: see `kstyle.models.registry`.

>>> from kstyle import networks
>>> "vgg19" in networks.names("extractor")
True
"""

from kstyle.models.registry import Network, Option, Source, get, names, register

__all__ = ["Network", "Option", "Source", "get", "names", "register"]
