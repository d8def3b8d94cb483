"""The networks that come with kstyle, a row each.

A network's code is one file in `kstyle/models/networks` or a folder there; what else is to be known of it stands here,
and needs no framework.
"""

from kstyle.models.rows import imagenet, modern, small

NETWORKS = (*small.NETWORKS, *imagenet.NETWORKS, *modern.NETWORKS)
