"""A program for test_painting_runs.py: paints, is killed at moments of all kinds, and goes on, in processes of its own.

Each life is a fork, which has all modules loaded already; what it does is told by its argument, JSON.
"""

import functools
import json
import os
import random
import sys

import killing
import pandas  # noqa: F401 - before the first fork, as all that takes long to load

from kstyle.pictures import images
from kstyle.style.engine import memory
from kstyle.style.keeping import checkpoint
from kstyle.style.stylize import resume, stylize


def live(preset, name, deadly):
    """Paints, or goes on, until the moment number `deadly`; 0: to the end. Exits."""
    moment = killing.fate(deadly)
    killing.before_names(moment)
    checkpoint.SHARE = 1e9  # saved after each step
    if preset == "tiled":
        memory._ways = lambda now, network: iter([now.divided(48)])
    options = {"save_seconds": 0, "callback": moment}

    def work():
        if os.path.exists(f"{name}/painting.json"):
            resume(name, **options)
        else:
            stylize("chelsea.png", "wave.png", f"{preset}.yaml", 128, run=name, precision="float32",
                    deterministic=True, seed=3, **options)  # fmt: skip

    killing.to_the_end(work)


def main():
    task = json.loads(sys.argv[1])
    moments, lives = random.Random(task["seed"]), {preset: [] for preset in task["presets"]}
    images.read("wave.png")
    for preset, ended in lives.items():
        for name, kills in (("whole", 0), ("killed", task["kills"])):
            one = functools.partial(live, preset, f"{preset}-{name}")
            ended += killing.lives(one, kills, lambda: moments.randint(1, 5))
    print(json.dumps(lives))


if __name__ == "__main__":
    main()
