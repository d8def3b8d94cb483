"""The queue of paintings: who is painted now, who waits, what is kept of all of them."""

import asyncio
import logging
from pathlib import Path

from kstyle.errors import DataError, KStyleError, UsageError
from kstyle.serve import asked as asking
from kstyle.serve import jobs
from kstyle.serve.jobs import FAILED, FINISHED, PAINTING, STOPPED_STATE, WAITING

log = logging.getLogger("kstyle")

MOST = 20  # jobs that are painted or wait
SAVE = 5.0  # seconds between two times that a job in work is written down


class Full(KStyleError):
    """So many are painted or wait that no more are taken."""


class Conflict(KStyleError):
    """A job is not in a state in which that can be done."""


class Queue:
    """Paints one job at a time, those that are asked for first first. All of it runs in one event loop.

    Args:
        folder: of the server; jobs are in its folder `jobs`.
        pictures: `kstyle.serve.pictures.Pictures`.
        process: `kstyle.serve.process.Process`; None: nothing is painted, all jobs wait.
        most: jobs that are painted or wait at most.
    """

    def __init__(self, folder, pictures, process=None, most=MOST):
        self.folder, self.most = Path(folder) / "jobs", most
        self._pictures, self._process = pictures, process
        self.jobs = {job.id: job for job in jobs.found(self.folder)}
        self._line = [job for job in self.jobs.values() if job.state == PAINTING]  # of a server that was ended
        self._line += [job for job in self.jobs.values() if job.state == WAITING]
        for job in self._line:
            job.state = WAITING
        self._now, self._key, self._stopping, self._removed = None, 0, False, set()
        self._wake, self._runner, self.closing = asyncio.Event(), None, False
        pictures.forget({number for job in self.jobs.values() for number in _pictures_of(job.asked)})

    async def start(self):
        """Begins to paint."""
        if self._process is not None:
            self._runner = asyncio.create_task(self._run())

    async def close(self):
        """Stops what is painted, which is saved, so that the next server goes on with it."""
        self.closing = True
        self._wake.set()
        if self._runner is not None:
            await self._end_of_painting()
            await self._runner
            await self._process.end()

    def give_up(self):
        """Ends the process that paints at once: what it painted since it was saved last is lost."""
        if self._process is not None:
            self._process.kill()

    def place(self, job):
        """How many jobs are painted before one."""
        return 0 if job not in self._line else self._line.index(job) + (self._now is not None)

    def told(self, job):
        """What a page is told of a job."""
        return job.told(self.place(job))

    def add(self, asked):
        """A new job. Full: no more are taken; DataError: it cannot be kept."""
        self._room()
        job = jobs.new(self.folder, asked, self._pictures)
        self.jobs[job.id] = job
        self._append(job)
        return job

    async def stop(self, job):
        """Stops a job; the step at hand is taken to its end. One that has ended already stays as it is."""
        if job in self._line:
            self._line.remove(job)
            job.turn(STOPPED_STATE)
        elif job is self._now:
            await self._end_of_painting()

    def go_on(self, job, steps=None):
        """Goes on with a job that was stopped or has failed; with one that is finished, for so many steps more."""
        if job.active:
            raise Conflict("It is painted, or waits to be.")
        if job.asked.network and job.state != FAILED:
            raise Conflict("A style network paints at once: there is nothing to go on with.")
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 100_000):
            raise UsageError("steps: expected a whole number, 1 or more.")
        if job.state == FINISHED and steps is None:
            raise Conflict("It is finished: say how many steps more.")
        self._room()
        job.extended += steps or 0
        job.total += steps or 0
        if steps and job.plan:
            job.plan[-1][1] += steps
        self._append(job)

    def larger(self, job):
        """A new job, of the same picture in the next size. Conflict: there is none, or it does not fit."""
        if job.state not in (FINISHED, STOPPED_STATE) or job.larger is None:
            raise Conflict("It can be painted larger when it has been painted.")
        if "error" in job.larger:
            raise Conflict(job.larger["error"])
        return self.add(asking.checked({**job.asked.model_dump(), "size": job.larger["size"]}, self._pictures))

    async def remove(self, job):
        """Forgets a job, and removes its folder, as soon as nobody paints in it."""
        del self.jobs[job.id]
        if job is self._now:
            self._removed.add(job.id)
            await self._end_of_painting()
            return
        if job in self._line:
            self._line.remove(job)
        await asyncio.to_thread(job.remove)

    def _room(self):
        if sum(job.active for job in self.jobs.values()) >= self.most:
            raise Full(f"{self.most} paintings are painted or wait: no more are taken until one has ended.")

    def _append(self, job):
        self._line.append(job)
        job.turn(WAITING)
        self._wake.set()

    async def _end_of_painting(self):
        self._stopping = True
        if self._now is not None and self._process.alive:
            await self._process.tell({"stop": self._key})

    async def _run(self):
        # Begun before there is anything to paint, so that the first to ask does not wait for a framework to load.
        try:
            await self._process.begin()
        except DataError as error:
            log.warning("%s", error)
        while not self.closing:
            if not self._line:
                self._wake.clear()
                await self._wake.wait()
                continue
            job = self._now = self._line.pop(0)
            self._stopping, self._key = False, self._key + 1
            try:
                await self._paint(job)
            except Exception as error:  # whatever it is, the next one is painted
                log.exception("a painting was given up")
                job.turn(FAILED, f"unexpected {type(error).__name__}")
                self._process.kill()  # what it would still say is of this one
                await self._process.end()
            self._now = None
            for other in self._line:
                other.changed += 1  # its place
            if job.id in self._removed:
                await asyncio.to_thread(job.remove)

    async def _paint(self, job):
        job.turn(PAINTING)
        try:
            await self._process.begin()
        except DataError as error:
            job.turn(FAILED, str(error))
            _log(job)
            return
        if self._stopping or self.closing:
            if not self.closing:
                job.turn(STOPPED_STATE)
            return
        await self._process.tell({**_task(job, self._pictures), "key": self._key})
        pace, saved = _Pace(job), 0.0
        while (said := await self._process.hear()) is not None:
            if "end" in said:
                self._ended(job, said)
                if not said["fit"]:
                    await self._process.end()
                return
            if "version" in said:
                job.version = said["version"]
                job.changed += 1
            else:
                job.note(said["step"], said["total"], said["seconds"], pace.left(said), said["losses"])
                if said["clock"] - saved > SAVE:
                    saved = said["clock"]
                    job.save()
        if not self.closing:
            job.turn(FAILED, self._process.fate())
            _log(job)

    def _ended(self, job, said):
        for key in ("history", "losses", "seconds", "step", "version", "width", "height", "larger"):
            setattr(job, key, said.get(key, getattr(job, key)))
        if said["end"] == FINISHED and not job.asked.network:
            job.total = max(job.step, 1)  # less than was planned where a size was left early
        if said["end"] == STOPPED_STATE and self.closing:
            job.save()  # as in work: the next server goes on with it
            return
        job.turn(said["end"], said.get("error"))
        _log(job)


