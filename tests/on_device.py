"""Runs kstyle on a device that does not exist, and prints what was seen in one step of each case, as JSON.

    python tests/on_device.py style training      {"style gatys": {"launches": 300, "waits": {}, "mixed": []}, …}

`spare_device.py` has the device, `test_device.py` says what may be seen.
"""

import json
import sys
import time

import spare_device
from spare_device import seen

import kstyle

spare_device.pretend()

import numpy as np  # noqa: E402
from augmentations import EVERYTHING  # noqa: E402

from kstyle import backend, config  # noqa: E402
from kstyle.data.batches.arrays import Split  # noqa: E402
from kstyle.models import classifiers, features, weights  # noqa: E402
from kstyle.models.networks import feature_layers, vgg  # noqa: E402
from kstyle.style.engine import memory  # noqa: E402
from kstyle.training.augment import policy  # noqa: E402
from kstyle.training.boxes import heads, truth  # noqa: E402
from kstyle.training.loop import batches, optimizers, steps  # noqa: E402
from kstyle.training.setup import settings  # noqa: E402

RNG = np.random.default_rng(0)
WARM = 3  # steps before the one that is looked at: the first ones fill histories and constants


def noted():
    return {
        "launches": sum(seen.launches.values()),
        "operations": dict(seen.launches.most_common()),
        "waits": {" ".join(each): count for each, count in seen.waits.items()},
        "mixed": sorted(" ".join(each) for each in seen.mixed),
    }


class Watch:
    """A callback of `paint`: notes what is seen from the end of one step to the end of the next."""

    def __init__(self):
        self.steps, self.found = 0, None

    def __call__(self, step):
        self.steps += 1
        if self.steps == WARM:
            seen.clear()
        if self.steps == WARM + 1:
            self.found = noted()


def _random(model, *_):
    for layer in model.layers:
        if layer.weights:
            shapes = [weight.shape for weight in layer.weights]
            fan_in = np.prod(shapes[0][:-1])
            layer.set_weights([RNG.normal(0, (2 / fan_in) ** 0.5, shape).astype("float32") for shape in shapes])
    return weights.File(None, "random", "")


# The operations are those of the whole network: a sixteenth of the channels, and any weights, do.
vgg.filters = lambda name: feature_layers.filters(name) // 16
features._filled = _random


def painted(name, side=64, masks=None, **options):
    watch = Watch()
    pictures = [RNG.random((side, side + 16, 3), "float32") for _ in range(2)]
    painter = kstyle.Painter(pictures[1], name, **{"precision": "float32", **options})
    painter.paint(pictures[0], size=side + 16, steps=WARM + 2, callback=watch, masks=masks)
    return watch.found


def painted_together(name, side=48, count=3):
    watch = Watch()
    style, *contents = (RNG.random((side, side, 3), "float32") for _ in range(count + 1))
    painter = kstyle.Painter(style, name, precision="float32")
    painter.paint_together(contents, size=side, steps=WARM + 2, callback=watch)
    return watch.found


def tiled(name):
    """By tiles the picture goes to the device part by part, and its gradient comes back: that is waited for."""
    ways, memory._ways = memory._ways, lambda now, network: iter([now.divided(48)])
    try:
        return painted(name)
    finally:
        memory._ways = ways


def trained(recipe, side=16, channels=3, **overrides):
    """A step of training, the fetching of its batch included."""
    backend.configure(deterministic=False)
    checked = settings.load(recipe, {"model.weights": None, "augment": {}, "batch": 8, **overrides})
    model = classifiers.build(checked.model.name, 10, side, channels, **checked.model.options)
    if checked.boxes:
        model = heads.add(model, checked.boxes)
    optimizer = optimizers.build(checked.optimizer, model.trainable_variables)
    step = steps.TrainStep(
        model, optimizer, checked, checked.optimizer, steps.Normalise([0.45] * channels, [0.25, 0.3, 0.2][:channels]),
        policy.build(checked.augment), classes=10,
    )  # fmt: skip
    count = 8 * (WARM + 2)
    pictures = RNG.integers(0, 256, (count, side, side, channels), np.uint8)
    data = Split(pictures, RNG.integers(0, 10, count).astype("int32"))
    if checked.boxes:
        data = truth.taught(Split(pictures, data.labels, np.tile(np.array([[2, 3, 9, 12]], "float32"), (count, 1))))
    for number, (images, labels) in enumerate(batches.ArrayBatches(data, 8, seed=0)(0)):
        step(images, labels, number, 0.5, 0.5)
        if number == WARM - 1:
            seen.clear()
        if number == WARM:
            return noted()


def scored(side=16):
    """The predictions of three batches: each is fetched, once."""
    model = classifiers.build("mnist_cnn", 10, side, 1)
    predict = steps.Predictor(model, steps.Normalise([0.5], [0.2]))
    seen.clear()
    predict(RNG.integers(0, 256, (3 * 256, side, side, 1), np.uint8))
    return noted()


# What others have not: tokens, attention, drop path, layer scale, squeezing.
NETWORKS = (
    {"name": "vit_b_16", "depth": 2, "width": 32, "heads": 2, "hidden": 64, "dropout": 0.1, "drop_path": 0.2},
    {"name": "convnext_tiny"},
    {"name": "mobilenet_v3_small"},
)


def cases():
    """{name: function}."""
    found = {f"style {name}": lambda name=name: painted(name) for name in config.names("stylize")}
    found["style kstyle bfloat16"] = lambda: painted("kstyle", precision="bfloat16")
    halves = np.zeros((64, 80), "float32")
    halves[:, :40] = 1
    for name in ("gatys", "crowson", "strotss", "nnst"):
        found[f"style {name} with a mask"] = lambda name=name: painted(name, masks=[halves])
    found |= {
        "together kstyle": lambda: painted_together("kstyle"),
        "tiled kstyle": lambda: tiled("kstyle"),
        "tiled crowson": lambda: tiled("crowson"),
        "scores": scored,
        "training mnist_cnn": lambda: trained("mnist_cnn", 28, 1),
        "training cifar10_vgg19": lambda: trained("cifar10_vgg19", 32),
        "training cifar10_resnet18": lambda: trained("cifar10_resnet18", 32),
        "training boxes": lambda: trained("mnist_cnn", 28, 1, boxes=True, augment={"horizontal_flip": True}),
    }
    for model in NETWORKS:
        found[f"training {model['name']}"] = lambda model=model: trained("cifar10_resnet20", 32, model=model)
    around = {"sam.rho": 0.05, "lookahead.k": 2, "loss": "focal", "optimizer.layer_decay": 0.5}
    found["training with all that goes around it"] = lambda: trained("cifar10_resnet18", 32, **around)
    for name, value in {**EVERYTHING, "autoaugment": "imagenet", "trivialaugment": True}.items():
        found[f"augment {name}"] = lambda name=name, value=value: trained("mnist_cnn", 28, augment={name: value})
    return found


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:]) or ("",)
    results = {}
    for name, run in cases().items():
        if name.startswith(wanted):
            began = time.process_time()
            results[name] = run()
            results[name]["seconds"] = round(time.process_time() - began, 1)
            brief = {key: value for key, value in results[name].items() if key != "operations"}
            print(name, brief, file=sys.stderr, flush=True)
    print(json.dumps(results))
