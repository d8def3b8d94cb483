"""Pictures on a cluster: who paints which, and what dies on the way."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest
from batches import STYLE, picture
from waiting import until

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import crew, locks
from kstyle.io.crew import Lost, cluster, schedule
from kstyle.style.jobs import apart, batch
from kstyle.style.jobs.films import frames
from kstyle.style.target import Elsewhere

ROOT = Path(__file__).parents[1]


class Fake:
    """A cluster in this process, which takes no time: what a worker was given is done by the next `wait`.

    Args:
        rooms: {place: for how many workers}.
        at: {n: a function of this and of a worker, called as that worker comes with the n-th result; it may return what
            the worker tells instead}.
        deadly: tasks that no worker survives.
        barren: places where no worker lives to take a task.
    """

    def __init__(self, rooms, at=None, deadly=(), barren=()):
        self.rooms, self.at, self.deadly, self.barren = dict(rooms), at or {}, deadly, barren
        self.place_of, self.due, self.results = {}, {}, 0  # due: {worker: (what, value)}
        self.started, self.given = Counter(), Counter()

    def places(self):
        return dict(self.rooms)

    def start(self, place):
        worker = sum(self.started.values())
        self.started[place] += 1
        self.place_of[worker] = place
        assert list(self.place_of.values()).count(place) <= self.rooms[place], "there is no room for it"
        self.due[worker] = (schedule.GONE, "ended") if place in self.barren else (schedule.READY, None)
        return worker

    def give(self, worker, key, task):
        assert worker in self.place_of and worker not in self.due, "it has a task already, or is dead"
        self.given[key] += 1
        self.due[worker] = (schedule.GONE, "ended") if key in self.deadly else (schedule.DONE, (key, *task))

    def wait(self, seconds):
        told = []
        while self.due:
            worker = next(iter(self.due))
            event = (worker, *self.due.pop(worker))
            if event[1] == schedule.DONE:
                self.results += 1
                event = self.at.get(self.results, lambda *_: None)(self, worker) or event
            if event[1] == schedule.GONE:
                self.place_of.pop(worker)
            told.append(event)
        return told

    def end(self, worker):
        return worker, schedule.GONE, "ended"

    def end_place(self, worker):
        place = self.place_of[worker]
        del self.rooms[place]
        for other in [other for other in self.due if self.place_of[other] == place]:
            self.due[other] = (schedule.GONE, "ended")
        return self.end(worker)


def run(fake, count, **options):
    """{key: result} of so many tasks, the task n being (n + 1000,)."""
    return dict(schedule.unordered(fake, {key: (key + 1000,) for key in range(count)}, **options))


def whole(count):
    return {key: (key, key + 1000) for key in range(count)}


def test_every_task_is_done_once():
    """Failure: a picture is left out or painted twice, or workers are started that there is no room or no use for."""
    fake = Fake({"a": 2, "b": 4})
    assert run(fake, 50) == whole(50)
    assert set(fake.given.values()) == {1} and fake.started == {"a": 2, "b": 4}
    few = Fake({"a": 4, "b": 4})
    assert run(few, 4) == whole(4) and few.started == {"a": 2, "b": 2}
    assert run(Fake({"a": 1}), 0) == {}


def test_a_death_costs_what_was_in_work():
    """Failure: a worker or a node that dies ends the night's work, or what it had done is done again."""
    fake = Fake({"a": 3, "b": 3}, at={5: Fake.end, 20: Fake.end_place})
    assert run(fake, 60) == whole(60)
    again = [key for key, times in fake.given.items() if times > 1]
    assert 2 <= len(again) <= 4 and max(fake.given.values()) == 2
    assert sum(fake.started.values()) == 7  # in the place of the first


def test_a_task_that_ends_two_workers_is_lost():
    """Failure: a picture that takes all memory is painted for ever, or ends the rest with it."""
    fake = Fake({"a": 2, "b": 2}, deadly={7, 30})
    results = run(fake, 40)
    lost = {key: result for key, result in results.items() if isinstance(result, Lost)}
    assert lost == {7: Lost("ended"), 30: Lost("ended")} and fake.given[7] == fake.given[30] == 2
    assert {**whole(40), **lost} == results


