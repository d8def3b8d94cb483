"""PyTorch's side of the seam. See `kstyle.backend` for what each function is for."""

import functools
import os

import numpy as np
import torch
import torch.nn.functional as F

from kstyle.backend import distribute, keras_private, synchronised, torch_device
from kstyle.backend.base import adam, heap, norms, sampling
from kstyle.backend.base import gram as of_gram
from kstyle.backend.base.neighbours import Neighbours, cores
from kstyle.backend.torch_device import is_cuda, on_cpu, settled

accelerated = torch_device.accelerated
device = torch_device.device
devices = torch_device.devices
fast_bfloat16 = torch_device.fast_bfloat16
memory = torch_device.memory
out_of_memory = torch_device.out_of_memory
synchronize = torch_device.synchronize

sample_affine = sampling.sample_affine
moving = norms.Moving()
inner, lerp = torch.dot, torch.lerp
instance_norm = norms.instance_norm


def version():
    return torch.__version__


def value_and_grad(fn):
    def run(x):
        x = x.detach().requires_grad_()
        with torch.enable_grad(), of_gram.deferring():
            loss, aux = fn(x)
        (grad,) = torch.autograd.grad(loss, x, _one(loss))
        return (loss.detach(), {k: v.detach() for k, v in aux.items()}), grad

    return run


def gradients(fn, variables, state):
    # What the loss is not differentiated in need not be recorded: layers below all trained ones cost no memory.
    for v in state:
        if v.value.is_floating_point():
            v.value.requires_grad_(False)
    for v in variables:
        v.value.requires_grad_(True)

    normalised = []

    def run(*args):
        with torch.enable_grad(), moving.step(normalised):
            loss, aux = fn(*args)
        grads = torch.autograd.grad(loss, [v.value for v in variables], _one(loss), allow_unused=True)
        grads = [torch.zeros_like(v.value) if g is None else g for g, v in zip(grads, variables)]
        return loss.detach(), {k: v.detach() for k, v in aux.items()}, grads

    return run


def _one(loss):
    """The gradient of the loss in itself, which torch would make anew at each step."""
    return constant(1).to(loss.dtype).reshape(loss.shape)


def compile(step, variables):
    # Eager. The time is in a few large convolutions, which a compiler does not make faster, and compiling one
    # scale takes longer than running it. Only value_and_grad and gradients record what they need.
    return torch.no_grad()(step)


def conv2d(x, kernel, bias=None, strides=1, padding=0, activation=None):
    """x: (B, H, W, C); kernel: (kh, kw, C / groups, F), best laid out by `lay_out_kernel`; padding: pixels on each
    side, or (top, bottom, left, right).

    The permutations change no memory: a contiguous NHWC tensor is an NCHW tensor in channels_last format.
    """
    if not isinstance(padding, int):
        top, bottom, left, right = padding
        x, padding = F.pad(x, (0, 0, left, right, top, bottom)), 0
    groups = x.shape[-1] // kernel.shape[2]
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, strides, padding, groups=groups)
    # In place: a convolution does not need its own output for its gradient.
    if activation == "relu" and y.requires_grad and of_gram.deferred:
        return of_gram.Relu.apply(y)
    return (F.relu_(y) if activation == "relu" else y).permute(0, 2, 3, 1)


def depthwise_conv2d(x, kernel, bias=None, strides=1, padding=0):
    """kernel: (kh, kw, C, 1), best laid out by `lay_out_depthwise`; the rest as for `conv2d`."""
    if not isinstance(padding, int):
        top, bottom, left, right = padding
        x, padding = F.pad(x, (0, 0, left, right, top, bottom)), 0
    x, kernel = x.permute(0, 3, 1, 2), kernel.permute(2, 3, 0, 1)
    return F.conv2d(x, kernel, bias, strides, padding, groups=x.shape[1]).permute(0, 2, 3, 1)


def max_pool(x, size, strides, padding=0):
    return F.max_pool2d(x.permute(0, 3, 1, 2), size, strides, padding).permute(0, 2, 3, 1)


