"""PyTorch's side of the seam. See `kstyle.backend` for what each function is for."""

import contextlib
import ctypes
import functools
import os

import numpy as np
import torch
import torch.nn.functional as F

from kstyle.backend import distribute, keras_private, synchronised, torch_device
from kstyle.backend.neighbours import Neighbours, cores
from kstyle.backend.torch_device import is_cuda, on_cpu, settled

accelerated = torch_device.accelerated
device = torch_device.device
devices = torch_device.devices
fast_bfloat16 = torch_device.fast_bfloat16
memory = torch_device.memory
out_of_memory = torch_device.out_of_memory
synchronize = torch_device.synchronize

# torch.mm can return the float32 sums of a bfloat16 product, on CUDA, since this version.
_SUMS_IN_FLOAT32 = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8)


def version():
    return torch.__version__


def value_and_grad(fn):
    def run(x):
        x = x.detach().requires_grad_()
        with torch.enable_grad(), _deferring():
            loss, aux = fn(x)
        (grad,) = torch.autograd.grad(loss, x)
        return (loss.detach(), {k: v.detach() for k, v in aux.items()}), grad

    return run


def gradients(fn, variables, state):
    # What the loss is not differentiated in need not be recorded: layers below all trained ones cost no memory.
    for v in state:
        if v.value.is_floating_point():
            v.value.requires_grad_(False)
    for v in variables:
        v.value.requires_grad_(True)

    def run(*args):
        with torch.enable_grad():
            loss, aux = fn(*args)
        grads = torch.autograd.grad(loss, [v.value for v in variables], allow_unused=True)
        grads = [torch.zeros_like(v.value) if g is None else g for g, v in zip(grads, variables)]
        return loss.detach(), {k: v.detach() for k, v in aux.items()}, grads

    return run


def compile(step, variables):
    # Eager. The time is in a few large convolutions, which a compiler does not make faster, and compiling one
    # scale takes longer than running it. Only value_and_grad and gradients record what they need.
    return torch.no_grad()(step)


def conv2d(x, kernel, bias=None, strides=1, padding=0, activation=None):
    """x: (B, H, W, C); kernel: (kh, kw, C, F), best laid out by `lay_out_kernel`; padding: pixels on each side, or
    (top, bottom, left, right).

    The permutations change no memory: a contiguous NHWC tensor is an NCHW tensor in channels_last format.
    """
    if not isinstance(padding, int):
        top, bottom, left, right = padding
        x, padding = F.pad(x, (0, 0, left, right, top, bottom)), 0
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, stride=strides, padding=padding)
    # In place: a convolution does not need its own output for its gradient.
    if activation == "relu" and _deferred and y.requires_grad:
        return _Relu.apply(y)
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


def batch_norm(x, gamma, beta, mean, variance, *, training, momentum, epsilon, unbiased):
    mean, variance = mean.value, variance.value
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
        # The kernel's moving variance is that of a sample, n / (n - 1) of Keras'.
        before = None if unbiased else variance * (momentum / count)
        y = F.batch_norm(x, mean, variance.data, gamma, beta, True, 1 - momentum, epsilon)
        if before is not None:
            variance.mul_((count - 1) / count).add_(before)
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


def sample_affine(images, matrix, mode, value):
    """images: (B, H, W, C); matrix: six (B,), see `kstyle.training.augment.geometry`."""
    a, b, c, d, e, f = matrix
    height, width = images.shape[1:3]
    # The grid's places run from -1 to 1 over the picture, edge to edge.
    across = torch.stack([a, b * (height / width), c * (2 / width)], -1)
    down = torch.stack([d * (width / height), e, f * (2 / height)], -1)
    x = images.permute(0, 3, 1, 2)
    grid = F.affine_grid(torch.stack([across, down], 1), x.shape, align_corners=False)
    padding = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}[mode]
    y = F.grid_sample(x - value if value else x, grid, "bilinear", padding, align_corners=False)
    if value:
        y = y + value
    # Rounding of the places would blur by a millionth what is not to be moved at all.
    unmoved = (a == 1) & (e == 1) & (b == 0) & (c == 0) & (d == 0) & (f == 0)
    return torch.where(unmoved[:, None, None, None], images, y.permute(0, 2, 3, 1))


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


# Autograd goes back first through what was computed last. Gram matrices are, those of the network's first layers too.
# Their gradients, as large as the layers, would all lie there until the way back has come to each layer: at 1024 pixels
# a quarter of a step's memory. Within `value_and_grad` they are made at their layer instead.
_deferred = False


@contextlib.contextmanager
def _deferring():
    global _deferred
    before, _deferred = _deferred, True
    try:
        yield
    finally:
        _deferred = before


