"""Batch normalisation on torch with the statistics of all ranks' pictures: two exchanges a layer, one each way."""

import torch
import torch.nn.functional as F

from kstyle.backend import distribute


def batch_norm(x, gamma, beta, mean, variance, momentum, epsilon, unbiased):
    """Normalises this rank's x, (…, C), by the mean and variance of what all ranks have, and moves `mean` and
    `variance`, (C,), the same tensors on every rank; see `kstyle.backend.torch.batch_norm`."""
    y, found_mean, found_variance, count = _Normalise.apply(x, gamma, beta, epsilon, distribute.counted)
    if unbiased:
        found_variance = found_variance * (count / (count - 1).clamp(min=1))
    mean.mul_(momentum).add_(found_mean, alpha=1 - momentum)
    variance.mul_(momentum).add_(found_variance, alpha=1 - momentum)
    return y


class _Normalise(torch.autograd.Function):
    """The gradient is that of the sum of all ranks' losses: each must have divided its own by the whole batch."""

    @staticmethod
    def forward(ctx, x, gamma, beta, epsilon, counted):
        flat = x.reshape(-1, x.shape[-1]).float()
        count, own = flat.shape[0] * counted, flat.mean(0)
        # Of each rank a row: how many values, their mean, the sum of their squared differences from it. Sums of plain
        # squares would lose the variance where the mean is large.
        row = torch.cat([flat.new_full((1,), count), own * counted, (flat - own).square().sum(0) * counted])
        rows = flat.new_zeros(distribute.world(), len(row))
        rows[distribute.rank()] = row
        (rows,) = distribute.sum_of([rows])
        counts, means, squares = rows.split([1, len(own), len(own)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        ctx.save_for_backward(x, gamma, mean, torch.rsqrt(variance + epsilon), total)
        ctx.counted = counted
        ctx.mark_non_differentiable(mean, variance, total)
        channels_first = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        y = F.batch_norm(channels_first, mean, variance, gamma, beta, False, 0.0, epsilon)
        return (y.permute(0, 2, 3, 1) if y.ndim == 4 else y), mean, variance, total

    @staticmethod
    def backward(ctx, grad, *_):
        x, gamma, mean, inverse, total = ctx.saved_tensors
        g = grad.reshape(-1, grad.shape[-1]).float()
        unit = (x.reshape(-1, x.shape[-1]).float() - mean) * inverse
        of_beta, of_gamma = g.sum(0), (g * unit).sum(0)
        all_beta, all_gamma = distribute.sum_of([of_beta, of_gamma])
        scale = inverse if gamma is None else inverse * gamma
        # What does not count has moved no statistics, and so has no gradient through them.
        pull = (g - (all_beta + unit * all_gamma) / total) * (scale * ctx.counted)
        return (
            pull.view(x.shape).to(x.dtype),
            of_gamma if ctx.needs_input_grad[1] else None,
            of_beta if ctx.needs_input_grad[2] else None,
            None,
            None,
        )
