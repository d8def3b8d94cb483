"""Bytes a pixel that reading, resizing, recolouring and writing a picture take at their peak, and seconds.

    python benchmarks/picture_memory.py [--megapixels 48] [--only read] [--json]

Each line is a process of its own. Counted is the highest resident memory above what there was before the call, divided
by the pixels of the picture that goes in (of an enlargement: that comes out); what goes in is not counted, what comes
out is. Photographs are noise on waves: no format makes them small.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from kstyle.pictures import images
from kstyle.style.colour import modes
from kstyle.style.passes import pyramid, scene, starts


def picture(height, width, seed=0):
    """(H, W, 3) float32 in [0, 1]."""
    y, x = np.ogrid[0:height, 0:width]
    rng, found = np.random.default_rng(seed), np.empty((height, width, 3), np.float32)
    for channel in range(3):
        found[..., channel] = 0.5 + 0.4 * np.sin((channel + 1) * 7 * x / width + 5 * y / height)
        found[..., channel] += rng.random((height, width), np.float32) * 0.1
    return found


def mask(height, width):
    """(H, W) float32, soft from left to right."""
    return np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width)).copy()


def prepare(folder, height, width):
    """The files that are read: one of each kind."""
    shown = Image.fromarray((picture(height, width) * 255).astype(np.uint8))
    shown.save(folder / "photo.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    shown.save(folder / "turned.jpg", quality=95, exif=exif)
    clear = (mask(height, width) * 255).astype(np.uint8)
    clear[: height // 4] = 0
    shown.putalpha(Image.fromarray(clear))
    shown.save(folder / "clear.png", compress_level=1)


def calls(folder, shape):
    """{name: (function that makes what goes in, function of it)}."""
    height, width = shape
    small = (512 * height // width, 512)

    def file(name):
        return lambda: folder / name

    def read_resized(size):
        return lambda path: images.resize_picture(images.read(path), size).rgb

    def painted(mode, with_mask=False):
        masks = [mask(*shape)] if with_mask else None
        return lambda pair: modes.after(mode, *pair, masks)

    def shown(mode):
        return lambda pair: modes.before(mode, pair[0], [pair[1]])

    one, two = (lambda: picture(*shape)), (lambda: (picture(*shape), picture(*shape, seed=1)))
    return {
        "read a JPEG": (file("photo.jpg"), images.read),
        "read a JPEG that is turned": (file("turned.jpg"), images.read),
        "read a PNG with alpha": (file("clear.png"), images.read),
        "read an array, float32": (one, images.read),
        "read a JPEG, resize to 512": (file("photo.jpg"), read_resized(small)),
        "read a JPEG, resize to half": (file("photo.jpg"), read_resized((height // 2, width // 2))),
        "read a PNG with alpha, resize to half": (file("clear.png"), read_resized((height // 2, width // 2))),
        "resize to twice the side": (
            lambda: images.Picture(picture(height // 2, width // 2)),
            lambda small: images.resize_picture(small, shape),
        ),
        "enlarge for the next size": (
            lambda: picture(height // 2, width // 2),
            lambda small: starts.enlarge(small, "bicubic", (0, 0), shape),
        ),
        "noise to begin with": (
            lambda: None,
            lambda _: starts.noise(60.0, shape, 0, 0),
        ),
        "to_pil": (one, images.to_pil),
        "write a PNG": (one, lambda rgb: images.write(folder / "out.png", rgb)),
        "write a JPEG": (one, lambda rgb: images.write(folder / "out.jpg", rgb)),
        "write a TIFF": (one, lambda rgb: images.write(folder / "out.tif", rgb)),
        "luminance, before": (two, shown("luminance-matched")),
        "luminance, after": (two, painted("luminance")),
        "match-symmetric, before": (two, shown("match-symmetric")),
        "match-symmetric, after, in a mask": (two, painted("match-symmetric-after", True)),
        "histogram, before": (two, shown("histogram")),
        "histogram-pca, after": (two, painted("histogram-pca-after")),
        "content towards the style's colours": (
            two,
            lambda pair: modes.towards(pair[0], [pair[1]], [1.0], 0.5),
        ),
        "median of 3": (one, lambda rgb: scene.median(rgb, 3)),
        "detail of a pyramid": (one, pyramid.detail),
    }


def _resident(what):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def child(name, folder, height, width):
    """Measures one; prints {"bytes": a pixel, "seconds"}."""
    make, function = calls(Path(folder), (height, width))[name]
    given = make()
    warm = np.zeros((64, 96, 3), np.float32)
    images.resize_picture(images.Picture(warm), (32, 48)), images.to_pil(warm), pyramid.detail(warm)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # what the peak is counted from begins anew
    began = time.perf_counter()
    found = function(given)
    seconds = time.perf_counter() - began
    taken = _resident("VmHWM") - before
    del found
    print(json.dumps({"name": name, "bytes": taken / (height * width), "seconds": seconds}))


@click.command()
@click.option("--megapixels", default=48, show_default=True)
@click.option("--only", default="", help="Lines whose name holds this.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
def main(megapixels, only, as_json):
    height, width = (round((megapixels * 1e6 / 12) ** 0.5) * side for side in (3, 4))
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), height, width)
        for name in calls(Path(folder), (height, width)):
            if only not in name:
                continue
            command = [sys.executable, __file__, "--child", name, folder, str(height), str(width)]
            # A freed array is given back at once, so that the peak is what is in use.
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise click.ClickException(f"{name}: {done.stderr[-1000:]}")
            row = json.loads(done.stdout.splitlines()[-1])
            said = f"{name:42}{row['bytes']:6.1f} bytes a pixel{row['seconds']:8.2f} s"
            click.echo(json.dumps(row) if as_json else said)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:6]))
    else:
        main()
