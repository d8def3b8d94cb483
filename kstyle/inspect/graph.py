"""A Keras model as a list of its operations, models inside it opened, so that each layer can be named and looked at."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from kstyle.backend import keras_private
from kstyle.errors import UsageError
from kstyle.io.files import one_line

tree = keras.tree


@dataclass(frozen=True, eq=False)
class Node:
    """One use of an operation.

    Attributes:
        name: the layer's; of a layer that is used again `NAME_2`.
        operation: a layer, or one of Keras' operations (`x + 1` in a model is one).
        args, kwargs: what it is called with; tensors in it are keys of other nodes' outputs.
        output: `keras.KerasTensor`, or a structure of several.
    """

    name: str
    operation: Any
    args: tuple
    kwargs: dict
    output: Any

    @property
    def inputs(self) -> list[Any]:
        """The tensors it is called with, a list."""
        return [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, keras.KerasTensor)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.operation(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Graph:
    """Attributes:
    input: `keras.KerasTensor`.
    nodes: in an order in which they can be computed.
    output: what the model gives: a tensor, or a structure of several.
    """

    input: Any
    nodes: tuple[Node, ...]
    output: Any

    def run(self, x: Any, wanted: list[Any]) -> list[Any]:
        """Computes some of the tensors. What is needed no more is let go at once, so that of a large picture few layers
        lie in memory at a time.

        Args:
            x: the model's input.
            wanted: tensors of the graph, a list.

        Returns:
            A list of tensors, in that order.
        """
        needed, nodes = {id(tensor) for tensor in wanted}, []
        for node in reversed(self.nodes):
            if any(id(tensor) in needed for tensor in tree.flatten(node.output)):
                nodes.append(node)
                needed |= {id(tensor) for tensor in node.inputs}
        uses = Counter(id(tensor) for node in nodes for tensor in node.inputs) + Counter(map(id, wanted))
        there = {id(self.input): x}
        del x  # the picture too

        def value(tensor):
            return there[id(tensor)] if isinstance(tensor, keras.KerasTensor) else tensor

        for node in reversed(nodes):
            args, kwargs = tree.map_structure(value, (node.args, node.kwargs))
            for tensor in node.inputs:
                uses[id(tensor)] -= 1
                if not uses[id(tensor)]:
                    there.pop(id(tensor), None)
            found = node(*args, **kwargs)
            del args, kwargs
            for tensor, each in zip(tree.flatten(node.output), tree.flatten(found)):
                if uses[id(tensor)]:
                    there[id(tensor)] = each
            del found
        return [there[id(tensor)] for tensor in wanted]


def of(model, label):
    """The `Graph` of a model.

    Args:
        model: a functional or sequential `keras.Model` with one input. Its layers are used, not copied.
        label: for errors.

    Raises:
        UsageError: it is a class with a `call` of its own, or has several inputs.
    """
    inputs = getattr(model, "inputs", None) or ()
    if not isinstance(model, keras.Model) or len(inputs) != 1:
        said = f"{len(inputs)} inputs" if inputs else "no graph of layers, but code of its own"
        raise UsageError(
            f"{label}: a functional or sequential Keras model with one input can be looked into; this has {said}."
        )
    start, nodes, taken = keras.Input(batch_shape=inputs[0].shape, dtype=inputs[0].dtype), [], Counter()

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            return _through(operation, tree.flatten((args, kwargs.pop("inputs", ()))), call)
        output = operation(*args, **kwargs)
        taken[operation.name] += 1
        name = operation.name if taken[operation.name] == 1 else f"{operation.name}_{taken[operation.name]}"
        nodes.append(Node(name, operation, args, kwargs, output))
        return output

    try:
        output = _through(model, [start], call)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{label}: its layers cannot be followed: {one_line(error)[:200]}") from error
    return Graph(start, tuple(nodes), output)


def _through(model, inputs, call):
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs[0])
    tensors = [x for x in inputs if isinstance(x, keras.KerasTensor)]
    return keras_private.run_through(model, tensors, call)


def with_logits(graph):
    """A graph whose classifier's output is before any softmax or sigmoid.

    Returns:
        `(graph, tensor)`: with one more node where the last layer does both, a layer of the same weights without it;
        and the logits (B, K), or None: it gives no (B, K).
    """
    outputs = graph.output if isinstance(graph.output, dict) else dict(enumerate(tree.flatten(graph.output)))
    flat = {key: tensor for key, tensor in outputs.items() if len(tensor.shape) == 2}
    tensor = flat.get("probabilities", next(iter(flat.values()), None))
    node = next((node for node in graph.nodes if node.output is tensor), None)
    if node is None:
        return graph, tensor
    if type(node.operation).__name__ in ("Softmax", "Sigmoid"):  # the layer, and Keras' operation
        return graph, node.inputs[0]
    activation = getattr(node.operation, "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.sigmoid):
        return graph, tensor
    if isinstance(node.operation, keras.layers.Activation):
        return graph, node.inputs[0]
    config = {**node.operation.get_config(), "activation": "linear", "name": f"{node.name}_logits"}
    layer = type(node.operation).from_config(config)
    output = layer(node.inputs[0])
    layer.set_weights(node.operation.get_weights())
    layer.trainable = False
    more = Node(layer.name, layer, (node.inputs[0],), {}, output)
    return Graph(graph.input, (*graph.nodes, more), graph.output), output
