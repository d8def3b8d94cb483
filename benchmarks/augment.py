"""Augmentation, side by side in one process: kstyle's batched functions and Keras' own layers.

    python benchmarks/augment.py [--batch 128] [--size 32] [--rounds 15]

Pictures a second, the median of rounds in which the variants take turns, so that a busy machine is busy for all. Keras'
layers get the same range as kstyle: a tenth of the side, 15 degrees, bilinear, constant fill.
"""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import statistics
import time

import click
import keras
import numpy as np
from keras import ops

from kstyle import config
from kstyle.training.augment import policy as augment

COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
KSTYLE = {
    "shift": {"shift": 0.1},
    "rotation": {"rotation": 15},
    "shift + rotation": {"shift": 0.1, "rotation": 15},
    "flip + pad_crop": {"horizontal_flip": True, "pad_crop": 4},
    "colour jitter": COLOURS,
    "randaugment": {"randaugment": {"ops": 2, "magnitude": 9}},
    "mixup + cutmix": {"mixup": 0.2, "cutmix": 1.0},
    "all": {
        "random_resized_crop": True, "horizontal_flip": True, "rotation": 15, "shift": 0.1, **COLOURS,
        "grayscale": 0.2, "randaugment": 2, "erasing": 0.25, "mixup": 0.2, "cutmix": 1.0,
    },
}  # fmt: skip


def kstyle_step(settings, images, targets):
    run = augment.build(config.check(augment.AugmentSettings, settings, "benchmark"))
    random = backend.Random(0)
    return backend.compile(lambda: run(images, targets, random)[0], [])


def keras_step(names, images):
    fill = {"fill_mode": "constant", "fill_value": 0.0, "interpolation": "bilinear", "seed": 0}
    layers = {
        "translation": lambda: keras.layers.RandomTranslation(0.1, 0.1, **fill),
        "rotation": lambda: keras.layers.RandomRotation(15 / 360, **fill),
    }
    chain = keras.Sequential([layers[name]() for name in names])
    chain(images, training=True)
    return backend.compile(lambda: chain(images, training=True), chain.non_trainable_variables)


@click.command()
@click.option("--batch", default=128, show_default=True)
@click.option("--size", default=32, show_default=True, help="Side of the pictures in pixels.")
@click.option("--rounds", default=15, show_default=True)
def main(batch, size, rounds):
    rng = np.random.default_rng(0)
    images = ops.convert_to_tensor(rng.random((batch, size, size, 3), "float32"))
    targets = ops.one_hot(rng.integers(0, 10, batch), 10, dtype="float32")
    steps = {f"kstyle {name}": kstyle_step(settings, images, targets) for name, settings in KSTYLE.items()}
    steps |= {
        f"Keras {' + '.join(names)}": keras_step(names, images)
        for names in (("translation",), ("rotation",), ("translation", "rotation"))
    }
    times = {name: [] for name in steps}
    for number in range(rounds + 2):  # the first two warm up
        for name, step in steps.items():
            start = time.perf_counter()
            # Reading one number waits for all of them.
            float(step()[0, 0, 0, 0])
            backend.synchronize()
            if number >= 2:
                times[name].append(time.perf_counter() - start)
    click.echo(f"{backend.NAME} {backend.version()}, {backend.device()}: {batch} pictures of {size}×{size}×3")
    for name, spent in times.items():
        middle = statistics.median(spent)
        click.echo(f"  {name:28}{batch / middle:12,.0f} pictures/s  {middle * 1000:8.2f} ms")
    pairs = zip(times["Keras translation + rotation"], times["kstyle shift + rotation"])
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    click.echo(
        f"translation and rotation: kstyle is {statistics.median(ratios):.1f} times as fast as Keras' layers"
        f" (rounds: {ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


if __name__ == "__main__":
    main()
