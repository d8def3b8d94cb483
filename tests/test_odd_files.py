"""Pictures as strangers have them, given to a run: clear backgrounds, names of no encoding, a pixel high."""

import csv
import io
import json
import os
import sys
from types import SimpleNamespace

import click
import numpy as np
import pytest
from PIL import Image

from kstyle import cli
from kstyle.data.batches import opening
from kstyle.data.photos import tree as photos
from kstyle.io import files
from kstyle.training.results import evaluate, plots


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run("a.png")` -> (exit code, stdout, stderr) of `kstyle predict` by a run that answers without a network."""
    facts = {"shape": [8, 8, 1], "classes": ["dark", "light"]}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluate, "load", lambda folder: (None, facts, SimpleNamespace(layers=[]), None))

    def brightness(pictures):
        light = pictures.mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - light, light], axis=1)

    monkeypatch.setattr(evaluate.steps, "Predictor", lambda *_, **__: brightness)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["predict", "run", *arguments])
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def drawn(mode):
    """A black stroke of half the width; the rest is clear, and black where no one sees it."""
    alpha = Image.new("L", (16, 16), 0)
    alpha.paste(255, (0, 0, 8, 16))
    if mode == "P":
        picture = Image.new("P", (16, 16), 1)
        picture.putpalette([0, 0, 0] * 2)
        picture.paste(0, (0, 0, 8, 16))
        picture.info["transparency"] = 1
        return picture
    picture = Image.new(mode.rstrip("A"), (16, 16), 0)
    picture.putalpha(alpha)
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("facts", [{"shape": (8, 8, 1)}, {"shape": (8, 8, 3)}, {"shape": (8, 8, 3), "resize": 8}])
def test_a_clear_picture_is_its_composite_on_white(tmp_path, mode, facts):
    """Failure: every drawing on a clear ground is a black square to a run on arrays, and another to one on files."""
    drawn(mode).save(tmp_path / "a.png")
    seen = evaluate.read(tmp_path / "a.png", facts)
    assert seen.shape == facts["shape"] and seen[:, 0].max() < 30 and seen[:, -1].min() > 225


def test_the_middle_of_a_very_long_picture(tmp_path, monkeypatch):
    """Failure: a file of 330 bytes takes a gigabyte, as all of it is made as high as its middle must be."""
    resize = Image.Image.resize

    def small(self, size, *args, **kwargs):
        assert size[0] * size[1] < 2**20
        return resize(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", small)
    for size in ((20000, 4), (1, 65000)):
        Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "a.png")
        assert (opening.centre(tmp_path / "a.png", 24, 32) == (10, 200, 30)).all()
        assert opening.middle(tmp_path / "a.png").shape == (min(size), min(size), 3)
    # What is cut before is what is cut after, to a rounding.
    values = np.random.default_rng(0).integers(0, 256, (20, 400, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "b.png")
    for turned in (0, 6):  # EXIF: as it is, and upright
        exif = Image.Exif()
        exif[0x0112] = turned
        Image.fromarray(values).save(tmp_path / "b.png", exif=exif)
        whole = opening.centre(tmp_path / "b.png", 24, 32).astype(int)
        with monkeypatch.context() as patched:
            patched.setattr(opening, "LONG", 1)
            assert np.abs(opening.centre(tmp_path / "b.png", 24, 32) - whole).max() <= 1


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are Unicode there")
def test_names_that_are_not_utf_8(run, tmp_path, monkeypatch):
    """Failure: a class folder from an old disk ends training, plots or the printing of what was predicted."""
    root = os.fsdecode(b"s\xe9t")
    for label in (b"caf\xe9", "thé".encode()):
        for number in range(3):
            path = os.path.join(root, os.fsdecode(label), os.fsdecode(b"p\xff%d.png" % number))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Image.new("L", (8, 8), 40 * number).save(path)
    os.symlink("loop", os.path.join(root, "loop"))
    found = photos.read_folder(root, workers=0)
    assert found.classes == ("caf\\xe9", "thé") and len(found.sha256) == 64
    assert [(os.path.basename(path), bool(why)) for path, why in found.skipped] == [("loop", True)]
    plots.confusion(evaluate.metrics.scores(np.eye(2), np.arange(2), found.classes).confusion, found.classes,
                    tmp_path / "confusion.png", title=root)  # fmt: skip
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict"))
    for form in ("--csv", "--json", "--top=1"):
        assert run(root, form)[0] == 0
    sys.stdout.seek(0)
    assert sys.stdout.read().count("p\\xff2.png") == 2 * 2 + 2


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp437", "cp932"])
def test_a_terminal_of_any_encoding(run, monkeypatch, encoding):
    """Failure: help, a table or a run's own name ends in an error of the encoding, after hours of training."""
    for arguments in (["train", "--help"], ["data", "list"], ["data", "check", "digits"]):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding, errors="strict"))
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code
        click.echo(os.fsdecode(b"r\xe9n: top-1 \xc3\x97"))
        sys.stdout.seek(0)
        assert "r\\udce9n" in sys.stdout.read()


def test_odd_names_each_have_a_line_of_their_own(run):
    """Failure: a newline in a name makes two rows of one, or an option is made of a name."""
    names = ["new\nline.png", "a;b,c.png", '"quoted".png', "-top.png"]
    for name in names:
        Image.new("L", (8, 8), 255).save(name)
    code, printed, _ = run(".", "--csv", "--top", "1")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert code == 0 and {row["path"] for row in rows} == {f"./{name}" for name in names}
    code, printed, _ = run(".")
    assert code == 0 and printed.count("\n") == len(names) and "./new line.png: light" in printed
    assert run("--", "-top.png")[0] == 0


def test_what_is_in_a_folder_and_cannot_be_read_is_said(run):
    """Failure: a link to nothing is passed over in silence, or ends the prediction of the rest."""
    os.mkdir("in")
    Image.new("L", (8, 8), 255).save("in/a.jfif", "JPEG")
    os.symlink("gone.png", "in/b.png")
    os.symlink("itself.png", "in/itself.png")
    os.mkfifo("in/c.png")
    code, printed, errors = run("in", "--json")
    found = json.loads(printed)
    assert code == 1 and [entry["path"] for entry in found] == ["in/a.jfif", "in/b.png", "in/itself.png"]
    assert errors.splitlines() == [
        "kstyle: in/b.png: is a link to nothing.",
        "kstyle: in/itself.png: is a link to itself.",
    ]


def test_legible():
    """Failure: a text that a file's name is made of cannot be written."""
    assert files.legible(os.fsdecode(b"caf\xe9 \xc3\xa9")) == "caf\\xe9 é" and files.legible("\ud800") == "\\ud800"
