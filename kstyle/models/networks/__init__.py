"""Networks, one file each."""


def shape(size, channels):
    """`(height, width, channels)` of pictures of this size: a side or (height, width), in pixels."""
    return (*size, channels) if isinstance(size, (tuple, list)) else (size, size, channels)
