"""Predicted and measured memory of paintings: what `kstyle stylize --dry-run` says, and what then happens.

    python benchmarks/memory.py [--points 4] [--json]

Each line is a process of its own that takes two steps at one size; at 1024 > 2048 it takes twelve at the first of them
before, so that L-BFGS has all of its pairs and hands them on. Measured is its highest resident memory. The last lines
are a loop written by hand in PyTorch with checkpoints, the usual answer to full memory: of each of the network's blocks
only what goes in is kept, and its Gram matrices and features are computed again on the way back. Its objective is that
of the preset gatys, with Adam.
"""

import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"
# (long sides, precision, preset, optimiser or None for the preset's, tile or None, its first half only)
POINTS = [
    ("512", "float32", "kstyle", None, None, False),
    ("1024", "bfloat16", "kstyle", None, None, False),
    ("1024", "float32", "gatys", "adam", None, False),
    ("1024", "float32", "kstyle", None, 512, True),
    ("1536", "bfloat16", "kstyle", "adam", 384, False),
    ("2048", "bfloat16", "gatys", "adam", 512, False),
    ("2048", "float32", "kstyle", None, None, False),
    ("2048", "float32", "kstyle", None, 512, True),
    ("2048", "float32", "kstyle", None, 512, False),
    ("1024 > 2048", "bfloat16", "kstyle", None, 512, False),
]

BY_HAND = [1024, 2048]


def paint(sides, precision, preset, optimizer, tile, halved):
    """{"predicted", "measured"} bytes, {"step"} seconds, of this process."""
    from kstyle.pictures import images
    from kstyle.style.engine import memory
    from kstyle.style.transfer import Painter

    first, *_, side = map(int, sides.split(" > ") * 2)
    steps = [2] if first == side else [12, 2]
    more = {"scales.smallest": first, "scales.steps": steps, **({"optimizer": optimizer} if optimizer else {})}
    painter = Painter(EXAMPLES / "night.jpg", preset, precision=precision, **more)
    content = np.asarray(images.to_pil(images.read(EXAMPLES / "chelsea.jpg").rgb).resize((side, side * 3 // 4)))
    extractor, painting = painter.load(), painter.painting(content, side)
    passes = [each.divided(tile, halved=halved) for each in painting.plan]
    before = passes[-2] if len(passes) > 1 else None
    predicted = memory.peak(passes[-1], memory.network_of(extractor), memory.in_use(), sum(steps), before)
    painting.fit(passes)
    seconds = painter.finish(painting).history["seconds"]
    return {"predicted": predicted, "measured": _highest(), "step": float(seconds.iloc[-1] - seconds.iloc[0])}


def by_hand(side):
    """As `paint`, without a prediction: PyTorch in float32, channels_last, a checkpoint a block."""
    import time

    import torch
    from style import GOAL, TAPS, _weights
    from torch.utils.checkpoint import checkpoint

    from kstyle.pictures import images

    F, last = torch.nn.functional, torch.channels_last
    names, arrays = _weights((2, 2, 4, 4, 1))
    net = {}
    for name in names:
        kernel, bias = (torch.tensor(arrays.pop(f"{name}/{part}")) for part in ("kernel", "bias"))
        net.setdefault(name[: len("block1")], {})[name] = (
            kernel.permute(3, 2, 0, 1).contiguous(memory_format=last),
            bias,
        )
    mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

    def block(x, number):
        grams, goal = [], None
        x = F.max_pool2d(x, 2) if number != "block1" else x
        for name, (kernel, bias) in net[number].items():
            x = F.relu_(F.conv2d(x, kernel, bias, padding=1))
            if name in TAPS:
                rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
                grams.append(rows.T @ rows / rows.shape[0])
            goal = x if name == GOAL else goal
        return x, grams, goal

    def run(image):
        x, grams, goal = (image.flip(1) - mean).contiguous(memory_format=last), [], None
        for number in net:
            x, found, here = checkpoint(block, x, number, use_reentrant=False)
            grams, goal = grams + found, here if goal is None else goal
        return grams, goal

    def tensor(name):
        rgb = np.asarray(images.to_pil(images.read(EXAMPLES / name).rgb).resize((side, side * 3 // 4)), "float32")
        return torch.tensor(rgb.transpose(2, 0, 1)[None])

    with torch.no_grad():
        (wanted, _), (_, goal) = run(tensor("night.jpg")), run(tensor("chelsea.jpg"))
    image, times = tensor("chelsea.jpg").requires_grad_(), []
    optimizer = torch.optim.Adam([image], lr=1.0)
    for _ in range(2):
        begun = time.perf_counter()
        optimizer.zero_grad()
        grams, reached = run(image)
        loss = F.mse_loss(reached, goal)
        for a, b in zip(grams, wanted):
            loss = loss + 1000 / a.shape[0] ** 2 * F.mse_loss(a, b)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begun)
    return {"predicted": None, "measured": _highest(), "step": times[-1]}


def _highest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@click.command(help=__doc__)
@click.option("--points", default=len(POINTS), show_default=True, help="So many of them, the smallest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--one", type=int, hidden=True)
def main(points, as_json, one):
    if one is not None:
        print(json.dumps(paint(*POINTS[one]) if one < len(POINTS) else by_hand(BY_HAND[one - len(POINTS)])))
        return
    rows = []
    hand = [(str(side), "float32", "PyTorch", "adam", None, None) for side in BY_HAND]
    chosen = [*enumerate(POINTS[:points]), *enumerate(hand, len(POINTS))]
    for number, point in chosen:
        command = [sys.executable, __file__, "--one", str(number)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append({**dict(zip(("sides", "precision", "preset", "optimizer", "tile", "halved"), point)), **found})
        if not as_json:
            numbers = f"{found['measured'] / 1e9:.2f} GB"
            if found["predicted"]:
                off = found["predicted"] / found["measured"] - 1
                numbers = f"{found['predicted'] / 1e9:.2f} GB, {numbers}, {off:+.0%}"
            print(
                *(str(part or "-") for part in point), numbers, f"{found['step']:.1f} s a step", sep=" | ", flush=True
            )
    if as_json:
        print(json.dumps({"processor": platform.processor(), "points": rows}, indent=2))


if __name__ == "__main__":
    main()
