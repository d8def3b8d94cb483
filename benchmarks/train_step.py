"""One training step, side by side in one process: kstyle, PyTorch written by hand, and plain Keras on torch.

    python benchmarks/train_step.py vgg19      VGG19 with batch normalisation on 32×32, batch 128, float32 and bfloat16
    python benchmarks/train_step.py mnist      the posts' CNN: a whole epoch of 60,000, batch 64, float32

Each variant runs in turn, `--repeats` times; what is printed is the median, and its ratio to PyTorch's of the same
precision; `--json` for one line of JSON. Inputs are already on the device as tensors, as in a loop written by hand
without a DataLoader.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

from kstyle import backend  # isort: skip

import argparse
import json
import time

import keras
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kstyle.backend import torch_device
from kstyle.models import classifiers
from kstyle.training.loop import optimizers, steps
from kstyle.training.setup import settings

WIDTHS = (64, 64, "P", 128, 128, "P", 256, 256, 256, 256, "P", 512, 512, 512, 512, "P", 512, 512, 512, 512)


def torch_vgg():
    layers, channels = [], 3
    for width in WIDTHS:
        if width == "P":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    layers.append(nn.Flatten())
    for inputs in (2048, 4096):
        layers += [nn.Linear(inputs, 4096), nn.BatchNorm1d(4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(4096, 10), nn.BatchNorm1d(10))


def torch_mnist():
    def block(inputs, filters):
        return [nn.Conv2d(inputs, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(1568, 10))


def by_hand(model, optimizer, bfloat16, mean=0.45, std=0.25):
    """(images (B, H, W, C) uint8, labels) -> one step of PyTorch, channels_last, autocast."""
    model.to(memory_format=torch.channels_last)

    def step(images, labels):
        x = (images.permute(0, 3, 1, 2).float() / 255 - mean) / std
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(model(x).float(), labels)
        loss.backward()
        optimizer.step()

    return step


def with_kstyle(recipe, size, channels, precision, overrides=None):
    checked = settings.load(recipe, {"model.weights": None, "augment": {}, **(overrides or {})})
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    model = classifiers.build(checked.model.name, 10, size, channels, dtype=dtype, **checked.model.options)
    model.optimizer = optimizers.build(checked.optimizer, model.trainable_variables)
    step = steps.TrainStep(
        model, model.optimizer, checked, checked.optimizer, steps.Normalise([0.45] * channels, [0.25] * channels)
    )
    return lambda images, labels: step(images, labels, 1)


def plain_keras(vgg, bfloat16):
    """The same network in Keras' own layers and its own `train_on_batch`."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if bfloat16 else "float32")
    layers = [keras.Input((32, 32, 3) if vgg else (28, 28, 1))]
    if vgg:
        l2 = keras.regularizers.L2(5e-4)
        for width in WIDTHS:
            if width == "P":
                layers.append(keras.layers.MaxPooling2D())
                continue
            layers.append(keras.layers.Conv2D(width, 3, padding="same", kernel_regularizer=l2))
            layers += [keras.layers.BatchNormalization(), keras.layers.ReLU()]
        layers.append(keras.layers.Flatten())
        for _ in range(2):
            layers += [keras.layers.Dense(4096, kernel_regularizer=l2), keras.layers.BatchNormalization()]
            layers += [keras.layers.ReLU(), keras.layers.Dropout(0.5)]
        layers += [keras.layers.Dense(10, kernel_regularizer=l2), keras.layers.BatchNormalization(dtype="float32")]
        optimizer = keras.optimizers.SGD(0.08, 0.9, nesterov=True)
    else:
        for width in (16, 32):
            layers += [keras.layers.Conv2D(width, 5, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
        layers += [keras.layers.Flatten(), keras.layers.Dense(10)]
        optimizer = keras.optimizers.Adam(1e-3)
    model = keras.Sequential(layers)
    keras.mixed_precision.set_dtype_policy("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return lambda images, labels: model.train_on_batch((images.float() / 255 - 0.45) / 0.25, labels)


def compare(variants, batches, repeats):
    """{name: step} -> {name: median seconds for `batches`}, interleaved, after one round to warm up."""
    taken = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, step in variants.items():
            start = time.perf_counter()
            for images, labels in batches():
                step(images, labels)
            backend.synchronize()
            if repeat:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in taken.items()}


def data(shape):
    """Random pictures and their labels, where kstyle computes."""
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, shape[0])
    return [torch.tensor(array).to(torch_device.settled()) for array in (pictures, labels)]


def vgg19(repeats):
    images, labels = data((128, 32, 32, 3))
    variants = {}
    for precision in ("float32", "bfloat16"):
        model = torch_vgg().to(images.device)
        sgd = torch.optim.SGD(model.parameters(), 0.08, 0.9, weight_decay=1e-3, nesterov=True)
        variants[f"PyTorch {precision}"] = by_hand(model, sgd, precision == "bfloat16")
        variants[f"kstyle {precision}"] = with_kstyle("cifar10_vgg19", 32, 3, precision)
        variants[f"Keras {precision}"] = plain_keras(True, precision == "bfloat16")
    return compare(variants, lambda: [(images, labels)], repeats)


def mnist(repeats):
    images, labels = data((60000, 28, 28, 1))

    def epoch():
        order = torch.randperm(60000, device=images.device)
        for i in range(0, 60000, 64):
            where = order[i : i + 64]
            yield images[where], labels[where]

    model = torch_mnist().to(images.device)
    variants = {
        "PyTorch float32": by_hand(model, torch.optim.Adam(model.parameters()), False),
        "kstyle float32": with_kstyle("mnist_cnn", 28, 1, "float32"),
        "Keras float32": plain_keras(False, False),
    }
    return compare(variants, epoch, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["vgg19", "mnist"])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    backend.configure(deterministic=False)
    found = vgg19(options.repeats or 5) if options.what == "vgg19" else mnist(options.repeats or 3)
    ratios = {name: seconds / found["PyTorch " + name.split()[-1]] for name, seconds in found.items()}
    if options.json:
        print(json.dumps([{"variant": n, "seconds": found[n], "ratio": ratio} for n, ratio in ratios.items()]))
    else:
        print(f"{backend.device()}, {backend.versions()}")
        for name, ratio in ratios.items():
            print(f"{name:18} {found[name]:8.3f} s   {ratio:.2f} of PyTorch")
