"""Many downloads at once: a bounded number to each host, patient where waiting helps, soon done where it does not."""

import heapq
import itertools
import logging
import math
import queue
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from kstyle.data.lists.request import Client, Received, Trouble, host_of
from kstyle.net import download

WORKERS = 64  # threads; most of them wait for an answer
PER_HOST = 16  # connections to one host
TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte
BACKLOG = 32  # files that wait for the caller to take them, before the workers wait for the caller

RETRIES = 4  # of one download, after the first attempt
PATIENCE = 10  # the same, where the host asks to wait; and how often in a row a host may ask before it is given up
OUTAGES = 5  # how often in a row a host that has answered may be out of reach before it is given up
SILENT = 50  # how many attempts in a row may connect and get no answer before their host is given up

log = logging.getLogger("kstyle")

_TICK = 0.25  # seconds


@dataclass(frozen=True)
class Failure:
    """Why a download failed for this run. `lasting`: it would fail another day too."""

    reason: str
    lasting: bool


def fetch_all(jobs, folder, *, accept, unwanted=None, workers=WORKERS, per_host=PER_HOST, timeout=TIMEOUT):
    """Fetch many files over HTTP.

    Server errors, broken connections, stalls and short answers are tried again, `RETRIES` times, with growing pauses.
    A host that asks to wait (429, or Retry-After) or is out of reach is left alone as a whole, then tried with one
    connection; in the end it is given up, and all that was to come from it has failed. Redirects are followed, each
    within the bounds of the host it leads to. Web pages in place of files are refused.

    Args:
        jobs: list of `(key, url)`; the key is the caller's.
        folder: where files go under passing names; nothing else may be in it.
        accept: called as `accept(path)`, of any thread, when a file is whole; raises DataError to refuse it.
        unwanted: `{SHA-1 in hex: reason}` of contents that stand for a file that is gone.
        workers: threads.
        per_host: connections to one host at a time.
        timeout: seconds to connect, seconds without a byte.

    Yields:
        `(key, Received or Failure)` for each job, in the order they end; None now and then while none does. Close the
        generator to stop early: what is under way is dropped.

    Raises:
        OSError: `folder` cannot be written to.
    """
    jobs = list(jobs)
    crowd = _Crowd(Path(folder), Client(accept, unwanted or {}, per_host, timeout), per_host)
    crowd.add(jobs)
    threads = [threading.Thread(target=crowd.work, daemon=True) for _ in range(min(workers, len(jobs)))]
    try:
        for thread in threads:
            thread.start()
        missing = len(jobs)
        while missing:
            try:
                result = crowd.results.get(timeout=_TICK)
            except queue.Empty:
                yield None
                continue
            if isinstance(result, BaseException):
                raise result
            missing -= 1
            if isinstance(result[1], Received):
                crowd.room.release()
            yield result
    finally:
        crowd.stop()
        until = time.monotonic() + 1
        for thread in threads:  # one that waits for a dead host is left to itself: it can no longer hand anything over
            thread.join(max(0, until - time.monotonic()))


@dataclass(eq=False)
class _Host:
    name: str
    queue: deque = field(default_factory=deque)
    active: int = 0
    until: float = 0.0  # no request before this time
    paused: float = 0.0  # when the last pause was called
    rounds: int = 0  # pauses called in a row; requests that fail at the same time call one
    silent: int = 0  # attempts in a row without an answer
    answered: bool = False
    lost: str = ""  # why it was given up


@dataclass(eq=False, slots=True)
class _Task:
    key: object
    url: str
    host: _Host | None = None
    failed: int = 0
    hops: int = 0


