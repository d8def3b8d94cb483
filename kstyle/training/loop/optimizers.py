"""Optimisers by name, and what is done to gradients before them: weight decay and clipping."""

import fnmatch

import keras

from kstyle import backend
from kstyle.models import finetune
from kstyle.nn import optimizers as named

ops = keras.ops


def build(settings, variables):
    """The optimiser that `settings` (a `kstyle.training.setup.sections.Optimizer`) names, built on `variables`.

    Raises:
        UsageError: unknown name, or arguments the optimiser does not have.
    """
    momentum = {"momentum": settings.momentum, "nesterov": settings.nesterov} if settings.momentum else {}
    arguments = {"learning_rate": float(settings.learning_rate), **momentum, **settings.arguments}
    optimizer = named.make(settings.name, **arguments)
    optimizer.build(variables)
    named.lay_out(optimizer, variables)
    return optimizer


def learning_rate(optimizer):
    """The rate that an optimiser has now, a float; the host waits for the device."""
    return float(ops.convert_to_numpy(optimizer.learning_rate))


def carry(before, optimizer):
    """Gives an optimiser the moments that another of its kind has for the same weights."""
    kept = {v.path: v for v in before.variables}
    for variable in optimizer.variables:
        if variable.path in kept and tuple(variable.shape) == tuple(kept[variable.path].shape):
            variable.assign(kept[variable.path].value)


def apply(optimizer, settings, variables, depths=None):
    """A function of gradients that makes one step.

    L2 penalties of the variables' regularisers are added to their gradients (2·l2·w), which is what differentiating
    the penalty gives, without computing it at each step. Coupled weight decay, torch's, adds `weight_decay`·w likewise;
    decoupled decay (Loshchilov & Hutter 2017, arXiv 1711.05101) shrinks the weights by rate·`weight_decay` and leaves
    the gradients alone. A layer's multiplier scales the whole change, decay and all, whatever the optimiser.

    Args:
        settings: a `kstyle.training.setup.sections.Optimizer`.
        variables: what `optimizer` was built on, in the order of the gradients.
        depths: {id of a variable: factor of its rate}, as `by_depth` gives them; None: none.
    """
    depths = depths or {}
    decayed = [decays(v) or settings.decay_norms for v in variables]
    coupled = [
        penalty(v) + (settings.weight_decay if d and not settings.decoupled else 0) for v, d in zip(variables, decayed)
    ]
    groups = {factor: [i for i, c in enumerate(coupled) if c == factor] for factor in set(coupled) - {0}}
    shrunk = [v for v, d in zip(variables, decayed) if d] if settings.decoupled and settings.weight_decay else []
    scaled = [(v, m) for v in variables if (m := multiplier(v, settings.multipliers) * depths.get(id(v), 1.0)) != 1]

    def step(grads):
        before = [ops.copy(variable.value) for variable, _ in scaled]
        change(list(grads))
        for (variable, factor), old in zip(scaled, before):
            variable.assign(old + factor * (variable.value - old))

    def change(grads):
        for factor, where in groups.items():
            added = backend.add_scaled([grads[i] for i in where], factor, [variables[i].value for i in where])
            for i, grad in zip(where, added):
                grads[i] = grad
        if settings.clip_norm is not None:
            norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in grads))
            factor = ops.minimum(1.0, settings.clip_norm / (norm + 1e-6))
            grads = [g * factor for g in grads]
        if shrunk:
            rate = ops.convert_to_tensor(optimizer.learning_rate)
            backend.update(shrunk, 1.0, [v.value for v in shrunk], -rate * settings.weight_decay)
        optimizer.apply(grads, variables)

    return step


def multiplier(variable, multipliers):
    """The factor of the first pattern in `{pattern: factor}` that fits the name of the variable's layer, or 1."""
    layer = variable.path.rpartition("/")[0]
    return next((factor for pattern, factor in multipliers.items() if fnmatch.fnmatchcase(layer, pattern)), 1.0)


def by_depth(model, parts, decay):
    """Rates that fall from the logits to the pictures (Howard & Ruder 2018, arXiv 1801.06146, "discriminative
    fine-tuning"; timm's `--layer-decay`).

    Args:
        model: a `keras.Model`, or the end of one.
        parts: of its row in `kstyle.models.registry`; where that names none, its last layer with a kernel is one.
        decay: what a part learns at, over what the next one does.

    Returns:
        {id of a variable: factor}: 1 in the head, decay^n in the n-th part before it. What comes before the first part
        counts as one more. Empty where decay is 1.
    """
    if decay == 1:
        return {}
    layers = model.layers

    def first(part, patterns):
        if not parts:
            return layers.index(finetune.from_part(model, part)[0])
        found = (n for n, layer in enumerate(layers) if any(fnmatch.fnmatchcase(layer.name, p) for p in patterns))
        return next(found, None)

    begins = [first(*each) for each in (parts or {"head": ()}).items()]
    factors = {}
    for number, layer in enumerate(layers):
        reached = max((n for n, begin in enumerate(begins) if begin is not None and begin <= number), default=-1)
        factors |= {id(variable): decay ** (len(begins) - 1 - reached) for variable in layer.variables}
    return factors


def decays(variable):
    """Whether weight decay is meant for it when biases and normalisation are left out: kernels have two dimensions."""
    return len(variable.shape) > 1


def penalty(variable):
    """2·l2 of the variable's L2 regulariser, 0 without one."""
    regularizer = getattr(variable, "regularizer", None)
    return 2 * float(getattr(regularizer, "l2", 0.0))
