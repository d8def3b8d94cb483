"""What a recipe in configs/train may say, typed and closed: a section each, and the whole."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from kstyle.config import Closed, FilePath, NotNegative, Positive
from kstyle.io.files import shown
from kstyle.models.registry import GIVEN
from kstyle.training.augment.policy import AugmentSettings
from kstyle.training.boxes.settings import Boxes, check_augment
from kstyle.training.schedules import given, old_names, schedules
from kstyle.training.schedules.schedules import AugmentSchedule, Schedule
from kstyle.training.setup.goals import (
    Average,
    Checkpoint,
    Count,
    Distil,
    Fraction,
    Lookahead,
    Loss,
    Metric,
    Sam,
    Share,
)
from kstyle.training.setup.head import HeadLayer

SGD = ("torch-sgd", "keras-sgd")  # their momentum is a setting of its own


class Model(Closed):
    """The network that learns. Every key but these is an option of that network (`kstyle.networks.get(name).options`).

    Attributes:
        name: one of `kstyle.networks.names("classifier")`, or `auto`: EfficientNet-Lite0 where its weights are on this
            machine, else SqueezeNet 1.1 with a lean head; or `my_file.py:build`, a function in a Python file beside the
            recipe. The name alone may stand for the section.
        weights: what it starts from: a file, a run's folder, `imagenet` (found or downloaded); None: random numbers.
    """

    short_forms = ({"type": "string"},)
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    weights: FilePath | None = None

    @property
    def options(self):
        return dict(self.model_extra or {})

    @property
    def row(self):
        """What is known of the network, a `kstyle.models.rows.row.Network`. UsageError: there is none of this name."""
        from kstyle.models import registry
        from kstyle.training.setup import own_file

        return own_file.row(self.name) if own_file.names_one(self.name) else registry.classifier(self.name)


class MeanAndDeviation(Closed):
    """What pixels in [0, 1] are normalised by.

    Attributes:
        mean: for each channel.
        std: standard deviation, likewise.
    """

    mean: list[float]
    std: list[Positive]


def _resize(value):
    sound = value == "stretch" or (isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 4096)
    if not sound:
        raise ValueError(f"expected pixels of the short side, from 8 to 4096, or stretch; got {shown(value)}")
    return value


Short = Annotated[int, Field(ge=8, le=4096)]


class Photographs(Closed):
    """How files of pictures become squares of `size` pixels.

    Attributes:
        size: side in pixels of the middle of a picture that the network sees; None: what the network was made for.
        resize: pixels that the picture's short side is brought to before; None: what the network was made for.
            `stretch` brings all of it to `size`×`size`, its shape lost, as Keras does.
        crop: of training pictures: `random` is the random resized crop of Szegedy et al. 2014 (arXiv 1409.4842);
            `center` is what is tested on, and what is meant where pictures are stretched and nothing is said.
        resample: by which pixels are computed: `bilinear` or `bicubic` with antialiasing, or `nearest` without, which
            Keras' `ImageDataGenerator` does.
        scale: lowest and highest part of the area that a random crop takes.
        ratio: lowest and highest width of it, in heights.
        test_fraction: of the pictures, where the folder has no test pictures of its own.
        workers: processes that decode, 0: none beside this one; None: one for each processor.
    """

    size: Annotated[int, Field(ge=8, le=2048)] | None = None
    resize: Annotated[Short | Literal["stretch"], BeforeValidator(_resize)] | None = None
    crop: Literal["random", "center"] = "random"
    resample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    workers: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _stretched(cls, values):
        stretched = isinstance(values, dict) and values.get("resize") == "stretch"
        return {"crop": "center", **values} if stretched else values

    @model_validator(mode="after")
    def _in_order(self):
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected [lowest, highest]; got [{low:g}, {high:g}]")
        if self.size and isinstance(self.resize, int) and self.resize < self.size:
            raise ValueError(f"resize {self.resize} is smaller than the size {self.size} cut out of it")
        return self


class Data(Closed):
    """The pictures that it learns from.

    Attributes:
        name: a published set (`kstyle data list`), or your own: `folder`, `list` or `csv`. The name alone may stand for
            the section.
        path: where it is, if `--data` says nothing else.
        labels: `one` a picture; or `several`, of a table: a picture may be of several classes, or of none.
        validation: `test`, or the fraction of the training pictures that is held out, stratified.
        normalize: pixels in [0, 1] as they are (`unit`), minus the training set's mean of each channel (`mean`), also
            divided by its deviation (`standard`), as the network's ImageNet weights want them (`pretrained`), or by
            given numbers.
        size: of arrays, pixels of the side that they are brought to; None: as they are.
        train_limit, test_limit: so many pictures only, stratified: for a trial.
        photographs: of data sets of files.
    """

    short_forms = ({"type": "string"},)

    name: str
    path: FilePath | None = None
    labels: Literal["one", "several"] = "one"
    validation: Literal["test"] | Annotated[float, Field(gt=0, lt=1)] = "test"
    normalize: Literal["unit", "mean", "standard", "pretrained"] | MeanAndDeviation = "standard"
    size: Annotated[int, Field(ge=8, le=512)] | None = None
    train_limit: Count | None = None
    test_limit: Count | None = None
    photographs: Photographs = Photographs()

    @property
    def several(self):
        """Whether a picture may be of several classes."""
        return self.labels == "several"

    @model_validator(mode="after")
    def _of_a_table(self):
        if self.several and self.name != "csv":
            raise ValueError(f"labels: several are read of a table: name: csv; got {self.name}")
        return self


class Optimizer(Closed):
    """What changes the weights. In Python one of Keras' optimisers may stand for the section.

    Attributes:
        name: `torch-sgd`, `adam`, `lion` or another of Keras', `keras-sgd`, `keras-adamw`, or one that was added.
        learning_rate: highest rate, which the schedule then changes.
        momentum: of `torch-sgd` and `keras-sgd`.
        nesterov: Nesterov's, of these.
        weight_decay: of the kernels.
        decay: `coupled`: added to the gradient as in torch; or `decoupled`.
        decay_norms: biases and normalisation decay too, as in torch where nobody has said otherwise.
        clip_norm: what the gradients' common norm is cut to; None: it is not.
        multipliers: {pattern of layer names: factor} of the learning rate, `block4_*` for instance; the first that fits
            a layer holds, 0 keeps its weights as they are.
        layer_decay: of the rate: the network's parts, from its logits to the pictures, each learn so much slower than
            the one after them; the head is at the full rate. 1: all alike. On top of `multipliers`.
        arguments: more of the optimiser's own: `{beta_1: 0.8}`.
        note: what to write in a recipe that had a name of before; None: nothing.
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
    layer_decay: Share = 1.0
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


