"""The seam: the only package that names a framework.

`torch.py`, `tensorflow.py` and `jax.py` hold the same functions; which one is loaded was settled as kstyle was
imported (`kstyle.startup`). Everything else in kstyle is written in `keras.ops` and the functions below.

| function | what it does |
| --- | --- |
| `value_and_grad(fn)` | `fn(x) -> (loss, aux)` becomes `x -> ((loss, aux), d loss / d x)` |
| `gradients(fn, variables, state)` | `fn(*args) -> (loss, aux)` gives `(loss, aux, gradients)`, may assign `state` |
| `compile(step, variables)` | `step(*args)` that reads and assigns `variables`, compiled where that pays |
| `conv2d`, `max_pool`, `avg_pool` | NHWC in, NHWC out, without copies of the activations |
| `depthwise_conv2d` | likewise, a filter for each channel; None where `keras.ops` compiles to as much |
| `batch_norm` | normalises over all axes but the last, and moves the moving statistics when training |
| `instance_norm(x, gamma, beta, epsilon, activation)` | normalises each channel of each picture |
| `mirrored(x, pixels)` | (B, H, W, C) continued by so many pixels on each side, or (top, bottom, left, right), \
mirrored at the edge pixels |
| `doubled(x)` | each pixel as 2×2 |
| `add_scaled(tensors, factor, others)` | `[t + factor * o, …]` in as few kernels as there can be, perhaps in place |
| `update(variables, keep, tensors, factor)` | assigns `keep * v + factor * t` to each `v`, likewise |
| `sample_affine` | pictures under affine maps in one kernel; None where `keras.ops` compiles to as much |
| `Random(seed)` | `uniform`, `normal`, `integers`, `permutation`, inside compiled steps too |
| `reseed(number)` | sets what dropout draws from where that is a global generator and not saved with the model |
| `lay_out_kernel(variable)` | stores a convolution kernel the way the convolution reads it |
| `lay_out_depthwise(variable)` | the same for `depthwise_conv2d`, and only where that is a function |
| `lay_out_like(variable, other)` | stores a variable as another of its shape is |
| `gram(features, roots, scale)` | scale · Σ w f fᵀ over positions, accumulated in float32; `roots` of w, or None: 1 |
| `squared_error(x, target)` | Σ (x − target)², and its gradient, in a kernel each |
| `affine(x, scale, shift)` | scale · x + shift in float32, of numbers of any type; two tensors of one shape |
| `constant(values, dtype)` | a few numbers as a tensor that nobody changes, copied to a GPU once |
| `placed(array)` | an array that does not change and is kept, as what costs nothing to use at each step |
| `uploaded(array)` | an array for one step; a GPU is not waited for |
| `zeros_to_fill(shape, dtype)` | zeros, which take memory only where they are written, where that exists |
| `put_row(variable, index, row, start, condition)` | replaces a row of a matrix, or a part of it, perhaps in place |
| `put(variable, start, values)` | replaces what lies from `start` on along the first axis, likewise |
| `put_where(variable, condition, values, part, otherwise)` | puts `values` in a part, None: all, where one holds |
| `take(x, index, axis)` | `ops.take` of a vector of indices from 0 on, which are not looked at for negative ones |
| `one_hot(labels, classes)` | (B,) integers as (B, classes) float32 |
| `hits(x, y)` | how many rows of both have their largest number at the same place, float32 |
| `tally(index, length)` | (length,) float32: how often each number from 0 on is in a vector of integers |
| `inner(x, y)` | Σ x y of two vectors |
| `lerp(x, y, share)` | x + share · (y − x), and y itself where share is 1; a scalar |
| `as_numpy(tensor)` | a NumPy array, float32 of bfloat16; a view of the same memory where that exists |
| `configure(deterministic, pixels)` | fast kernels, or the same bits every time; what memory is kept for a step |
| `adapt_threads()` | called between steps: smaller parts of work while other programs keep cores busy |
| `fast_bfloat16()` | whether this processor or GPU multiplies bfloat16 in hardware |
| `tf32()` | whether products of float32 numbers are rounded to TF32 first, as GPUs do where they may |
| `accelerated()`, `device()`, `devices()` | whether a GPU or TPU runs it, its name; all that there are |
| `out_of_memory(error)` | whether an exception says that memory is full |
| `give_back()` | memory that is kept for the next step goes back to the system, as what follows needs other sizes |
| `memory()`, `synchronize()` | bytes in use; wait for the queue |
"""

