"""A head of one's own: the layers between a network's features and its classes, as a list in a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_serializer, model_validator

from kstyle.config import Closed, Positive
from kstyle.errors import UsageError
from kstyle.models import finetune

# {what a recipe calls a layer without a number: its class in Keras}
PLAIN = {
    "flatten": "Flatten",
    "global_average_pooling": "GlobalAveragePooling2D",
    "global_max_pooling": "GlobalMaxPooling2D",
    "batch_normalization": "BatchNormalization",
}
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid")


class HeadLayer(Closed):
    """One layer, by one of these keys; `flatten` and the three after it by their name alone.

    Attributes:
        flatten: a map becomes a vector.
        global_average_pooling, global_max_pooling: mean, or largest value, of each channel of a map.
        batch_normalization: batch normalisation.
        dense: so many units.
        dropout: the share of numbers that become 0 in training.
        activation: of `dense`, or alone, as a layer.
        l2: of the kernel of `dense`, as Keras' regulariser has it.
    """

    short_forms = ({"enum": list(PLAIN)},)
    flatten: Literal[True] | None = None
    global_average_pooling: Literal[True] | None = None
    global_max_pooling: Literal[True] | None = None
    batch_normalization: Literal[True] | None = None
    dense: Annotated[int, Field(ge=1, le=65536)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    activation: Literal[ACTIVATIONS] | None = None
    l2: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value):
        return {value: True} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self):
        said = [name for name in (*PLAIN, "dense", "dropout") if getattr(self, name) is not None]
        if len(said) > 1 or not (said or self.activation):
            raise ValueError("expected one layer, such as flatten, {dense: 256, activation: relu} or {dropout: 0.5}")
        if said and self.activation and said != ["dense"]:
            raise ValueError(f"activation goes with dense, or is a layer of its own after {said[0]}")
        if self.l2 and said != ["dense"]:
            raise ValueError("l2 goes with dense")
        return self

    @model_serializer
    def _as_written(self):
        if self.kind in PLAIN:
            return self.kind
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}

    @property
    def kind(self):
        """What it is called in a recipe."""
        return next(name for name in (*PLAIN, "dense", "dropout", "activation") if getattr(self, name) is not None)

    def layer(self, name, dtype):
        """The `keras.layers.Layer`."""
        from keras import layers, regularizers

        if self.kind == "dense":
            penalty = regularizers.L2(self.l2) if self.l2 else None
            return layers.Dense(self.dense, self.activation, kernel_regularizer=penalty, name=name, dtype=dtype)
        if self.kind == "dropout":
            return layers.Dropout(self.dropout, name=name, dtype=dtype)
        if self.kind == "activation":
            return layers.Activation(self.activation, name=name, dtype=dtype)
        places = {} if self.kind == "batch_normalization" else {"data_format": "channels_last"}
        return getattr(layers, PLAIN[self.kind])(name=name, dtype=dtype, **places)


def attach(model, head, classes, dtype):
    """A network with another head: the same layers up to the map of features that its own head takes, then these.

    Args:
        model: a `keras.Model` from pictures to logits.
        head: a list of `HeadLayer`; the classes' Dense comes after them by itself.
        classes: K.
        dtype: of the head's layers; logits are float32.

    Returns:
        A `keras.Model` of the same name. Its new layers are called `head_1_flatten` and so on, by their place.

    Raises:
        UsageError: the features cannot be cut off, or the list does not end with a vector for each picture.
    """
    import keras

    if not getattr(model, "inputs", None):
        raise UsageError("head: this network is no graph of layers, whose head could be another.")
    x = _features(model)
    for number, each in enumerate(head, 1):
        if each.kind in ("flatten", "global_average_pooling", "global_max_pooling") and len(x.shape) != 4:
            raise UsageError(f"head: {each.kind} takes a map (height, width, channels); before it is a vector already.")
        x = each.layer(f"{finetune.OWN_HEAD}{number}_{each.kind}", dtype)(x)
    if len(x.shape) != 2:
        raise UsageError(
            f"head: gives {tuple(x.shape[1:])} for each picture, and the classes need a vector: begin with flatten or "
            "global_average_pooling."
        )
    logits = keras.layers.Dense(classes, name=f"{finetune.OWN_HEAD}{len(head) + 1}_classes", dtype="float32")(x)
    return keras.Model(model.input, logits, name=model.name)


def _features(model):
    """What a network's own head takes: before its flatten or last pooling, or its head part where that comes first."""
    import keras

    layers = finetune.from_part(model, "all")
    places = [layers.index(finetune.from_part(model, "head")[0])]
    # The last one: what squeezes and excites makes vectors of maps in between.
    flat = [n for n, layer in enumerate(layers) if (_rank(layer.input), _rank(layer.output)) == (4, 2)]
    tensor, made = layers[min(places + flat[-1:])].input, {id(layer.output): layer for layer in layers}
    while isinstance(made.get(id(tensor)), keras.layers.Dropout):
        tensor = made[id(tensor)].input
    return tensor


def _rank(tensor):
    return len(tensor.shape) if hasattr(tensor, "shape") else None  # None: several tensors


def take(model, other):
    """Gives a network whose head is the recipe's the weights that one with the usual head has for the other layers."""
    theirs = {layer.name: layer for layer in other.layers}
    for layer in model.layers:
        if layer.weights and not layer.name.startswith((finetune.OWN_HEAD, finetune.BOX)):
            layer.set_weights(theirs[layer.name].get_weights())
