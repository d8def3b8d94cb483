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
    logs, never = _constants(beta_1, beta_2, values[0].device)
    # 1 − βᵗ as −(eᵗ ˡᵒᵍ ᵝ − 1): a difference would lose three digits of it in the first steps.
    first, second = torch.expm1(torch.addcmul(logs, logs, iterations)).neg_().unbind()
    rate = rate * second.sqrt() / first
    # The kernel corrects for the number of steps too, but has its epsilon elsewhere. After so many steps it does not.
    torch._fused_adam_(
        values, grads, means, squares, [], [never] * len(values), lr=rate, beta1=beta_1, beta2=beta_2,
        weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False, grad_scale=None, found_inf=None,
    )  # fmt: skip


@functools.lru_cache(16)
def _constants(beta_1, beta_2, device):
    logs = [math.log(beta) if beta else -math.inf for beta in (beta_1, beta_2)]
    return torch.tensor(logs, device=device), torch.tensor(math.inf, device=device)