class _Relu(torch.autograd.Function):
    """ReLU of a convolution's (B, C, H, W), in place, as (B, H, W, C). Its gradient includes that of its Gram matrices,
    for which `_Gram` leaves here what is needed: (C, C) each, and the positions' roots of weights."""

    @staticmethod
    def forward(ctx, x):
        y = torch.relu_(x.detach()).permute(0, 2, 3, 1)
        ctx.save_for_backward(y)
        ctx.set_materialize_grads(False)
        ctx.grams = []
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        own, ctx.grams = ctx.grams, []
        total = grad
        for pull, roots in own:
            part = _gram_gradient(y, pull, roots)
            total = part if total is None else part.add_(total)
        if total is None:
            return None
        if not own:
            return torch.ops.aten.threshold_backward(total, y, 0).permute(0, 3, 1, 2)
        torch.ops.aten.threshold_backward.grad_input(total, y, 0, grad_input=total)  # nobody else has seen it
        return total.permute(0, 3, 1, 2)


class _Gram(torch.autograd.Function):
    """Σ w f fᵀ of features in any precision, (1, H, W, C), as (C, C) float32; roots: those of w, or None."""

    @staticmethod
    def forward(ctx, features, roots):
        node = features.grad_fn if _deferred else None
        ctx.layer = node if isinstance(node, _Relu._backward_cls) else None
        ctx.roots = roots
        if ctx.layer is None:
            ctx.save_for_backward(features)
        f = (features if roots is None else features * roots).reshape(-1, features.shape[-1])
        if f.dtype == torch.float32:
            return f.T @ f
        if _SUMS_IN_FLOAT32 and is_cuda(f):
            return torch.mm(f.T, f, out_dtype=torch.float32)
        return _gram_in_chunks(f)

    @staticmethod
    def backward(ctx, g):
        pull = g + g.T
        if ctx.layer is not None:
            ctx.layer.grams.append((pull, ctx.roots))
            return None, None
        return _gram_gradient(*ctx.saved_tensors, pull, ctx.roots), None


def _gram_gradient(features, pull, roots):
    """Of features, (1, H, W, C), where that of their Gram matrix is half of `pull`, a symmetric (C, C)."""
    f = features if roots is None else features * roots
    grad = (f.reshape(-1, f.shape[-1]) @ pull.to(f.dtype)).view(features.shape)
    return grad if roots is None else grad.mul_(roots)


def _gram_in_chunks(f, rows=2048):
    # A bfloat16 product sums in float32 but rounds what it returns. Summing chunks of positions in float32
    # keeps the error near 1e-3, half of what one rounding costs, and still takes a fifteenth of the time of a product
    # in float32.
    chunks = f.shape[0] // rows
    tail = f[chunks * rows :]
    total = (tail.T @ tail).float()
    if chunks:
        body = f[: chunks * rows].view(chunks, rows, f.shape[1])
        total += torch.bmm(body.transpose(1, 2), body).float().sum(0)
    return total


def gram(features, roots=None):
    return _Gram.apply(features, roots)


def placed(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(settled())


def constant(values, dtype="float32"):
    values = np.asarray(values, dtype)
    if on_cpu() or torch.compiler.is_compiling():  # what an export makes is of no use afterwards
        return torch.tensor(values, device=settled())
    return _constant(values.tobytes(), values.shape, dtype)


@functools.lru_cache(512)
def _constant(values, shape, dtype):
    return torch.tensor(np.frombuffer(values, dtype).reshape(shape), device=settled())


def tf32():
    return settled().type == "cuda" and torch.get_float32_matmul_precision() != "highest" and fast_bfloat16()


def zeros_to_fill(shape, dtype="float32"):
    if not on_cpu():
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=settled())
    # torch writes its zeros. NumPy asks the system for cleared memory, which of a large array comes page by page with
    # the first writing: reading it before takes none.
    return torch.from_numpy(np.zeros(shape, dtype))


def put_row(variable, index, row, start=0):
    with torch.no_grad():
        variable.value[:, start : start + len(row)].index_copy_(0, index.reshape(1).long(), row[None])


def put(variable, start, values):
    with torch.no_grad():
        variable.value[start : start + len(values)] = values


def as_numpy(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def seed(number):
    torch.manual_seed(number)


def reseed(number):
    torch.manual_seed(number)


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
    if deterministic and torch.get_num_threads() != _threads:
        torch.set_num_threads(_threads)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.set_float32_matmul_precision("highest" if deterministic else "high")
    if not on_cpu():
        keras_private.fill_numbers_on_device(torch)
        keras_private.keep_rate_on_device(torch)
    else:
        _keep_memory(all_of_it=pixels is None)


def _keep_memory(all_of_it):
    """Lets glibc keep what is freed for the next step. By default it gives every large array back to the system, which
    then clears the same pages anew: a fifth of a training step's time on some machines. Of a painting it keeps half a
    gigabyte: with all of it large pictures leave holes that nothing else fits into (docs/benchmarks.md)."""
    with contextlib.suppress(OSError, AttributeError):  # another system, another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0 if all_of_it else 65536)  # M_MMAP_MAX: how many arrays may have a mapping of their own
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: bytes from which on they have one, the largest it takes
        mallopt(-1, 2**31 - 1 if all_of_it else 2**29)  # M_TRIM_THRESHOLD: bytes that are kept at the heap's end
