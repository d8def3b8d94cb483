"""TensorFlow's side of the seam. See `kstyle.backend` for what each function is for."""

import functools

import numpy as np
import tensorflow as tf

from kstyle.backend import portable


def version():
    return tf.__version__


def value_and_grad(fn):
    def run(x):
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss, aux = fn(x)
        return (loss, aux), tape.gradient(loss, x)

    return run


def gradients(fn, variables, state):
    def run(*args):
        with tf.GradientTape() as tape:
            loss, aux = fn(*args)
        values = [v.value for v in variables]
        return loss, aux, tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return run


def compile(step, variables):
    return tf.function(step, autograph=False)


@functools.cache
def _bfloat16_layers():
    """Whether TensorFlow convolves and pools bfloat16 here: on processors without AVX-512 it does not."""
    try:
        with tf.init_scope():  # at once, also where a step is being traced
            tf.nn.conv2d(tf.zeros((1, 8, 8, 3), tf.bfloat16), tf.zeros((3, 3, 3, 8), tf.bfloat16), 1, "VALID")
    except tf.errors.OpError:
        return False
    return True


def _where_bfloat16_is_missing(layer):
    """The layer in float32 where there is none of bfloat16; what it returns is bfloat16 all the same."""

    @functools.wraps(layer)
    def call(x, *tensors, **options):
        if x.dtype != tf.bfloat16 or _bfloat16_layers():
            return layer(x, *tensors, **options)
        tensors = [tf.cast(t, tf.float32) if tf.is_tensor(t) and t.dtype == tf.bfloat16 else t for t in tensors]
        return tf.cast(layer(tf.cast(x, tf.float32), *tensors, **options), tf.bfloat16)

    return call


# On a processor TensorFlow has no gradient of a convolution in groups but through its compiler.
_grouped = tf.function(tf.nn.conv2d, jit_compile=True)


@_where_bfloat16_is_missing
def conv2d(x, kernel, bias=None, strides=1, padding=0, activation=None):
    """x: (B, H, W, C); kernel: (kh, kw, C / groups, F); padding: pixels on each side, or (top, bottom, left, right)."""
    top, bottom, left, right = (padding,) * 4 if isinstance(padding, int) else padding
    pads = [[0, 0], [top, bottom], [left, right], [0, 0]]
    convolve = tf.nn.conv2d if x.shape[-1] == kernel.shape[2] else _grouped
    y = convolve(x, kernel, strides, pads)
    if bias is not None:
        y = tf.nn.bias_add(y, bias)
    return tf.nn.relu(y) if activation == "relu" else y


@_where_bfloat16_is_missing
def max_pool(x, size, strides, padding=0):
    pads = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    return tf.nn.max_pool2d(x, size, strides, pads if padding else "VALID")


@_where_bfloat16_is_missing
def avg_pool(x, size, strides, padding=0):
    if padding:
        x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.nn.avg_pool2d(x, size, strides, "VALID")


batch_norm = portable.batch_norm
instance_norm = portable.instance_norm
mirrored = portable.mirrored
doubled = portable.doubled
add_scaled = portable.add_scaled
update = portable.update
squared_error = portable.squared_error
affine = portable.affine
take = portable.take
one_hot = portable.one_hot
hits = portable.hits
tally = portable.tally
inner = portable.inner
lerp = portable.lerp
reseed = portable.reseed
lay_out_kernel = portable.lay_out_kernel
lay_out_like = portable.lay_out_like
placed = portable.placed
uploaded = portable.uploaded
give_back = portable.give_back
sample_affine = None
depthwise_conv2d = None


class Random(portable.Random):
    def __init__(self, seed):
        self._seed = tf.cast(seed, tf.int32)

    def key_of(self, number):
        return tf.stack([self._seed, number])

    def unit(self, key, shape):
        return tf.random.stateless_uniform(shape, key)

    def normal(self, shape):
        return tf.random.stateless_normal(shape, self._next())

    def integers(self, shape, low, high):
        return tf.random.stateless_uniform(shape, self._next(), low, high, tf.int32)

    def permutation(self, n):
        return tf.argsort(self.uniform((n,)))


def out_of_memory(error):
    return isinstance(error, tf.errors.ResourceExhaustedError)


def gram(features, roots=None, scale=1.0):
    features = features if roots is None else features * roots
    f = tf.cast(tf.reshape(features, (-1, features.shape[-1])), tf.float32)
    return scale * tf.matmul(f, f, transpose_a=True)


def constant(values, dtype="float32"):
    return tf.constant(np.asarray(values, dtype))


def zeros_to_fill(shape, dtype="float32"):
    return tf.zeros(shape, dtype)


def put_row(variable, index, row, start=0, condition=None):
    row = portable.row_or_old(variable, index, row, start, condition)
    if row.shape[0] == variable.shape[1]:
        variable.value.scatter_nd_update(tf.reshape(index, (1, 1)), row[None])
    else:
        variable.value[index, start : start + row.shape[0]].assign(row)


def put(variable, start, values):
    if values.shape[0] == variable.shape[0]:
        variable.assign(values)
    else:
        variable.value[start : start + values.shape[0]].assign(values)


put_where = portable.where_put(put)


def as_numpy(tensor):
    return (tf.cast(tensor, "float32") if tensor.dtype == tf.bfloat16 else tf.convert_to_tensor(tensor)).numpy()


def seed(number):
    tf.random.set_seed(number)


def adapt_threads():
    pass  # its threads take the next part of a layer as they are done with one


def configure(deterministic, pixels=None):
    tf.config.experimental.enable_tensor_float_32_execution(not deterministic)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def fast_bfloat16():
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return False
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= (8, 0)


def tf32():
    return accelerated() and tf.config.experimental.tensor_float_32_execution_enabled()


def accelerated():
    return bool(tf.config.list_physical_devices("GPU"))


def device():
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"


def devices():
    gpus, fast = tf.config.list_physical_devices("GPU"), fast_bfloat16()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    found = [
        {"name": f"cuda:{i}", "device": name, "memory_bytes": None, "bfloat16": fast} for i, name in enumerate(names)
    ]
    return [*found, {"name": "cpu", "device": "CPU", "memory_bytes": None, "bfloat16": False}]


def memory():
    if tf.config.list_physical_devices("GPU"):
        return {"peak": tf.config.experimental.get_memory_info("GPU:0")["peak"], "total": None, "free": None}
    return None


def synchronize():
    if hasattr(tf.test.experimental, "sync_devices"):
        tf.test.experimental.sync_devices()