def avg_pool(x, size, strides, padding=0):
    return F.avg_pool2d(x.permute(0, 3, 1, 2), size, strides, padding).permute(0, 2, 3, 1)


def mirrored(x, pixels):
    top, bottom, left, right = (pixels,) * 4 if isinstance(pixels, int) else pixels
    return F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), mode="reflect").permute(0, 2, 3, 1)


def doubled(x):
    return F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2, mode="nearest").permute(0, 2, 3, 1)


def batch_norm(x, gamma, beta, mean, variance, *, training, momentum, epsilon, unbiased):
    moved, mean, variance = variance, mean.value, variance.value
    if training:
        # autograd saves the statistics though their gradient is not asked for, and would refuse their next change.
        mean, variance = mean.data, variance.data
        if distribute.counted is not None:
            return synchronised.batch_norm(x, gamma, beta, mean, variance, momentum, epsilon, unbiased)
    count = x.numel() // x.shape[-1]
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2)  # a view, see conv2d
    if not training:
        y = F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)
    elif count == 1:
        # The kernel refuses a single value, whose deviation from its own mean is zero whatever it is.
        y = F.batch_norm(x, x.detach().float().flatten(), torch.zeros_like(variance), gamma, beta, False, 0.0, epsilon)
        mean.mul_(momentum).add_(x.detach().flatten(), alpha=1 - momentum)
        variance.mul_(momentum)
    else:
        before = None if unbiased else moving.before(moved)
        y = F.batch_norm(x, mean, variance, gamma, beta, True, 1 - momentum, epsilon)
        if before is not None:
            moving.after(moved, before, momentum, count)
    return y.permute(0, 2, 3, 1) if y.ndim == 4 else y


def add_scaled(tensors, factor, others):
    torch._foreach_add_(tensors, others, alpha=factor)
    return tensors


@torch.no_grad()
def update(variables, keep, tensors, factor):
    values = [v.value for v in variables]
    if keep != 1:
        torch._foreach_mul_(values, keep)
    if isinstance(factor, torch.Tensor):
        if on_cpu():
            factor = float(factor)
        else:  # as a number it would make the host wait
            tensors, factor = torch._foreach_mul(tensors, factor), 1.0
    torch._foreach_add_(values, tensors, alpha=factor)


class Random:
    def __init__(self, seed):
        self._device = settled()
        self._generator = torch.Generator(self._device)
        self._generator.manual_seed(int(seed))

    def uniform(self, shape, low=0.0, high=1.0):
        x = torch.rand(shape, generator=self._generator, device=self._device)
        return x * (high - low) + low

    def normal(self, shape):
        return torch.randn(shape, generator=self._generator, device=self._device)

    def integers(self, shape, low, high):
        return torch.randint(low, high, shape, generator=self._generator, device=self._device, dtype=torch.int32)

    def permutation(self, n):
        return torch.randperm(n, generator=self._generator, device=self._device, dtype=torch.int32)


def lay_out_kernel(variable):
    # Keras' shape is HWIO; the convolution reads OHWI. With the memory in that order from the start, the view that
    # conv2d takes is what the convolution wants, and 80 MB of weights are not transposed at each step.
    parameter = keras_private.stored(variable)
    oihw = parameter.data.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    parameter.data = oihw.permute(2, 3, 1, 0)


def lay_out_depthwise(variable):
    parameter = keras_private.stored(variable)
    parameter.data = parameter.data.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)


def gram(features, roots=None, scale=1.0):
    return of_gram.gram(features, roots, scale, is_cuda(features))


def lay_out_like(variable, other):
    own, strides = variable.value.data, other.value.stride()
    if own.stride() != strides:
        keras_private.store(variable, torch.empty_strided(own.shape, strides, device=own.device).copy_(own))


def squared_error(x, target):
    return F.mse_loss(x, target, reduction="sum")


