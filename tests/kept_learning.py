"""A program for test_learn.py: a style network learns, is killed at moments of all kinds, and goes on.

Each life is a fork, which has all modules loaded already; what it does is told by its argument, JSON.
"""

import json
import os
import random
import signal
import sys

import pandas  # noqa: F401 - before the first fork, as all that takes long to load

import kstyle
from kstyle.io import runs
from kstyle.style.learning.learn import learn

RECIPE = {"preset": "shallow.yaml", "width": 0.15, "size": 48, "crop": 32, "batch": 2, "steps": 8, "held_out": 1}


def live(name, deadly):
    """Learns, or goes on, until the file number `deadly` is about to get its name; 0: to the end. Exits."""
    left, replace = [deadly], os.replace

    def struck(source, target):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = struck
    options = {"save_seconds": 0, "workers": 0}  # saved after each step
    try:
        if os.path.exists(f"{name}/{runs.STATE}"):
            learn(resume=name, **options)
        else:
            learn("style.png", "photos", RECIPE, run=name, precision="float32", deterministic=True, **options)
    except kstyle.KStyleError as error:
        print(error, flush=True)
        os._exit(1)
    os._exit(0)


def main():
    task = json.loads(sys.argv[1])
    moments, ended = random.Random(task["seed"]), {"whole": [], "killed": []}
    for name, kills in (("whole", 0), ("killed", task["kills"])):
        for number in range(kills + 1):
            deadly = moments.randint(3, 9) if number < kills else 0
            child = os.fork()
            if not child:
                live(name, deadly)
            ended[name].append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
