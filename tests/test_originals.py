"""Nothing that is read, or that somebody else put there, is replaced; and what a folder holds is told."""

import json
import os
from pathlib import Path

import pytest
from batches import STYLE, picture
from PIL import Image

from kstyle.errors import UsageError
from kstyle.io import locks
from kstyle.style.jobs import batch


@pytest.fixture
def kstyle(place, command):
    """`kstyle("stylize", …)` -> (exit code, stdout, stderr), small."""

    def kstyle(name, *arguments):
        options = ["-p", str(place / "shallow.yaml"), "--size", "32", "--steps", "1", "-q"]
        return command(name, *arguments, *options)

    return kstyle


@pytest.mark.parametrize("name", ["a.png", "./a.png", "linked.png", "hard.png", "b.png", "m.png"])
def test_an_input_is_not_replaced(kstyle, name):
    """Failure: `-o` that is the photograph, the style or a mask destroys the only copy of it."""
    for number, path in enumerate(("a.png", "b.png", "m.png")):
        picture(path, seed=number)
    Image.new("L", (36, 28), "white").save("m.png")
    os.symlink("a.png", "linked.png")
    os.link("a.png", "hard.png")
    before = {path: Path(path).read_bytes() for path in ("a.png", "b.png", "m.png")}
    code, out, errors = kstyle("stylize", "a.png", "b.png", "--mask", "m.png", "-o", name)
    assert (code, out, errors.count("\n")) == (2, "", 1) and "would be replaced" in errors
    assert before == {path: Path(path).read_bytes() for path in before}


def test_what_was_begun_from_may_be_replaced(kstyle):
    """Failure: `--init x.png -o x.png`, to paint a picture further, is refused."""
    for number, path in enumerate(("a.png", "b.png", "x.png")):
        picture(path, seed=number)
    before = Path("x.png").read_bytes()
    assert kstyle("stylize", "a.png", "b.png", "--init", "x.png", "-o", "x.png")[0] == 0
    assert Path("x.png").read_bytes() != before


@pytest.mark.parametrize("name", ["index.html", "index.csv", "index-pictures/001.png", "index.png"])
def test_a_sweep_beside_a_strangers_files(kstyle, name):
    """Failure: `sweep -o index.png` replaces somebody's home page, table or pictures."""
    picture("a.png")
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"<h1>mine</h1>")
    content = name if name == "index.png" else "a.png"
    if content == name:
        picture("index.png", seed=3)
    before = Path(name).read_bytes()
    code, _, errors = kstyle("sweep", content, STYLE, "-o", "index.png", "--vary", "seed=1")
    assert code == 2 and errors.count("\n") == 1 and "would be replaced" in errors
    assert Path(name).read_bytes() == before


def test_a_sweep_again(kstyle):
    """Failure: a sweep cannot be made a second time under its own name."""
    picture("a.png")
    for _ in range(2):
        assert kstyle("sweep", "a.png", STYLE, "-o", "index.png", "--vary", "seed=1")[0] == 0


def test_a_batch_leaves_other_peoples_files(run):
    """Failure: hidden .part files of a download, or of a painting in work, vanish from a folder of results."""
    picture("a.png")
    Path("out").mkdir()
    others = [".film.mp4.part", ".b.png.77.88.part", ".a.png.part", ".a.png.x.y.part"]
    own = [".a.png.123.456.part", ".batch.json.123.456.part"]
    for name in others + own:
        Path("out", name).touch()
    assert run("a.png")[0] == 0
    hidden = {path.name for path in Path("out").glob(".*.part")}
    assert hidden == set(others)


def test_two_batches_in_one_folder(run, painter):
    """Failure: two runs write one record, and half of what was painted is painted again."""
    picture("a.png")
    Path("out").mkdir()
    with locks.held("out", "painting pictures"):
        code, _, errors = run("a.png")
        assert code == 2 and "is in use (painting pictures, by process" in errors
    outcomes = batch.stylize_all(painter, ["a.png"], "out", 32, 1)
    with pytest.raises(UsageError, match="in use"):
        batch.stylize_all(painter, ["a.png"], "out", 32, 1)
    outcomes.close()  # even if not begun
    assert run("a.png")[0] == 0


def test_what_is_left_out_is_told(run):
    """Failure: a folder of 200 pictures gives 150, and nobody knows which were not taken."""
    picture("in/a.png")
    Image.open("in/a.png").convert("RGB").save("in/b.jpe", "JPEG")
    for name in ("c.CR2", "notes.txt", ".hidden.png"):
        Path("in", name).write_bytes(b"no picture")
    os.mkfifo("in/pipe.png")
    code, out, _ = run("in", "--json")
    found = json.loads(out)
    assert (code, found["done"]) == (0, 2)
    assert sorted(Path(each["file"]).name for each in found["left_out"]) == ["c.CR2", "notes.txt", "pipe.png"]
    _, _, errors = run("in")
    assert "left out, 3 that are no pictures: c.CR2 (" in errors
