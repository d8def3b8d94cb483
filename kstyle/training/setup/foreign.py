"""What people who come from Keras or PyTorch write in a recipe that is no key or name here, and what says it here.

Data, and one function that an error is passed through: a recipe without errors is not looked at.
"""

import re

from kstyle import config
from kstyle.errors import UsageError
from kstyle.io.files import one_line, shown

_PIXELS = "bytes are brought to [0, 1] by themselves, and data.normalize says what then"
_STEPS = "an epoch is once through the pictures; fewer pictures an epoch are data.train_limit"
_CLASSES = "two classes are two logits here, whose cross-entropy is the binary one of their difference; leave it out"
_RATE = "a rate that changes is the section schedule"
_CALLBACKS = "callbacks are given in Python, kstyle.train(…, callbacks=[…]); these are keys here"
_SPLIT = "a test split is a folder test or val beside train, or is set apart"
_INPUT = "a network gets the data's pictures at their size, and as many outputs as there are classes"

# {what is written there: (what is meant by it here, a line of a recipe that says it, or "" where none has to)}
KEYS = {
    "rescale": (_PIXELS, "data.normalize: unit"),
    "featurewise_center": (_PIXELS, "data.normalize: mean"),
    "featurewise_std_normalization": (_PIXELS, "data.normalize: standard"),
    "preprocessing_function": ("pictures are prepared as the weights want them by", "data.normalize: pretrained"),
    "preprocess_input": ("pictures are prepared as the weights want them by", "data.normalize: pretrained"),
    "steps_per_epoch": (_STEPS, "data.train_limit: 2000"),
    "samples_per_epoch": (_STEPS, "data.train_limit: 2000"),
    "validation_steps": ("all pictures are looked at; fewer are", "data.test_limit: 800"),
    "nb_epoch": ("", "epochs: 50"),
    "batch_size": ("", "batch: 16"),
    "class_mode": (_CLASSES, ""),
    "label_mode": (_CLASSES, ""),
    "target_size": ("", "data.photographs: {size: 150, resize: stretch}"),
    "image_size": ("", "data.photographs: {size: 150, resize: stretch}"),
    "interpolation": ("", "data.photographs.resample: nearest"),
    "color_mode": ("photographs are read as three channels", ""),
    "validation_split": ("", "data.validation: 0.2"),
    "validation_data": (_SPLIT, "data.photographs.test_fraction: 0.2"),
    "shuffle": ("training pictures always come in a new order; of which", "seed: 1"),
    "input_shape": (_INPUT, ""),
    "num_classes": (_INPUT, ""),
    "include_top": ("a head of other classes is new by itself; of other layers", "head: [flatten, {dense: 256}]"),
    "pooling": ("", "head: [global_average_pooling]"),
    "lr": ("", "optimizer.learning_rate: 0.01"),
    "learning_rate": ("", "optimizer.learning_rate: 0.01"),
    "clipnorm": ("of all gradients together", "optimizer.clip_norm: 1.0"),
    "class_weight": ("", "loss.class_weights: balanced"),
    "label_smoothing": ("", "loss.label_smoothing: 0.1"),
    "callbacks": (_CALLBACKS, "early_stop: 5"),
    "EarlyStopping": ("", "early_stop: 5"),
    "ModelCheckpoint": ("weights are kept; the best epoch's in place of the last's by", "checkpoint.keep: best"),
    "TensorBoard": ("", "tensorboard: true"),
    "ReduceLROnPlateau": (_RATE, "schedule: {name: plateau, patience: 10, factor: 0.1}"),
    "LearningRateScheduler": (_RATE, "schedule: {name: values, values: {0: 0.1, 80: 0.01}}"),
    "lr_scheduler": (_RATE, "schedule: {name: step, size: 7, gamma: 0.1}"),
}  # fmt: skip

# {key of a recipe: {a value that people give it: as above}}
VALUES = {
    "optimizer.decay": {
        "a number": (
            "Keras' decay of before, rate / (1 + decay · step), is a schedule",
            "schedule: {name: inverse_time_decay, initial_learning_rate: 0.01, decay_steps: 1, decay_rate: 0.000001}",
        )
    },
    "schedule": {
        "ReduceLROnPlateau": KEYS["ReduceLROnPlateau"],
        "LearningRateScheduler": KEYS["LearningRateScheduler"],
        "StepLR": KEYS["lr_scheduler"],
        "MultiStepLR": ("", "schedule: {name: multi_step, milestones: [80, 160], gamma: 0.1}"),
        "ExponentialLR": ("", "schedule: {name: exponential, gamma: 0.95}"),
        "CosineAnnealingLR": ("", "schedule: cosine"),
        "OneCycleLR": ("", "schedule: one_cycle"),
    },
    "loss": {
        "CrossEntropyLoss": ("it is what is taken where nothing is said", "loss: cross_entropy"),
        "BCEWithLogitsLoss": ("a sigmoid for each class", "loss: binary"),
    },
}


def explained(error, settings):
    """The error of a recipe; where it is about a foreign word, one that says what to write instead.

    Args:
        error: a `UsageError`.
        settings: what the recipe says, changed by its overrides: nested dicts.

    >>> error = UsageError("x.yaml: unknown key 'steps_per_epoch'. Known here: model, data.")
    >>> print(explained(error, {"steps_per_epoch": 125}))
    'steps_per_epoch' is no key of a recipe: an epoch is once through the pictures; fewer pictures an epoch are \
data.train_limit: write 'data.train_limit: 2000'.
    """
    named, unknown = set(re.findall(r"'([^']+)'", str(error))), "nknown" in str(error)
    for key, value in config.flat(settings).items():
        places = key.split(".")
        for number, part in enumerate(places, 1):
            if unknown and part in KEYS and named & {part, ".".join(places[:number])}:
                return UsageError(f"'{one_line(part)}' is no key of a recipe: {_said(*KEYS[part])}")
        parts = [part for part in places if not part.isdigit()]
        where = ".".join(parts).removesuffix(".name")
        found = VALUES.get(where, VALUES.get(".".join(parts[-2:]), {})).get(_kind(value))
        if found and (named & {where, ".".join(parts), key, str(value)}):
            return UsageError(f"'{one_line(where)}' cannot be {shown(value)}: {_said(*found)}")
    return error


def beside_schedule(callbacks, schedule):
    """What to say at the start of a training whose callbacks set the learning rate beside a recipe's schedule.

    Args:
        callbacks: the user's.
        schedule: a `kstyle.training.schedules.schedules.Schedule`.

    Returns:
        A list of lines.
    """
    kinds = [type(each).__name__ for each in callbacks] if schedule.name != "constant" else []
    return [
        f"{kind} beside the schedule '{schedule.name}' of the recipe, which {_OFF[kind]}. As a recipe it is "
        f"'{KEYS[kind][1]}'; for the callback alone write 'schedule: constant'."
        for kind in kinds
        if kind in _OFF
    ]


_OFF = {
    "LearningRateScheduler": "is off from the start",
    "ReduceLROnPlateau": "goes on until the callback first lowers the rate, and is off then",
}


def _kind(value):
    if isinstance(value, str):
        return value
    return "a number" if isinstance(value, (int, float)) else ""


def _said(meant, line):
    return f"{': write '.join(part for part in (meant, line and repr(line)) if part)}." if meant else f"write '{line}'."
