"""A network of kstyle's beside the same one in torch: logits, and one step of training."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

from kstyle import backend
from kstyle.models import torch_names

nn = torch.nn
# Through many normalisations of four pictures, with activations that have corners, float32 knows a gradient to half a
# percent: torch's own differs from its float64 by as much. At a low rate that is little of the logits.
RATE, LOW_RATE = 0.01, 3e-4


def shaken(module):
    """The module with weights and statistics that are nobody's default."""
    normalising = (nn.BatchNorm2d, nn.LayerNorm)
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, normalising):  # else scale and statistics are 1 and 0, and could be swapped
                each.weight.uniform_(0.5, 1.5), each.bias.normal_(0, 0.2)
                if isinstance(each, nn.BatchNorm2d):
                    each.running_mean.normal_(0, 0.2), each.running_var.uniform_(0.5, 1.5)
            elif isinstance(each, (nn.Conv2d, nn.Linear)):  # torch's own fade out in a network without normalisation
                nn.init.kaiming_normal_(each.weight)
                if each.bias is not None:
                    each.bias.normal_(0, 0.1)
            else:  # what a module has of its own: tokens, scales, an attention's projection
                for parameter in each.parameters(recurse=False):
                    parameter.normal_(0, 0.2)
    return module


def state(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def logits_of(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


def own_logits(model, x):
    # Compiled, since JAX otherwise compiles each operation by itself.
    predict = backend.compile(lambda x: model(x, training=False), model.variables)
    return ops.convert_to_numpy(predict(ops.convert_to_tensor(x)))


def pictures(size, channels=3):
    return np.random.default_rng(1).normal(0, 1, (4, size, size, channels)).astype("float32")


def assert_near(mine, reference, tolerance):
    assert mine.shape == reference.shape
    assert np.abs(mine - reference).max() <= tolerance * np.abs(reference).max()


def by_names(theirs, ours):
    """Gives `ours` the weights of torch's module by their names, as a file of them would."""
    done = torch_names.convert(state(theirs), ours)
    assert not done.left_out and done.tensors == len(ours.weights)


def by_order(theirs, ours):
    """Gives `ours` those of torch's module layer by layer: of networks that no file of torch's is known of."""
    kinds = (nn.BatchNorm2d, nn.Conv2d, nn.Linear)
    modules = [module for module in theirs.modules() if isinstance(module, kinds)]
    for module, layer in zip(modules, [layer for layer in ours.layers if layer.weights], strict=True):
        found = [value for key, value in state(module).items() if key != "num_batches_tracked"]
        if found[0].ndim == 4:  # (out, in, h, w); of a convolution of each channel by itself (channels, 1, h, w)
            found[0] = found[0].transpose((2, 3, 0, 1) if module.groups > 1 else (2, 3, 1, 0))
        elif found[0].ndim == 2:
            found[0] = found[0].T
        layer.set_weights(found)


def assert_same(theirs, ours, x, rate=RATE, give=by_names, stored=None):
    """Torch's weights are taken, and then logits are equal to 1e-4, and after a step of SGD to 1e-3.

    Args:
        theirs, ours: torch's module and the `keras.Model`, of five classes.
        x: four pictures (4, H, W, C).
        rate: of the step.
        give: `give(theirs, ours)` does so.
        stored: from torch's state to what a file of it holds, which is taken then.
    """
    give(theirs, ours)
    if stored:
        done = torch_names.convert(stored(state(theirs)), ours)
        assert not done.left_out and done.tensors == len(ours.weights)
    expected = logits_of(theirs.eval(), x)
    assert np.ptp(expected, axis=0).max() > 0.1  # the pictures do tell apart
    assert_near(own_logits(ours, x), expected, 1e-4)

    labels = np.array([0, 3, 1, 4])
    logits = theirs.train()(torch.from_numpy(x).permute(0, 3, 1, 2))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    with torch.no_grad():  # torch.optim would import a compiler
        for parameter in theirs.parameters():
            parameter -= rate * parameter.grad

    def objective(x, labels):
        entropy = keras.losses.sparse_categorical_crossentropy(labels, ours(x, training=True), from_logits=True)
        return ops.mean(entropy), {}

    differentiate = backend.gradients(objective, ours.trainable_variables, ours.non_trainable_variables)

    def step(x, labels):
        loss, _, grads = differentiate(x, labels)
        backend.update(ours.trainable_variables, 1, grads, -rate)
        return loss

    own = backend.compile(step, ours.variables)(ops.convert_to_tensor(x), ops.convert_to_tensor(labels))
    assert float(ops.convert_to_numpy(own)) == pytest.approx(loss.item(), rel=1e-4)

    moved = own_logits(ours, x)
    assert np.abs(moved - expected).max() > 0.02 * np.abs(expected).max()
    assert_near(moved, logits_of(theirs.eval(), x), 1e-3)
    # What torch's model became, statistics included, is what ours became.
    stepped = [ops.convert_to_numpy(w).copy() for w in ours.weights]
    give(theirs, ours)
    for mine, reference in zip(stepped, ours.weights):
        reference = ops.convert_to_numpy(reference)
        assert np.abs(mine - reference).max() <= 1e-3 * max(1e-2, np.abs(reference).max()), reference.shape
