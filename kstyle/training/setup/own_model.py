"""A network that the caller of `kstyle.train` gives: what it must be, and how a run's folder keeps it."""

import json
from pathlib import Path

from kstyle.data import PHOTOGRAPHS
from kstyle.errors import DataError, UsageError
from kstyle.io import runs
from kstyle.io.files import one_line
from kstyle.models.registry import GIVEN
from kstyle.training.setup import settings


def overrides(recipe, changes, model):
    """The overrides of a recipe that is to train a given model.

    The recipe's own section `model` does not count; photographs are brought to the side that the model takes, where
    nothing else is said.

    Args:
        recipe: as `kstyle.train` takes it, or None: that of the run to go on with.
        changes: {dotted key: value} of the user's, or None.
        model: a `keras.Model`.

    Raises:
        UsageError: the model is none, or settings of `model` are among the changes.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise UsageError(f"model: expected a keras.Model; got {one_line(repr(model))}.")
    if not model.built:
        raise UsageError("model: it has no weights yet: give it a keras.Input, or call it once on pictures.")
    for key in changes or {}:
        if key.partition(".")[0] == "model":
            raise UsageError(f"{key}: the model is given, and no setting of the recipe changes it.")
    changes = {"model": {"name": GIVEN.name}, **(changes or {})}
    if recipe is None:
        return changes
    data = settings.load(recipe, changes).data
    shape = getattr(model, "input_shape", None)
    if data.name in PHOTOGRAPHS and data.photographs.size is None and isinstance(shape, tuple) and shape[1]:
        changes["data.photographs.size"] = shape[1]
    return changes


def check(model, classes, shape):
    """Whether a given model takes a data set's pictures, and gives logits of its classes.

    Args:
        model: a `keras.Model` that is built.
        classes: K.
        shape: (H, W, C) of a picture.

    Returns:
        `(facts, architecture)`: what run.json says of it, a dict for JSON; and what Keras makes it again from, a text,
        or None where Keras cannot say.

    Raises:
        UsageError: it does not.
    """
    import keras

    from kstyle.backend import keras_private
    from kstyle.nn.plain import NO_DESCRIPTION

    try:
        given = model.compute_output_spec(keras.KerasTensor((None, *shape), "float32"))
    except Exception as error:
        wanted = getattr(model, "input_shape", None)
        raise UsageError(
            f"model: does not take the data's pictures, (N, {', '.join(map(str, shape))})"
            + (f"; it takes {wanted}." if wanted else f": {one_line(error)}")
        ) from error
    if tuple(getattr(given, "shape", ())) != (None, classes):
        got = getattr(given, "shape", type(given).__name__)
        raise UsageError(f"model: expected logits of the data's {classes} classes, (N, {classes}); it gives {got}.")
    last = model.layers[-1] if model.layers else None
    squashed = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in squashed:
        raise UsageError(
            f"model: its last layer, '{last.name}', gives probabilities: leave its activation out (logits)."
        )
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    facts = {"model": {"given": True, "name": model.name, "class": kind}, "precision": model.compute_dtype}
    try:
        with keras_private.without_tensorflow():
            return facts, model.to_json()
    except NO_DESCRIPTION:
        return facts, None  # `opened` says what that means


def opened(folder):
    """The model that a run was given, with initial values: read as data, so nobody's code is run.

    Raises:
        DataError: it cannot be made from what the folder holds.
    """
    import keras

    from kstyle.backend import keras_private

    try:
        said = json.loads((Path(folder) / runs.ARCHITECTURE).read_text("utf-8"))
        with keras_private.without_tensorflow():
            model = keras.saving.deserialize_keras_object(said, safe_mode=True)
        if not model.built:
            raise ValueError("it has no shape of its input")
        return model
    except Exception as error:
        reason = "" if isinstance(error, OSError) else f" ({one_line(error)[:200]})"
        raise DataError(
            f"{one_line(folder)}: its model was given in Python, and Keras cannot make it again{reason}. Layers are "
            "to be Keras' own, or registered by a --plugin (keras.saving.register_keras_serializable). In Python "
            "kstyle.train(None, run=…, resume=True, model=…) goes on with it."
        ) from error
