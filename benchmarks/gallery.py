"""Makes the pictures of docs/presets.md: pairs free of rights, each with several presets, as small JPEGs.

python benchmarks/gallery.py [--size 512] [--preset kstyle --preset gatys] [-o docs/pictures]
"""

import time
from pathlib import Path

import click
import numpy as np

import kstyle
from kstyle import images

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PAIRS = [("chelsea", "night"), ("astronaut", "glass"), ("rocket", "wave"), ("coffee", "night")]


@click.command()
@click.option("--size", default=512, show_default=True, help="Long side at which they are made.")
@click.option("--shown", default=256, show_default=True, help="Long side at which they are written.")
@click.option("--preset", "presets", multiple=True, default=("kstyle", "gatys"), show_default=True)
@click.option("-o", "--output", default="docs/pictures", show_default=True, type=click.Path(file_okay=False))
def main(size, shown, presets, output):
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)

    def write(name, rgb):
        small = np.clip(images.resize(rgb, images.fit(rgb.shape[:2], shown)), 0, 1)
        images.write(folder / f"{name}.jpg", small)

    for name in sorted({name for pair in PAIRS for name in pair}):
        write(name, images.read(EXAMPLES / f"{name}.jpg").rgb)
    for content, style in PAIRS:
        for preset in presets:
            start = time.perf_counter()
            result = kstyle.stylize(EXAMPLES / f"{content}.jpg", EXAMPLES / f"{style}.jpg", preset=preset, size=size)
            write(f"{content}-{style}-{preset}", result.rgb)
            first, last = result.history["loss"].iloc[[0, -1]]
            seconds = time.perf_counter() - start
            click.echo(f"{content} × {style} {preset}: loss {first:.4g} → {last:.4g}, {seconds:.0f} s", err=True)


if __name__ == "__main__":
    main()
