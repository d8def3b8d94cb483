"""Networks, built once in Keras, and the features taken from them."""

from kstyle import backend  # noqa: F401  # first: it settles what Keras runs on
