"""Processes on the nodes of a Ray cluster. Ray is imported when a cluster is asked for, and not before."""

import contextlib
import importlib.util
import itertools
import logging
import math
import os
import queue
import re
import signal
import socket
import threading

import kstyle
from kstyle.errors import DataError, UsageError
from kstyle.io import signals
from kstyle.io.crew import schedule
from kstyle.io.files import one_line, plain, reason

log = logging.getLogger("kstyle")

ANSWER = 10.0  # seconds that an address has to take a connection
# By these the frameworks learn how many cores are theirs; Ray only counts them.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "PJRT_NPROC")


def check(address):
    """Whether there can be work at `address`, asked before anything else is done; Ray is not loaded for it.

    Raises:
        UsageError: Ray is missing, it is neither `"auto"` nor `HOST:PORT`, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("Working on a cluster takes Ray: pip install 'kstyle[ray]'.")
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else str(address)
    if address == "auto":  # Ray knows what runs on this machine
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and "/" not in host):
        raise UsageError(f"A cluster is auto or HOST:PORT, as ray start --head says it; got {one_line(address)!r}.")
    try:  # Ray itself asks for minutes, and may end the process then
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"No cluster answers at {one_line(address)} ({reason(error)}): start one with ray start --head."
        ) from error


def unordered(work, tasks, address, jobs=1):
    """As `kstyle.io.crew.local.unordered`, on the nodes of a cluster.

    A worker that ends costs only the task that it has, which another does; nodes that join get workers. The order and
    the number of tries are those of `kstyle.io.crew.schedule.unordered`.

    Args:
        work: a `kstyle.io.crew.Work`.
        tasks: {key: the arguments of a task}.
        address: of a cluster that this machine is a node of, as `check` takes it: `"auto"`, or `HOST:PORT` of the head.
        jobs: workers for each GPU, or, in a cluster without any, for each node.

    Returns:
        A generator of `(key, result)`, or `(key, kstyle.io.crew.Lost)` of a task whose workers ended twice.

    Raises:
        UsageError: this machine is no node of it, or it has another version of Python or Ray.
        DataError: no worker is left.
    """
    with _joined(address) as ray:
        crew = _Crew(ray, work, jobs)
        try:
            yield from schedule.unordered(crew, tasks)
        finally:
            crew.end()


@contextlib.contextmanager
def _joined(address):
    import ray

    if ray.is_initialized():  # by a Python program that goes on using it
        yield ray
        return
    with _quiet():
        with _signals():
            _join(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _join(ray, address):
    before = os.environ.get("RAY_ADDRESS")
    try:
        if address != "auto":  # Ray would take the environment's in its place
            os.environ.pop("RAY_ADDRESS", None)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        log.debug("", exc_info=True)
        raise UsageError(f"The cluster {one_line(address)} cannot be joined: {plain(error, 300)}") from error
    finally:
        if before is not None:
            os.environ["RAY_ADDRESS"] = before


@contextlib.contextmanager
def _signals():
    """What handles signals stays as it was: Ray takes SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals.STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _quiet():
    """What happens to nodes and workers goes to kstyle's log. Ray prints it, on standard output, and has no option for
    that: a thread calls this function of its."""
    from ray._private import worker

    before = getattr(worker, "print_to_stdstream", None)
    worker.print_to_stdstream = lambda data, *_, **__: log.debug("Ray: %s", plain(data.get("lines"), 500))
    try:
        yield
    finally:
        worker.print_to_stdstream = before