class _Crowd:
    """What the workers share. It changes only while `ready` is held, except the tasks that a worker has taken."""

    def __init__(self, folder, client, per_host):
        self.folder, self.client, self.per_host = folder, client, per_host
        self.results = queue.SimpleQueue()
        self.room = threading.Semaphore(BACKLOG)
        self.ready = threading.Condition()
        self.hosts = {}
        self.waiting = deque()  # hosts with a queue
        self.later = []  # heap of (time, number, task)
        self.numbers = itertools.count()
        self.left = 0
        self.stopped = False

    def add(self, jobs):
        with self.ready:
            self.left = len(jobs)
            for key, url in jobs:
                self._enqueue(_Task(key, url))

    def stop(self):
        with self.ready:
            self.stopped = True
            self.ready.notify_all()
        self.room.release(1 << 20)
        self.client.close()

    def work(self):
        try:
            while task := self._take():
                part = self.folder / f"{next(self.numbers)}.part"
                started = time.monotonic()
                try:
                    outcome = self.client.get(task.url, task.hops, part)
                except Trouble as trouble:
                    part.unlink(missing_ok=True)
                    outcome = trouble
                else:
                    if isinstance(outcome, Received):
                        self.room.acquire()
                self._settle(task, outcome, started)
        except BaseException as error:  # a full disk, a fault in here: the caller's thread raises it
            self.stop()
            self.results.put(error)

    def _enqueue(self, task):
        try:
            name = host_of(task.url)
        except Trouble as trouble:
            self._finish(task, Failure(str(trouble), lasting=True))
            return
        host = task.host = self.hosts.setdefault(name, _Host(name))
        if host.lost:
            self._finish(task, Failure(host.lost, lasting=False))
            return
        if not host.queue:
            self.waiting.append(host)
        host.queue.append(task)

    def _take(self):
        """The next task that its host has room for; waits for one. None when there will be no more."""
        with self.ready:
            while self.left and not self.stopped:
                now = time.monotonic()
                while self.later and self.later[0][0] <= now:
                    self._enqueue(heapq.heappop(self.later)[2])
                wake = self.later[0][0] if self.later else math.inf
                for _ in range(len(self.waiting)):
                    host = self.waiting[0]
                    self.waiting.rotate(-1)
                    if host.until > now:
                        wake = min(wake, host.until)
                    elif host.active < (1 if host.rounds else self.per_host):
                        host.active += 1
                        task = host.queue.popleft()
                        if not host.queue:
                            self.waiting.pop()
                        self.ready.notify()  # there may be more to do: one wakes the next
                        return task
                self.ready.wait(None if wake == math.inf else max(0, wake - now))
            return None

    def _settle(self, task, outcome, started):
        host = task.host
        with self.ready:
            host.active -= 1
            if isinstance(outcome, Trouble):
                self._judge(host, outcome, started)
                self._retry_or_fail(task, outcome)
            else:
                host.answered, host.silent, host.rounds = True, 0, 0
                if isinstance(outcome, Received):
                    self._finish(task, outcome)
                else:
                    task.url, task.hops = outcome, task.hops + 1
                    self._enqueue(task)
            self.ready.notify()

    def _judge(self, host, trouble, started):
        """What a failed attempt says of its host."""
        now = time.monotonic()
        if trouble.answered:
            host.answered, host.silent = True, 0
        elif trouble.reached:
            host.silent += 1
        if trouble.wait is None and trouble.reached:
            if trouble.answered:
                host.rounds = 0
            if host.silent >= SILENT:
                self._give_up(host, f"{host.name} was given up after {SILENT} requests without an answer ({trouble})")
            return
        if started < host.paused:
            return  # it was under way when the pause was called
        host.rounds += 1
        host.paused, host.until = now, now + max(trouble.wait or 0, _backoff(host.rounds))
        if trouble.wait is not None:
            log.info("%s asks to wait: %.0f s", host.name, host.until - now)
            if host.rounds > PATIENCE:
                self._give_up(host, f"{host.name} was given up: it asked to wait {host.rounds} times in a row")
        elif host.rounds > (OUTAGES if host.answered else download.CONNECT_RETRIES):
            self._give_up(host, f"{host.name} was given up after {host.rounds} failed connections: {trouble}")

    def _give_up(self, host, reason):
        if host.lost:
            return
        host.lost = reason
        log.warning("%s", reason)
        tasks = [*host.queue, *(task for _, _, task in self.later if task.host is host)]
        if host.queue:
            self.waiting.remove(host)
            host.queue.clear()
        self.later = [entry for entry in self.later if entry[2].host is not host]
        heapq.heapify(self.later)
        for task in tasks:
            self._finish(task, Failure(reason, lasting=False))

    def _retry_or_fail(self, task, trouble):
        task.failed += 1
        if trouble.lasting or not trouble.again:
            self._finish(task, Failure(str(trouble), trouble.lasting))
        elif task.host.lost:
            self._finish(task, Failure(task.host.lost, lasting=False))
        elif task.failed > (RETRIES if trouble.wait is None else PATIENCE):
            self._finish(task, Failure(f"{trouble} (attempt {task.failed})", lasting=False))
        else:
            due = max(time.monotonic() + _backoff(task.failed), task.host.until)
            heapq.heappush(self.later, (due, next(self.numbers), task))

    def _finish(self, task, result):
        self.left -= 1
        self.results.put((task.key, result))
        if not self.left:
            self.ready.notify_all()


def _backoff(number):
    return min(download.BACKOFF * 2 ** (number - 1), download.LONGEST_WAIT) * random.uniform(0.75, 1.25)
