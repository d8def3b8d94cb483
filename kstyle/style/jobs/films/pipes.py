"""Films through pipes: ffmpeg decodes frames, another makes a film of them, and between the two they are painted, all
three at the same time. No frame is a file."""

import concurrent.futures
import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from kstyle.errors import DataError
from kstyle.io import files
from kstyle.io.files import one_line
from kstyle.pictures.films import video


def painted(path, seen, size, paint, target, together=1):
    """Paints a film whose frames have one rate: a generator of how many frames were painted, after each few of them.

    While some are painted those after them are decoded, and those before them encoded.

    Args:
        path: of the film.
        seen: the `kstyle.pictures.films.video.Seen` of it.
        size: long side in pixels of the frames.
        paint: takes (B, H, W, 3) uint8, sRGB, and gives the same of the painting.
        target: path of the painted film, in the format of `path`, with its sound. It is written once it is complete;
            whatever ends the generator before leaves what was there.
        together: frames that are painted at once, the B above.

    Raises:
        DataError: the film cannot be read, or written.
    """
    path = Path(path)
    pixels = video.filters(path, seen, size, size)
    decode = ("-nostdin", *video.SOURCE, os.path.abspath(path), "-map", "0:v:0", "-vf", pixels, "-r", seen.rate)
    with (
        files.replacing(target) as beside,
        concurrent.futures.ThreadPoolExecutor(2) as threads,
        contextlib.ExitStack() as running,  # programs are ended first, so that no thread waits for one
    ):
        decoder = running.enter_context(_Program(path, *decode, "-f", "image2pipe", "-c:v", "ppm", "pipe:1"))
        encoder, writing = None, None
        reading = threads.submit(_frames, decoder.output, together)
        while (frames := reading.result()) is not None:
            reading = threads.submit(_frames, decoder.output, together)
            done = paint(frames)
            if encoder is None:
                height, width = done.shape[1:3]
                raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", seen.rate)
                quick = video.QUICK[video.FILMS[path.suffix.lower()][2][1]]
                arguments = video.encoding(path.suffix.lower(), (*raw, "-i", "pipe:0"), beside, quick, path)
                encoder = running.enter_context(_Program(target, *arguments))
            else:
                writing.result()
            writing = threads.submit(encoder.put, np.ascontiguousarray(done))
            yield len(frames)
        decoder.finish()
        if encoder is None:
            raise DataError(f"{one_line(path)}: has no pictures.")
        writing.result()
        encoder.finish()


class _Program:
    """`with _Program(path, *arguments) as it:` ffmpeg, ended at the end whatever it does. `path` is of the film that it
    reads or writes, for errors; `it.output` is its standard output, `it.put(array)` writes to its input."""

    def __init__(self, path, *arguments):
        self._path, self._arguments = path, arguments

    def __enter__(self):
        # Errors go to a file: a pipe that nobody reads would fill. Ctrl-C is for this process, which ends the others.
        self._errors = tempfile.TemporaryFile()
        command, pipe = ("ffmpeg", "-v", "error", *self._arguments), subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._errors, start_new_session=True)
        self.output = self._process.stdout
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # what was not written yet
            self._process.stdin.close()
        self.output.close()
        self._errors.close()

    def put(self, array):
        try:
            self._process.stdin.write(array)
        except BrokenPipeError:
            self.finish()
            raise

    def finish(self):
        """Waits for its end. DataError: it failed, with what it said."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        self._errors.seek(0)
        video.check(self._path, "ffmpeg", code, self._errors.read())


def _frames(stream, most):
    """The next frames, (B, H, W, 3) uint8, of a row of PPM pictures, which are bytes after a head; None: there are no
    more."""
    found = []
    while len(found) < most and stream.readline() == b"P6\n":
        width, height = map(int, stream.readline().split())
        stream.readline()  # 255
        frame = np.empty((height, width, 3), np.uint8)
        if stream.readinto(memoryview(frame).cast("B")) < frame.size:
            break  # cut short: ffmpeg says why
        found.append(frame)
    return np.stack(found) if found else None
