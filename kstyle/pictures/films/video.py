"""Videos in and out, by the programs ffmpeg and ffprobe."""

import itertools
import json
import logging
import os
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io import files, scratch
from kstyle.io.files import one_line
from kstyle.pictures.spaces import PAPER_WHITE

log = logging.getLogger("kstyle")

# What is taken apart: {suffix: (suffix of the result, ffmpeg's name of its format, encoder)}.
_H264 = ("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p")
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-pix_fmt", "yuv420p")
# Where a network waits for the encoder. Of a film of brushstrokes x264 takes 6 ms a frame of 512×384 in place of 14,
# for a smaller file, 0.1 dB worse.
QUICK = {"libx264": ("-preset", "veryfast"), "libvpx-vp9": ("-deadline", "realtime", "-cpu-used", "8")}
FILMS = {
    ".mp4": (".mp4", "mp4", (*_H264, "-movflags", "+faststart")),
    ".mov": (".mov", "mov", (*_H264, "-movflags", "+faststart")),
    ".mkv": (".mkv", "matroska", _H264),
    ".webm": (".webm", "webm", _VP9),
    ".avi": (".mp4", "mp4", (*_H264, "-movflags", "+faststart")),
}
# What is called a film may be a list of other files or addresses. ffmpeg is to open this file and no other.
SOURCE = ("-protocol_whitelist", "file", "-i")
# The rate varies if a frame is shown longer or shorter than the median by this part. Containers that count milliseconds
# show frames for 33 and 34 of them by turns, which is within it; a frame before one that was left out is shown twice as
# long, which is not.
VARIES = 0.25
_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


# As what videos are written.
WRITTEN = tuple(suffix for suffix, (result, *_) in FILMS.items() if suffix == result)


def need_ffmpeg(path, otherwise="take it apart otherwise and paint the folder of its frames"):
    """UsageError where a film takes ffmpeg and it is not installed, with what to do otherwise."""
    if Path(path).suffix.lower() in FILMS and not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        raise UsageError(
            f"{one_line(path)}: a video takes ffmpeg, which is not installed (ffmpeg and ffprobe): install it, or "
            f"{otherwise}."
        )


def take_apart(path, folder, size):
    """A video's frames as PNG files in a folder, sRGB, no larger than they will be painted.

    Args:
        path: of the video.
        folder: an empty one.
        size: long side in pixels of what will be painted.

    Returns:
        `(paths, rate, durations)`: of the frames in order; frames a second as ffmpeg says it, `"30000/1001"`, on
        average; and, where the rate varies, the seconds for which each is shown, else an empty tuple.

    Raises:
        UsageError, DataError: as `kstyle.pictures.films.files.take_apart`.
    """
    seen = look(path)
    # No larger than they will be painted.
    pixels = filters(path, seen, f"min(iw,{size})", f"min(ih,{size})")

    def write(*timing):
        for old in Path(folder).glob("*.png"):
            old.unlink()
        frames = ("-map", "0:v:0", "-vf", pixels, *timing, "-start_number", "1")
        source = (*SOURCE, os.path.abspath(path))
        _run(path, "ffmpeg", "-v", "error", "-nostdin", *source, *frames, os.path.join(folder, "%06d.png"))
        return sorted(Path(folder).glob("*.png"), key=lambda frame: int(frame.stem))

    durations, frames = seen.durations, []
    if durations:
        frames = write("-fps_mode", "passthrough")
    if len(frames) != len(durations) or not frames:  # times without a frame, or the reverse: take frames at one rate
        frames, durations = write("-r", seen.rate), ()
    if not frames:
        raise DataError(f"{one_line(path)}: has no pictures.")
    return frames, seen.rate, durations


@dataclass(frozen=True)
class Seen:
    """What a video says of itself: `rate` and `durations` as `take_apart` gives them, about how many `frames` there
    are, and its colours' `transfer`, None where that is not said."""

    rate: str
    durations: tuple
    frames: int
    transfer: str | None


def look(path):
    """A video as `Seen`, before it is decoded. UsageError, DataError: as `take_apart`."""
    need_ffmpeg(path)
    source = os.path.abspath(path)
    if not os.path.isfile(source):
        raise DataError(f"{one_line(path)}: there is no such file.")
    told = "stream=avg_frame_rate,r_frame_rate,color_transfer:packet=pts_time,duration_time"
    asked = ("-select_streams", "v:0", "-show_entries", told, "-of", "json")
    found = json.loads(_run(path, "ffprobe", "-v", "error", *asked, *SOURCE, source) or "{}")
    if not found.get("streams"):
        raise DataError(f"{one_line(path)}: has no pictures.")
    stream, packets = found["streams"][0], found.get("packets", [])
    rates = [stream.get(key, "0/0") for key in ("avg_frame_rate", "r_frame_rate")]
    rate = next((rate for rate in rates if not rate.startswith("0/") and not rate.endswith("/0")), "25/1")
    return Seen(rate, _durations(packets), len(packets), stream.get("color_transfer"))


def filters(path, seen, width, height):
    """ffmpeg's filters that make a film's frames sRGB with square pixels. The long side is `width` pixels, of upright
    frames `height`, both in ffmpeg's words; the other side is even."""
    fit = f"scale='if(gte(iw,ih),{width},-2)':'if(gte(iw,ih),-2,{height})':flags=lanczos"
    return f"{_to_srgb(path, seen)}scale='trunc(iw*sar/2)*2':ih,setsar=1,{fit}"


