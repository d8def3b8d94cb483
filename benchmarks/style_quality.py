"""How well presets reach a style: relative Gram errors by layer, judged in float32, beside the seconds they took.

    python benchmarks/style_quality.py CONTENT STYLE [--size 512] [--preset kstyle --preset gatys] [-o DIR]

The error of a layer is mean (G − Ĝ)² / mean Ĝ², each Gram matrix divided by its own number of positions, the style
picture at the same long side as the result. The judge is float32 whatever made the picture.
"""

import time
from pathlib import Path

import click
import numpy as np

import kstyle
from kstyle.pictures import images

TAPS = [f"block{block}_conv1" for block in range(1, 6)]


def gram_errors(rgb, style, extractor):
    """rgb, style: (H, W, 3) in [0, 1] -> {tap: relative error}."""
    import keras

    def grams(picture):
        features = extractor(keras.ops.convert_to_tensor(picture))
        flat = {tap: keras.ops.convert_to_numpy(features[tap])[0].astype("float64") for tap in TAPS}
        return {
            tap: np.einsum("hwc,hwd->cd", f, f, optimize=True) / (f.shape[0] * f.shape[1]) for tap, f in flat.items()
        }

    ours, theirs = grams(rgb), grams(style)
    return {tap: float(np.mean((ours[tap] - theirs[tap]) ** 2) / np.mean(theirs[tap] ** 2)) for tap in TAPS}


@click.command()
@click.argument("content")
@click.argument("style")
@click.option("--size", default=512, show_default=True)
@click.option("--preset", "presets", multiple=True, default=("kstyle",), show_default=True)
@click.option("-o", "--output", type=click.Path(file_okay=False), help="Folder to write the pictures to.")
def main(content, style, size, presets, output):
    from kstyle.models import features

    judge = features.load("vgg19", TAPS, precision="float32")
    painting = images.read(style)
    painting = images.resize_picture(painting, images.fit(painting.size, size)).rgb
    click.echo(f"{'preset':18}{'seconds':>8}{'steps':>7}  " + "".join(f"{'relu' + t[5] + '_1':>9}" for t in TAPS))
    for preset in presets:
        start = time.perf_counter()
        result = kstyle.stylize(content, style, preset=preset, size=size)
        seconds = time.perf_counter() - start
        errors = gram_errors(result.rgb, painting, judge)
        row = "".join(f"{errors[tap]:9.4f}" for tap in TAPS)
        click.echo(f"{preset:18}{seconds:8.1f}{len(result.history):7d}  {row}")
        if output:
            name = f"{Path(content).stem}-{Path(style).stem}-{preset}.png"
            Path(output).mkdir(parents=True, exist_ok=True)
            images.write(Path(output) / name, result.rgb)


if __name__ == "__main__":
    main()