def test_nodes_that_join_get_work():
    """Failure: machines that are added in the middle stand idle until the next batch."""
    fake = Fake({"a": 1}, at={10: lambda fake, worker: fake.rooms.update(b=5)})
    assert run(fake, 60, look=0.0) == whole(60) and fake.started == {"a": 1, "b": 5}


def test_a_node_on_which_nothing_begins_is_left_alone():
    """Failure: one node without kstyle starts processes for ever; or with no other, the command waits for ever."""
    fake = Fake({"a": 1, "bad": 1}, barren={"bad"})
    assert run(fake, 20) == whole(20) and fake.started["bad"] == schedule.ENDED
    with pytest.raises(DataError, match="No worker is left in the cluster"):
        run(Fake({"bad": 8}, barren={"bad"}), 5)
    with pytest.raises(DataError, match="No worker is left"):
        run(Fake({}), 5, look=0.0, patience=0.05)


def test_an_error_ends_it():
    """Failure: a folder that cannot be written is found out for each of ten thousand pictures."""

    def fail(fake, worker):
        return worker, schedule.FAILED, UsageError("the layers are wrong")

    fake = Fake({"a": 2}, at={4: fail})
    results = schedule.unordered(fake, dict.fromkeys(range(9), ()))
    assert len([next(results) for _ in range(2)]) == 2
    with pytest.raises(UsageError, match="layers"):
        list(results)
    assert str(pickle.loads(pickle.dumps(Elsewhere("out: cannot be written.", None)))).startswith("out: cannot be wri")


def test_who_works_is_said_before_anything_is_loaded(monkeypatch):
    """Failure: without Ray, or with a wrong address, there is a traceback, or an answer after minutes only."""
    assert crew.chosen() is None and crew.chosen(2).keywords == {"jobs": 2}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'kstyle\[ray\]'"):
        crew.chosen(cluster="auto")
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: name)
    for wrong in ("here", "ray://head:10001", "head:", ":6379", "head:port"):
        with pytest.raises(UsageError, match=r"auto or HOST:PORT"):
            crew.chosen(cluster=wrong)
    with pytest.raises(UsageError, match=r"No cluster answers at 127\.0\.0\.1:1 .*ray start --head"):
        crew.chosen(cluster="127.0.0.1:1")
    assert crew.chosen(cluster="auto").keywords == {"address": "auto", "jobs": 1}
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match=r"No cluster answers at 127\.0\.0\.1:1"):
        crew.chosen(cluster="auto")


def test_a_batch_says_what_was_lost(painter, monkeypatch):
    """Failure: a picture that ends its workers is counted as painted, or the next run does not try it again."""
    picture("in/a.png"), picture("in/b.png")

    def unordered(work, tasks, address, jobs):
        assert (address, jobs) == ("auto", 3)
        prepared = work.prepare(work.data, 1)
        yield "a.png", work.function(prepared, *tasks["a.png"])
        yield "b.png", Lost("memory is full")

    monkeypatch.setattr(cluster, "check", lambda address: None)
    monkeypatch.setattr(cluster, "unordered", unordered)
    for state in ("done", "skipped"):
        found = {
            content.name: outcome
            for content, outcome in batch.stylize_all(painter, "in", "out", 32, 1, cluster="auto", jobs=3)
        }
        assert (found["a"].state, found["a"].path) == (state, Path("out/a.png"))
        assert found["b"].state == "failed" and "and so was the next (memory is full)" in found["b"].error
        monkeypatch.setattr(
            cluster, "unordered", lambda work, tasks, **_: ((key, Lost("memory is full")) for key in tasks)
        )
    with pytest.raises(UsageError, match="one machine"):
        batch.stylize_all(painter, "in", "out", 32, 1, cluster="auto", motion=frames.Motion())
    with pytest.raises(UsageError, match="together must be 1"):
        batch.stylize_all(painter, "in", "out", 32, 1, cluster="auto", together=2)


def test_a_node_without_the_folder_paints_nothing(tmp_path, monkeypatch):
    """Failure: a node where the folder is not mounted makes it, paints into it, and the pictures are nowhere."""
    for name in ("driver", "node"):
        (tmp_path / name).mkdir()
    with locks.held(tmp_path / "driver", "painting"):
        holder = locks.holder(tmp_path / "driver")
        for folder in ("node", "gone"):
            data = pickle.dumps(([], tmp_path / folder, holder, b""))
            with pytest.raises(DataError, match="is not shared"):
                apart._prepare(data, 1)


