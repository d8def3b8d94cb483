"""One list of what a picture is and one walk for every command that is given a folder."""

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from kstyle.cli.style.compare import compare
from kstyle.data.photos import tree as photos
from kstyle.errors import DataError
from kstyle.pictures import folders
from kstyle.style.jobs import contents as collecting


def save(path, form="PNG", side=8):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (200, 90, 10)).save(path, form)


# Every one a picture in a format that Pillow reads, as people's folders have them.
TAKEN = (
    "a.jfif",
    "b.JPE",
    "c.jp2",
    "d.tga",
    "e.Tiff",
    "f.pnm",
    "g",
    "h.0815",
    "line\nbreak.png",
    "-i.png",
    "deep/j.gif",
)
LEFT = (
    ".hidden.png",
    "._a.png",
    ".ipynb_checkpoints/a.png",
    "__MACOSX/b.png",
    "deep/@eaDir/c.png",
    "d.thm",
    "e.png.part",
)
FORMS = {
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jp2": "JPEG2000",
    ".tga": "TGA",
    ".tiff": "TIFF",
    ".pnm": "PPM",
    ".gif": "GIF",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """`class/`: what is a picture, what is none, and what hangs or ends a program that opens it."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set/class"
    for name in TAKEN + LEFT:
        save(root / name, FORMS.get(Path(name).suffix.lower(), "PNG"))
    (root / "notes").write_text("P1 is how this begins, and a portable bitmap does too")
    (root / "raw.nef").write_bytes(b"II*\0" + bytes(40))
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    (root / "itself").symlink_to("itself")
    (root / "nothing.png").symlink_to("gone.png")
    (root / "up").symlink_to(root.parent)
    (root / "again").symlink_to(root / "deep")
    save(tmp_path / "elsewhere/k.png")
    (tmp_path / "elsewhere/back").symlink_to(root)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    yield root


def test_every_command_finds_the_same_pictures(tree, monkeypatch):
    """Failure: predict skips what train reads, batch reads previews, or a link to itself or a pipe ends or hangs it."""
    expected = {*TAKEN, "linked/k.png"}
    found = folders.pictures(tree)
    assert {os.path.relpath(picture.path, tree) for picture in found.pictures} == expected
    contents, left = collecting.survey(tree, recursive=True)
    assert {os.path.relpath(content.path, tree) for content in contents if not content.error} == expected
    assert [content.path.name for content in contents if content.error] == ["nothing.png"]
    trained = photos.read_folder(tree.parent, workers=0)
    taken = [*trained.train.paths, *trained.test.paths]
    assert {os.path.relpath(path, tree) for path in taken} == expected and len(taken) == len(expected)
    # What is left out is the same, and each says why.
    kinds = {os.path.relpath(each.path, tree): each.kind for each in found.left}
    assert kinds == {
        ".hidden.png": "hidden file", "._a.png": "hidden file", ".ipynb_checkpoints": "hidden folder",
        "__MACOSX": "hidden folder", "deep/@eaDir": "hidden folder", "d.thm": "name", "e.png.part": "name",
        "notes": "content", "raw.nef": "content", "pipe.png": "special", "pipe": "special", "itself": "link",
        "nothing.png": "link", "up": "again", "again": "again", "linked/back": "again",
    }  # fmt: skip
    assert all(each.why for each in found.left) and [e.path for e in found.left if e.fault] == [
        str(tree / "nothing.png")
    ]
    assert len(left) == len(found.left) - 1


def test_a_socket_and_a_folder_called_a_picture(tmp_path, monkeypatch):
    """Failure: a folder `x.png` is opened as a file, or a socket ends the search."""
    monkeypatch.chdir(tmp_path)
    save("a.png/b.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("c.png")
        found = folders.pictures(".")
    assert [picture.path for picture in found.pictures] == ["./a.png/b.png"]
    assert [(left.path, left.kind) for left in found.left] == [("./c.png", "special")]


def test_each_file_once_and_what_is_named_whatever_its_name(tmp_path, monkeypatch):
    """Failure: a picture is painted twice, or one that the user named is left out for its name."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/sub/a.png", "in/.own.png"):
        save(name)
    found = folders.pictures(["in", "in/b.png", "in/.own.png", "gone.txt"], recursive=False)
    assert [(p.path, p.folder) for p in found.pictures] == [
        ("in/b.png", "in"), ("in/.own.png", None), ("gone.txt", None)
    ]  # fmt: skip
    assert found.left == ()
    skipping = folders.pictures("in", skip=["in/sub"])
    assert [p.path for p in skipping.pictures] == ["in/b.png"]


def test_compare_takes_a_folder_for_its_pictures(tmp_path, monkeypatch):
    """Failure: the results of a batch have to be named one by one, or a preview beside them gets a column."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.jfif", "in/more/a.png", "in/._b.jfif", "in/.cache/c.png"):
        save(name, "PNG", 40)
    done = CliRunner().invoke(compare, ["in", "in/b.jfif", "--json"], catch_exceptions=False)
    assert list(json.loads(done.stdout)["pictures"]) == ["in/b.jfif", "a.png", "b.jfif (2)"]
    (tmp_path / "in/gone.png").symlink_to("nothing.png")
    with pytest.raises(DataError, match=r"in/gone\.png: is a link to nothing\."):
        CliRunner().invoke(compare, ["in"], catch_exceptions=False)
