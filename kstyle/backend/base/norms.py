"""Normalisation on torch: of each picture by itself; moving variances, brought to Keras' convention for all layers of a
step at once."""

import contextlib

import torch
import torch.nn.functional as F

PART = 1 << 17  # numbers that are computed with at a time, so that they stay near the processor


def instance_norm(x, gamma, beta, epsilon, activation=None):
    """x: (B, H, W, C); gamma, beta: (C,)."""
    # Kernels that read NHWC as it lies in memory, where torch's instance_norm copies at ten times the cost.
    y = x.permute(0, 3, 1, 2)
    if len(x) == 1 and x.device.type == "cpu" and not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        y = F.batch_norm(y, *_moments(x), gamma.float(), beta.float(), False, 0.0, epsilon)
    else:
        y = F.group_norm(y, x.shape[-1], gamma.to(x.dtype), beta.to(x.dtype), epsilon)
    y = y.permute(0, 2, 3, 1)
    return F.relu_(y) if activation == "relu" else y  # in place: the gradient of the norm does not need its result


def _moments(x):
    """Mean and variance of each channel of one picture, float32, hardly slower than the kernels of groups and batches.

    On a processor these add up one number after the other: of a flat sky, all of the same ones, three digits are left.
    """
    mean, total = x.mean((0, 1, 2), dtype=torch.float32), 0
    for band in x[0].split(max(1, PART // (x.shape[2] * x.shape[3]))):
        total = total + (band - mean).square_().sum((0, 1))
    return mean, total / (x.shape[1] * x.shape[2])


class Moving:
    """torch's kernel moves a variance by that of a sample, n / (n - 1) of the batch's, which Keras takes. Where v was
    before and v' is after the kernel, momentum M, Keras' is v' (n - 1) / n + v M / n.

    Within `step` that is done at its end, in four kernels for a whole network; elsewhere layer by layer.
    """

    def __init__(self):
        self._within, self._seen, self._copies, self._moved = False, [], {}, []

    @contextlib.contextmanager
    def step(self, seen):
        """seen: a list that stays the same from step to step, of the variables that were moved in the last one."""
        self._within, self._seen, self._moved = True, [], []
        copies = torch._foreach_mul([each.value.data for each in seen], 1.0) if seen else []
        self._copies = dict(zip(map(id, seen), copies))
        try:
            yield
            self._settle()
            seen[:] = self._seen
        finally:
            self._within, self._copies, self._moved = False, {}, []

    def before(self, variable):
        """To be called before the kernel; what it gives belongs to `after`."""
        if any(each is variable for each, *_ in self._moved):  # a layer that is called again moves on from there
            self._settle()
        copy = self._copies.pop(id(variable), None)
        return variable.value.data.clone() if copy is None else copy

    def after(self, variable, before, momentum, count):
        self._moved.append((variable, before, momentum, count))
        self._seen.append(variable)
        if not self._within:
            self._settle()

    def _settle(self):
        if self._moved:
            values = [variable.value.data for variable, *_ in self._moved]
            before = [copy for _, copy, *_ in self._moved]
            torch._foreach_mul_(values, [(count - 1) / count for *_, count in self._moved])
            torch._foreach_mul_(before, [momentum / count for *_, momentum, count in self._moved])
            torch._foreach_add_(values, before)
            self._moved = []
        if not self._within:
            self._seen = []
