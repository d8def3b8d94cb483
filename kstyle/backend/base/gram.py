"""Gram matrices on torch, and their gradient, which is made where the way back comes to their layer."""

import contextlib

import torch

# torch.mm can return the float32 sums of a bfloat16 product, on CUDA, since this version.
_SUMS_IN_FLOAT32 = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8)

# Autograd goes back first through what was computed last. Gram matrices are, those of the network's first layers too.
# Their gradients, as large as the layers, would all lie there until the way back has come to each layer: at 1024 pixels
# a quarter of a step's memory. Within `value_and_grad` they are made at their layer instead.
deferred = False


@contextlib.contextmanager
def deferring():
    global deferred
    before, deferred = deferred, True
    try:
        yield
    finally:
        deferred = before


class Relu(torch.autograd.Function):
    """ReLU of a convolution's (B, C, H, W), in place, as (B, H, W, C). Its gradient includes that of its Gram matrices,
    for which `_Gram` leaves here what `_with_gram_gradient` takes."""

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
        for gram in own:
            total = _with_gram_gradient(total, y, *gram)
        if total is None:
            return None
        if not own:
            return torch.ops.aten.threshold_backward(total, y, 0).permute(0, 3, 1, 2)
        torch.ops.aten.threshold_backward.grad_input(total, y, 0, grad_input=total)  # nobody else has seen it
        return total.permute(0, 3, 1, 2)


class _Gram(torch.autograd.Function):
    """scale · Σ w f fᵀ of features in any precision, (1, H, W, C), as (C, C) float32; roots: those of w, or None."""

    @staticmethod
    def forward(ctx, features, roots, scale, wide):
        node = features.grad_fn if deferred else None
        ctx.layer = node if isinstance(node, Relu._backward_cls) else None
        ctx.roots, ctx.scale = roots, scale
        if ctx.layer is None:
            ctx.save_for_backward(features)
        f = (features if roots is None else features * roots).reshape(-1, features.shape[-1])
        if f.dtype == torch.float32:
            return _product(f.T, f, scale)
        sums = torch.mm(f.T, f, out_dtype=torch.float32) if wide else _gram_in_chunks(f)
        return sums if scale == 1 else sums.mul_(scale)

    @staticmethod
    def backward(ctx, g):
        pull = g + g.T
        if ctx.layer is not None:
            ctx.layer.grams.append((pull, ctx.roots, ctx.scale))
            return None, None, None, None
        return _with_gram_gradient(None, *ctx.saved_tensors, pull, ctx.roots, ctx.scale), None, None, None


def _with_gram_gradient(total, features, pull, roots, scale):
    """`total`, or None, and the gradient of features, (1, H, W, C), where that of their Gram matrix is half of `pull`,
    a symmetric (C, C)."""
    f = (features if roots is None else features * roots).reshape(-1, features.shape[-1])
    if f.dtype != torch.float32:  # scaled before it is rounded
        pull, scale = (pull * scale).to(f.dtype), 1
    if roots is None:
        return _product(f, pull, scale, None if total is None else total.reshape(f.shape)).view(features.shape)
    grad = _product(f, pull, scale).view(features.shape).mul_(roots)
    return grad if total is None else grad.add_(total)


def _product(a, b, scale, added=None):
    """scale · a b + added in one kernel."""
    if added is None:  # times 0 it is not read
        return torch.addmm(torch.empty(1, dtype=a.dtype, device=a.device), a, b, beta=0, alpha=scale)
    return torch.addmm(added, a, b, alpha=scale)


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


def gram(features, roots, scale, cuda):
    """As `kstyle.backend.gram`; cuda: whether they are on a GPU of CUDA's."""
    return _Gram.apply(features, roots, scale, cuda and _SUMS_IN_FLOAT32)
