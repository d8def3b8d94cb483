"""Names of files: as long, as odd and as foreign as file systems allow."""

import csv
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from batches import STYLE, picture

from kstyle.errors import DataError
from kstyle.io import files
from kstyle.pictures import images


@pytest.fixture
def kstyle(place, command):
    """`kstyle("stylize", …)` -> (exit code, stdout, stderr), small."""

    def kstyle(name, *arguments, size=32, steps=1):
        options = ["-p", str(place / "shallow.yaml"), "--size", str(size), "--steps", str(steps)]
        return command(name, *options, *arguments)

    return kstyle


@pytest.mark.parametrize("character", ["a", "é", "会", "🎨", "e\u0301"])
def test_names_are_cut_by_bytes(kstyle, character):
    """Failure: a picture called by 80 characters of three bytes cannot be painted, or its snapshots end the run."""
    stem = (character * 255).encode()[:250].decode("utf-8", "ignore")
    picture(f"{stem}.png")
    assert kstyle("stylize", f"{stem}.png", STYLE, "-q") == (0, "", "")
    code, printed, errors = kstyle("stylize", STYLE, STYLE, "-o", f"b{stem}.png", "--save-every", "1", "-q")
    assert (code, printed, errors) == (0, "", "")
    made = [path.name for path in Path().iterdir()]
    assert len(made) == 4 and all(len(os.fsencode(name)) <= 255 for name in made)
    assert sum(name.endswith("-step0001.png") for name in made) == 1
    assert next(path for path in files.free_names(f"{stem}.png") if path.name not in made).name.endswith("-2.png")


def test_a_name_too_long_is_told_before_the_painting():
    """Failure: the painting is done and there is no file it could be."""
    with pytest.raises(DataError, match="long"):
        images.check_target("会" * 100 + ".png")


ODD = [b"caf\xe9", b"-x", b"new\nline", b"blank ", b"it's", "会".encode()]


def test_a_sweep_of_odd_names(kstyle):
    """Failure: the sweep crashes as it writes its page, or the commands that it prints take a name for an option."""
    for name in ODD:
        name = os.fsdecode(name)
        picture(f"{name}.png")
        code, _, errors = kstyle("sweep", "-o", "s.png", "--vary", "seed=1", "-q", "--", f"{name}.png", STYLE)
        assert (code, errors) == (0, "")
        with open("s.csv", newline="", encoding="utf-8") as stream:
            command = next(csv.DictReader(stream))["command"]
        assert command.isprintable() and "-x.png" not in shlex.split(command)
        if bash := shutil.which("bash"):
            words = command.removeprefix("kstyle stylize ")
            said = subprocess.run([bash, "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
            assert os.path.normpath(said.split(b"\0")[0]) == os.fsencode(f"{name}.png")
        assert Path("s.html").read_text("utf-8").count("kstyle stylize ") == 1


def test_words_of_a_command():
    """Failure: the line does another thing in a shell than the words say."""
    from kstyle.io import names

    assert names.command(["kstyle", "a b", "x"]) == shlex.join(["kstyle", "a b", "x"])
    assert names.command([os.fsdecode(b"\xe9'1\\")]) == r"$'\351\'1\\'"
    assert [names.argument(path) for path in ("-x.png", "a/-x.png", "-")] == ["./-x.png", "a/-x.png", "-"]
