"""How much more filter pictures excite their channels than photographs do, in VGG19.

    python benchmarks/filters.py PHOTOS [--layer relu3_1 --layer relu4_1] [--channels 20] [--size 96] [--steps 64]

PHOTOS is a folder of photographs, of which the first 100 are looked at, stretched to the size of the pictures.
"""

import time

import click
import numpy as np

import kstyle
from kstyle import backend
from kstyle.inspect.ascent import channel_pictures
from kstyle.pictures import folders, images

PHOTOS = 100


@click.command()
@click.argument("photos")
@click.option("--layer", "layers", multiple=True, default=("relu3_1", "relu4_1", "relu5_1"), show_default=True)
@click.option("--channels", default=20, show_default=True, help="Of each layer, evenly spread.")
@click.option("--size", default=96, show_default=True)
@click.option("--steps", default=64, show_default=True)
def main(photos, layers, channels, size, steps):
    looked = kstyle.inspect.open("vgg19")
    best = dict.fromkeys(layers, 0.0)
    for picture in folders.pictures(photos).pictures[:PHOTOS]:
        rgb = images.resize_picture(images.read(picture.path), (size, size)).rgb[None]
        for layer in layers:
            found = channel_pictures.mean_activation(looked, layer, backend.uploaded(rgb))
            best[layer] = np.maximum(best[layer], backend.as_numpy(found)[0])
    for layer in layers:
        begun, count = time.process_time(), len(best[layer])
        numbers = list(range(0, count, count // channels))[:channels]
        table = kstyle.inspect.filters(looked, layer, numbers, size=size, steps=steps).table
        ratios = table["activation"] / np.maximum(best[layer][numbers], 1e-6)
        enough, seconds = (ratios >= 5).sum(), time.process_time() - begun
        least, middle = ratios.min(), ratios.median()
        print(f"{layer}: {enough} of {channels} at least 5 times the best photograph; least {least:.1f},", end=" ")
        print(f"median {middle:.1f}; {seconds:.0f} s of processor time")
        print("  " + " ".join(f"{number}:{ratio:.1f}" for number, ratio in zip(numbers, ratios)), flush=True)


if __name__ == "__main__":
    main()
