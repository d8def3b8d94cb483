"""JAX's side of the seam. See `kstyle.backend` for what each function is for."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kstyle.backend import portable


def version():
    return jax.__version__


def value_and_grad(fn):
    return jax.value_and_grad(fn, has_aux=True)


def gradients(fn, variables, state):
    """What `fn` assigns to `state` has to leave the pure function that JAX differentiates as a result of it."""

    def run(*args):
        before = [v.value for v in state]

        def pure(values):
            mapping = [*zip(variables, values), *zip(state, before)]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                loss, aux = fn(*args)
            return loss, (aux, [scope.get_current_value(v) for v in state])

        (loss, (aux, after)), grads = jax.value_and_grad(pure, has_aux=True)([v.value for v in variables])
        for variable, value in zip(state, after):
            variable.assign(value)
        return loss, aux, grads

    return run


def compile(step, variables):
    """JAX traces pure functions, so the variables go in and come out as values."""

    @jax.jit
    def pure(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))) as scope:
            result = step(*args)
        return result, [scope.get_current_value(v) for v in variables]

    def run(*args):
        result, values = pure([v.value for v in variables], *args)
        for variable, value in zip(variables, values):
            variable.assign(value)
        return result

    return run


def conv2d(x, kernel, bias=None, strides=1, padding=0, activation=None):
    """x: (B, H, W, C); kernel: (kh, kw, C / groups, F); padding: pixels on each side, or (top, bottom, left, right)."""
    top, bottom, left, right = (padding,) * 4 if isinstance(padding, int) else padding
    strides = (strides, strides) if isinstance(strides, int) else strides
    y = lax.conv_general_dilated(
        x, kernel, strides, [(top, bottom), (left, right)], dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )  # fmt: skip
    if bias is not None:
        y = y + bias
    return jax.nn.relu(y) if activation == "relu" else y


def _window(x, size, strides, padding, start, combine):
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    # JAX differentiates the pooling it recognises: the start must be a constant, not a traced value.
    return lax.reduce_window(x, np.array(start, x.dtype), combine, (1, size, size, 1), (1, strides, strides, 1), pads)


def max_pool(x, size, strides, padding=0):
    return _window(x, size, strides, padding, -np.inf, lax.max)


def avg_pool(x, size, strides, padding=0):
    return _window(x, size, strides, padding, 0.0, lax.add) / (size * size)


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
    unit = staticmethod(jax.random.uniform)

    def __init__(self, seed):
        self._key = jax.random.key(seed)

    def key_of(self, number):
        return jax.random.fold_in(self._key, number)

    def normal(self, shape):
        return jax.random.normal(self._next(), shape)

    def integers(self, shape, low, high):
        return jax.random.randint(self._next(), shape, low, high)

    def permutation(self, n):
        return jax.random.permutation(self._next(), n)


def out_of_memory(error):
    return "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)  # its exception has no class of its own


def gram(features, roots=None, scale=1.0):
    features = features if roots is None else features * roots
    f = features.reshape(-1, features.shape[-1])
    return scale * jnp.matmul(f.T, f, preferred_element_type=jnp.float32)


def constant(values, dtype="float32"):
    return jnp.asarray(np.asarray(values, dtype))


def zeros_to_fill(shape, dtype="float32"):
    return jnp.zeros(shape, dtype)


def put_row(variable, index, row, start=0, condition=None):
    row = portable.row_or_old(variable, index, row, start, condition)
    variable.assign(jnp.asarray(variable.value).at[index, start : start + len(row)].set(row))


def put(variable, start, values):
    whole = len(values) == variable.shape[0]
    variable.assign(values if whole else jnp.asarray(variable.value).at[start : start + len(values)].set(values))


put_where = portable.where_put(put)


def as_numpy(tensor):
    return np.asarray(tensor.astype("float32") if tensor.dtype == "bfloat16" else tensor)


def seed(number):
    pass  # JAX has no global generator: its seeds are values


def adapt_threads():
    pass  # its threads take the next part of a layer as they are done with one


def configure(deterministic, pixels=None):
    jax.config.update("jax_default_matmul_precision", "highest" if deterministic else None)


def fast_bfloat16():
    return jax.default_backend() in ("gpu", "tpu")


def tf32():
    return accelerated() and jax.config.jax_default_matmul_precision is None


def accelerated():
    return jax.default_backend() != "cpu"


def device():
    d = jax.devices()[0]
    return "CPU" if d.platform == "cpu" else d.device_kind


def devices():
    fast = fast_bfloat16()
    return [
        {
            "name": d.platform if d.platform == "cpu" else f"{d.platform}:{d.id}",
            "device": d.device_kind,
            "memory_bytes": (d.memory_stats() or {}).get("bytes_limit"),
            "bfloat16": fast,
        }
        for d in jax.devices()
    ]


def memory():
    stats = jax.devices()[0].memory_stats()
    if not stats:
        return None
    total, used = stats.get("bytes_limit"), stats.get("bytes_in_use", 0)
    return {"peak": stats.get("peak_bytes_in_use"), "total": total, "free": total and total - used}


def synchronize():
    jax.effects_barrier()