class Stage(Closed):
    """A part of a training in which some layers are frozen, their normalisation's statistics with them.

    Attributes:
        train: from which part of the network up to its output weights change: `head`, `all`, or one of the network's
            parts (`kstyle.networks.get(name).parts`).
        epochs: of this stage.
        learning_rate, optimizer: instead of the recipe's; None: as there.
        schedule: instead of the recipe's, over the stage; None: as there.
        keep_optimizer: its moments go on from the stage before, of the layers that were trained there.
        augment: `false`: training pictures are cut as those for testing, and nothing of `augment` applies.
        cache_features: what the frozen layers give is computed once, and the rest trains on that. `auto`: where nothing
            is random before the rest: `augment` is false, or `views` says how many random views to take.
        views: so many augmented views of each picture, computed once and taken in turn, one an epoch; 0: no such thing.
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

    Attributes:
        description: what `kstyle recipes` says of it.
        model: the network.
        head: layers in place of the network's own head, after which the classes' Dense comes by itself; empty: its own.
        data: the pictures.
        augment: random changes of training pictures.
        augment_schedule: how strong they are, over the epochs.
        optimizer: what changes the weights.
        schedule: the learning rate, over the epochs.
        loss: what is made smaller.
        boxes: the network also tells a box around what it names, of data that have such; None: it does not.
        metrics: by name, beside loss and accuracy: columns of the history, and of what `evaluate` says.
        epochs: times that all training pictures are seen; or `stages`.
        stages: parts of the training with epochs of their own, one after the other; empty: `epochs` of all layers.
        batch: pictures a step.
        drop_last: leave out the last batch of an epoch where it is smaller.
        accumulate: parts in which a batch is run, whose gradients are averaged.
        batch_norm: on several devices: by the statistics of the whole batch, as on one (`synchronised`), or of each
            device's part (`local`), the moving ones averaged.
        average: an average of the weights over the steps, which is then the result; None: the weights as they are.
        distil: a teacher; None: none.
        sam: sharpness-aware minimisation around the optimiser; None: not.
        lookahead: slow weights around the optimiser; None: none.
        checkpoint: which weights are kept, and how often.
        early_stop: epochs without a better `checkpoint.monitor` after which it ends; None: it goes on to the end.
        precision: of activations: `float32`, `bfloat16` (weights stay float32), or what is faster (`auto`).
        seed: of all random numbers.
        deterministic: the same bits every time, more slowly.
        tensorboard: also write event files (needs tensorboardX).
    """

    description: str = ""
    model: Model
    head: list[HeadLayer] = Field(default=[])
    data: Data
    augment: AugmentSettings = AugmentSettings()
    augment_schedule: AugmentSchedule = AugmentSchedule()
    optimizer: Optimizer
    schedule: Schedule = Schedule(name="constant")
    loss: Loss = Loss()
    boxes: Boxes | None = None
    metrics: list[Metric] = Field(default=[])
    epochs: Count | None = None
    stages: list[Stage] = Field(default=[])
    batch: Count = 128
    drop_last: bool = False
    accumulate: Count = 1
    batch_norm: Literal["synchronised", "local"] = "synchronised"
    average: Average | None = None
    distil: Distil | None = None
    sam: Sam | None = None
    lookahead: Lookahead | None = None
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

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_metric(cls, value):
        if not value or value == "none":
            return []
        return [value] if isinstance(value, (str, dict)) else value

    @model_validator(mode="after")
    def _parts_fit(self):
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} cannot be run in {self.accumulate} equal parts (accumulate)")
        if bool(self.epochs) == bool(self.stages):
            raise ValueError("expected epochs, or stages with epochs each, and not both")
        if self.distil and any(stage.views or stage.cache_features is True for stage in self.stages):
            raise ValueError("distil: a teacher sees the pictures of each step: leave views and cache_features out")
        for stage in self.plan:
            schedules.check(stage.schedule, stage.epochs)
        if self.data.several:
            said = {
                "boxes": self.boxes, "distil": self.distil, "loss.label_smoothing": self.loss.label_smoothing,
                "loss.class_weights": self.loss.class_weights,
            }  # fmt: skip
            for key in (key for key, value in said.items() if value):
                raise ValueError(f"{key} is of pictures of one class each, and data.labels says several: leave it out")
        if self.boxes:
            check_augment(self.augment)
            if self.model.name == GIVEN.name:
                raise ValueError("boxes: a model that is given in Python has no box head: name a network")
            if self.distil:
                raise ValueError("boxes: a teacher (distil) tells classes alone: leave one of them out")
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
