"""What a recipe in configs/train may say, typed and closed: a section each, and the whole."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from kstyle.config import Closed, FilePath, NotNegative, Positive
from kstyle.models.registry import GIVEN
from kstyle.training.augment.policy import AugmentSettings
from kstyle.training.boxes.settings import Boxes, check_augment
from kstyle.training.loop import given, old_names, schedules
from kstyle.training.loop.schedules import AugmentSchedule, Schedule

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
SGD = ("torch-sgd", "keras-sgd")  # their momentum is a setting of its own
# YAML takes some names of classes for numbers.
ClassName = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)]


class Model(Closed):
    """`name`: one of `kstyle.models.registry.names("classifier")`, or `"auto"`: EfficientNet-Lite0 where its weights
        are on this machine, else SqueezeNet 1.1 with a lean head; the rest are that network's own options.

    `weights`: what it starts from: a file, `"imagenet"` (found or downloaded), or random numbers if None.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    weights: FilePath | None = None

    @property
    def options(self):
        return dict(self.model_extra or {})

    @property
    def row(self):
        """What is known of the network, a `kstyle.models.row.Network`. UsageError: there is none of this name."""
        from kstyle.models import registry

        return registry.classifier(self.name)


class MeanAndDeviation(Closed):
    """In [0, 1], a number for each channel."""

    mean: list[float]
    std: list[Positive]


class Photographs(Closed):
    """How files of pictures become squares of `size` pixels.

    `size`, `resize`: the middle `size`×`size` of a picture whose short side was brought to `resize`; None: what the
        network was made for.
    `crop`: of training pictures: `"random"` is the random resized crop of Szegedy et al. 2014 (arXiv 1409.4842) with
        `scale`, part of the area, and `ratio`, width to height; `"center"` is what is tested on.
    `test_fraction`: of the pictures, where the folder has no test pictures of its own.
    `workers`: processes that decode; None: one for each processor.
    """

    size: Annotated[int, Field(ge=8, le=2048)] | None = None
    resize: Annotated[int, Field(ge=8, le=4096)] | None = None
    crop: Literal["random", "center"] = "random"
    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    workers: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _in_order(self):
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected [lowest, highest]; got [{low:g}, {high:g}]")
        if self.size and self.resize and self.resize < self.size:
            raise ValueError(f"resize {self.resize} is smaller than the size {self.size} cut out of it")
        return self


class Data(Closed):
    """`name`: a key of `kstyle.data.DATASETS` (arrays) or `kstyle.data.PHOTOGRAPHS` (files).

    `path`: where it is, if `--data` says nothing else.
    `validation`: `"test"`, or the fraction of the training pictures held out, stratified.
    `normalize`: pixels in [0, 1] as they are (`"unit"`), minus the training set's mean of each channel (`"mean"`),
        also divided by its deviation (`"standard"`), as the network's ImageNet weights want them (`"pretrained"`), or
        given numbers.
    `train_limit`, `test_limit`: so many pictures only, stratified: for a trial.
    `size`: of data sets of arrays: side in pixels that pictures are resized to; None: as they are.
    `photographs`: of data sets of files.
    """

    name: str
    path: FilePath | None = None
    validation: Literal["test"] | Annotated[float, Field(gt=0, lt=1)] = "test"
    normalize: Literal["unit", "mean", "standard", "pretrained"] | MeanAndDeviation = "standard"
    train_limit: Count | None = None
    test_limit: Count | None = None
    size: Annotated[int, Field(ge=8, le=2048)] | None = None
    photographs: Photographs = Photographs()


class Optimizer(Closed):
    """`name`: in `kstyle.nn.optimizers.NAMES`; `arguments`: more of its arguments. In Python one of Keras' optimisers
    may stand for the section.

    `weight_decay` of the kernels is `coupled`, added to the gradient as in torch, or `decoupled`; with `decay_norms`
        biases and normalisation decay too, as in torch where nobody has said otherwise.
    `clip_norm`: the gradients' common norm is cut to it.
    `multipliers`: {pattern of layer names: factor} of the learning rate, `block4_*` for instance; the first that fits
        a layer holds, 0 keeps its weights as they are.
    `note`: what to write in a recipe that had a name of before; None: nothing.
    """

    name: str = "torch-sgd"
    learning_rate: Positive
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    decay: Literal["coupled", "decoupled"] = "coupled"
    decay_norms: bool = True
    clip_norm: Positive | None = None
    multipliers: dict[str, NotNegative] = Field(default={})
    arguments: dict[str, Any] = Field(default={})

    _note: str | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _as_today(cls, value, handler):
        section, note = old_names.today(old_names.OPTIMIZERS, given.optimizer(value))
        made = handler(section)
        if made is not value:
            made._note = note and f"optimizer: {note}"
        return made

    note = property(lambda self: self._note)

    @property
    def decoupled(self):
        return self.decay == "decoupled"

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self):
        if self.name not in SGD and (self.momentum or self.nesterov):
            raise ValueError(
                f"momentum and nesterov are {' and '.join(SGD)}'s; {self.name} takes its own in optimizer.arguments"
            )
        if "learning_rate" in self.arguments:
            raise ValueError("learning_rate is a setting of its own, beside arguments")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Loss(Closed):
    """Cross-entropy. `class_weights`: a number for each class; or {class: number}, by its name or, where no class has
    that name, its place from 0, the others 1; or `"balanced"`: N / (classes · N of the class)."""

    label_smoothing: Fraction = 0.0
    class_weights: Literal["balanced"] | list[NotNegative] | dict[ClassName, NotNegative] | None = None


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


