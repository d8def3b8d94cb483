"""A network's weights in 8 bits, in a quarter of the space.

Kernels become whole numbers from -127 to 127, with a float32 scale for each output channel (Jacob et al. 2018, arXiv
1712.05877, 3); what has few numbers, biases and norms, stays float32. What computes with them computes in floats.
"""

import numpy as np

LARGEST = 127
SCALE = "/scale"  # what the scales of an array are called, after its own name


def packed(arrays):
    """Arrays by name with the kernels among them, those of four axes, in 8 bits, and their scales beside them.

    >>> import numpy
    >>> from kstyle.style.networks.eight_bits import packed
    >>> kernel = numpy.array([0.5, -2.0], "float32").reshape(1, 1, 2, 1)
    >>> [array.ravel().tolist() for array in packed({"kernel": kernel}).values()]
    [[32, -127], [0.015748031437397003]]
    """
    found = {}
    for name, array in arrays.items():
        if array.ndim == 4:
            scale = np.maximum(np.abs(array).max((0, 1, 2)) / LARGEST, np.finfo("float32").tiny).astype("float32")
            found[name], found[name + SCALE] = np.rint(array / scale).astype("int8"), scale
        else:
            found[name] = array
    return found


def unpacked(arrays):
    """What `packed` got, in float32. An array in 8 bits stays as it is where its scales are missing or none."""
    found = {}
    for name, array in arrays.items():
        scale = arrays.get(name + SCALE)
        fits = array.dtype == np.int8 and scale is not None and scale.shape == array.shape[-1:]
        if fits and scale.dtype == np.float32:
            array = array * scale
        if not name.endswith(SCALE):
            found[name] = array
    return found
