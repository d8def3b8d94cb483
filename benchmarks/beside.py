"""A step of style transfer on a machine that does other work too: idle, beside a busy core, two paintings at once.

    python benchmarks/beside.py [--backend torch …] [--policy kstyle …] [--size 256] [--steps 20] [--rounds 3] [--json]

Threads that share a layer's work wait for one another many times a step. While they wait they may spin, which answers
soonest, or sleep, which leaves the core to whoever can use it. The policies are environments:

    kstyle    nothing is set: what kstyle sets by itself (kstyle.backend)
    default   what GNU's OpenMP, torch's on Linux, does by itself: 300,000 looks, which is some 10 ms
    passive   OMP_WAIT_POLICY=PASSIVE: sleep at once
    spin-N    GOMP_SPINCOUNT=N, GNU's OpenMP only: so many looks, then sleep

Each painting is a process of its own, timed by itself after its first steps. Policies take turns within a round, so
that a machine that gets slower is slower for all; figures are medians of the rounds. The busy core is a Python that
counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WARM = 3  # steps before the clock starts: compiling, first allocations
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# Rows that say the same of a library without OpenMP are left out.
POLICIES = {"torch": ("default", "passive", "kstyle"), "tensorflow": ("kstyle",), "jax": ("kstyle",)}
SCENES = {"idle": (1, 0), "beside a busy core": (1, 1), "two at once": (2, 0)}  # paintings, busy cores


def paint(size, steps):
    """Paints; says "ready" after the first steps, waits for a line, and says how many seconds a step took from then."""
    import kstyle

    began = None

    def after(step):
        nonlocal began
        if step.step + 1 == WARM:
            print("ready", flush=True)
            sys.stdin.readline()
            began = time.perf_counter()

    # One size only; every step is looked at on a CPU, so the last one has been made when stylize returns.
    one_size = {"scales.smallest": size, "scales.steps": [1], "plateau": None}
    kstyle.stylize(
        EXAMPLES / "chelsea.jpg", EXAMPLES / "night.jpg", size=size, steps=WARM + steps, callback=after, **one_size
    )
    print(json.dumps((time.perf_counter() - began) / steps))


def environment(backend, policy):
    found = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    found["KERAS_BACKEND"] = backend
    if policy == "default":
        found["GOMP_SPINCOUNT"] = "300000"
    elif policy == "passive":
        found["OMP_WAIT_POLICY"] = "PASSIVE"
    elif policy.startswith("spin-"):
        found["GOMP_SPINCOUNT"] = policy.removeprefix("spin-")
    elif policy != "kstyle":
        raise click.BadParameter(f"'{policy}' is none of kstyle, default, passive, spin-N.")
    return found


def measure(backend, policy, scene, size, steps):
    """Seconds a step, the mean of the scene's paintings."""
    paintings, busy = SCENES[scene]
    command = [sys.executable, __file__, "--paint", "--size", str(size), "--steps", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    running = [subprocess.Popen(command, env=environment(backend, policy), **pipes) for _ in range(paintings)]
    others = []
    try:
        for process in running:
            if process.stdout.readline().strip() != "ready":
                raise click.ClickException(f"{backend}, {policy}: the painting ended before it began.")
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        return statistics.mean(json.loads(process.stdout.readline()) for process in running)
    finally:
        for process in (*running, *others):
            process.kill()
            process.wait()


@click.command()
@click.option("--backend", "backends", multiple=True, default=list(POLICIES), show_default=True)
@click.option("--policy", "policies", multiple=True, help="See above.  [default: those that matter to the backend]")
@click.option("--scene", "scenes", multiple=True, default=list(SCENES), type=click.Choice(list(SCENES)))
@click.option("--size", default=256, show_default=True)
@click.option("--steps", default=20, show_default=True, help="That are timed.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
@click.option("--paint", "painting", is_flag=True, hidden=True)
def main(backends, policies, scenes, size, steps, rounds, as_json, painting):
    if painting:
        paint(size, steps)
        return
    rows = [(backend, policy) for backend in backends for policy in policies or POLICIES[backend]]
    seconds = {}
    for number in range(rounds):
        for scene in scenes:
            for row in rows:
                seconds.setdefault((*row, scene), []).append(measure(*row, scene, size, steps))
                click.echo(f"round {number + 1}, {scene}, {', '.join(row)}: {seconds[*row, scene][-1]:.3f} s", err=True)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    if as_json:
        click.echo(json.dumps({" | ".join(key): value for key, value in medians.items()}))
        return
    click.echo(f"| backend | threads that wait | {' | '.join(scenes)} |\n| --- | --- |{' --- |' * len(scenes)}")
    for row in rows:
        alone = medians.get((*row, "idle"))
        cells = [f"{1000 * medians[*row, scene]:.0f} ms" for scene in scenes]
        if alone:
            cells = [
                cell + (f" ({medians[*row, s] / alone:.2f})" if s != "idle" else "") for cell, s in zip(cells, scenes)
            ]
        click.echo(f"| {row[0]} | {row[1]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