class Stage(Closed):
    """A part of a training in which some layers are frozen, their normalisation's statistics with them.

    `train`: from which part of the network up to its output weights change: `"head"`, `"all"`, or one of the parts in
        its row of `kstyle.models.registry`.
    `learning_rate`, `schedule`, `optimizer`: instead of the recipe's. A schedule runs over the stage.
    `keep_optimizer`: its moments go on from the stage before, of the layers that were trained there.
    `augment`: False: training pictures are cut as those for testing, and nothing of `augment` applies.
    `cache_features`: what the frozen layers give is computed once, and the rest trains on that. `"auto"`: where
        nothing is random before the rest: `augment` is False, or `views` says how many random views to take.
    `views`: so many augmented views of each picture, computed once and taken in turn, one an epoch; 0: no such thing.
    """

    train: str = "all"
    epochs: Count
    learning_rate: Positive | None = None
    schedule: Schedule | None = None
    optimizer: Optimizer | None = None
    keep_optimizer: bool = False
    augment: bool = True
    cache_features: Literal["auto"] | bool = "auto"
    views: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _sound(self):
        if self.views and not self.augment:
            raise ValueError("views are of augmented pictures: leave augment on, or views out")
        if self.views and self.cache_features is False:
            raise ValueError("views are cached features: leave cache_features out, or views")
        if self.cache_features is True and self.augment and not self.views:
            raise ValueError("cached features of augmented pictures need views: N, or augment: false")
        if self.keep_optimizer and self.optimizer:
            raise ValueError("keep_optimizer and another optimizer exclude each other")
        return self

    @property
    def cached(self):
        """Whether features are to be cached where the network allows it."""
        return self.cache_features is not False and bool(self.views or not self.augment)


class TrainSettings(Closed):
    """All of a recipe.

    `epochs`, or `stages` with epochs of their own.
    `batch`: pictures a step; with `accumulate` they are run in so many parts whose gradients are averaged.
    `batch_norm`: on several devices: by the statistics of the whole batch, as on one (`"synchronised"`), or of each
        device's part (`"local"`), the moving ones averaged.
    `precision`: of activations: `"float32"`, `"bfloat16"` (weights stay float32) or `"auto"`.
    `early_stop`: epochs without a better `checkpoint.monitor` after which it ends.
    `tensorboard`: also write event files (needs tensorboardX).
    `boxes`: the network also tells a box around what it names, of data that have such.
    """

    description: str = ""
    model: Model
    data: Data
    augment: AugmentSettings = AugmentSettings()
    augment_schedule: AugmentSchedule = AugmentSchedule()
    optimizer: Optimizer
    schedule: Schedule = Schedule(name="constant")
    loss: Loss = Loss()
    boxes: Boxes | None = None
    epochs: Count | None = None
    stages: list[Stage] = Field(default=[])
    batch: Count = 128
    drop_last: bool = False
    accumulate: Count = 1
    batch_norm: Literal["synchronised", "local"] = "synchronised"
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
        if bool(self.epochs) == bool(self.stages):
            raise ValueError("expected epochs, or stages with epochs each, and not both")
        for stage in self.plan:
            schedules.check(stage.schedule, stage.epochs)
        if self.boxes:
            check_augment(self.augment)
            if self.model.name == GIVEN.name:
                raise ValueError("boxes: a model that is given in Python has no box head: name a network")
        return self

    # What a run's folder is called where nobody says.
    _called: str = PrivateAttr("recipe")

    @property
    def called(self):
        """The recipe's name, or its file."""
        return self._called

    @property
    def plan(self):
        """The stages, at least one, with nothing left to be taken from the recipe."""
        stages = self.stages or [Stage(epochs=self.epochs)]
        return [
            stage.model_copy(update={"optimizer": self._optimizer(stage), "schedule": stage.schedule or self.schedule})
            for stage in stages
        ]

    @property
    def notes(self):
        """What to write in place of names of before that the recipe has: lines for the log."""
        sections = [section for stage in self.plan for section in (stage.optimizer, stage.schedule)]
        return list(dict.fromkeys(section.note for section in sections if section.note))

    def _optimizer(self, stage):
        optimizer = stage.optimizer or self.optimizer
        rate = stage.learning_rate
        return optimizer if rate is None else optimizer.model_copy(update={"learning_rate": rate})
