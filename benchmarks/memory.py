"""Predicted and measured memory of paintings: what `kstyle stylize --dry-run` says, and what then happens.

    python benchmarks/memory.py [--points 4] [--json]

Each line is a process of its own that takes two steps at one size. Measured is its highest resident memory.
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
# (long side, precision, preset, optimiser or None for the preset's, tile or None, its first half only)
POINTS = [
    (512, "float32", "kstyle", None, None, False),
    (1024, "bfloat16", "kstyle", None, None, False),
    (1024, "float32", "gatys", "adam", None, False),
    (1024, "float32", "kstyle", None, 512, True),
    (1536, "bfloat16", "kstyle", "adam", 384, False),
    (2048, "bfloat16", "gatys", "adam", 512, False),
    (2048, "float32", "kstyle", None, None, False),
    (2048, "float32", "kstyle", None, 512, True),
    (2048, "float32", "kstyle", None, 512, False),
]


def paint(side, precision, preset, optimizer, tile, halved):
    """{"predicted", "measured"} bytes, {"step"} seconds, of this process."""
    from kstyle.pictures import images
    from kstyle.style.engine import memory
    from kstyle.style.transfer import Painter

    more = {"scales.smallest": None, **({"optimizer": optimizer} if optimizer else {})}
    painter = Painter(EXAMPLES / "night.jpg", preset, precision=precision, **more)
    content = np.asarray(images.to_pil(images.read(EXAMPLES / "chelsea.jpg").rgb).resize((side, side * 3 // 4)))
    extractor, painting = painter.load(), painter.painting(content, side, steps=2)
    (now,) = painting.plan
    predicted = memory.peak(now.divided(tile, halved=halved), memory.network_of(extractor), memory.in_use(), now.steps)
    painting.fit([now.divided(tile, halved=halved)])
    seconds = painter.finish(painting).history["seconds"]
    unit = 1 if sys.platform == "darwin" else 1024
    measured = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"predicted": predicted, "measured": measured, "step": float(seconds.iloc[-1] - seconds.iloc[0])}


@click.command(help=__doc__)
@click.option("--points", default=len(POINTS), show_default=True, help="So many of them, the smallest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--one", type=int, hidden=True)
def main(points, as_json, one):
    if one is not None:
        print(json.dumps(paint(*POINTS[one])))
        return
    rows = []
    for number, point in enumerate(POINTS[:points]):
        command = [sys.executable, __file__, "--one", str(number)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append({**dict(zip(("side", "precision", "preset", "optimizer", "tile", "halved"), point)), **found})
        if not as_json:
            off = found["predicted"] / found["measured"] - 1
            numbers = f"{found['predicted'] / 1e9:.2f} GB, {found['measured'] / 1e9:.2f} GB, {off:+.0%}"
            print(
                *(str(part or "-") for part in point), numbers, f"{found['step']:.1f} s a step", sep=" | ", flush=True
            )
    if as_json:
        print(json.dumps({"processor": platform.processor(), "points": rows}, indent=2))


if __name__ == "__main__":
    main()
