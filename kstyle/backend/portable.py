"""What TensorFlow's and JAX's compilers make fast from `keras.ops`, written once for both."""

import math

from keras import ops


def batch_norm(x, gamma, beta, mean, variance, *, training, momentum, epsilon, unbiased):
    dtype = x.dtype
    x = ops.cast(x, "float32")
    mean_now, variance_now = mean.value, variance.value
    if training:
        axes = tuple(range(x.ndim - 1))
        mean_now = ops.mean(x, axes)
        variance_now = ops.mean(ops.square(x - mean_now), axes)
        count = ops.cast(math.prod(ops.shape(x)[:-1]), "float32")
        sample = variance_now * count / ops.maximum(count - 1, 1) if unbiased else variance_now
        mean.assign(mean * momentum + mean_now * (1 - momentum))
        variance.assign(variance * momentum + sample * (1 - momentum))
    factor = ops.rsqrt(variance_now + epsilon)
    if gamma is not None:
        factor = factor * gamma
    shift = -mean_now * factor
    if beta is not None:
        shift = shift + beta
    return ops.cast(x * factor + shift, dtype)


def instance_norm(x, gamma, beta, epsilon, activation=None):
    wide = ops.cast(x, "float32")
    mean = ops.mean(wide, (1, 2), keepdims=True)
    variance = ops.mean(ops.square(wide - mean), (1, 2), keepdims=True)
    y = ops.cast((wide - mean) * ops.rsqrt(variance + epsilon) * gamma + beta, x.dtype)
    return ops.relu(y) if activation == "relu" else y


def mirrored(x, pixels):
    top, bottom, left, right = (pixels,) * 4 if isinstance(pixels, int) else pixels
    return ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="reflect")


def doubled(x):
    return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)


def add_scaled(tensors, factor, others):
    return [t + factor * o for t, o in zip(tensors, others)]


def update(variables, keep, tensors, factor):
    for variable, tensor in zip(variables, tensors):
        variable.assign(keep * variable.value + factor * tensor)


def squared_error(x, target):
    return ops.sum(ops.square(x - target))


def affine(x, scale, shift):
    return ops.cast(x, "float32") * scale + shift


def lay_out_kernel(variable):
    pass  # TensorFlow reads HWIO as it is, XLA chooses its own layouts


def lay_out_like(variable, other):
    pass


def take(x, index, axis=0):
    return ops.take(x, index, axis=axis)


def one_hot(labels, classes):
    return ops.one_hot(labels, classes)


def hits(x, y):
    return ops.sum(ops.cast(ops.equal(ops.argmax(x, axis=-1), ops.argmax(y, axis=-1)), "float32"))


def tally(index, length):
    return ops.segment_sum(ops.ones_like(index, dtype="float32"), index, num_segments=length)


def inner(x, y):
    return ops.sum(x * y)


def lerp(x, y, share):
    return ops.where(share == 1, y, x + share * (y - x))


def where_put(put):
    """`put_where` by a framework's `put`."""

    def put_where(variable, condition, values, part=None, otherwise=None):
        if otherwise is None:
            otherwise = variable.value if part is None else variable.value[part]
        values = ops.where(condition, values, otherwise)
        if part is None:
            variable.assign(values)
        else:
            put(variable, part.start, values)

    return put_where


def row_or_old(variable, index, row, start, condition):
    """The row that `put_row` puts: what is there where a condition is given and does not hold."""
    if condition is None:
        return row
    return ops.where(condition, row, ops.take(variable.value[:, start : start + row.shape[0]], index, axis=0))


def reseed(number):
    pass  # Keras' generators are variables of the model


def placed(array):
    return array  # what is compiled has it as a constant


def give_back():
    pass  # these allocators are their own


def uploaded(array):
    return ops.convert_to_tensor(array)


class Random:
    """Numbers from keys: the n-th draw's is made of the seed and n, so a compiled step carries no generator along.

    `key_of(n)` makes one and `unit(key, shape)` draws from [0, 1) with it; what else there is draws with `_next()`.
    """

    drawn = 0

    def _next(self):
        self.drawn += 1
        return self.key_of(self.drawn)

    def uniform(self, shape, low=0.0, high=1.0):
        return self.unit(self._next(), shape) * (high - low) + low