class _Crew:
    """What `schedule` wants, of Ray's actors. A place is a node."""

    def __init__(self, ray, work, jobs):
        self._ray, self._work, self._jobs = ray, work, jobs
        self._data = ray.put(work.data)
        self._actor = ray.remote(Worker)
        self._numbers = itertools.count()
        self._nodes, self._actors = {}, {}  # {its number: a node as Ray describes it}, {number of a worker: its actor}
        self._told = queue.SimpleQueue()  # of (number of the worker, what it tells, the future with the rest)

    def places(self):
        nodes = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        nodes = {name: resources for name, resources in nodes.items() if resources.get("CPU")}
        accelerated = any(resources.get("GPU") for resources in nodes.values())
        if accelerated:  # a node without would take fifty times as long for a picture
            nodes = {name: resources for name, resources in nodes.items() if resources.get("GPU")}
        self._nodes = nodes
        return {name: self._jobs * max(int(resources.get("GPU", 0)), 1) for name, resources in nodes.items()}

    def start(self, place):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resources = self._nodes[place]
        cores, gpus = resources["CPU"], int(resources.get("GPU", 0))
        workers = self._jobs * max(gpus, 1)
        threads = str(max(1, int(cores // workers)))
        environment = {"KERAS_BACKEND": os.environ["KERAS_BACKEND"], **dict.fromkeys(THREADS, threads)}
        actor = self._actor.options(
            num_cpus=_share(cores, workers),
            num_gpus=_share(1, self._jobs) if gpus else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False),
            runtime_env={"env_vars": environment},
        ).remote(os.getcwd(), kstyle.__version__)
        number = next(self._numbers)
        self._actors[number] = actor
        # A process sees the GPUs that it is given, but all memory of its node.
        sharing = self._jobs if gpus else workers
        self._expect(number, schedule.READY, actor.begin.remote(self._work.prepare, self._data, sharing))
        return number

    def give(self, worker, key, task):
        call = self._actors[worker].do.remote(self._work.function, task)
        self._expect(worker, schedule.DONE, call)

    def _expect(self, worker, what, call):
        # Not by ray.wait: to look at a thousand calls for each that ends takes long.
        call.future().add_done_callback(lambda future: self._told.put((worker, what, future)))

    def wait(self, seconds):
        with contextlib.suppress(queue.Empty):
            told = [self._told.get(timeout=seconds)]
            while not self._told.empty():
                told.append(self._told.get())
            return [self._event(*each) for each in told if each[0] in self._actors]
        return []

    def _event(self, worker, what, future):
        try:
            return worker, what, future.result()
        except self._ray.exceptions.RayTaskError as error:
            log.debug("", exc_info=True)
            if what == schedule.DONE:
                return worker, schedule.FAILED, error.cause
            return self._gone(worker, error.cause)  # there may be other nodes on which it can begin
        except self._ray.exceptions.RayError as error:
            log.debug("", exc_info=True)
            return self._gone(worker, error)

    def _gone(self, worker, error):
        self._kill(worker)  # one that only does not answer would go on
        return worker, schedule.GONE, _said(error)

    def _kill(self, worker):
        with contextlib.suppress(Exception):
            self._ray.kill(self._actors.pop(worker))

    def end(self):
        """Ends all workers, whatever they do."""
        for worker in list(self._actors):
            self._kill(worker)


def _share(amount, workers):
    """As Ray counts: in ten thousandths, and rounded down, or the last worker would have no room."""
    return math.floor(10_000 * amount / workers) / 10_000


def _said(error):
    """The line of Ray's page that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]*Error: ", line)][-1:]
    ended = [line for line in lines if "dead because" in line]
    return plain((raised or ended or lines or [type(error).__name__])[0], 200)


class Worker:
    """In a process of the cluster: what it was given to begin with, and what it does."""

    def __init__(self, folder, version):
        with contextlib.suppress(OSError):  # relative paths are found where all nodes have the same folders
            os.chdir(folder)
        self._version, self._prepared = version, None

    def begin(self, prepare, data, sharing):
        """`sharing`: see `kstyle.io.crew.Work`. DataError: this node has another kstyle."""
        if self._version != kstyle.__version__:
            raise DataError(f"{socket.gethostname()} has kstyle {kstyle.__version__}, not {self._version}.")
        self._prepared = prepare(data, sharing)

    def do(self, function, task):
        """`kstyle.io.crew.Work.function` of a task."""
        return function(self._prepared, *task)
