"""Which worker does which task, and what becomes of it if the worker ends: all that is decided for a cluster, and
nothing of the cluster itself, for which any object with the four functions of a crew will do."""

import logging
import time
from collections import Counter, deque

from kstyle.errors import DataError
from kstyle.io.crew import Lost

log = logging.getLogger("kstyle")

# What a worker may tell: it can take its first task; its task is done; its task raised an error; it has ended.
READY, DONE, FAILED, GONE = "ready", "done", "failed", "gone"
TRIES = 2  # a task that ends two workers would end a third
# A place gets no more workers after so many that ended there with nothing done between: its disk is full, say, or
# kstyle is not installed.
ENDED = 3
LOOK = 5.0  # seconds between two looks for new places
PATIENCE = 120.0  # seconds without any place to work at, after which it is given up


def unordered(crew, tasks, look=LOOK, patience=PATIENCE):
    """The results of tasks, in the order in which they are done.

    Workers are started wherever there is room, then and when more room is found. Each has one task at a time. If it
    ends, its task is the next to be given out; if that ends a second worker, it is lost.

    Args:
        crew: an object with
            `places()`: {place: for how many workers it has room}, as things are;
            `start(place)`: a new worker, anything hashable, which takes tasks when it has told `READY`;
            `give(worker, key, task)`;
            `wait(seconds)`: [(worker, `READY`, None), (worker, `DONE`, result), (worker, `FAILED`, error), (worker,
            `GONE`, why in a few words)]; as soon as there is one, [] after so many seconds.
        tasks: {key: the arguments of a task}.
        look: seconds between two looks for new places.
        patience: seconds to wait for a place where there is none.

    Returns:
        A generator of `(key, result)`, or `(key, kstyle.io.crew.Lost)`. An error of a task ends it.

    Raises:
        DataError: no worker is left, and none can be started.
    """
    waiting, tried, left = deque(tasks), Counter(), len(tasks)
    place_of, task_of, idle = {}, {}, set()  # of each worker; of those at work; those that are not
    ended, why, finished = Counter(), "", []
    next_look, worked, told = 0.0, time.monotonic(), False
    while True:
        now = time.monotonic()
        if left and now >= next_look:
            next_look = now + look
            places = crew.places()
            for place in _room(places, Counter(place_of.values()), ended, left - len(place_of)):
                place_of[crew.start(place)] = place
            if not place_of and (now - worked > patience or any(ended[place] >= ENDED for place in places)):
                raise DataError(f"No worker is left in the cluster{f' ({why})' if why else ''}. What is done is kept.")
        while waiting and idle:
            worker, key = idle.pop(), waiting.popleft()
            tried[key] += 1
            task_of[worker] = key
            crew.give(worker, key, tasks[key])
        yield from finished  # now, as nobody is to wait while these are noted
        if not left:
            return
        if idle or task_of:
            worked = now
        elif now - worked > patience and not told:
            log.warning("no worker could begin yet: all of the cluster may be taken by others")
            told = True
        finished = []
        for worker, what, value in crew.wait(max(next_look - time.monotonic(), 0)):
            if what == FAILED:
                raise value
            key = task_of.pop(worker, None)
            if what == GONE:
                ended[place_of.pop(worker)] += 1
                idle.discard(worker)
                why, next_look = value, 0.0  # there is room again
                log.info("a worker has ended (%s)", value)
                if key is not None and tried[key] < TRIES:
                    waiting.appendleft(key)
                    key = None
                value = Lost(value)
            else:
                idle.add(worker)
            if what == DONE:
                ended[place_of[worker]] = 0
            if key is not None:
                left -= 1
                finished.append((key, value))


def _room(places, taken, ended, most):
    """Where new workers go, at most so many: to the places that have fewest."""
    free = [
        (number, order, place)
        for order, (place, room) in enumerate(places.items())
        if ended[place] < ENDED
        for number in range(taken[place], room)
    ]
    return [place for _, _, place in sorted(free)[: max(most, 0)]]
