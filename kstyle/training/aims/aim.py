"""What a training makes smaller and what it measures beside it: the losses and metrics that a recipe names, or that are
given in Python."""

import functools
from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError, unknown
from kstyle.io.files import listed, one_line
from kstyle.nn.aims import losses as named_losses
from kstyle.nn.aims import metrics as named_metrics
from kstyle.training.aims.names import CROSS_ENTROPY, TAKEN

ops = keras.ops


@dataclass(frozen=True)
class Aim:
    """A loss and metrics for K classes.

    Attributes:
        given: the loss, named or as it was given; None: the recipe's cross-entropy.
        metrics: of `keras.metrics.Metric`, ready to be updated.
        of_probabilities: those of them, by their names, that take probabilities, as in a post whose model ends in a
            softmax, and of a mixed picture the class that it has most of; the others take logits and shares.
        several: whether a picture may be of several classes, which are told by a sigmoid each. All get (B, K) then.
    """

    given: object = None
    metrics: tuple = ()
    of_probabilities: frozenset = frozenset()
    several: bool = False

    def probabilities(self, logits):
        return (ops.sigmoid if self.several else ops.softmax)(logits)

    def hits(self, logits, targets):
        """How many of some pictures are right, a scalar; of several classes the right ones of each picture count in
        part, as in Keras' binary accuracy."""
        if not self.several:
            return backend.hits(logits, targets)
        return ops.sum(ops.mean(ops.cast(ops.equal(logits > 0, targets > 0.5), "float32"), axis=-1))

    def losses(self, targets, logits):
        """(B,) float32. targets: (B, K) shares of classes; logits: (B, K) float32."""
        function = getattr(self.given, "call", self.given)
        found = ops.cast(function(self._labels(self.given, targets), logits), "float32")
        return found if len(found.shape) < 2 else ops.mean(ops.reshape(found, (found.shape[0], -1)), axis=-1)

    def update(self, targets, logits):
        """Adds a batch to the metrics."""
        taking = [metric for metric in self.metrics if metric.name in self.of_probabilities]
        for metric in self.metrics:
            if metric not in taking:
                metric.update_state(self._labels(metric, targets), logits)
        if taking:
            self.measure(self.known(targets), self.probabilities(logits), taking)

    def measure(self, labels, probabilities, taking=None):
        """Adds pictures to the metrics that take probabilities, all or some of them. labels: as `known` gives them."""
        every = labels if self.several else ops.one_hot(labels, probabilities.shape[-1])
        for metric in self.metrics if taking is None else taking:
            metric.update_state(self._labels(metric, every), probabilities)

    def known(self, targets):
        """What pictures are of shares (B, K): the class that each has most of, (B,); of several (B, K), 0 and 1."""
        return ops.cast(targets > 0.5, "float32") if self.several else ops.argmax(targets, axis=-1)

    def _labels(self, taker, targets):
        return targets if self.several or _takes_shares(taker) else ops.argmax(targets, axis=-1)

    @property
    def variables(self):
        """Those of the metrics, sums of the epoch so far."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def results(self):
        """{name: float} of the metrics, for the batches since `reset`."""
        return {metric.name: float(ops.convert_to_numpy(metric.result())) for metric in self.metrics}

    def reset(self):
        for metric in self.metrics:
            metric.reset_state()

    @property
    def facts(self):
        """What run.json says, a dict for JSON: nothing where it is the recipe's loss alone."""
        if self.given is None and not self.metrics:
            return {}
        loss = CROSS_ENTROPY if self.given is None else _name(self.given)
        return {"aim": {"loss": loss, "metrics": [metric.name for metric in self.metrics]}}


