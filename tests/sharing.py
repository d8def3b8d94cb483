"""Paints on several ranks for tests/test_shared_tiles.py: `python sharing.py FOLDER`, which has preset.yaml.

Each job is done by one process and by ranks, in forks of this one. What came of it is in FOLDER, JOB-RANKS-RANK.npz;
the exit codes are a line on stdout a job.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from forks import forked
from keras import ops
from pictures import example

from kstyle import cli
from kstyle.backend import distribute
from kstyle.backend.by_torch import launch
from kstyle.models import features
from kstyle.pictures import images
from kstyle.style import settings as style_settings
from kstyle.style import transfer
from kstyle.style.engine import loop
from kstyle.style.objectives import targets, tiles, tiling
from kstyle.style.passes import units

FOLDER = Path(sys.argv[1])
ALL = {"block1_conv1": 0.2, "block3_conv1": 0.3, "block5_conv1": 1.0}
MANY = {
    "content": {"loss": "relative", "layers": {"block4_conv2": 1.0}},
    "style": {"loss": "relative", "layers": ALL, "weight": 1.0},
    "terms": [{"loss": loss, "layers": ALL, "weight": 0.1} for loss in ("wasserstein", "batch_norm")],
    "tv": {"kind": "squares", "weight": 0.01},
}
SHARED = []  # widths that were painted by tiles


def gradient(kind, height, width, side):
    """The loss and the gradient of a picture by tiles: of all layers, or of the first half of the network."""
    settings = style_settings.load(MANY)
    content = np.ascontiguousarray(np.tile(example("chelsea", 320), (3, 3, 1))[:height, :width])
    extractor = features.load("vgg19", settings.taps, precision="float32")
    aims = targets.style_targets(extractor, settings, [example("wave", 160)], [1.0])
    divided = kind(extractor, (height, width), side)
    aim = tiling.TiledObjective(extractor, settings, tiles.Content(settings, content, divided), aims, divided)
    seen = content[::-1] + np.random.default_rng(0).normal(0, 0.1, content.shape).astype("float32")
    evaluate = aim.gradient(lambda values: values, tuple)
    (loss, _), grad = evaluate(ops.convert_to_tensor(units.to_space(seen, settings.space)))
    return {"loss": ops.convert_to_numpy(loss), "picture": ops.convert_to_numpy(grad)}


def steps():
    """Ten steps through a size that is too small to be shared and one that is shared, and their losses."""
    # The second rank's picture rounds otherwise, as on another processor: what it paints must not depend on it.
    if distribute.silent():
        take = loop.Canvas.take
        loop.Canvas.take = lambda self, *found: (take(self, *found), self.image.assign(self.image.value + 1e-3))
    painter = transfer.Painter(example("wave", 160), str(FOLDER / "preset.yaml"), precision="float32")
    done = painter.paint(example("chelsea", 640), size=640, steps=10)
    return {"picture": done.rgb, "loss": done.history["loss"], "shared": SHARED}


def noted(self, settings, content, divided):
    SHARED.append(content.shape[1])
    made(self, settings, content, divided)


made, tiles.Content.__init__ = tiles.Content.__init__, noted


def stopped():
    """The command line, whose first rank is told to stop in its second step."""
    if distribute.rank() == 0:
        step, done = loop.Canvas.step, iter(range(1, 100))

        def counted(self, *arguments):
            if next(done) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, *arguments)

        loop.Canvas.step = counted
    preset = str(FOLDER / "preset.yaml")
    pictures = [str(FOLDER / "content.png"), str(FOLDER / "style.png")]
    output = ["-o", str(FOLDER / "painted.png"), "--size", "640", "--steps", "4", "--run", str(FOLDER / "run")]
    cli.main(["stylize", *pictures, "-p", preset, *output, "--quiet"])


def resumed():
    cli.main(["stylize", "--resume", str(FOLDER / "run"), "--json"])


JOBS = {
    "tiles": lambda: gradient(tiles.Tiles, 480, 640, 256),
    "halves": lambda: gradient(tiles.Halves, 240, 320, 128),
    "steps": steps,
    "stopped": stopped,
    "resumed": resumed,
}


def main():
    os.environ[launch.LAUNCHER] = str(os.getpid())  # as `--devices` does
    for name in ("content", "style"):
        images.write(FOLDER / f"{name}.png", example({"content": "chelsea", "style": "wave"}[name], 200))
    for name, job in JOBS.items():
        alone = name not in ("stopped", "resumed")
        for count in (1, 2) if alone else (2,):

            def work(rank, name=name, job=job, count=count, alone=alone):
                if not alone:
                    job()
                    return 0
                with distribute.among_ranks():
                    np.savez(FOLDER / f"{name}-{count}-{rank}.npz", **job())
                return 0

            print(json.dumps([name, count, forked(count, work)]), flush=True)


if __name__ == "__main__":
    main()
