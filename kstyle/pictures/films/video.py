"""Videos in and out, by the programs ffmpeg and ffprobe."""

import itertools
import json
import logging
import os
import shutil
import statistics
import subprocess
from pathlib import Path

from kstyle.errors import DataError, UsageError
from kstyle.io import files, scratch
from kstyle.io.files import one_line
from kstyle.pictures.spaces import PAPER_WHITE

log = logging.getLogger("kstyle")

# What is taken apart: {suffix: (suffix of the result, ffmpeg's name of its format, encoder)}.
_H264 = ("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p")
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-pix_fmt", "yuv420p")
FILMS = {
    ".mp4": (".mp4", "mp4", (*_H264, "-movflags", "+faststart")),
    ".mov": (".mov", "mov", (*_H264, "-movflags", "+faststart")),
    ".mkv": (".mkv", "matroska", _H264),
    ".webm": (".webm", "webm", _VP9),
    ".avi": (".mp4", "mp4", (*_H264, "-movflags", "+faststart")),
}
# What is called a film may be a list of other files or addresses. ffmpeg is to open this file and no other.
_SOURCE = ("-protocol_whitelist", "file", "-i")
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
    need_ffmpeg(path)
    source = os.path.abspath(path)
    if not os.path.isfile(source):
        raise DataError(f"{one_line(path)}: there is no such file.")
    told = "stream=avg_frame_rate,r_frame_rate,color_transfer:packet=pts_time,duration_time"
    asked = ("-select_streams", "v:0", "-show_entries", told, "-of", "json")
    found = json.loads(_run(path, "ffprobe", "-v", "error", *asked, *_SOURCE, source) or "{}")
    if not found.get("streams"):
        raise DataError(f"{one_line(path)}: has no pictures.")
    stream, durations = found["streams"][0], _durations(found.get("packets", []))
    rates = [stream.get(key, "0/0") for key in ("avg_frame_rate", "r_frame_rate")]
    rate = next((rate for rate in rates if not rate.startswith("0/") and not rate.endswith("/0")), "25/1")
    # Frames are made with square pixels, and no larger than they will be painted.
    fit = f"scale='if(gte(iw,ih),min(iw,{size}),-2)':'if(gte(iw,ih),-2,min(ih,{size}))':flags=lanczos"
    pixels = f"{_to_srgb(path, stream)}scale='trunc(iw*sar/2)*2':ih,setsar=1,{fit}"

    def write(*timing):
        for old in Path(folder).glob("*.png"):
            old.unlink()
        frames = ("-map", "0:v:0", "-vf", pixels, *timing, "-start_number", "1")
        _run(path, "ffmpeg", "-v", "error", "-nostdin", *_SOURCE, source, *frames, os.path.join(folder, "%06d.png"))
        return sorted(Path(folder).glob("*.png"), key=lambda frame: int(frame.stem))

    frames = write("-fps_mode", "passthrough") if durations else []
    if len(frames) != len(durations) or not frames:  # times without a frame, or the reverse: take frames at one rate
        frames, durations = write("-r", rate), ()
    if not frames:
        raise DataError(f"{one_line(path)}: has no pictures.")
    return frames, rate, durations


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


def _to_srgb(path, stream):
    """ffmpeg's filters, each followed by a comma, that bring an HDR film to sRGB as `kstyle.pictures.spaces` brings
    pictures."""
    curve = _HDR.get(stream.get("color_transfer"))
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
    suffix, sound = film.path.suffix.lower(), ("-c:a", "copy") if film.suffix == film.path.suffix.lower() else ()
    source = (*_SOURCE, os.path.abspath(film.path), "-map", "0:v:0", "-map", "1:a?")
    _write(pictures, target, film.frames[0].parent, suffix, film.rate, film.durations, source, sound)


def make(pictures, target, rate):
    """Writes a video of pictures, as `kstyle.pictures.films.files.make`. ffmpeg must be there (`need_ffmpeg`)."""
    with scratch.folder() as folder:
        _write(pictures, target, folder, Path(target).suffix.lower(), f"{rate:g}")


def _write(pictures, target, folder, suffix, rate, durations=(), source=(), sound=()):
    """Writes a video in the format of `suffix`.

    Args:
        pictures, target: as for `kstyle.pictures.films.files.join`.
        folder: one that is removed soon.
        rate, durations: as of a `kstyle.pictures.films.files.Film`.
        source, sound: ffmpeg's arguments of the film whose sound this one gets, and of what becomes of the sound.
    """
    _, form, encoder = FILMS[suffix]
    # ffmpeg reads files numbered without gaps.
    row = Path(folder, "painted")
    row.mkdir()
    for number, path in enumerate(pictures, 1):
        linked = row / f"{number:06d}{Path(path).suffix}"
        try:
            os.link(path, linked)
        except OSError:  # another file system
            shutil.copyfile(path, linked)
    # yuv420p has even sides only. And the file says how colours are coded, which players would guess otherwise.
    shape = "crop=trunc(iw/2)*2:trunc(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv"
    colours = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    suffix = Path(pictures[0]).suffix
    if durations:
        shown, timing = _listed(row, suffix, durations), ("-fps_mode", "passthrough")
    else:
        shown, timing = ("-framerate", rate, "-start_number", "1", "-i", str(row / f"%06d{suffix}")), ()
    with files.replacing(target) as beside:
        _run(
            target, "ffmpeg", "-v", "error", "-nostdin", "-y", *shown, *source,
            "-vf", shape, *timing, *encoder, *colours, *sound, "-f", form, os.path.abspath(beside),
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
    if done.returncode:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        reason = files.plain(said[-1], 200).rstrip(".") if said else f"exit code {done.returncode}"
        raise DataError(f"{one_line(path)}: {command[0]} failed ({reason}).")
    return done.stdout.decode("utf-8", "replace")
