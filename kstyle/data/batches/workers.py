"""Processes that turn picture files into arrays and write them into memory that is shared with them.

A worker is a Python of its own that imports this module and nothing that trains: it neither copies the threads of a
framework, as a fork would, nor runs the caller's main module again, as `multiprocessing` would. All workers read from
one pipe which picture is next, so none waits while another has work left, and pixels go through memory they share.
"""

import collections
import contextlib
import json
import math
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
import weakref
from multiprocessing import connection

import numpy as np

from kstyle.data.batches import opening
from kstyle.errors import DataError, KStyleError, UsageError
from kstyle.io import files
from kstyle.io.files import one_line

FEW = 32  # pictures that are decoded sooner than a worker has started

_JOB = struct.Struct("<III4x")  # place, index, epoch. 512 bytes, which a pipe takes whole, hold 32
_ANSWER = struct.Struct("<II?")  # place, index, whether it went well; what follows is text


# What a worker does with a file: functions of (path, options, epoch, index, place to write to), which return a text.


def _examine(path, options, epoch, index, out):
    opening.open_rgb(path, least=1)
    return files.sha256(path)


def _center(path, options, epoch, index, out):
    out[:], place = opening.centre_and_place(path, options["side"], options["resize"], options["resample"])
    return place_text(place)


def _random(path, options, epoch, index, out):
    rng = np.random.default_rng((options["seed"], epoch, index))
    wanted = (options[key] for key in ("scale", "ratio", "resample"))
    out[:], place = opening.random_crop(path, options["side"], rng, *wanted)
    return place_text(place)


def place_text(place):
    """What a task that cuts a picture answers: four numbers, what of it is shown; `place_of` reads them again."""
    return " ".join(map(repr, map(float, place)))


def place_of(text):
    """(4,) floats from what `place_text` gave."""
    return np.array(text.split(), float)


TASKS = {"examine": _examine, "center": _center, "random": _random}


def perform(path, options, epoch, index, out):
    """Does `options["task"]` with one file; never raises: (whether it went well, the result or what went wrong)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
            return True, TASKS[options["task"]](path, options, epoch, index, out)
    except KStyleError as error:
        return False, str(error)
    except Exception as error:  # MemoryError, a race with who deletes the file: one picture's fault, not the worker's
        label, reason = one_line(os.fsdecode(path)), one_line(error) or type(error).__name__
        return False, f"{label}: cannot be read as a picture ({reason})."


def serve(told):
    """The life of a worker; see `Decoder._start`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = json.loads(told)
    jobs, options = told["jobs"], told["options"]
    answers = connection.Connection(told["answers"], readable=False)
    table = mmap.mmap(told["table"], 0, prot=mmap.PROT_READ)
    ends = np.frombuffer(table, np.int64, told["count"], len(table) - 8 * told["count"])
    pictures = _pictures(told["memory"], told["shape"])
    while len(record := os.read(jobs, _JOB.size)) == _JOB.size:  # it ends with the parent, however that ends
        place, index, epoch = _JOB.unpack(record)
        path = table[ends[index - 1] if index else 0 : ends[index]]
        done, text = perform(path, options, epoch, index, None if pictures is None else pictures[place])
        with contextlib.suppress(BrokenPipeError):
            answers.send_bytes(_ANSWER.pack(place, index, done) + text[:1000].encode("utf-8", "surrogateescape"))


def _memory(size):
    """The descriptor of `size` bytes that have no name, and so are gone with their last user."""
    if hasattr(os, "memfd_create"):  # unlike /dev/shm, not limited to 64 MB in a container
        descriptor = os.memfd_create("kstyle")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor


def _pictures(descriptor, shape):
    if not math.prod(shape):
        return None
    return np.frombuffer(mmap.mmap(descriptor, math.prod(shape)), np.uint8).reshape(shape)


