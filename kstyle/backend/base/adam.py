"""Keras' Adam on torch: all variables in one kernel."""

import functools
import math

import torch


def fits(values, grads, means, squares):
    """Whether the kernel takes them: one type, and each variable's four lie in memory in the same order."""
    if values[0].device.type in ("mps", "xpu") or not hasattr(torch, "_fused_adam_"):
        return False
    rows = list(zip(values, grads, means, squares))
    return all(len({(each.dtype, each.stride()) for each in row}) == 1 for row in rows) and (
        len({value.dtype for value in values}) == 1 and values[0].dtype == torch.float32
    )


def update(values, grads, means, squares, iterations, rate, beta_1, beta_2, epsilon):
    """One step after `iterations`, a tensor, at `rate`, one too: Kingma & Ba 2014, the form at the end of section 2,
    x ← x − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + epsilon)."""
    betas, never = _constants(beta_1, beta_2, values[0].device)
    # As Keras rounds it, though the difference loses three digits of 1 − β₂ᵗ in the first steps: where a gradient is
    # near zero, that decides which way a pixel goes, and what was painted before is to be painted again.
    first, second = (1 - torch.pow(betas, iterations + 1.0)).unbind()
    rate = rate * second.sqrt() / first
    # The kernel corrects for the number of steps too, but has its epsilon elsewhere. After so many steps it does not.
    torch._fused_adam_(
        values, grads, means, squares, [], [never] * len(values), lr=rate, beta1=beta_1, beta2=beta_2,
        weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False, grad_scale=None, found_inf=None,
    )  # fmt: skip


@functools.lru_cache(16)
def _constants(beta_1, beta_2, device):
    return torch.tensor([beta_1, beta_2], device=device), torch.tensor(math.inf, device=device)
