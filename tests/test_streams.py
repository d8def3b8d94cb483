"""Pictures through pipes, and what is left of a command whose output nobody reads."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from batches import STYLE, picture
from PIL import Image

from kstyle import cli
from kstyle.data.batches import opening
from kstyle.errors import DataError
from kstyle.pictures import images

posix_only = pytest.mark.skipif(os.name != "posix", reason="pipes with names")


@pytest.fixture
def kstyle(place, monkeypatch, capsysbinary):
    """`kstyle("stylize", …, stdin=bytes)` -> (exit code, stdout, stderr), small."""

    def kstyle(command, *arguments, stdin=b"", steps=1):
        monkeypatch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
        options = ["-p", str(place / "shallow.yaml"), "--size", "32", "--steps", str(steps), "-q"]
        with pytest.raises(SystemExit) as ended:
            cli.main([command, *map(str, arguments), *options])
        out, errors = capsysbinary.readouterr()
        return (ended.value.code or 0, out, errors.decode())

    return kstyle


def pixels(source):
    with Image.open(source) as image:
        return np.asarray(image)


def test_a_picture_from_standard_input_and_to_standard_output(kstyle):
    """Failure: `curl … | kstyle stylize - style.jpg -o - > out.png` says that there is no file `-`."""
    raw = picture("a.png").read_bytes()
    assert kstyle("stylize", "a.png", STYLE, "-o", "b.png") == (0, b"", "")
    code, out, errors = kstyle("stylize", "-", STYLE, "-o", "-", stdin=raw)
    assert (code, errors) == (0, "") and out.startswith(b"\x89PNG")
    assert (pixels(io.BytesIO(out)) == pixels("b.png")).all()
    # As a style, a mask, and as both content and style.
    mask = ["--mask", "-", "--style-mask", "all"]
    assert kstyle("stylize", "a.png", STYLE, *mask, "-o", "c.png", stdin=raw) == (0, b"", "")
    assert kstyle("stylize", "-", "-", "-o", "d.png", stdin=raw) == (0, b"", "")
    assert kstyle("stylize", "-", STYLE, stdin=raw) == (0, b"", "") and Path("pipe-night.png").is_file()
    # A sweep reads its pictures for the painting and for the sheet.
    assert kstyle("sweep", "-", STYLE, "-o", "s.png", "--vary", "seed=1", stdin=raw) == (0, b"", "")


def test_a_picture_for_a_network_from_standard_input(place, monkeypatch):
    """Failure: `curl … | kstyle predict RUN -` says that there is no file `-`."""
    raw = picture("a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert (np.asarray(opening.open_rgb("-")) == pixels("a.png")).all()


@posix_only
def test_a_picture_from_a_pipe_with_a_name(kstyle):
    """Failure: `<(…)` is read twice, or looked for as a file that can be rewound."""
    raw = picture("a.png").read_bytes()
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(raw))
    writer.start()
    assert kstyle("sweep", "a.png", "pipe", "-o", "b.png", "--vary", "seed=1") == (0, b"", "")
    writer.join()


def test_what_standard_input_and_output_cannot_be(kstyle, monkeypatch):
    """Failure: a traceback, an endless wait, or JSON among the bytes of a picture."""
    raw = picture("a.png").read_bytes()
    for stdin, said in ((b"", "empty"), (b"no picture", "not a picture"), (None, "closed"), (raw[:90], "read|short")):
        code, out, errors = kstyle("stylize", "-", STYLE, "-o", "b.png", stdin=stdin)
        assert (code, out, errors.count("\n")) == (1, b"", 1) and any(s in errors for s in said.split("|")), errors
    for more in (["--json"], ["--save-every", "1"]):
        code, out, errors = kstyle("stylize", "a.png", STYLE, "-o", "-", *more)
        assert (code, out) == (2, b"") and "-o - is for the picture alone" in errors
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, errors = kstyle("stylize", "a.png", STYLE, "-o", "-")
    assert (code, out) == (2, b"") and "is a terminal" in errors
    assert [path.name for path in Path().iterdir()] == ["a.png"]


@posix_only
def test_a_stream_without_an_end(monkeypatch):
    """Failure: /dev/zero is read until the memory is full."""
    from kstyle.io import streams

    monkeypatch.setattr(streams, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        images.read("/dev/zero")


@posix_only
def test_nobody_reads_the_output(tmp_path):
    """Failure: `kstyle presets --json | true` ends with exit code 1 or 120, `>&-` with a traceback."""
    for arguments in (["presets", "--json"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-m", "kstyle", *arguments], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")
    closed = f'exec "{sys.executable}" -m kstyle presets >&-'
    done = subprocess.run(["sh", "-c", closed], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
