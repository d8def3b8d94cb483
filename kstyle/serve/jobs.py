"""A painting that was asked for: a folder of its own, in which everything about it is kept."""

import json
import re
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kstyle.errors import DataError, KStyleError
from kstyle.io import files
from kstyle.io.files import one_line
from kstyle.serve import asked as asking
from kstyle.serve.asked import Asked
from kstyle.style.keeping.folder import PICTURE

RECORD, RUN = "job.json", "run"
PREVIEW, SMALL, STOPPED, CONTENT = "preview.webp", "small.webp", "stopped.png", "content.webp"
WAITING, PAINTING, STOPPED_STATE, FINISHED, FAILED = "waiting", "painting", "stopped", "finished", "failed"
STATES = (WAITING, PAINTING, STOPPED_STATE, FINISHED, FAILED)
MOST_POINTS = 200  # of the curve of the loss
LARGEST_RECORD = 1 << 20  # bytes
_ID = re.compile(r"[0-9a-f]{16}")
# What is kept of a job, beside what was asked for.
KEPT = (
    *("state", "step", "total", "losses", "history", "seconds", "width", "height", "version", "error", "extended"),
    *("larger", "command", "names", "created", "plan"),
)


@dataclass
class Job:
    """A painting, waited for, in work or done.

    Attributes:
        id: 16 hex digits.
        folder: of its own.
        asked: `kstyle.serve.asked.Asked`.
        command: the `kstyle stylize` line that paints it again.
        names: {id: name} of its pictures, when it was asked for.
        width, height: pixels of the picture.
        plan: [[pixels, steps], …].
        state: one of `STATES`.
        step, total, seconds, left, losses: how far it is; `history`: [[step, loss], …].
        version: of the picture, more by one with each new one; 0: none yet.
        error: why it failed.
        extended: steps that were added.
        larger: {"size"} that it could be painted in next, or {"error"} why in none; None: not known.
        changed: how often something of this has changed.
    """

    id: str
    folder: Path
    asked: Asked
    command: str
    names: dict[str, str]
    width: int
    height: int
    plan: list[list[int]]
    created: str
    state: str = WAITING
    step: int = 0
    total: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    history: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    left: float | None = None
    version: int = 0
    error: str | None = None
    extended: int = 0
    larger: dict[str, Any] | None = None
    changed: int = 0

    @property
    def active(self):
        """Whether it is painted, or will be."""
        return self.state in (WAITING, PAINTING)

    @property
    def run(self):
        """The folder that keeps the painting, see `kstyle.style.keeping.folder`."""
        return self.folder / RUN

    def told(self, place=0):
        """What a page is told, JSON. `place`: how many are painted before it."""

        def named(number):
            return {"id": number, "name": self.names.get(number, number)}

        kept = ("id", "state", "step", "total", "losses", "history", "seconds", "left", "width", "height", "version")
        return {
            **{key: getattr(self, key) for key in (*kept, "error", "command", "created")},
            "place": place,
            "settings": self.asked.model_dump(mode="json"),
            "content": named(self.asked.content),
            "styles": [named(number) for number in self.asked.styles],
        }

    def picture(self):
        """(path, media type) of the picture as it is; None: there is none yet."""
        if self.state == FINISHED and (path := self.run / PICTURE).is_file():
            return path, "image/png"
        return (path, "image/webp") if (path := self.folder / PREVIEW).is_file() else None

    def whole(self):
        """The path of the PNG, of a painting that is finished or was stopped; None: there is none."""
        path = self.run / PICTURE if self.state == FINISHED else self.folder / STOPPED
        return path if not self.active and path.is_file() else None

    def small(self):
        """The path of a small WebP of the picture; None: there is none yet."""
        names = (PREVIEW,) if self.active else (SMALL, PREVIEW)
        return next((path for name in names if (path := self.folder / name).is_file()), None)

    def note(self, step, total, seconds, left, losses):
        """A step was taken."""
        self.step, self.total, self.seconds, self.left, self.losses = step, total, seconds, left, losses
        if "loss" in losses:  # one that is not finite is not told
            self.history.append([step, losses["loss"]])
        if len(self.history) > MOST_POINTS:
            del self.history[-2::-2]  # every second one, and never the last
        self.changed += 1

    def turn(self, state, error=None):
        """Into another state, which is kept. A full disk does not matter here: the painting's own folder is the one
        that it goes on from."""
        self.state, self.error, self.left = state, error, None
        self.changed += 1
        self.save()

    def save(self):
        """Writes what is known of it. Returns the `DataError` of what could not be written, or None."""
        kept = {"asked": self.asked.model_dump(mode="json"), **{key: getattr(self, key) for key in KEPT}}
        try:
            with files.replacing(self.folder / RECORD) as beside:
                beside.write_text(files.json_text(kept), "utf-8")
        except KStyleError as error:
            return error
        return None

    def remove(self):
        """Its folder, the record first: what is left of one without is removed when the server starts."""
        (self.folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def new(folder, asked, pictures):
    """A `Job` of what was asked for, in a folder of its own in `folder`. DataError: it cannot be made there."""
    number = secrets.token_hex(8)
    height, width = asking.shape(asked, pictures)
    ids = (asked.content, *(() if asked.network else asked.styles))
    plan = asking.plan(asked, pictures)
    job = Job(
        number, Path(folder) / number, asked, asking.command(asked, pictures),
        {each: pictures.about(each)["name"] for each in ids}, width, height, plan,
        datetime.now().astimezone().isoformat(timespec="milliseconds"), total=sum(steps for _, steps in plan),
    )  # fmt: skip
    try:
        job.folder.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{one_line(job.folder)}: cannot be made ({files.reason(error)}).") from error
    if fault := job.save():
        shutil.rmtree(job.folder, ignore_errors=True)
        raise fault
    return job


def found(folder):
    """The jobs that a folder keeps, by when they were asked for. What was deleted by halves is removed."""
    jobs = []
    for place in sorted(Path(folder).glob("*")):
        if not _ID.fullmatch(place.name) or not place.is_dir():
            continue
        if not (place / RECORD).is_file():
            shutil.rmtree(place, ignore_errors=True)
        elif (job := _read(place)) is not None:
            jobs.append(job)
    return sorted(jobs, key=lambda job: job.created)


def _read(place):
    """None: what is there was not written by this version of kstyle, and stays as it is."""
    try:
        kept = json.loads(files.read_bytes(place / RECORD, LARGEST_RECORD))
        asked = Asked.model_validate(kept.pop("asked"))
        job = Job(place.name, place, asked, **{key: kept[key] for key in KEPT})
        return job if job.state in STATES else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