def _durations(packets):
    """Seconds for which each frame is shown, in order, if they differ; else ()."""
    try:
        shown = sorted((float(packet["pts_time"]), float(packet.get("duration_time", 0))) for packet in packets)
    except (KeyError, ValueError):
        return ()
    lengths = [after[0] - before[0] for before, after in itertools.pairwise(shown)]
    if len(lengths) < 2 or min(lengths) <= 0:
        return ()
    middle = statistics.median(lengths)
    if all(abs(length - middle) <= VARIES * middle for length in lengths):
        return ()
    return (*lengths, shown[-1][1] or middle)


def _to_srgb(path, seen):
    """ffmpeg's filters, each followed by a comma, that bring an HDR film to sRGB as `kstyle.pictures.spaces` brings
    pictures."""
    curve = _HDR.get(seen.transfer)
    if curve is None:
        return ""
    filters = _run(path, "ffmpeg", "-v", "error", "-filters")
    if " zscale " not in filters or " tonemap " not in filters:
        log.warning(
            "%s: is HDR (%s), which this ffmpeg cannot convert (it lacks the filter zscale): its colours will be pale.",
            one_line(path), curve,
        )  # fmt: skip
        return ""
    log.info("%s: HDR (%s) converted to sRGB; highlights above paper white are white", one_line(path), curve)
    linear = f"zscale=t=linear:npl={PAPER_WHITE:g},format=gbrpf32le,zscale=p=bt709"
    return f"{linear},tonemap=clip,zscale=t=iec61966-2-1:m=bt709:r=tv,format=yuv444p,"


def join(film, pictures, target):
    """Writes a video of painted frames, with the times and the sound of the one they were painted from.

    Args:
        film: a `kstyle.pictures.films.files.Film` of a video.
        pictures, target: as for `kstyle.pictures.films.files.join`.

    Raises:
        DataError: it cannot be written.
    """
    _write(pictures, target, film.frames[0].parent, film.path.suffix.lower(), film.rate, film.durations, film.path)


def make(pictures, target, rate):
    """Writes a video of pictures, as `kstyle.pictures.films.files.make`. ffmpeg must be there (`need_ffmpeg`)."""
    with scratch.folder() as folder:
        _write(pictures, target, folder, Path(target).suffix.lower(), f"{rate:g}")


def _write(pictures, target, folder, suffix, rate, durations=(), sound_of=None):
    """Writes a video.

    Args:
        pictures, target: as for `kstyle.pictures.films.files.join`.
        folder: one that is removed soon.
        suffix, sound_of: as for `encoding`.
        rate, durations: as of a `kstyle.pictures.films.files.Film`.
    """
    # ffmpeg reads files numbered without gaps.
    row = Path(folder, "painted")
    row.mkdir()
    for number, path in enumerate(pictures, 1):
        linked = row / f"{number:06d}{Path(path).suffix}"
        try:
            os.link(path, linked)
        except OSError:  # another file system
            shutil.copyfile(path, linked)
    ending = Path(pictures[0]).suffix
    if durations:
        shown, timing = _listed(row, ending, durations), ("-fps_mode", "passthrough")
    else:
        shown, timing = ("-framerate", rate, "-start_number", "1", "-i", str(row / f"%06d{ending}")), ()
    with files.replacing(target) as beside:
        _run(target, "ffmpeg", "-v", "error", *encoding(suffix, shown, beside, timing, sound_of))


def encoding(suffix, shown, target, options=(), sound_of=None):
    """ffmpeg's arguments for writing a film.

    Args:
        suffix: of a film, a key of `FILMS`, which says the format.
        shown: arguments that give the pictures.
        target: path.
        options: further arguments, of what is written.
        sound_of: path of the film with this suffix whose sound it gets; None: it is silent.
    """
    written, form, encoder = FILMS[suffix]
    # yuv420p has even sides only. And the file says how colours are coded, which players would guess otherwise.
    shape = "crop=trunc(iw/2)*2:trunc(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv"
    colours = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    sound, source = (), ()
    if sound_of is not None:
        sound = ("-c:a", "copy") if written == suffix else ()
        source = (*SOURCE, os.path.abspath(sound_of), "-map", "0:v:0", "-map", "1:a?")
    return (
        "-nostdin", "-y", *shown, *source, "-vf", shape, *encoder, *options, *colours, *sound, "-f", form,
        os.path.abspath(target),
    )  # fmt: skip


def _listed(row, suffix, durations):
    """Writes a list of the pictures and their times beside them. Returns the arguments by which ffmpeg reads it."""
    lines = ["ffconcat version 1.0"]
    for number, seconds in enumerate(durations, 1):
        # ffmpeg gives each picture of a list times in 25ths of a second unless it is told otherwise.
        lines += [f"file {number:06d}{suffix}", "option framerate 1000", f"duration {seconds:.6f}"]
    (row / "list.txt").write_text("\n".join(lines) + "\n", "utf-8")
    # ffmpeg takes such options only from a list that it is told to trust (-safe 0); this list was written here.
    return "-f", "concat", "-safe", "0", "-i", str(row / "list.txt")


def _run(path, *command):
    """What a command of ffmpeg's prints; a DataError about `path` with its last line where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    check(path, command[0], done.returncode, done.stderr)
    return done.stdout.decode("utf-8", "replace")


def check(path, program, code, errors):
    """A DataError about `path` if a program has failed, with the last line of its errors, bytes."""
    if code:
        said = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
        reason = files.plain(said[-1], 200).rstrip(".") if said else f"exit code {code}"
        raise DataError(f"{one_line(path)}: {program} failed ({reason}).")
