"""Grad-CAM: which places of a layer's maps speak for a class."""

import dataclasses

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.inspect.subject import LOGITS
from kstyle.pictures import images

ops = keras.ops


def maps(subject, name=None):
    """The name of a layer that a classifier's decision hangs on and that gives maps (B, h, w, channels).

    Args:
        subject: a `kstyle.inspect.Subject` with classes.
        name: of the layer; None: the last such layer whose maps are larger than one place, and no pooling or dropout,
            whose maps say the same more coarsely.

    Raises:
        UsageError: there is no such layer, it has no channels, or the classes do not come of it.
    """
    wanted, leading = {id(subject.outputs[LOGITS])}, []
    for node in reversed(subject.graph.nodes):
        if any(id(tensor) in wanted for tensor in keras.tree.flatten(node.output)):
            wanted |= {id(tensor) for tensor in node.inputs}
            leading.append(node)
    if name is not None:
        found = subject.maps(name)
        if found not in [node.name for node in leading]:
            raise UsageError(f"{subject.name}: the classes do not come of '{name}': choose a layer before them.")
        return found
    for node in leading:
        shape, kind = tuple(getattr(subject.outputs.get(node.name), "shape", ())), type(node.operation).__name__
        if len(shape) == 4 and shape[1:3] != (1, 1) and "Pool" not in kind and "Dropout" not in kind:
            return node.name
    raise UsageError(f"{subject.name} has no layer with maps (batch, height, width, channels), which grad-cam needs.")


class GradCam:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): a layer's maps, each weighted by the mean of the class's
    gradient in it, are added up, and what is below zero is left out.

    Callable: `(picture (H, W, 3), number of the class) -> map (h, w)`, NumPy float32.

    Args:
        subject: a `kstyle.inspect.Subject` with classes.
        layer: from `maps`.
    """

    def __init__(self, subject, layer):
        tensor, graph = subject.outputs[layer], subject.graph

        def step(picture, number):
            # What is added to a map everywhere changes the output by the sum of its gradients.
            def score(added):
                nodes = [_plus(node, added) if node.output is tensor else node for node in graph.nodes]
                changed = dataclasses.replace(graph, nodes=tuple(nodes))
                logits, seen = changed.run(subject.prepare(picture), [subject.outputs[LOGITS], tensor])
                return ops.sum(ops.take(ops.cast(logits, "float32"), number, axis=-1)), {"maps": seen}

            (_, found), sums = backend.value_and_grad(score)(ops.zeros((tensor.shape[-1],)))
            seen = ops.cast(found["maps"][0], "float32")
            return ops.relu(ops.sum(seen * (sums / (seen.shape[0] * seen.shape[1])), axis=-1))

        self._run = backend.compile(step, subject.variables)

    def __call__(self, picture, number):
        return ops.convert_to_numpy(self._run(backend.uploaded(picture[None]), np.int32(number)))


def _plus(node, added):
    """The node with a vector added to each place of its maps."""

    def call(*args, **kwargs):
        result = node.operation(*args, **kwargs)
        return result + ops.cast(added, result.dtype)

    return dataclasses.replace(node, operation=call)


def over(found, picture):
    """A map (h, w) as large as a picture, (H, W), interpolated linearly between its places."""
    return images.resize(found, picture.shape[:2], "bilinear")
