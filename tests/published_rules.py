"""How published style transfer goes from one picture to the next, in torch: pyramids and optimisers.

For test_presets.py, which gives them float64.
"""

import pytest

torch = pytest.importorskip("torch", reason="the reference is written in torch")
F = torch.nn.functional


# --- Laplacian pyramids, as STROTSS' and NNST's code sums their levels


def levels_of(x, count):
    """A pyramid whose sum is x, (3, H, W): all of it in the finest level, the others 0. Where an optimiser takes it
    depends on gradients only, and not on how a picture is shared out."""
    found = [x]
    while len(found) < count and min(found[-1].shape[1:]) >= 4:
        height, width = ((side + 1) // 2 for side in found[-1].shape[1:])
        found.append(torch.zeros(3, height, width, dtype=x.dtype))
    return [level.requires_grad_() for level in found]


def sum_of(levels):
    total = levels[-1]
    for level in levels[-2::-1]:
        total = level + F.interpolate(total[None], level.shape[1:], mode="bilinear", align_corners=False)[0]
    return total


# --- optimisers: x -> a function that takes a step, given a closure that sets x.grad


def lbfgs(history):
    """torch's, but for steps without curvature, the first and those until the loss curves up: one grey level."""

    def make(x, grey):
        found = torch.optim.LBFGS([x], 1, 1, history_size=history, tolerance_grad=0, tolerance_change=0)

        def step(closure):
            state, loss = found.state[x], closure()
            g = x.grad.flatten().clone()
            if not state or (
                not state["old_dirs"] and (g - state["prev_flat_grad"]) @ state["d"] * state["t"] <= 1e-10
            ):
                short = grey / g.square().mean().sqrt()
                x.data.sub_(short * x.grad)
                state.update(d=-g, t=short, prev_flat_grad=g, prev_loss=float(loss.detach()), n_iter=1, func_evals=1)
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            else:
                found.step(closure)

        return step

    return make


def clamped_lbfgs(history):
    """The two loops of Nocedal 1980, for presets that clamp: a pair is where the picture went, clamp and
    all, and what that did to the gradient. torch's stores where it was sent."""

    def make(x, grey):
        pairs, last = [], []

        def step(closure):
            closure()
            at, g = x.detach().flatten(), x.grad.flatten()
            if last:
                s, y = at - last[0], g - last[1]
                if s @ y > 1e-10:
                    pairs.append((s, y))
            last[:] = at, g
            newest = pairs[-history:][::-1]
            d, shares = g.clone(), []
            for s, y in newest:
                shares.append(s @ d / (s @ y))
                d -= shares[-1] * y
            if newest:
                s, y = newest[0]
                d *= s @ y / (y @ y)
            else:
                d *= grey / g.square().mean().sqrt()
            for (s, y), share in zip(newest[::-1], shares[::-1]):
                d += (share - y @ d / (s @ y)) * s
            x.data = (at - d).view_as(x)

        return step

    return make


def by_torch(kind, **options):
    def make(x, grey):
        return kind(x if isinstance(x, list) else [x], **options).step

    return make


def keras_adam(rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Kingma & Ba's shorter form, TensorFlow's and Keras': epsilon is added before the bias is corrected."""

    def make(x, grey):
        m, v, t = torch.zeros_like(x), torch.zeros_like(x), [0]

        def step(closure):
            closure()
            t[0] += 1
            m.mul_(beta_1).add_(x.grad, alpha=1 - beta_1)
            v.mul_(beta_2).add_(x.grad**2, alpha=1 - beta_2)
            x.data -= rate * (1 - beta_2 ** t[0]) ** 0.5 / (1 - beta_1 ** t[0]) * m / (v.sqrt() + epsilon)

        return step

    return make


def decaying_sgd(rate, factor, interval):
    def make(x, grey):
        found = torch.optim.SGD([x], rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(found, lambda t: factor ** (t / interval))
        return lambda closure: (found.step(closure), schedule.step())

    return make


def dropping_adam(rate, later, steps):
    """cs231n's: after so many steps and one more the rate is lower."""

    def make(x, grey):
        found = torch.optim.Adam([x], rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(found, lambda t: later / rate if t > steps else 1)
        return lambda closure: (found.step(closure), schedule.step())

    return make


ADAM, LBFGS = torch.optim.Adam, lbfgs(100)
