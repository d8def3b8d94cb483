"""Pictures on a cluster: what the process that gives them out can do, and what a cluster of one machine costs.

    python benchmarks/cluster.py driver        # one driver, a thousand workers, nothing painted
    python benchmarks/cluster.py efficiency    # two workers of one thread each, against two runs of their own

`driver`: a thousand workers that wait for so many seconds a picture, and then say that it is painted. The driver does
all that it does of a real batch: names, SHA-256 of the contents, giving out, collecting, the record. First without Ray
(what kstyle itself takes), then with Ray's calls; the workers are then one process that waits a thousand times at once.
Where fewer pictures a second come back than the workers could make, the driver is the limit.

`efficiency`: small pictures, by `kstyle batch --cluster` on a Ray of two cores with a worker of one thread on each, and
by two `kstyle batch` of one thread each, at the same time, each with half of them. Both in turns; pictures a second
between the first and the last ones, so that starting does not count.
"""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STORE = 200 << 20  # bytes of Ray's shared memory
EDGES = 4  # pictures at either end that do not count: two workers begin and end at different times


def processor():
    """`"2 cores of an Intel Xeon"`, and what else keeps them busy."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0]}; load average at the start {os.getloadavg()[0]:.1f}"


@contextlib.contextmanager
def ray_of(cores):
    """The address of a Ray on this machine that ends with the block."""
    # By itself Ray has its workers give way to all other programs: beside others' work they would lose.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    from ray.cluster_utils import Cluster

    options = {"num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def pictures(folder, count, size):
    """So many noisy pictures, each another file."""
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for number in range(count):
        noise = numbers.integers(0, 256, (6, 8, 3), "uint8")
        Image.fromarray(noise).resize((size, size * 3 // 4), Image.Resampling.BICUBIC).save(folder / f"{number}.png")


# ---------------------------------------------------------------------------------------------------- the driver


class Waiting:
    """A crew as `kstyle.io.crew.schedule` wants it, in this process: what a worker gets is done at once."""

    def __init__(self, workers):
        self._room, self._started, self._due = workers, 0, []

    def places(self):
        return {"here": self._room}

    def start(self, place):
        from kstyle.io.crew import schedule

        self._started += 1
        self._due.append((self._started, schedule.READY, None))
        return self._started

    def give(self, worker, key, task):
        from kstyle.io.crew import schedule

        self._due.append((worker, schedule.DONE, done(task)))

    def wait(self, seconds):
        due, self._due = self._due, []
        return due


def done(task):
    """What a worker says of a picture."""
    from kstyle.style.jobs.outcomes import Outcome

    return Outcome("done", task[1]), []


class Many:
    """A process that waits for many pictures at once."""

    async def begin(self, *_):
        return None

    async def do(self, seconds, task):
        import asyncio

        await asyncio.sleep(seconds)
        return done(task)


def ray_crew(ray, workers, seconds):
    """The crew that a cluster has, but for its processes: all workers are one actor."""
    from kstyle.io.crew import Work, cluster, schedule

    class Crowd(cluster._Crew):
        def places(self):
            return {"here": workers}

        def start(self, place):
            number = next(self._numbers)
            self._actors[number] = actor
            self._expect(number, schedule.READY, actor.begin.remote())
            return number

        def give(self, worker, key, task):
            self._expect(worker, schedule.DONE, actor.do.remote(seconds, task))

    actor = ray.remote(Many).options(num_cpus=1, max_concurrency=workers).remote()
    ray.get(actor.begin.remote())
    return Crowd(ray, Work(print, b"", print), 1)


class Painter:
    """Stands for a painter that paints nothing."""

    def load(self):
        return None


def batch(crew, contents, folder):
    """Seconds that looking at the contents takes, and that giving out, collecting and noting all of them do: by the
    clock, and of a core."""
    from kstyle.io.crew import schedule
    from kstyle.style.jobs import apart
    from kstyle.style.jobs.record import Record

    looked = time.perf_counter()
    begun = core = None

    def others(work, tasks):
        nonlocal begun, core
        begun, core = time.perf_counter(), time.process_time()
        yield from schedule.unordered(crew, tasks)

    record = Record(folder)
    names = record.assign(contents, ".png")
    record.clear(names)
    record.save()
    for _ in apart.paint(Painter(), dict(zip(names, contents)), record, "digest", (512, None, 0), False, others):
        pass
    record.save()
    return begun - looked, time.perf_counter() - begun, time.process_time() - core


@click.group()
def main():
    """See above."""


@main.command()
@click.option("--workers", default=1000, show_default=True)
@click.option("--pictures", "count", default=10_000, show_default=True, help="Of each row.")
@click.option("--seconds", multiple=True, type=float, default=[20, 10, 5, 2, 1], show_default=True, help="A picture's.")
def driver(workers, count, seconds):
    """How many pictures a second one driver gives out and notes."""
    from kstyle.io.crew import cluster
    from kstyle.style.jobs.contents import collect

    before, rows = processor(), []
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        pictures(place / "in", count, 64)
        begun = time.perf_counter()
        contents = collect(place / "in")
        found = time.perf_counter() - begun
        looking, giving, core = batch(Waiting(workers), contents, place / "bare")
        rows.append(("finding the pictures", "", f"{count / found:,.0f}", ""))
        rows.append(("their names and SHA-256, files of 5 kB", "", f"{count / looking:,.0f}", ""))
        took = f"{1000 * core / count:.2f} ms"
        rows.append(("giving out, collecting, record, without Ray", "any number", f"{count / giving:,.0f}", took))
        with ray_of(2) as address:
            for each in seconds:
                some = min(count, max(3 * workers, round(20 * workers / each)))  # twenty seconds' worth
                with cluster._joined(address) as ray:
                    _, giving, core = batch(ray_crew(ray, workers, each), contents[:some], place / f"ray-{each}")
                took = f"{1000 * core / some:.2f} ms"
                most = f"{workers / each:,.0f}"
                rows.append((f"with Ray, {each:g} s a picture", most, f"{some / giving:,.0f}", took))
                click.echo(", ".join(rows[-1]), err=True)
    click.echo(f"{before}; {workers:,} workers\n")
    click.echo("| | the workers could | pictures/s | of a core, a picture |\n| --- | --- | --- | --- |")
    for row in rows:
        click.echo(f"| {' | '.join(row)} |")


# ---------------------------------------------------------------------------------------------------- efficiency


# A plugin for each of the processes: when each painting began and ended, and what it took of a core.
NOTED = """
import os, time
from kstyle.style import transfer

