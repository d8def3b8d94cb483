"""A program for test_learn.py: a style network learns, is killed at moments of all kinds, and goes on.

Each life is a fork, which has all modules loaded already; what it does is told by its argument, JSON.
"""

import functools
import json
import os
import random
import sys

import killing
import pandas  # noqa: F401 - before the first fork, as all that takes long to load

from kstyle.io import runs
from kstyle.style.learning.learn import learn

RECIPE = {"preset": "shallow.yaml", "width": 0.15, "size": 48, "crop": 32, "batch": 2, "steps": 8, "held_out": 1}


def live(name, deadly):
    """Learns, or goes on, until the file number `deadly` is about to get its name; 0: to the end. Exits."""
    killing.before_names(killing.fate(deadly))
    options = {"save_seconds": 0, "workers": 0}  # saved after each step

    def work():
        if os.path.exists(f"{name}/{runs.STATE}"):
            learn(resume=name, **options)
        else:
            learn("style.png", "photos", RECIPE, run=name, precision="float32", deterministic=True, **options)

    killing.to_the_end(work)


def main():
    task = json.loads(sys.argv[1])
    moments, ended = random.Random(task["seed"]), {}
    for name, kills in (("whole", 0), ("killed", task["kills"])):
        ended[name] = killing.lives(functools.partial(live, name), kills, lambda: moments.randint(3, 9))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