def processors():
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Decoder:
    """Worker processes for one list of files, a context manager. Without `close` they end with the object, and with
    this process however it ends.

    `submit` any number of jobs, `collect` as many answers, in the order in which they are done.

    Args:
        paths: the files, texts.
        options: {"task": a key of `TASKS`, and what it needs}.
        shape: of the memory the pictures are written to, (places, H, W, 3), or () for none.
        file: an open file of that size to use as the memory.
        workers: processes; 0: the work is done here, in `collect`. Default: one a processor, 8 at most, and none for
            few files.

    Attributes:
        pictures: the memory, uint8, or None.

    Raises:
        UsageError: `workers` is below 0.
    """

    def __init__(self, paths, options, shape=(), file=None, workers=None):
        if workers is None:
            workers = 0 if len(paths) <= FEW else min(8, processors())
        if workers != int(workers) or workers < 0:
            raise UsageError(f"The number of workers is a whole number of at least 0; got {workers}.")
        self.workers, self._paths = min(int(workers), len(paths)), paths
        self._options, self._shape = options, shape or (0,)
        self._descriptor = os.dup(file.fileno()) if file else _memory(math.prod(self._shape))
        try:
            self.pictures = _pictures(self._descriptor, self._shape)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._jobs, self._answers, self._due = collections.deque(), collections.deque(), 0
        self._processes, self._connections, self._descriptors = [], [], [self._descriptor]
        self._pipe, self._room = None, select.poll()
        self._end = weakref.finalize(self, _end, self._processes, self._descriptors, self._connections)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the workers; `pictures` stays."""
        self._end()

    @property
    def closed(self):
        return not self._end.alive

    def submit(self, place, index, epoch=0):
        """Have file number `index` written to `pictures[place]`; `epoch` is for tasks that draw at random."""
        self._jobs.append((int(place), int(index), int(epoch)))
        self._due += 1
        self._feed()

    def collect(self):
        """Waits for one answer: `(place, index, whether it went well, the result or what went wrong)`.

        Raises:
            DataError: a worker died.
        """
        if self.closed:
            raise UsageError("The decoder is closed: its workers have ended.")
        if not self.workers:
            place, index, epoch = self._jobs.popleft()
            out = None if self.pictures is None else self.pictures[place]
            answer = (place, index, *perform(self._paths[index], self._options, epoch, index, out))
        else:
            self._feed()
            try:
                while not self._answers:
                    for ready in connection.wait(self._connections):
                        self._answers.append(ready.recv_bytes())
            except (EOFError, OSError) as error:
                raise self._failure(ready) from error
            except BaseException:  # Ctrl-C in the middle of an answer: the next would be misread
                self.close()
                raise
            raw = self._answers.popleft()
            text = raw[_ANSWER.size :].decode("utf-8", "surrogateescape")
            answer = (*_ANSWER.unpack(raw[: _ANSWER.size]), text)
        self._due -= 1
        return answer

    def drain(self):
        """Forgets what was submitted; waits for what is being done."""
        self._due -= len(self._jobs)
        self._jobs.clear()
        while self._due:
            self.collect()

    def _feed(self):
        if not self.workers or not self._jobs:
            return
        if self._pipe is None:
            self._start()
            self._room.register(self._pipe, select.POLLOUT)
        # Only while the pipe has room. If it has an error, all workers are gone, and `collect` says so.
        while self._jobs and self._room.poll(0) == [(self._pipe, select.POLLOUT)]:
            now = [self._jobs.popleft() for _ in range(min(32, len(self._jobs)))]
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, b"".join(_JOB.pack(*job) for job in now))

    def _start(self):
        names = [os.fsencode(path) for path in self._paths]
        ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        table = _memory(0)
        with open(table, "wb") as file:
            for part in (*names, ends.tobytes()):
                file.write(part)
            file.flush()
            jobs, self._pipe = os.pipe()
            self._descriptors.append(self._pipe)
            shared = {"jobs": jobs, "table": table, "memory": self._descriptor}
            told = {**shared, "count": len(names), "shape": self._shape, "options": self._options}
            here = "from kstyle.data.batches import workers"
            code = f"import sys; sys.path[:] = sys.argv[2:]; {here}; workers.serve(sys.argv[1])"
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            try:
                for _ in range(self.workers):
                    ours, theirs = connection.Pipe(duplex=False)
                    self._connections.append(ours)
                    with theirs:
                        line = json.dumps({**told, "answers": theirs.fileno()})
                        process = subprocess.Popen(
                            [sys.executable, "-c", code, line, *sys.path],
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            pass_fds=(*shared.values(), theirs.fileno()),
                            process_group=0,  # so that Ctrl-C reaches us alone
                            env=environment,
                        )
                    self._processes.append(process)
            except OSError as error:
                self.close()
                raise DataError(f"No worker process could be started ({error.strerror}): set workers to 0.") from error
            finally:
                os.close(jobs)

    def _failure(self, ours):
        process = self._processes[self._connections.index(ours)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        code = process.returncode
        self.close()
        how = f"exit code {code}"
        if code and code < 0:
            how = signal.Signals(-code).name + (", as the system does where memory runs out" if code == -9 else "")
        return DataError(f"A worker process that decodes pictures was ended ({how}): use fewer workers, 0 for none.")


def _end(processes, descriptors, connections):
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for descriptor in descriptors:
        os.close(descriptor)
    for ours in connections:
        ours.close()