def given(loss, metrics, classes, recipe):
    """The `Aim` of what a user gave.

    Keras' losses and metrics get labels as Keras has them: integers (B,) where their name begins with "Sparse", else
    shares of classes, (B, K), in which mixed pictures and smoothed labels are what they are. A function gets integers.

    Args:
        loss: None, the recipe's; a name, as in a recipe; a `keras.losses.Loss`; or `function(labels, logits)` -> (B,),
            in `keras.ops`.
        metrics: of `keras.metrics.Metric`, functions as above, whose mean is taken, and names; they come after the
            recipe's.
        classes: K.
        recipe: a `kstyle.training.setup.settings.TrainSettings`.

    Raises:
        UsageError: something else, a loss of probabilities, a loss of integers where labels are mixed, a name that is
            taken, or what fails when it is tried on two pictures.
    """
    said = recipe.loss
    called, arguments = (said.name, said.options) if loss is None else (loss, {})
    if isinstance(called, str):
        loss = None if called == CROSS_ENTROPY else named_losses.make(called, **arguments)
    found = Aim(loss, *_measured(recipe, metrics, classes), recipe.data.several)
    names = [metric.name for metric in found.metrics]
    for name in names:
        if name in TAKEN or name.startswith("val_") or names.count(name) > 1:
            raise UsageError(
                f"metrics: the name '{name}' is there already; name each metric otherwise (called: … in a recipe, "
                "name=… in Python)."
            )
    check_monitored(recipe, names)
    if loss is not None:
        _check(loss, "loss")
        if getattr(loss, "from_logits", True) is False:
            raise UsageError(f"loss: {_name(loss)} takes probabilities, and the model gives logits: from_logits=True.")
    if found.several:
        _check_several(found)
    if loss is not None:
        shares = said.label_smoothing or any(mix.alpha for mix in (recipe.augment.mixup, recipe.augment.cutmix))
        if shares and not (_takes_shares(loss) and getattr(loss, "mixes", True)):
            raise UsageError(
                f"loss: {_name(loss)} takes a class for each picture, and the recipe mixes or smooths labels (mixup, "
                "cutmix, label_smoothing): give a keras.losses.Loss that takes shares of classes (B, K), or leave them "
                "out."
            )
    _try(found, classes)
    return found


def measured(recipe, probabilities, labels):
    """What the metrics that a recipe names are for some pictures, those that take probabilities.

    Args:
        recipe: a `TrainSettings`.
        probabilities: (N, K) float32.
        labels: (N,) int; of several classes (N, K), 0 and 1.

    Returns:
        {name: float}.
    """
    metrics, of_probabilities = _measured(recipe, (), probabilities.shape[-1])
    taking = tuple(metric for metric in metrics if metric.name in of_probabilities)
    found = Aim(None, taking, of_probabilities, recipe.data.several)
    if found.metrics:
        found.measure(ops.convert_to_tensor(labels), ops.convert_to_tensor(probabilities, "float32"))
    return found.results()


def check_monitored(recipe, names):
    """A UsageError where a recipe monitors what its history has not: `checkpoint.monitor`, a plateau's `monitor`.

    Args:
        recipe: a `TrainSettings`.
        names: of the metrics, or the metrics.
    """
    own = [each.column for each in recipe.metrics]
    names = [*own, *(each if isinstance(each, str) else _name(each) for each in names)]
    validated = [f"val_{name}" for name in ("loss", "accuracy", *names)]
    trained = ["loss", "accuracy", *names]
    plateaus = [stage.schedule.arguments.monitor for stage in recipe.plan if stage.schedule.name == "plateau"]
    every = [("checkpoint.monitor", recipe.checkpoint.monitor, validated)]
    every += [("schedule.monitor", name, [*trained, *validated]) for name in plateaus]
    for key, name, known in every:
        if name not in known:
            raise unknown(f"column of the history for {key}", name, dict.fromkeys(known))


def _measured(recipe, metrics, classes):
    """(the recipe's metrics and others, the names of those that take probabilities)."""
    every = [(each.name, each.column, each.options) for each in recipe.metrics]
    every += [(each, each, {}) if isinstance(each, str) else (None, None, each) for each in metrics]
    made = [
        (_metric(options), False) if name is None else named_metrics.make(name, classes, column, **options)
        for name, column, options in every
    ]
    for metric, _ in made if recipe.data.several else ():
        if isinstance(metric, keras.metrics.FBetaScore) and metric.threshold is None:
            metric.threshold = 0.5  # without one Keras takes the most probable class and no other
    return tuple(metric for metric, _ in made), frozenset(metric.name for metric, probable in made if probable)


def _metric(each):
    """A function as a metric: its mean over the pictures."""
    if isinstance(each, keras.metrics.Metric):
        return each
    _check(each, "metrics")
    return keras.metrics.MeanMetricWrapper(each, name=_name(each))


def _check(each, kind):
    known = {"loss": keras.losses.Loss, "metrics": keras.metrics.Metric}[kind]
    if isinstance(each, type) or not (callable(each) or isinstance(each, known)):
        raise UsageError(
            f"{kind}: expected a keras {known.__name__} or a function of (labels, logits); got {one_line(repr(each))}."
        )


