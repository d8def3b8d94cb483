"""Losses of classifiers by name, of logits: kstyle's, Keras' and those that users add."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras

from kstyle.backend import Tensor
from kstyle.errors import UsageError, unknown
from kstyle.io.files import one_line
from kstyle.nn import schedules
from kstyle.open_names import Names, called

ops = keras.ops

# What 1 − p is at least in a power of it, whose slope at 0 would be no number.
SMALLEST = 1e-7
# Of Keras' losses: those that compare no shares of classes with what a classifier gives.
LEFT_OUT = ("Loss", "CTC", "Circle")
MARGINS = ("hinge", "squaredhinge", "categoricalhinge")  # of scores; labels are right or wrong, and nothing between
INTEGERS = ("categoricalgeneralizedcrossentropy",)  # though its name does not begin with "Sparse"


@keras.saving.register_keras_serializable("kstyle")
class Binary(keras.losses.Loss):
    """Cross-entropy of a sigmoid for each class, in place of the softmax over all, as timm trains with (Wightman et al.
    2021, "ResNet strikes back", arXiv 2110.00476): a mixed picture may be of two classes in full.

    Args:
        threshold: targets above it count as 1 and all others as 0; None: they are shares, as they are.
        sum_classes: whether the classes are summed, not averaged, which multiplies the gradient by their number.
        name: of the loss.

    >>> import keras
    >>> from kstyle import aims
    >>> float(aims.Binary().call(keras.ops.array([[0.0, 1.0]]), keras.ops.zeros((1, 2)))[0])  # log 2
    0.6931471824645996
    """

    def __init__(self, threshold: float | None = None, sum_classes: bool = False, name: str = "binary") -> None:
        super().__init__(name=name)
        self.threshold, self.sum_classes = threshold, sum_classes

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if self.threshold is not None:
            y_true = ops.cast(y_true > self.threshold, "float32")
        losses = ops.softplus(y_pred) - y_pred * y_true
        return (ops.sum if self.sum_classes else ops.mean)(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "sum_classes": self.sum_classes, "name": self.name}


@keras.saving.register_keras_serializable("kstyle")
class Focal(keras.losses.Loss):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): a picture that is known well, p near 1, counts (1 − p)^gamma.

    Args:
        gamma: 0 or more; 0: cross-entropy, times alpha.
        alpha: in (0, 1]. Of a softmax: what the loss is multiplied by, as in Keras' categorical focal cross-entropy. Of
            sigmoids: weight of the true class, against 1 − alpha of the others, as in the paper.
        sigmoid: a sigmoid for each class, summed over them, as in the paper and torchvision; else the softmax.
        name: of the loss.

    >>> import keras
    >>> from kstyle import aims
    >>> float(aims.Focal(gamma=2, alpha=1.0).call(keras.ops.array([[0.0, 1.0]]), keras.ops.zeros((1, 2)))[0])
    0.1732867956161499
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, sigmoid: bool = False, name: str = "focal") -> None:
        super().__init__(name=name)
        if gamma < 0 or not 0 < alpha <= 1:
            raise UsageError(f"loss 'focal': expected gamma of 0 or more and alpha in (0, 1]; got {gamma}, {alpha}.")
        self.gamma, self.alpha, self.sigmoid = gamma, alpha, sigmoid

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not self.sigmoid:
            logs = ops.log_softmax(y_pred, axis=-1)
            return -self.alpha * ops.sum(y_true * self._unsure(ops.exp(logs)) * logs, axis=-1)
        p = ops.sigmoid(y_pred)
        right = p * y_true + (1 - p) * (1 - y_true)
        weight = self.alpha * y_true + (1 - self.alpha) * (1 - y_true)
        return ops.sum(weight * self._unsure(right) * (ops.softplus(y_pred) - y_pred * y_true), axis=-1)

    def _unsure(self, p):
        return ops.power(ops.maximum(1 - p, SMALLEST), self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "alpha": self.alpha, "sigmoid": self.sigmoid, "name": self.name}


@keras.saving.register_keras_serializable("kstyle")
class Ordinal(keras.losses.Loss):
    """Cross-entropy with soft labels for classes in an order (Diaz & Marathe, "Soft Labels for Ordinal Regression",
    CVPR 2019): of true class i the target of class k is in proportion to exp(−scale · distance(i, k)), so that a near
    miss costs less than a far one. The softmax of the logits is what the classes' probabilities are, as without it.

    Args:
        distance: `"squared"`: (i − k)², or `"absolute"`: |i − k|.
        scale: of the distance, above 0: the larger, the more like plain cross-entropy.
        name: of the loss.

    >>> import keras
    >>> from kstyle import aims
    >>> truth, logits = keras.ops.array([[1.0, 0.0, 0.0]]), keras.ops.array([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    >>> near, far = (float(aims.Ordinal().call(truth, logits[i : i + 1])[0]) for i in (0, 1))
    >>> near < far
    True
    """

    def __init__(self, distance: str = "squared", scale: float = 1.0, name: str = "ordinal") -> None:
        super().__init__(name=name)
        if distance not in ("squared", "absolute"):
            raise unknown("distance of loss 'ordinal'", distance, ("squared", "absolute"))
        if scale <= 0:
            raise UsageError(f"loss 'ordinal': expected a scale above 0; got {scale}.")
        self.distance, self.scale = distance, scale

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        places = ops.arange(y_pred.shape[-1], dtype="float32")
        apart = ops.abs(places[:, None] - places[None])
        apart = ops.square(apart) if self.distance == "squared" else apart
        soft = ops.matmul(y_true, ops.softmax(-self.scale * apart, axis=-1))
        return -ops.sum(soft * ops.log_softmax(y_pred, axis=-1), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"distance": self.distance, "scale": self.scale, "name": self.name}


@keras.saving.register_keras_serializable("kstyle")
class OfProbabilities(keras.losses.Loss):
    """One of Keras' losses that does not take logits, of what an activation makes of them.

    Args:
        loss: a `keras.losses.Loss`, or its description.
        activation: `"softmax"`, `"sigmoid"` or `"linear"`, the logits as they are.
        integers: whether it takes a class for each picture, and not shares.
        mixes: whether shares that are neither 0 nor 1 mean something to it.

    >>> import keras
    >>> loss = OfProbabilities(keras.losses.MeanSquaredError())
    >>> float(loss.call(keras.ops.array([[0.0, 1.0]]), keras.ops.zeros((1, 2)))[0])
    0.25
    """

    def __init__(
        self, loss: Any, activation: str = "softmax", integers: bool = False, mixes: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        self.loss = keras.losses.get(loss)
        super().__init__(name=name or self.loss.name)
        if activation not in ("softmax", "sigmoid", "linear"):
            raise unknown(f"activation of loss '{self.name}'", activation, ("softmax", "sigmoid", "linear"))
        self.activation, self.integers, self.mixes = activation, integers, mixes

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = keras.activations.get(self.activation)(y_pred)
        return self.loss.call(ops.argmax(y_true, axis=-1) if self.integers else y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("activation", "integers", "mixes", "name")}
        return {"loss": keras.losses.serialize(self.loss), **own}


def classes(module, kind, without):
    """{name in lower case without underscores: class} of Keras' losses or metrics, and their names as posts write them.

    Args:
        module: `keras.losses`, say.
        kind: the class that they are of.
        without: names of classes.
    """
    every = [x for x in vars(module).values() if inspect.isclass(x) and issubclass(x, kind)]
    found = {key(cls.__name__): cls for cls in every if cls.__name__ not in without}
    return found, [re.sub("(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", x.__name__).lower() for x in found.values()]


def key(name):
    return str(name).replace("_", "").lower()


OURS = {"binary": Binary, "focal": Focal, "ordinal": Ordinal}
KERAS, _KERAS_NAMES = classes(keras.losses, keras.losses.Loss, LEFT_OUT)
NAMES = Names("loss", ["cross_entropy", *OURS, *_KERAS_NAMES])  # and those that users add


def register(name: str, loss: Callable[..., Any]) -> None:
    """Adds a loss for trainings: `loss: NAME`, or `loss: {name: NAME, argument: value}`, in a recipe.

    Args:
        name: of letters, digits, `_` and `-`; none of kstyle's or Keras'.
        loss: a `keras.losses.Loss` class of logits, whose arguments the recipe gives; or `loss(labels, logits,
            **arguments)` -> (B,), a number for each picture, in `keras.ops`; labels: (B,) integers, logits: (B, K).

    Raises:
        UsageError: a name of kstyle's own, or nothing that can be called.

    >>> from keras import ops
    >>> from kstyle import aims
    >>> def brier(labels, logits, power=2.0):
    ...     return ops.sum(ops.abs(ops.softmax(logits) - ops.one_hot(labels, logits.shape[-1])) ** power, axis=-1)
    >>> aims.register_loss("brier", brier)
    """
    NAMES.add(name, called("loss", loss))


def make(name, /, **arguments):
    """A loss by name.

    Args:
        name: of kstyle's, one of Keras' (`keras.losses.get`, case and underscores as one likes), or one that was added.
        arguments: its own. Of Keras' losses that take no logits also `activation`, what these go through.

    Returns:
        A `keras.losses.Loss` of logits, or `function(labels, logits)` -> (B,).

    Raises:
        UsageError: an unknown name or argument; a value that it refuses.
    """
    what = f"loss '{name}'"
    maker, more, fixed = _maker(name)
    known = {key: each for key, each in schedules.parameters(maker).items() if key not in fixed}
    function = not inspect.isclass(maker)
    if function:  # labels and logits are no arguments of a recipe's
        known = dict(list(known.items())[2:])
    schedules.check(what, {**known, **more}, arguments)
    wrapped = {key: arguments.pop(key) for key in more if key in arguments}
    try:
        if function:
            return functools.partial(maker, **arguments)
        if "from_logits" in known:
            arguments.setdefault("from_logits", True)
        if "axis" in known and known["axis"].default is None:  # of each picture, and not of the batch
            arguments.setdefault("axis", -1)
        made = maker(**arguments)
        if not more:
            return made
        kind = key(maker.__name__)
        wrapped.setdefault("activation", "linear" if kind in MARGINS else "softmax")
        return OfProbabilities(made, **wrapped, integers=kind in INTEGERS, mixes=kind not in (*MARGINS, *INTEGERS))
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {one_line(error)}") from error


def _maker(name):
    """(what makes a loss, {further argument: its parameter}, arguments that are not the recipe's to give)."""
    if name in OURS or name in NAMES.own:
        return OURS.get(name) or NAMES.own[name], {}, ("dtype", "reduction")
    found = KERAS.get(key(name))
    if found is None:
        try:  # a short name, "mse"
            found = KERAS.get(key(keras.losses.get(name).__name__))
        except (ValueError, AttributeError):
            found = None
    if found is None:
        raise unknown("loss", name, NAMES)
    takes_logits = "from_logits" in schedules.parameters(found)
    more = inspect.signature(OfProbabilities.__init__).parameters
    more = {} if takes_logits else {"activation": more["activation"]}
    return found, more, ("dtype", "reduction", "label_smoothing")
