"""Receptive fields: which pixels of the input an output of a layer may see, computed from the layers' settings.

The arithmetic is that of Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks"
(Distill, doi 10.23915/distill.00021), along each axis: output j of a layer uses the inputs from j · stride - pad on.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import keras
import numpy as np

ops = keras.ops

# Layers and operations of Keras', and layers of kstyle's, whose output at a place hangs on the inputs at that place
# alone. Of one that is in no list here, the layer itself is asked.
POINTWISE = frozenset((
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Identity", "Rescaling", "Normalization"),
    *("BatchNormalization", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "DropPath", "LayerScale", "Dense", "EinsumDense"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    *("Divide", "TrueDivide", "Power", "Square", "Sqrt", "Rsqrt", "Negative", "Absolute", "Abs", "Exp", "Log", "Clip"),
    *("Relu", "Relu6", "Sigmoid", "Silu", "Gelu", "Tanh", "HardSigmoid", "HardSilu", "LeakyRelu", "Elu", "Cast"),
))  # fmt: skip
PROBE = 9  # pixels a side of what an unknown layer is asked with


@dataclass(frozen=True)
class Field:
    """Of a tensor (B, h, w, C), where its places lie in the input.

    Attributes:
        low, high: (y, x) of the first and last pixel that place (0, 0) may see; they may lie outside the picture.
        step: (y, x) pixels between two places beside each other.
    """

    low: tuple
    high: tuple
    step: tuple

    @property
    def size(self):
        """(height, width) in pixels."""
        return tuple(math.ceil(high - low) + 1 for low, high in zip(self.low, self.high))

    @property
    def stride(self):
        """(y, x) in pixels; of a layer that enlarges fractions of one."""
        return tuple(int(step) if step == int(step) else float(step) for step in self.step)

    def box(self, y, x):
        """(top, left, bottom, right) of what a place sees, in pixels of the input, the last two beyond it."""
        low = [math.floor(at * step + low) for at, step, low in zip((y, x), self.step, self.low)]
        return (*low, *(first + size for first, size in zip(low, self.size)))


ONE = Field((Fraction(0),) * 2, (Fraction(0),) * 2, (Fraction(1),) * 2)


def of(graph):
    """The fields of all tensors of a `kstyle.inspect.graph.Graph`: {name of a node: `Field`}.

    None stands for the whole picture: behind a global pool, a flattening, attention, or a layer that is not known and
    mixes places. Where branches meet, the field is the smallest that holds theirs.
    """
    known, found = {id(graph.input): ONE}, {}
    for node in graph.nodes:
        inputs = [known.get(id(tensor)) for tensor in node.inputs]
        field = _joined(inputs)
        if field is not None:
            field = _after(node, field)
        for tensor in keras.tree.flatten(node.output):
            known[id(tensor)] = field
        found[node.name] = field
    return found


def _joined(inputs):
    if not inputs or None in inputs or len({field.step for field in inputs}) > 1:
        return None
    low, high = ([getattr(field, end) for field in inputs] for end in ("low", "high"))
    return Field(tuple(map(min, zip(*low))), tuple(map(max, zip(*high))), inputs[0].step)


def _after(node, field):
    layer, kind = node.operation, type(node.operation).__name__
    shape = tuple(node.inputs[0].shape)
    if len(shape) != 4 or getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if kind in POINTWISE:
        whole = kind in ("Concatenate",) and getattr(layer, "axis", -1) not in (-1, 3)
        return None if whole else field
    if kind in ("ZeroPadding2D", "Cropping2D"):
        sign = -1 if kind == "ZeroPadding2D" else 1
        (top, _), (left, _) = layer.padding if sign < 0 else layer.cropping
        return _moved(field, (sign * top, sign * left))
    if kind == "Pad2D":
        return _moved(field, (-1, -1))
    if kind in ("UpSampling2D", "Doubled"):
        return _enlarged(field, _pair(getattr(layer, "size", 2)))
    if kind == "Conv2DTranspose":
        return _transposed(field, layer)
    window = _window(layer)
    if window is not None:
        return _windowed(field, shape, *window)
    return field if _is_pointwise(node, shape) else None


def _window(layer):
    """`(size, strides, dilation, pads)` of a layer that looks at windows, or None. pads: (y, x) before the picture; a
    text: Keras' `padding`."""
    size = getattr(layer, "kernel_size", getattr(layer, "pool_size", getattr(layer, "size", None)))
    if size is None or not hasattr(layer, "strides"):
        return None
    dilation, pad = getattr(layer, "dilation_rate", 1), getattr(layer, "pad", None)
    pads = getattr(layer, "padding", "valid") if pad is None else _pair(pad)
    if type(layer).__name__ == "MirroredConv2D":
        pads = _pair(size[0] // 2)
    return _pair(size), _pair(layer.strides), _pair(dilation), pads


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _windowed(field, shape, size, strides, dilation, pads):
    low, high, step = [], [], []
    for axis in (0, 1):
        reach, side, stride = (size[axis] - 1) * dilation[axis], shape[1 + axis], strides[axis]
        if pads == "same":  # what is odd Keras puts behind; of an unknown side, as of one that the stride divides
            side = stride if side is None else side
            pad = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0) // 2
        else:
            pad = 0 if isinstance(pads, str) else pads[axis]
        low.append(field.low[axis] - pad * field.step[axis])
        high.append(field.high[axis] + (reach - pad) * field.step[axis])
        step.append(field.step[axis] * stride)
    return Field(tuple(low), tuple(high), tuple(step))


def _moved(field, by):
    low, high = (tuple(at + n * s for at, n, s in zip(end, by, field.step)) for end in (field.low, field.high))
    return Field(low, high, field.step)


def _enlarged(field, times):
    """Of each place several beside one another, which see the same; the field is told of the last of them, whose own
    lies farthest before it."""
    step = tuple(s / n for s, n in zip(field.step, times))
    low = tuple(at - s * (n - 1) for at, s, n in zip(field.low, step, times))
    return Field(low, field.high, step)


def _transposed(field, layer):
    """A window of the input is what a kernel, laid on the enlarged one, meets."""
    low, high, step = [], [], []
    for axis in (0, 1):
        size, stride = layer.kernel_size[axis], layer.strides[axis]
        pad = max(size - stride, 0) // 2 if layer.padding == "same" else 0
        small = field.step[axis] / stride
        low.append(field.low[axis] + (pad - size + 1) * small)
        high.append(field.high[axis] + pad * small)
        step.append(small)
    return Field(tuple(low), tuple(high), tuple(step))


def _is_pointwise(node, shape):
    """Whether a layer that is not known mixes places: it is asked, with one pixel changed."""
    if len(node.inputs) != 1 or len(node.args) != 1 or tuple(getattr(node.output, "shape", ()))[:3] != shape[:3]:
        return False
    sides = [side or PROBE for side in shape[1:3]]
    before = np.random.default_rng(0).normal(size=(1, *sides, shape[3])).astype("float32")
    after, middle = before.copy(), [side // 2 for side in sides]
    after[0, middle[0], middle[1]] += 1
    try:
        given = [ops.convert_to_numpy(node(ops.convert_to_tensor(x))) for x in (before, after)]
    except Exception:  # a user's layer may fail in any way, and then nothing is known of it
        return False
    changed = (given[0] != given[1]).any(axis=(0, 3))
    changed[middle[0], middle[1]] = False
    return not changed.any()