def _check_several(aim):
    """A UsageError where a loss or a metric takes one class a picture, and there are several."""
    loss = getattr(aim.given, "activation", None) or _name(aim.given) if aim.given is not None else CROSS_ENTROPY
    sigmoids = getattr(aim.given, "sigmoid", True) and not isinstance(aim.given, named_losses.Ordinal)
    if not sigmoids or loss.startswith((CROSS_ENTROPY, "categorical", "sparse", "softmax")):
        called = CROSS_ENTROPY if aim.given is None else _name(aim.given)
        raise UsageError(
            f"loss: {called} tells classes that exclude each other, and data.labels says "
            "several: write loss: binary (or binary_crossentropy, or {name: focal, sigmoid: true})."
        )
    for metric in aim.metrics:
        if type(metric).__name__.startswith(("Sparse", "Categorical", "TopK")):
            raise UsageError(f"metrics: {metric.name} is of one class a picture: f1, auc or binary_accuracy say more.")


def _try(aim, classes):
    """A UsageError where a loss or metric does not work on two pictures."""
    targets = ops.one_hot(ops.convert_to_tensor(np.array([0, classes - 1], "int32")), classes)
    logits = ops.zeros((2, classes))
    what = "loss"
    try:
        if aim.given is not None and tuple(aim.losses(targets, logits).shape) != (2,):
            raise ValueError("expected a number for each picture")
        for metric in aim.metrics:
            what = f"metric {metric.name}"
            if metric.name in aim.of_probabilities:
                aim.measure(aim.known(targets), aim.probabilities(logits), [metric])
            else:
                metric.update_state(aim._labels(metric, targets), logits)
            if ops.size(metric.result()) != 1:
                raise ValueError("expected one number, a mean over the classes say")
    except Exception as error:
        raise UsageError(
            f"{what}: tried on labels of 2 pictures and logits of {classes} classes, it fails: {one_line(error)}"
        ) from error
    aim.reset()


def _takes_shares(taker):
    """Whether a loss or metric takes shares of classes (B, K), and not one class a picture (B,)."""
    if isinstance(taker, keras.metrics.MeanMetricWrapper) and type(taker) is keras.metrics.MeanMetricWrapper:
        return False
    kinds = (keras.losses.Loss, keras.metrics.Metric)
    return isinstance(taker, kinds) and not type(taker).__name__.startswith("Sparse")


def _name(thing):
    if isinstance(thing, functools.partial):
        thing = thing.func
    return getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__


def same(aim, facts, folder):
    """UsageError unless the loss and metrics are, by their names, those that a run began with (its run.json)."""
    then = facts.get("aim")
    if aim.facts.get("aim") != then:
        then = then or {"loss": CROSS_ENTROPY, "metrics": []}
        metrics = listed(then["metrics"]) or "none"
        raise UsageError(
            f"{one_line(folder)} began with the loss {then['loss']} and the metrics {metrics}: to go on, give the same "
            "to kstyle.train(…, loss=…, metrics=…)."
        )


def compile_model(model, optimizer, classes, monitored=True, aim=None, own=True):
    """Compiles a classifier: `model.evaluate` gives loss and accuracy, and Keras' callbacks know which way is better.

    Args:
        model: gives (N, K) logits.
        optimizer: a `keras.optimizers.Optimizer`, whatever it was built on.
        classes: K.
        monitored: whether there are callbacks that might look for the metric; it takes JAX a second to have it ready.
        aim: an `Aim`. Where its loss takes shares of classes, so does `model.evaluate`.
        own: whether the user's own functions may be in it, which a file could only name.
    """
    loss = aim.given if aim else None
    if loss is None or not (own or type(loss).__module__.startswith("keras.")):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    shares, several = _takes_shares(loss), bool(aim and aim.several)
    accuracy = keras.metrics.CategoricalAccuracy if shares else keras.metrics.SparseCategoricalAccuracy
    measured = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy") if several else accuracy(name="accuracy")
    model.compile(optimizer, loss=loss, metrics=[measured])
    if monitored:
        # Keras makes its metrics when it first needs them, and callbacks look for "accuracy" among them.
        truth = np.zeros((1, classes), "float32") if shares or several else np.zeros(1, "int32")
        model.compute_metrics(None, truth, np.zeros((1, classes), "float32"))
        model.reset_metrics()
