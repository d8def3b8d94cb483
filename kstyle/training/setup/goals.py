"""What a recipe may say of what a training goes for: its loss, metrics and teacher, what is put around the optimiser,
which weights are kept; typed and closed."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from kstyle.config import Closed, FilePath, NotNegative, Positive
from kstyle.errors import unknown
from kstyle.training.aims import names

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# YAML takes some names of classes for numbers.
ClassName = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)]


class Named(Closed):
    """What a name stands for, with its own arguments as further keys."""

    short_forms = ({"type": "string"},)
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self):
        return dict(self.model_extra or {})


class Loss(Named):
    """What is made smaller. Every key but these is an argument of that loss.

    Attributes:
        name: `cross_entropy`, `binary`, `focal`, `ordinal`, one of Keras', or one that was added. The name alone may
            stand for the section.
        label_smoothing: s: the true class' share is 1 − s, and all classes have s / K.
        class_weights: a number for each class; or {class: number}, by its name or, where no class has that name, its
            place from 0, the others 1; or `balanced`: N / (classes · N of the class); None: all alike.
    """

    name: str = names.CROSS_ENTROPY
    label_smoothing: Fraction = 0.0
    class_weights: Literal["balanced"] | list[NotNegative] | dict[ClassName, NotNegative] | None = None

    @model_validator(mode="after")
    def _sound(self):
        if self.name != names.CROSS_ENTROPY:
            from kstyle.nn.aims import losses

            losses.make(self.name, **self.options)
        elif self.options:
            raise unknown("key of loss cross_entropy", next(iter(self.options)), list(Loss.model_fields))
        return self


class Metric(Named):
    """What is measured beside loss and accuracy. Every key but these is an argument of that metric.

    Attributes:
        name: one of kstyle's or Keras', or one that was added. The name alone may stand for the section.
        called: what the history calls it; None: as its name.
    """

    called: str | None = None

    @property
    def column(self):
        return self.called or self.name

    @model_validator(mode="after")
    def _sound(self):
        from kstyle.nn.aims import metrics

        metrics.make(self.name, 10, self.column, **self.options)
        return self


class Distil(Closed):
    """Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): the loss is (1 − w) · the recipe's +
    w · T² · KL(teacher ‖ pupil), of the softmaxes at temperature T, of the same augmented pictures.

    Attributes:
        teacher: the folder of a run on the same classes and sizes.
        temperature: T, which logits are divided by before their softmax.
        weight: w, the teacher's share.
    """

    teacher: FilePath
    temperature: Positive = 4.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.9


class Sam(Closed):
    """Sharpness-aware minimisation (Foret et al. 2020, arXiv 2010.01412): a step goes by the gradient at the worst
    place within `rho` of the weights, about; two passes a step.

    Attributes:
        rho: that distance.
    """

    rho: Positive = 0.05


class Lookahead(Closed):
    """Slow weights (Zhang et al. 2019, arXiv 1907.08610): every `k` steps they go `alpha` of the way to the weights,
    which go back to them.

    Attributes:
        k: steps.
        alpha: share of the way.
    """

    k: Count = 6
    alpha: Share = 0.5


class Average(Closed):
    """Exponential average of the weights, which is then what is validated and kept.

    Attributes:
        decay: per step.
    """

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class Checkpoint(Closed):
    """Which weights are kept, and how often the state is saved.

    With `validation: test` the best epoch is chosen by the test pictures, and its score is too good: keep the last.

    Attributes:
        keep: which weights are the result, those of the last epoch or of the epoch with the best `monitor`.
        monitor: what is validated: `val_accuracy`, `val_loss`, or `val_` and the name of one of the metrics.
        mode: which way it is better; None: down for losses, errors and distances, by their names, up for the rest.
        every_seconds, every_steps: how often the state is saved within an epoch, as it is after each; None: not by
            these.
    """

    keep: Literal["last", "best"] = "last"
    monitor: str = "val_accuracy"
    mode: Literal["min", "max"] | None = None
    every_seconds: Positive | None = 300.0
    every_steps: Count | None = None

    @property
    def direction(self):
        return self.mode or names.direction(self.monitor)
