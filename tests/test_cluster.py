"""Pictures on a cluster: who paints which, and what dies on the way."""

from collections import Counter

import pytest

from kstyle.errors import DataError, UsageError
from kstyle.io import crew
from kstyle.io.crew import Lost, cluster, schedule


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
        told = {}
        while self.due:
            worker = next(iter(self.due))
            event = (worker, *self.due.pop(worker))
            if event[1] == schedule.DONE:
                self.results += 1
                event = self.at.get(self.results, lambda *_: None)(self, worker) or event
            if event[1] == schedule.GONE:
                self.place_of.pop(worker)
            told[worker] = event
        return list(told.values())

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
