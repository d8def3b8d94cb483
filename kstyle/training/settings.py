"""The settings of a training, typed and closed: what a recipe in configs/train may say."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from kstyle import recipes
from kstyle.errors import UsageError, unknown
from kstyle.recipes import Closed
from kstyle.training.augment import AugmentSettings
from kstyle.training.schedules import AugmentSchedule, Schedule

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Model(Closed):
    """`name`: a key of `kstyle.models.classifiers.CLASSIFIERS`; the rest are that network's own options.

    `weights`: what it starts from: a file, `"imagenet"` (found or downloaded), or random numbers if None.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    weights: str | None = None

    @property
    def options(self):
        return dict(self.model_extra or {})


class MeanAndDeviation(Closed):
    """In [0, 1], a number for each channel."""

    mean: list[float]
    std: list[Positive]


class Data(Closed):
    """`name`: a key of `kstyle.data.DATASETS`.

    `validation`: `"test"`, or the fraction of the training pictures held out, stratified.
    `normalize`: pixels in [0, 1] as they are (`"unit"`), minus the training set's mean of each channel (`"mean"`),
        also divided by its deviation (`"standard"`), or given numbers.
    `train_limit`, `test_limit`: so many pictures only, stratified: for a trial.
    """

    name: str
    validation: Literal["test"] | Annotated[float, Field(gt=0, lt=1)] = "test"
    normalize: Literal["unit", "mean", "standard"] | MeanAndDeviation = "standard"
    train_limit: Count | None = None
    test_limit: Count | None = None


class Optimizer(Closed):
    """`name`: a key of `kstyle.training.optimizers.OPTIMIZERS`; `arguments`: more of Keras' arguments of it.

    `weight_decay` of the kernels is `coupled`, added to the gradient as in torch, or `decoupled`; with `decay_norms`
        biases and normalisation decay too, as in torch where nobody has said otherwise.
    `clip_norm`: the gradients' common norm is cut to it.
    """

    name: str = "sgd"
    learning_rate: Positive
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    decay: Literal["coupled", "decoupled"] = "coupled"
    decay_norms: bool = True
    clip_norm: Positive | None = None
    arguments: dict[str, Any] = Field(default={})

    @property
    def decoupled(self):
        return self.decay == "decoupled" or self.name == "adamw"

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self):
        if self.name != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"momentum and nesterov are sgd's; {self.name} takes its own in optimizer.arguments")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Loss(Closed):
    """Cross-entropy. `class_weights`: a number for each class, or `"balanced"`: N / (classes · N of the class)."""

    label_smoothing: Fraction = 0.0
    class_weights: Literal["balanced"] | list[NotNegative] | None = None


class Average(Closed):
    """Exponential average of the weights, which is then what is validated and kept. `decay`: per step."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class Checkpoint(Closed):
    """`keep`: which weights are the result, those of the last epoch or of the epoch with the best `monitor`.

    With `validation: test` the best epoch is chosen by the test pictures, and its score is too good: keep the last.
    `every_seconds`, `every_steps`: how often the state is saved within an epoch; it is after each epoch.
    """

    keep: Literal["last", "best"] = "last"
    monitor: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    every_seconds: Positive | None = 300.0
    every_steps: Count | None = None


class TrainSettings(Closed):
    """All of a recipe.

    `batch`: pictures a step; with `accumulate` they are run in so many parts whose gradients are averaged.
    `precision`: of activations: `"float32"`, `"bfloat16"` (weights stay float32) or `"auto"`.
    `early_stop`: epochs without a better `checkpoint.monitor` after which it ends.
    `tensorboard`: also write event files (needs tensorboardX).
    """

    description: str = ""
    model: Model
    data: Data
    augment: AugmentSettings = AugmentSettings()
    augment_schedule: AugmentSchedule = AugmentSchedule()
    optimizer: Optimizer
    schedule: Schedule = Schedule(name="constant")
    loss: Loss = Loss()
    epochs: Count
    batch: Count = 128
    drop_last: bool = False
    accumulate: Count = 1
    average: Average | None = None
    checkpoint: Checkpoint = Checkpoint()
    early_stop: Count | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    seed: Annotated[int, Field(ge=0)] = 0
    deterministic: bool = False
    tensorboard: bool = False

    @field_validator("data", "model", mode="before")
    @classmethod
    def _name_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self):
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} cannot be run in {self.accumulate} equal parts (accumulate)")
        return self


def resolved(settings):
    """A `TrainSettings` as plain types, defaults and all, that `load` reads back as the same.

    Of augmentation only what was set: some of its keys, unset, exclude each other.
    """
    return {
        **settings.model_dump(mode="json"),
        "augment": settings.augment.model_dump(mode="json", exclude_unset=True),
    }


def load(recipe, overrides=None):
    """The checked settings of a recipe.

    Args:
        recipe: a name that comes with kstyle or the path of a YAML file.
        overrides: {dotted key: value}.

    Raises:
        UsageError: an unknown recipe or key (with the nearest match), a wrong type, an impossible value.
    """
    from kstyle import data
    from kstyle.models import options

    settings, path = recipes.read("train", recipe)
    where = path.name
    for key, value in (overrides or {}).items():
        settings = recipes.override(settings, key, value)
        where = f"{path.name} with {key}={value}" if len(overrides) == 1 else f"{path.name} with overrides"
    checked = recipes.check(TrainSettings, settings, where)
    if "dtype" in checked.model.options:
        raise UsageError(f"{where}: 'model.dtype' is settled by 'precision'.")
    # The number of classes and the size are the data's: these are some that every network takes.
    options.check(checked.model.name, 2, 512, 3, checked.model.options)
    if checked.data.name not in data.DATASETS:
        raise unknown("data set", checked.data.name, data.DATASETS)
    return checked
