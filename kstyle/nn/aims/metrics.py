"""Metrics of classifiers by name: Keras', a few short names, and those that users add."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from kstyle.errors import UsageError, unknown
from kstyle.io.files import one_line
from kstyle.nn import schedules
from kstyle.nn.aims.losses import classes, key
from kstyle.open_names import Names, called

ops = keras.ops

# Of Keras' metrics: those that compare no classes with probabilities.
LEFT_OUT = ("Metric", "Mean", "Sum", "MeanMetricWrapper", "Accuracy", "R2Score")


def class_distance(labels, probabilities):
    """How many places the most probable class is from the true one, of classes in an order: (B,) float32."""
    return ops.abs(ops.cast(ops.argmax(probabilities, axis=-1), "float32") - ops.cast(labels, "float32"))


# {name: (Keras' class, arguments)}, or a function of labels and probabilities.
OURS = {
    "top5": (keras.metrics.TopKCategoricalAccuracy, {"k": 5}),
    "top3": (keras.metrics.TopKCategoricalAccuracy, {"k": 3}),
    "f1": (keras.metrics.F1Score, {}),
    "class_distance": (class_distance, {}),
}
_OF_PICTURES = [name for name in vars(keras.metrics) if name.endswith("IoU")]  # of each pixel
KERAS, _KERAS_NAMES = classes(keras.metrics, keras.metrics.Metric, (*LEFT_OUT, *_OF_PICTURES))
NAMES = Names("metric", [*OURS, *_KERAS_NAMES])  # and those that users add


def register(name: str, metric: Callable[..., Any]) -> None:
    """Adds a metric for trainings: `metrics: [NAME]`, or `{name: NAME, argument: value}` in the list, in a recipe.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's or Keras'.
        metric: a `keras.metrics.Metric` class, whose arguments the recipe gives, or `metric(labels, logits,
            **arguments)` -> (B,), a number for each picture, whose mean is taken, in `keras.ops`. labels: (B,) integers
            for a function, shares of classes (B, K) for a class, unless its name begins with "Sparse"; logits: (B, K).

    Raises:
        UsageError: a name of kstyle's own, or nothing that can be called.

    >>> from keras import ops
    >>> from kstyle import aims
    >>> aims.register_metric("confidence", lambda labels, logits: ops.max(ops.softmax(logits), axis=-1))
    """
    NAMES.add(name, called("metric", metric))


def make(name, count, column=None, /, **arguments):
    """A metric by name.

    Args:
        name: of kstyle's, one of Keras' (case and underscores as one likes), or one that was added.
        count: of classes.
        column: what the history calls it; None: as `name`.
        arguments: its own. Some have others here than in Keras, so that it gives one number: of `F1Score` the average
            is `macro`, and `AUC` is the mean of those of each class against the rest.

    Returns:
        `(metric, probabilities)`: a `keras.metrics.Metric`, and whether it takes those and not logits.

    Raises:
        UsageError: an unknown name or argument; a value that it refuses.
    """
    what, column = f"metric '{name}'", column or name
    maker, own = OURS[name] if name in OURS else (NAMES.own.get(name) or KERAS.get(key(name)), {})
    if name in ("accuracy", "acc", "loss"):
        raise UsageError(f"{what}: it is measured in any case: leave it out.")
    if maker is None:
        raise unknown("metric", name, NAMES)
    known = {k: each for k, each in schedules.parameters(maker).items() if k not in (*own, "dtype", "from_logits")}
    if not inspect.isclass(maker):
        known = dict(list(known.items())[2:])
    schedules.check(what, known, arguments)
    probabilities = name not in NAMES.own
    try:
        if not inspect.isclass(maker):
            return keras.metrics.MeanMetricWrapper(functools.partial(maker, **arguments), name=column), probabilities
        if probabilities and maker is keras.metrics.AUC:
            own = {"multi_label": True, "num_labels": count}
        elif probabilities and issubclass(maker, keras.metrics.FBetaScore):
            own = {"average": "macro"}
        return maker(**{**own, **arguments, "name": column}), probabilities
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {one_line(error)}") from error