finish = transfer.Painter.finish


def noted(self, painting, between=None):
    began, core = time.time(), time.process_time()
    result = finish(self, painting, between)
    with open(f"{folder}/{{os.getpid()}}", "a") as file:
        file.write(f"{{began}} {{time.time()}} {{time.process_time() - core}}\\n")
    return result


transfer.Painter.finish = noted
"""


def command(contents, output, size, steps, plugin):
    run = [sys.executable, "-m", "kstyle", "batch", *map(str, contents), "--style", str(EXAMPLES / "night.jpg")]
    run += ["-o", str(output), "--size", str(size), "--steps", str(steps), "--together", "1"]
    return [*run, "--plugin", str(plugin), "-q"]


def run(folder, commands):
    """Of all commands together: pictures a second while both paint; of a core, the seconds that the painting of a
    picture takes; the seconds from the end of one to the beginning of the next, medians."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    running = [subprocess.Popen(each, env=environment) for each in commands]
    for process in running:
        if process.wait():
            raise click.ClickException("a batch failed")
    noted = [[tuple(map(float, line.split())) for line in path.read_text().splitlines()] for path in folder.iterdir()]
    ends = sorted(end for of in noted for _, end, _ in of)[EDGES:-EDGES]
    cores = [core for of in noted for _, _, core in of[1:]]
    between = [after[0] - before[1] for of in noted for before, after in itertools.pairwise(of)]
    return (len(ends) - 1) / (ends[-1] - ends[0]), statistics.median(cores), statistics.median(between)


@main.command()
@click.option("--pictures", "count", default=40, show_default=True)
@click.option("--size", default=128, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def efficiency(count, size, steps, rounds):
    """Two workers against two runs of their own."""
    before, found = processor(), {"two separate runs": [], "two workers of a cluster": []}
    with tempfile.TemporaryDirectory() as place, ray_of(2) as address:
        place = Path(place)
        pictures(place / "in", count, 2 * size)
        every = sorted((place / "in").iterdir())
        for number in range(rounds):
            for name, way in zip(found, ("alone", "cluster")):
                noted, plugin = place / f"noted-{way}-{number}", place / f"{way}-{number}.py"
                noted.mkdir()
                plugin.write_text(NOTED.format(folder=noted))
                output = place / f"out-{way}-{number}"
                if way == "alone":
                    commands = [command(every[h::2], f"{output}-{h}", size, steps, plugin) for h in range(2)]
                else:
                    whole = command(every, output, size, steps, plugin)
                    commands = [[*whole, "--cluster", address, "--jobs", "2"]]
                found[name].append(run(noted, commands))
                rate, core, between = found[name][-1]
                said = f"{rate:.2f} pictures/s, {core:.3f} s of a core, {1000 * between:.0f} ms between"
                click.echo(f"round {number + 1}, {name}: {said}", err=True)
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in found.items()}
    base = medians["two separate runs"][0]
    click.echo(f"{before}; {count} pictures of {size} px, {steps} steps, medians of {rounds} rounds\n")
    click.echo("| | pictures/s | ratio | of a core, a painting | between two |\n| --- | --- | --- | --- | --- |")
    for name, (rate, core, between) in medians.items():
        cells = f"{rate:.2f} | {rate / base:.2f} | {core:.3f} s | {1000 * between:.0f} ms"
        click.echo(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
