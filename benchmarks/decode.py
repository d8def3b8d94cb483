"""Decoding photographs, side by side in one run: kstyle's FileBatches, and PyTorch's DataLoader with Pillow.

    python benchmarks/decode.py [--workers 2] [--batch 32] [--rounds 7] [--small FOLDER]

Pictures a second without a training step, the median of rounds in which the variants take turns, so that a busy machine
is busy for all. DataLoader's transforms are torchvision's RandomResizedCrop(224), and Resize(256) with CenterCrop(224),
written by hand; its workers persist, as kstyle's do. Small photographs are those of a folder, where a JPEG is seldom
decoded at a fraction of its size; the large ones are made from examples/chelsea.jpg, 2000×1500 with noise.
"""

import math
import random
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from kstyle.data.batches import decode
from kstyle.data.photos.tree import Photos

HERE = Path(__file__).resolve().parent


class ByHand(torch.utils.data.Dataset):
    def __init__(self, photos, crop):
        self.photos, self.transform = photos, {"random": random_resized_crop, "center": resize_and_crop}[crop]

    def __len__(self):
        return len(self.photos)

    def __getitem__(self, index):
        with Image.open(self.photos.paths[index]) as image:
            picture = self.transform(image.convert("RGB"))
        return torch.from_numpy(np.array(picture)), int(self.photos.labels[index])


def random_resized_crop(image, side=224):
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    x, y = random.randint(0, width - w), random.randint(0, height - h)
    return image.crop((x, y, x + w, y + h)).resize((side, side), Image.Resampling.BILINEAR)


def resize_and_crop(image, side=224, short=256):
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.resize(size, Image.Resampling.BILINEAR)
    x, y = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return image.crop((x, y, x + side, y + side))


def large(folder, count=60):
    base = np.asarray(Image.open(HERE.parent / "examples/chelsea.jpg").convert("RGB").resize((2000, 1500)), np.int16)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, base.shape).astype(np.int16)
    for number in range(count):
        shifted = np.roll(noise, (31 * number, 17 * number), (0, 1))
        Image.fromarray((base + shifted).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    return sorted(str(path) for path in folder.glob("*.jpg"))


def measure(paths, workers, batch, rounds):
    photos = Photos(np.array(paths, object), np.zeros(len(paths), np.int32))
    run = {}
    for crop in ("random", "center"):
        loader = torch.utils.data.DataLoader(
            ByHand(photos, crop), batch, shuffle=True, num_workers=workers, persistent_workers=True
        )
        ours = decode.FileBatches(photos, batch, 0, crop=crop, workers=workers)
        alone = decode.FileBatches(photos, batch, 0, crop=crop, workers=0)
        run[f"DataLoader, {crop}"] = lambda epoch, loader=loader: loader
        run[f"kstyle, {crop}"] = ours
        run[f"kstyle without workers, {crop}"] = alone
    rates = {name: [] for name in run}
    for epoch in range(rounds + 1):  # the first starts workers and fills caches
        for name, batches in run.items():
            start = time.perf_counter()
            seen = sum(len(labels) for _, labels in batches(epoch))
            if epoch:
                rates[name].append(seen / (time.perf_counter() - start))
    for name, rate in rates.items():
        ratios = sorted(a / b for a, b in zip(rate, rates[f"DataLoader, {name.split(', ')[1]}"]))
        click.echo(
            f"  {name:32}{statistics.median(rate):8.1f} pictures/s   {statistics.median(ratios):.2f} of DataLoader"
            f" (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


@click.command()
@click.option("--workers", default=2, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--small", default=HERE.parents[1] / "shared/data/photos", show_default=True, help="Folder of JPEGs.")
@click.option("--count", default=320, show_default=True, help="How many of the small ones.")
def main(workers, batch, rounds, small, count):
    torch.set_num_threads(1)
    paths = sorted(str(path) for path in Path(small).glob("*.jpg"))[:count]
    if paths:
        click.echo(f"{len(paths)} photographs of {small}, {workers} workers")
        measure(paths, workers, batch, rounds)
    with tempfile.TemporaryDirectory() as folder:
        paths = large(Path(folder))
        click.echo(f"{len(paths)} photographs of 2000×1500 pixels, {workers} workers")
        measure(paths, workers, batch, rounds)


if __name__ == "__main__":
    main()