import importlib
import os
import platform
import random
import sys
from typing import Any, TypeAlias

import numpy as np

import kstyle
from kstyle import startup
from kstyle.errors import unknown

try:
    import resource
except ImportError:  # Windows
    resource = None

Tensor: TypeAlias = Any  # one of the framework's, which type checkers know nothing of

NAME, WHY = startup.choose()  # again, as KERAS_BACKEND may have been changed since kstyle was imported
if NAME == kstyle.BACKEND:
    WHY = kstyle.BACKEND_WHY

startup.device_named(os.environ.get("KSTYLE_DEVICE", "auto"))

_framework = importlib.import_module(f"kstyle.backend.{NAME}")

value_and_grad = _framework.value_and_grad
gradients = _framework.gradients
compile = _framework.compile
conv2d = _framework.conv2d
depthwise_conv2d = _framework.depthwise_conv2d
max_pool = _framework.max_pool
avg_pool = _framework.avg_pool
batch_norm = _framework.batch_norm
instance_norm = _framework.instance_norm
mirrored = _framework.mirrored
doubled = _framework.doubled
add_scaled = _framework.add_scaled
update = _framework.update
sample_affine = _framework.sample_affine
Random = _framework.Random
reseed = _framework.reseed
lay_out_kernel = _framework.lay_out_kernel
lay_out_like = _framework.lay_out_like
lay_out_depthwise = getattr(_framework, "lay_out_depthwise", None)
gram = _framework.gram
squared_error = _framework.squared_error
affine = _framework.affine
zeros_to_fill = _framework.zeros_to_fill
constant = _framework.constant
placed = _framework.placed
uploaded = _framework.uploaded
give_back = _framework.give_back
put_row = _framework.put_row
put = _framework.put
put_where = _framework.put_where
take = _framework.take
one_hot = _framework.one_hot
hits = _framework.hits
tally = _framework.tally
inner = _framework.inner
lerp = _framework.lerp
as_numpy = _framework.as_numpy
configure = _framework.configure
adapt_threads = _framework.adapt_threads
fast_bfloat16 = _framework.fast_bfloat16
tf32 = _framework.tf32
accelerated = _framework.accelerated
device = _framework.device
devices = _framework.devices
synchronize = _framework.synchronize
version = _framework.version


def versions():
    """{"kstyle": …, "keras": …, the framework: …, "python": …}."""
    import keras

    return {
        "kstyle": kstyle.__version__,
        "keras": keras.__version__,
        NAME: version(),
        "python": platform.python_version(),
    }


def out_of_memory(error):
    """Whether an exception says that the machine, or the device, has no memory left."""
    return isinstance(error, MemoryError) or _framework.out_of_memory(error)


def precision(name):
    """The number format of the features: `"float32"` or `"bfloat16"`.

    `"auto"` is bfloat16 where the hardware multiplies it (Intel AMX or AVX512-BF16, Ampere and later GPUs, TPUs),
    float32 elsewhere. Losses and Gram matrices are float32 in either case.
    """
    if name == "auto":
        return "bfloat16" if fast_bfloat16() else "float32"
    if name not in ("float32", "bfloat16"):
        raise unknown("precision", name, ("auto", "float32", "bfloat16"))
    return name


def memory():
    """Bytes: `{"peak": …, "total": …, "free": …}` of the GPU or TPU if there is one, of this process if not; what is
    not known is None."""
    accelerator = _framework.memory()
    if accelerator is not None:
        return accelerator
    return {"peak": _peak(), "total": None, "free": None}


def _peak():
    if resource is None:
        import psutil

        said = psutil.Process().memory_info()
        return getattr(said, "peak_wset", said.rss)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def seed(number):
    """Seeds Python, NumPy and the framework. (Keras' own `set_random_seed` imports TensorFlow wherever it is
    installed.)"""
    random.seed(number)
    np.random.seed(number % 2**32)
    _framework.seed(number)