def affine(x, scale, shift):
    # On a GPU the kernel reads bytes as they are; on a CPU that is slower than to make them float32 first.
    return torch.addcmul(shift, x.float() if on_cpu() else x, scale)


def placed(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(settled())


def uploaded(array):
    array = torch.as_tensor(array)
    # From ordinary memory a GPU's driver copies while the host waits.
    return array.pin_memory().to(settled(), non_blocking=True) if settled().type == "cuda" else array.to(settled())


def constant(values, dtype="float32"):
    values = np.asarray(values, dtype)
    if on_cpu() or torch.compiler.is_compiling():  # what an export makes is of no use afterwards
        return torch.tensor(values, device=settled())
    return _constant(values.tobytes(), values.shape, dtype)


@functools.lru_cache(512)
def _constant(values, shape, dtype):
    found = np.frombuffer(values, dtype).reshape(shape)
    # A number goes along with the kernel that fills it in; an array is copied, and waited for.
    return (
        torch.tensor(found, device=settled())
        if shape
        else torch.full((), found.item(), dtype=getattr(torch, dtype), device=settled())
    )


def tf32():
    return settled().type == "cuda" and torch.get_float32_matmul_precision() != "highest" and fast_bfloat16()


def zeros_to_fill(shape, dtype="float32"):
    if not on_cpu():
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=settled())
    return torch.from_numpy(heap.zeros(shape, dtype))  # torch writes its own: all of their memory at once


@torch.no_grad()
def put_row(variable, index, row, start=0, condition=None):
    own, index = variable.value[:, start : start + len(row)], index.reshape(1).long()
    row = row[None] if condition is None else torch.where(condition, row[None], own.index_select(0, index))
    own.index_copy_(0, index, row)


@torch.no_grad()
def put(variable, start, values):
    variable.value[start : start + len(values)] = values


@torch.no_grad()
def put_where(variable, condition, values, part=None, otherwise=None):
    own = variable.value if part is None else variable.value[part]
    torch.where(condition, values, own if otherwise is None else otherwise, out=own)


def one_hot(labels, classes):
    found = torch.empty((len(labels), classes), device=labels.device)
    return torch.eq(labels[:, None], constant(np.arange(classes), "int32"), out=found)


def hits(x, y):
    return (x.argmax(-1) == y.argmax(-1)).sum(dtype=torch.float32)


def tally(index, length):
    return torch.zeros(length, device=index.device).index_add_(0, index, torch.ones_like(index, dtype=torch.float32))


def take(x, index, axis=0):
    return x.index_select(axis, index)


def as_numpy(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def seed(number):
    torch.manual_seed(number)


reseed = seed


# Torch divides a layer into one part a thread, and all wait for the slowest. Where another program keeps a core busy
# for this share of the time, parts half as large are shared out more evenly (docs/benchmarks.md, "Beside other work").
CROWDED = 0.25
_neighbours, _threads = Neighbours(), torch.get_num_threads()


def adapt_threads():
    if not on_cpu() or torch.are_deterministic_algorithms_enabled() or "OMP_NUM_THREADS" in os.environ:
        return
    others = _neighbours.cores()
    if others is not None:
        wanted = 2 * _threads if others > cores() - _threads + CROWDED else _threads
        if torch.get_num_threads() == 3 * _threads - wanted:  # the other of the two, not one of the user's
            torch.set_num_threads(wanted)


def configure(deterministic, pixels=None):
    if deterministic:  # cuBLAS reads it as its first product begins
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    keras_private.count_in_place(torch)
    keras_private.adam_at_once(adam.fits, adam.update)
    if deterministic and torch.get_num_threads() != _threads:
        torch.set_num_threads(_threads)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.set_float32_matmul_precision("highest" if deterministic else "high")
    if not on_cpu():
        keras_private.fill_numbers_on_device(torch)
        keras_private.keep_rate_on_device(torch)
    else:
        heap.keep_memory(all_of_it=pixels is None)


def give_back():
    if on_cpu():
        heap.give_back()
    elif settled().type == "cuda":
        torch.cuda.empty_cache()
