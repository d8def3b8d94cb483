"""A model in Keras' own layers, so that its files open where there is no kstyle.

kstyle's layers are faster versions of Keras' own (`kstyle.nn.layers`) and take the same weights, so each has a plain
counterpart. A layer of another package stays what it is.
"""

import keras

from kstyle.backend import keras_private
from kstyle.nn import layers, residual
from kstyle.nn.torch_rules import TorchSGD

# What Keras raises of a model that it cannot describe, and so not copy: one with a class of the user's in it, say.
NO_DESCRIPTION = (NotImplementedError, TypeError, ValueError)
_CONVOLUTIONS = {
    layers.Conv2D: keras.layers.Conv2D,
    layers.DepthwiseConv2D: keras.layers.DepthwiseConv2D,
}
_POOLS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


@keras_private.without_tensorflow()
def plain(model, dtype=None):
    """A copy of a model in Keras' own layers, with the same weights.

    Zeros stand around what a padded max pool sees, so they must be its smallest values: in kstyle's networks such pools
    come after a ReLU. A layer of kstyle's that Keras has not (an L2 pool, say) stays.

    Args:
        model: a `keras.Model` made of layers (functional or sequential).
        dtype: of all layers, `"float32"` say; None: as they are.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: the model is no graph of layers: a class of its own with a `call`.

    >>> x = keras.Input((8, 8, 3))
    >>> copy = plain(keras.Model(x, layers.Conv2D(4, 3, pad=1)(x)))
    >>> [type(layer).__module__.split(".")[0] for layer in copy.layers]
    ['keras', 'keras']
    """
    return _copied(model, dtype)[0]


def has_ours(model):
    """Whether a layer of kstyle's is in a model, so that its file opens with kstyle only."""
    return any(type(layer).__module__.startswith("kstyle.") for layer in flat(model))


def flat(model):
    """All layers of a model, those of models inside it too."""
    return keras_private.layers(model)[1:]


def saves_plainly(model, compile):
    """From now on `model.save`, and so Keras' `ModelCheckpoint`, writes the `plain` copy, which opens without kstyle.

    A model that cannot be copied, or has layers that only its user knows, is written as Keras does it.

    Args:
        model: a `keras.Model`.
        compile: `compile(copy, optimizer)` compiles the copy as the model is; called where the model is compiled.
    """
    as_keras_does = type(model).save

    @keras_private.without_tensorflow()
    def save(filepath, overwrite=True, zipped=None, **options):
        try:
            copy, variables = _copied(model)
        except NO_DESCRIPTION:
            copy = None
        if copy is None:
            return as_keras_does(model, filepath, overwrite=overwrite, zipped=zipped, **options)
        if model.compiled:
            compile(copy, _optimizer(model.optimizer, copy.trainable_variables, variables))
        return copy.save(filepath, overwrite=overwrite, zipped=zipped, **options)

    model.save = save


def _copied(model, dtype=None):
    """(the copy, {id of a variable of the model: the copy's})."""
    if not getattr(model, "inputs", None):
        raise ValueError("the model is no graph of layers")
    single = isinstance(model, keras.Sequential)
    ends = (model.inputs[0], model.outputs[0]) if single else (model.input, model.output)
    model = keras.Model(*ends, name=model.name)  # the same layers, not compiled, or the clone would be too
    originals, variables = {}, {}

    def clone(layer):
        if isinstance(layer, keras.Model):  # a model that is a layer of this one
            copy, inner = _copied(layer, dtype)
            copy.trainable = layer.trainable
            variables.update(inner)
        else:
            copy = _clone(layer, dtype)
            originals[id(copy)] = layer, copy
        return copy

    def call(copy, *arguments, **keywords):
        original, _ = originals.get(id(copy), (copy, copy))
        if getattr(original, "made_of_keras_ops", False):
            return original.call(*arguments, **keywords)
        if hasattr(original, "plainly"):
            return original.plainly(copy, *arguments)
        pad = 0 if type(copy) is type(original) else getattr(original, "pad", None)
        if pad and getattr(copy, "padding", None) == "valid":
            zeros = keras.layers.ZeroPadding2D(pad, data_format="channels_last", name=f"{copy.name}_zeros")
            arguments = (zeros(arguments[0]), *arguments[1:])
        return copy(*arguments, **keywords)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer, other in originals.values():
        if layer.weights:
            other.set_weights(layer.get_weights())
            variables |= {id(ours): theirs for ours, theirs in zip(layer.weights, other.weights)}
    return copy, variables


def _clone(layer, dtype):
    config = layer.get_config()
    if dtype is not None and "dtype" in config:
        config["dtype"] = dtype
    for ours, theirs in _CONVOLUTIONS.items():
        if isinstance(layer, ours):
            if config.pop("pad") is not None:
                config["padding"] = "same" if _same_padding(layer) else "valid"
            return theirs.from_config(config)
    if isinstance(layer, layers.BatchNormalization):
        config.pop("unbiased_variance")
        return keras.layers.BatchNormalization.from_config(config)
    if isinstance(layer, layers.Pool2D) and layer.kind in _POOLS and layer.factor == 1 and not layer.partial:
        return _POOLS[layer.kind](
            layer.size, layer.strides, data_format="channels_last", name=layer.name, dtype=config["dtype"]
        )
    if isinstance(layer, residual.DropPath):
        return keras.layers.Dropout.from_config({**config, "noise_shape": (None, *[1] * (len(layer.output.shape) - 1))})
    if isinstance(layer, residual.LayerScale):
        return keras.layers.EinsumDense.from_config(config)
    if isinstance(layer, (residual.ClassToken, residual.PositionEmbedding)):
        sizes = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
        return keras.layers.Embedding(**sizes, **{key: config[key] for key in ("name", "trainable", "dtype")})
    return type(layer).from_config(config)


def _same_padding(layer):
    # Keras' "same" is symmetric for an odd kernel that moves by one pixel.
    return layer.strides == (1, 1) and all(size == 2 * layer.pad + 1 for size in layer.kernel_size)


def _optimizer(optimizer, variables, copies):
    """An optimiser in Keras' own classes that goes on with a copy's variables where this one is.

    Torch's SGD becomes Keras', whose velocity holds the rate as well: the next step is the same at the same rate. Where
    it was not built on the very variables, in their order, its moments are left out.
    """
    kind = keras.optimizers.SGD if type(optimizer) is TorchSGD else type(optimizer)
    copy = kind.from_config(optimizer.get_config())
    copy.build(variables)
    trained = [copies.get(id(each)) for each in keras_private.built_on(optimizer)]
    same = len(trained) == len(variables) and all(a is b for a, b in zip(trained, variables))
    if same and len(copy.variables) == len(optimizer.variables):
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        for mine, theirs in zip(copy.variables, optimizer.variables):
            velocity = kind is not type(optimizer) and theirs.path.endswith("velocity")
            mine.assign(-rate * theirs.value if velocity else theirs.value)
    return copy
