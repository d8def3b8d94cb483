"""A program for test_painting_runs.py: paints, is killed at moments of all kinds, and goes on, in processes of its own.

Each life is a fork, which has all modules loaded already; what it does is told by its argument, JSON.
"""

import json
import os
import random
import signal
import sys

import pandas  # noqa: F401 - before the first fork, as all that takes long to load

import kstyle
from kstyle.pictures import images
from kstyle.style.engine import memory
from kstyle.style.keeping import checkpoint
from kstyle.style.stylize import resume, stylize


def live(preset, name, deadly):
    """Paints, or goes on, until the moment number `deadly`; 0: to the end. Exits."""
    left = [deadly]

    def moment(*_):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    replace = os.replace

    def struck(source, target):
        moment()  # what is written is not in its place yet
        replace(source, target)

    os.replace = struck
    checkpoint.SHARE = 1e9  # saved after each step
    if preset == "tiled":
        memory._ways = lambda now, network: iter([now.divided(48)])
    options = {"save_seconds": 0, "callback": moment}
    try:
        if os.path.exists(f"{name}/painting.json"):
            resume(name, **options)
        else:
            stylize("chelsea.png", "wave.png", f"{preset}.yaml", 128, run=name, precision="float32",
                    deterministic=True, seed=3, **options)  # fmt: skip
    except kstyle.KStyleError as error:
        print(error, flush=True)
        os._exit(1)
    os._exit(0)


def main():
    task = json.loads(sys.argv[1])
    moments, lives = random.Random(task["seed"]), {preset: [] for preset in task["presets"]}
    images.read("wave.png")
    for preset, ended in lives.items():
        for name, kills in (("whole", 0), ("killed", task["kills"])):
            for number in range(kills + 1):
                deadly = moments.randint(1, 5) if number < kills else 0
                child = os.fork()
                if not child:
                    live(preset, f"{preset}-{name}", deadly)
                ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(lives))


if __name__ == "__main__":
    main()