class _Pace:
    """How much longer it takes, by the pixels of the steps that are left."""

    def __init__(self, job):
        self._plan, self._first = job.plan, None

    def left(self, said):
        done = self._done(said["step"])
        if self._first is None:
            self._first = said["clock"], done
            return None
        began, before = self._first
        if done <= before:
            return None
        return (self._done(said["total"]) - done) * (said["clock"] - began) / (done - before)

    def _done(self, steps):
        done = 0
        for pixels, count in self._plan:
            taken = min(steps, count)
            done, steps = done + pixels * taken, steps - taken
        return done


def _pictures_of(asked):
    return asked.content, *asked.styles, *(number for number in asked.masks or () if number)


def _task(job, pictures):
    """What the process that paints is told."""
    asked = job.asked

    def path(number):
        return number and str(pictures.path(number))

    return {
        "folder": str(job.folder.resolve()),
        "asked": asked.model_dump(mode="json"),
        "network": asked.network,
        "content": path(asked.content),
        "styles": asked.styles if asked.network else [path(number) for number in asked.styles],
        "masks": asked.masks and [path(number) for number in asked.masks],
        "blend": asked.blend,
        "overrides": asked.overrides,
        "extended": job.extended,
        "version": job.version,
    }


def _log(job):
    names = " × ".join(job.names.get(number, number) for number in (job.asked.content, *job.asked.styles))
    ended = f"{job.state}: {job.error}" if job.error else job.state
    log.info("%s, %d×%d, %d steps in %.1f s: %s", names, job.width, job.height, job.step, job.seconds, ended)
