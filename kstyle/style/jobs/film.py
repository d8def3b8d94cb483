"""`kstyle.film`: a video or an animation, painted frame by frame, and joined to a film again.

An optimiser goes on from the frame before, and its frames are kept, so a film is taken apart into a folder of them. A
style network looks at each frame by itself and is done in no time: its videos go through pipes.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import locks, names, scratch
from kstyle.io.files import expanded, one_line
from kstyle.pictures.films import files, video
from kstyle.pictures.images import Source
from kstyle.style import arguments, by_network, transfer
from kstyle.style.by_network import NetworkPainter
from kstyle.style.engine.loop import Step
from kstyle.style.jobs.batch import stylize_all
from kstyle.style.jobs.contents import Content
from kstyle.style.jobs.films import pipes
from kstyle.style.jobs.films.frames import Motion
from kstyle.style.jobs.outcomes import Outcome, look
from kstyle.style.jobs.record import RECORD, Record, made

log = logging.getLogger("kstyle")

FRAMES_TOGETHER = 8  # that a GPU paints at once; a processor is as busy with one


def film(
    path: str | os.PathLike[str],
    styles: Source | Sequence[Source],
    output: str | os.PathLike[str],
    preset: transfer.Preset = "kstyle",
    size: int = 512,
    steps: int | None = None,
    seed: int = 0,
    callback: Callable[[Step], Any] | Any = None,
    *,
    frame_steps: int | None = None,
    temporal: float = Motion.temporal,
    cut: float = Motion.cut,
    suffix: str = ".png",
    force: bool = False,
    **painting: Any,
) -> Path:
    """Paints a film in one style: each frame goes on from the painting of the one before it.

    The painted frames stay in a folder beside the film, so that a film that was interrupted goes on where it stopped,
    with the frames that it would have had.

    Args:
        path: of a video (`.mp4`, `.mov`, `.mkv`, `.webm`, `.avi`; these take ffmpeg) or an animation (GIF, WebP, PNG).
        styles: as for `kstyle.stylize`. By a style network each frame is painted by itself, in no steps.
        output: a folder, made if need be. Of `clip.mp4` the film becomes `output/clip.mp4`, its frames `output/clip/`.
            By a style network, which keeps no frames of a video, it may be the painted film itself.
        preset, size, steps, seed, callback: as for `kstyle.stylize`; `steps` are those of the first frame.
        frame_steps: gradient evaluations from the second frame on, all at the final size; None: a third of the first's.
        temporal: how much a frame is held to the one before it where nothing moves: at 1, a mean change of 0.1 (of
            colours from 0 to 1) counts as much as content and style do; 0: not at all.
        cut: a mean change of the content above this, in [0, 1], is another scene, which is painted afresh.
        suffix: of the painted frames, one of `kstyle.pictures.images.FORMATS`.
        force: paint frames again that are done.
        **painting: for `kstyle.Painter`: weights, deterministic, settings of the preset and so on.

    Returns:
        The path of the painted film: with the times of the frames, and the sound, of the one it was painted from.

    Raises:
        UsageError: no film, a setting that cannot be, ffmpeg is missing, or the film to be written is there and was
            not painted here.
        DataError: the film cannot be read or written, or no frame of it can be painted. A frame that cannot is told in
            the log and shows the one before it.
        KeyboardInterrupt: Ctrl-C, as `kstyle.batch`.

    >>> import kstyle
    >>> kstyle.film("clip.gif", "night.jpg", "painted", size=256, temporal=5)  # doctest: +SKIP
    PosixPath('painted/clip.gif')
    """
    path = expanded(path)
    if not os.path.isfile(path):
        raise UsageError(f"{one_line(path)}: there is no such file.")
    if not files.is_film(path, animations=True):
        raise UsageError(f"{one_line(path)} is no film: a video, or a GIF, WebP or PNG of several frames.")
    if (network := by_network.network_of(styles)) is not None:
        others = {"steps": steps, "frame_steps": frame_steps, "callback": callback}
        given = {name for name, value in others.items() if value is not None}
        by_network.check_alone(given | ({"temporal"} if temporal != Motion.temporal else set()))
        return _by_network(network, painting, path, output, size, suffix, force)
    painter = transfer.Painter(styles, preset, **painting)
    read = [each for each in (styles if isinstance(styles, (list, tuple)) else [styles]) if _is_path(each)]
    with taken_apart(path, output, size, [*read, painter.settings.init]) as work:
        motion = Motion(frame_steps, temporal, cut)
        return _all_of(paint(painter, work, size, steps, seed, callback, motion, suffix=suffix, force=force), work)


def _by_network(network, painting, path, output, size, suffix, force):
    names = ("blend", "precision", "max_memory")
    settings = {key: value for key, value in painting.items() if key not in (*names, "deterministic")}
    given = {key: value for key, value in painting.items() if key in names}
    painter = NetworkPainter(network, settings=settings, **given)
    if (work := through_pipes(painter, path, output, size, [network], force)) is not None:
        return _all_of(work.outcomes, work)
    with taken_apart(path, output, size, [network]) as work:
        return _all_of(paint(painter, work, size, None, 0, suffix=suffix, force=force), work)


def _all_of(outcomes, work):
    for content, outcome in outcomes:
        if outcome.state == "failed":
            log.warning("%s, frame %s: %s", one_line(content.path), content.name, outcome.error)
    if not work.target.is_file():
        raise DataError(f"{one_line(work.film.path)}: none of its {len(work.contents)} frames could be painted.")
    return work.target


@dataclass(frozen=True)
class Work:
    """A film that is taken apart, ready to be painted.

    Attributes:
        film: a `kstyle.pictures.films.files.Film`.
        target: the path of the painted film.
        folder: of the painted frames.
        contents: a `Content` for each frame, in order.
    """

    film: files.Film
    target: Path
    folder: Path
    contents: list[Content]


@contextlib.contextmanager
def taken_apart(path, output, size, inputs=()):
    """`with taken_apart(…) as work:` a film as a `Work`; its frames are gone at the end.

    Args:
        path, output, size: as for `film`.
        inputs: what else is read, so that the painted film replaces none of it.

    Raises:
        UsageError, DataError: as `film`.
    """
    with scratch.folder() as apart:
        found = files.take_apart(path, apart, size)
        folder = Path(expanded(output))
        target, frames = folder / f"{found.path.stem}{found.suffix}", folder / found.path.stem
        names.check_spares([target], [found.path, *inputs])
        if target.exists() and not (frames / RECORD).is_file():
            raise UsageError(f"{one_line(target)} is there, and no painting of this film: give another folder.")
        key = found.path.absolute()
        contents = [Content(frame, frame.stem, f"{key}#{frame.stem}") for frame in found.frames]
        yield Work(found, target, frames, contents)


def paint(painter, work, size, steps, seed, callback=None, motion=None, **options):
    """Paints the frames of a `Work`, then writes the film: a generator as `kstyle.batch`'s.

    The film is written after the last frame; where it is there already, only if a frame was painted anew.

    Args:
        painter, size, steps, seed, callback, **options: as for `kstyle.batch`.
        motion: a `Motion`; None: with its defaults.

    Raises:
        UsageError, DataError: as `kstyle.batch`.
    """
    if not isinstance(painter, NetworkPainter):  # whose frames follow the film's by themselves
        motion = motion or Motion()
    outcomes = stylize_all(painter, work.contents, work.folder, size, steps, seed, callback, motion=motion, **options)
    return _then_joined(outcomes, work)


@dataclass(frozen=True)
class Piped:
    """A film that goes through a style network frame by frame, none of which is a file.

    Attributes:
        film, target: as of a `Work`.
        contents: a `Content` for each of its frames, as many as it says that there are.
        outcomes: a generator as `paint` gives; the film is there after the last.
    """

    film: files.Film
    target: Path
    contents: list[Content]
    outcomes: Generator[tuple[Content, Outcome], None, None]


def through_pipes(painter, path, output, size, inputs=(), force=False):
    """A video as `Piped`; None: it has to be taken apart, as an animation, or as its frames have times of their own.

    Args:
        painter: a `kstyle.style.by_network.NetworkPainter`.
        path, size, force: as for `film`.
        output: a folder, or the painted film itself, which is replaced if it is there.
        inputs: what else is read, so that the painted film replaces none of it.

    Raises:
        UsageError, DataError: as `film`.
    """
    path, output = Path(expanded(path)), Path(expanded(output))
    if path.suffix.lower() not in video.FILMS:
        return None
    seen, suffix = video.look(path), video.FILMS[path.suffix.lower()][0]
    if seen.durations:
        return None
    arguments.check_numbers(size, None, 0)
    key = path.absolute()
    contents = [Content(path, f"{n:06d}", f"{key}#{n:06d}") for n in range(1, seen.frames + 1)]

    def frames(target):
        together = FRAMES_TOGETHER if backend.accelerated() else 1
        for count in pipes.painted(path, seen, size, painter.paint_frames, target, together):
            for _ in range(count):
                yield content, Outcome("done", target)

    content = Content(path, path.stem, str(key))
    if output.suffix.lower() in video.FILMS and not output.is_dir():
        if output.suffix.lower() != suffix:
            raise UsageError(f"{one_line(output)}: of {one_line(path)} the painted film ends in {suffix}.")
        names.check_spares([output], [path, *inputs])
        made(output.parent)
        return Piped(files.Film(path, [], seen.rate), output, contents, frames(output))
    with contextlib.ExitStack() as stack:
        stack.enter_context(locks.held(made(output), "painting a film"))
        record = Record(output)
        (name,) = record.assign([content], suffix)
        record.clear([name])
        digest = record.settings(painter.made_with(size), [name])
        record.save()
        going = stack.pop_all()

    def outcomes():
        with going:
            stamp, before = look(content, name, record, digest, force)
            if before is not None:
                yield from ((content, before) for _ in contents)
                return
            yield from frames(record.folder / name)
            record.keep(name, stamp)
            record.save()

    return Piped(files.Film(path, [], seen.rate), record.folder / name, contents, outcomes())


def _then_joined(outcomes, work):
    shown, new = [], False
    with contextlib.closing(outcomes):
        for content, outcome in outcomes:
            shown.append(outcome.path)
            new = new or outcome.state == "done"
            yield content, outcome
    first = next((path for path in shown if path is not None), None)
    if first is None:
        return
    # A frame that failed shows the one before it, or after it, so that times and sound stay right.
    for number, path in enumerate(shown):
        shown[number] = path or (shown[number - 1] if number else first)
    if new or not work.target.is_file():
        files.join(work.film, shown, work.target)


def _is_path(source):
    return isinstance(source, (str, os.PathLike))