# ---------------------------------------------------------------------------------------------------- with Ray itself

PLUGIN = """
import os
from kstyle.style import transfer

finish = transfer.Painter.finish


def noted(self, painting, between=None):
    with open({log!r}, "a") as file:
        file.write(f"{{painting.content.name}} {{os.getpid()}}\\n")
    return finish(self, painting, between)


transfer.Painter.finish = noted
"""


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of two nodes of one core each, `(cluster, second node)`; at the end all its processes are gone."""
    pytest.importorskip("ray", reason="kstyle[ray] is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # they would give way to all that runs beside the test
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # pytest's own are too long for a socket's name
    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    before, started, found = set(psutil.Process().children(recursive=True)), set(), None
    try:
        found = Cluster(initialize_head=True, head_node_args={**small, "temp_dir": folder})
        second = found.add_node(**small)
        started.update(psutil.Process().children(recursive=True))
        yield found, second
    finally:
        started.update(psutil.Process().children(recursive=True))
        if found is not None:
            found.shutdown()
        _, left = psutil.wait_procs(started - before, 30)
        for process in left:
            process.kill()
        assert not left
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(sys.platform != "linux", reason="Ray on one machine, and its processes, are tried on Linux")
@pytest.mark.skipif(backend.NAME != "torch", reason="a compiled step a shape takes seconds")
def test_a_cluster_of_two_nodes(place, nodes):
    """Failure: Ctrl-C, a killed worker or a dead node costs more than what was in work, or changes a picture."""
    count = int(os.environ.get("KSTYLE_TEST_PICTURES", 20))
    for number in range(count):
        picture(f"in/p{number}.png", number)
    Path("plugin.py").write_text(PLUGIN.format(log=str(Path("begun").resolve())))
    command = [sys.executable, str(ROOT / "cli.py"), "batch", "in", "--style", STYLE, "--plugin", "plugin.py", "--json"]
    command += ["-p", str(place / "shallow.yaml"), "--size", "48", "--steps", "40", "--deterministic"]
    environment = {**os.environ, **dict.fromkeys(cluster.THREADS, "1")}  # as many as a worker of one core has

    @contextlib.contextmanager
    def started(*options):
        with subprocess.Popen([*command, *options], stdout=-1, stderr=-1, text=True, env=environment) as process:
            try:
                yield process
            finally:
                process.kill()  # one that has ended it does not reach

    def begun():
        lines = Path("begun").read_text().split("\n")[:-1] if Path("begun").exists() else []
        return [line.split() for line in lines]

    with started("-o", "plain") as alone:
        printed, errors = alone.communicate(timeout=600)
        assert (alone.returncode, json.loads(printed)["done"], errors) == (0, count, "")
    Path("begun").unlink()

    on = ["-o", "out", "--cluster", nodes[0].address]
    with started(*on) as stopped:
        until(lambda: len(begun()) >= count // 4, stopped)
        stopped.send_signal(signal.SIGINT)
        printed, errors = stopped.communicate(timeout=300)
        first = json.loads(printed)
        assert (stopped.returncode, first["interrupted"], first["failed"], errors) == (130, True, [], "")
        assert count // 4 - 2 <= first["done"] < count
    before = len(begun())
    assert before - first["done"] <= 2  # what was in work

    with started(*on) as running:
        until(lambda: len(begun()) >= before + count // 4, running)
        os.kill(int(begun()[-1][1]), signal.SIGKILL)
        until(lambda: len(begun()) >= before + count // 2, running)
        nodes[0].remove_node(nodes[1], allow_graceful=False)
        printed, errors = running.communicate(timeout=600)
        second = json.loads(printed)
        assert (running.returncode, second["failed"], errors) == (0, [], "")
        assert (second["skipped"], second["done"]) == (first["done"], count - first["done"])
    times = Counter(name for name, _ in begun()[before:])
    assert max(times.values()) <= 2 and sum(times.values()) <= second["done"] + 2
    for number in range(count):
        name = f"p{number}.png"
        assert Path("out", name).read_bytes() == Path("plain", name).read_bytes(), name
    entries = json.loads(Path("out/batch.json").read_text())["results"]
    assert sum("settings" in entry for entry in entries.values()) == count
