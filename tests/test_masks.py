"""Masks as programs save them, styles of which nothing is seen, and opacity on its way into every file."""

import numpy as np
import pytest
from batches import STYLE
from PIL import Image

import kstyle
from kstyle import cli
from kstyle.errors import DataError
from kstyle.pictures import images
from kstyle.style.passes import regions

CONTENT = images.Picture(np.full((20, 30, 3), 0.5, "float32"), name="content")


def layer(colour, clear=0):
    """RGBA: the left half of this colour, the right half clear, whatever is under it."""
    values = np.full((20, 30, 4), (*colour, 255), "uint8")
    values[:, 15:] = (clear, clear, clear, 0)
    return values


@pytest.mark.parametrize("clear", [0, 255])
@pytest.mark.parametrize("kind", ["array", "png", "webp", "grey"])
def test_white_on_nothing(tmp_path, clear, kind):
    """Failure: a mask drawn on a layer of its own does nothing: the whole picture gets the style."""
    source = layer((255, 255, 255), clear)
    if kind != "array":
        path = tmp_path / f"mask.{kind.replace('grey', 'png')}"
        image = Image.fromarray(source).convert("LA") if kind == "grey" else Image.fromarray(source)
        image.save(path, **({"lossless": True} if kind == "webp" else {}))
        source = path
    (mask,) = regions.read([source], [CONTENT], "content")
    assert (mask[:, :15] == 1).all() and (mask[:, 15:] == 0).all()


def test_masks_of_labels(caplog):
    """Failure: a mask of 0 and 1 paints next to nothing, and nobody says why."""
    labels = np.zeros((20, 30), "uint8")
    labels[:, :15] = 1
    deep = labels.astype("uint16")
    coloured = np.dstack([labels] * 3)
    for source, times in ((labels, 255), (labels * 3, 85), (deep, 65535), (deep * 257, 255), (coloured, 255)):
        with pytest.raises(DataError, match=f"multiplied by {times}"):
            regions.read([source], [CONTENT], "content")
    for source in (labels * 255, labels.astype(bool), labels.astype("float32")):
        regions.read([source], [CONTENT], "content")
    assert not caplog.records
    regions.read([labels * 100], [CONTENT], "content")
    assert "nowhere brighter than 100 of 255" in caplog.text
    for source in (labels * 0, layer((0, 0, 0))):
        with pytest.raises(DataError, match="black everywhere"):
            regions.read([source], [CONTENT], "content")


def test_a_style_of_which_nothing_is_seen(run, place):
    """Failure: a wholly transparent style gives NaN, exit code 0 and a picture of nothing."""
    clear = np.zeros((20, 20, 4), "uint8")
    with pytest.raises(DataError, match="transparent everywhere"):
        kstyle.stylize(CONTENT, [images.read(STYLE), clear], preset=str(place / "shallow.yaml"), size=32, steps=1)
    Image.fromarray(clear).save("clear.png")
    Image.new("RGB", (30, 20), "red").save("a.png")
    code, _, errors = run("a.png", "--style", "clear.png")
    assert code == 2 and "clear.png is transparent everywhere" in errors


def test_snapshots_keep_the_opacity(place, capsys):
    """Failure: --save-every writes opaque pictures of a content that is cut out."""
    Image.fromarray(layer((200, 80, 40))).save("cut.png")
    options = ["-p", str(place / "shallow.yaml"), "--size", "32", "--steps", "2", "--save-every", "1", "-q"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["stylize", "cut.png", STYLE, "-o", "out.png", *options])
    assert not ended.value.code
    for name in ("out-step0001.png", "out-step0002.png", "out.png"):
        with Image.open(name) as image:
            assert image.mode == "RGBA", name
            alpha = np.asarray(image)[..., 3]
            assert alpha[:, :12].min() > 250 and alpha[:, 20:].max() < 5
