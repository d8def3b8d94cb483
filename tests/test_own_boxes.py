"""Boxes in a table of one's own: read, cut with their pictures, learnt."""

import json

import boxed
import numpy as np
import pytest
from PIL import Image

import kstyle
from kstyle.data.batches import decode
from kstyle.data.photos import tree
from kstyle.errors import DataError, UsageError

SIDES = {"wide": (120, 60), "high": (50, 90), "square": (64, 64)}
BOXES = {"wide": (30, 12, 84, 50), "high": (8, 20, 40, 70), "square": (10, 16, 50, 44)}


def write(folder, names=tuple(SIDES), rows=(), header="file,x1,y1,x2,y2,label,split"):
    """Pictures with a white rectangle on black, and their table."""
    folder.mkdir(exist_ok=True)
    lines = [header]
    for name in names:
        width, height = SIDES[name]
        left, top, right, bottom = BOXES[name]
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[top:bottom, left:right] = 255
        turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)  # shown turned back, as EXIF says
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.save(folder / f"{name}.png", exif=exif)
        lines.append(f"{name}.png,{left},{top},{right},{bottom},{'a' if name == 'wide' else 'b'},train")
        lines.append(f"{name}.png,{left},{top},{right},{bottom},{'a' if name == 'wide' else 'b'},test")
    (folder / "boxes.csv").write_text("\n".join([*lines, *rows]))
    return folder / "boxes.csv"


def bright(picture):
    """The outer edges of what is white, in parts of the sides."""
    height, width = picture.shape[:2]
    rows, columns = (np.nonzero(picture[..., 0].max(axis) > 127)[0] for axis in (1, 0))
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])


@pytest.mark.parametrize("crop", ["center", "random"])
@pytest.mark.parametrize("workers", [0, 1])
def test_boxes_are_cut_with_their_pictures(tmp_path, monkeypatch, crop, workers):
    """Failure: a box lies beside the thing, in a picture that was cut, resized or turned by its EXIF tag."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    photos = tree.read_csv(write(tmp_path / "data"), boxes=True).train
    options = {"side": 96, "resize": 128, "crop": crop, "scale": (0.5, 1.0), "workers": workers}
    seen = 0
    with decode.FileBatches(photos, 2, 3, **options) as batches:
        for epoch in range(4):
            for images, labels in batches(epoch):
                assert labels.shape == (len(images), 5) and labels.dtype == np.float32
                for picture, (_, *box) in zip(images, labels):
                    assert np.abs(bright(picture) - box).max() < 1.6 / 96
                    seen += 1
    assert seen == 12
    split = decode.decode(photos, 96, 128, workers)
    assert all(
        np.abs(bright(picture) * 96 - box - [0, 0, 1, 1]).max() < 1.6 for picture, box in zip(split.images, split.boxes)
    )


def test_a_picture_that_fails_takes_its_box_along(tmp_path, monkeypatch):
    """Failure: in place of a file that is gone another picture is learnt with the first one's box."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    photos = tree.read_csv(write(tmp_path / "data"), boxes=True).train
    (tmp_path / "data/square.png").unlink()  # "high" is of its class
    with decode.FileBatches(photos, 3, 0, side=64, resize=64, crop="center", workers=0) as batches:
        images, labels = next(batches(0))
    assert len(images) == 3
    assert all(np.abs(bright(picture) - box).max() < 1.6 / 64 for picture, (_, *box) in zip(images, labels))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("wide.png,9,9,5,20,a,train", "line 8: expected a box x1, y1, x2, y2"),
        ("wide.png,9,9,,20,a,train", "line 8: expected a box x1, y1, x2, y2"),
        ("wide.png,1,2,3,4,a,train", "line 8: .*wide.png has another box already"),
    ],
)
def test_what_a_table_must_say(tmp_path, row, said):
    """Failure: a mistake in a table is learnt, or its line is not named."""
    with pytest.raises(DataError, match=said):
        tree.read_csv(write(tmp_path / "data", rows=[row]), boxes=True)


def test_a_table_without_boxes(tmp_path):
    """Failure: what a recipe asks for and the table lacks is not said."""
    header = "file,a1,b1,a2,b2,label,split"
    table = write(tmp_path / "data", header=header)
    assert tree.read_csv(table, boxes=True).train.boxes is None
    overrides = {"boxes": True, "model": "mnist_cnn", "data": {"name": "csv", "normalize": "unit"}}
    with pytest.raises(UsageError, match="csv by its columns x1, y1, x2, y2"):
        kstyle.train("folder", table, overrides=overrides)


def test_a_training_on_a_table_tells_boxes(tmp_path, monkeypatch):
    """Failure: the head learns nothing of a table's boxes, or its scores are of others."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    made = boxed.write(tmp_path / "tiny")
    lines = ["file,left,top,right,bottom,label,split"]
    for wnid in boxed.COLOURS:
        for number, (left, top, right, bottom) in enumerate(boxed.PLACES):
            for part, folder in (("train", f"train/{wnid}/images"), ("val", "val/images")):
                row = (f"{folder}/{wnid}_{number}.JPEG", left, top, right + 1, bottom + 1, wnid, part)
                lines.append(",".join(map(str, row)))
    (made / "all.csv").write_text("\n".join(lines))
    photographs = {"size": 32, "resize": 32, "crop": "center", "workers": 0}
    recipe = {
        "model": "mnist_cnn", "data": {"name": "csv", "normalize": "unit", "photographs": photographs},
        "boxes": {"width": 64}, "optimizer": {"name": "adam", "learning_rate": 0.003}, "epochs": 40, "batch": 8,
    }  # fmt: skip
    run = kstyle.train(recipe, made / "all.csv", tmp_path / "run")
    assert run.scores.boxes["iou"] > 0.75 and run.scores.boxes["mean_box"]["iou"] < 0.6 and run.scores.top1 == 1
    sides = np.array([[left, top, right + 1, bottom + 1] for left, top, right, bottom in boxed.PLACES]) / 64
    mean = json.loads((run.folder / "run.json").read_text())["boxes"]["mean"]
    assert np.allclose(mean, sides.mean(axis=0), atol=1e-6)
    (seen,) = kstyle.predict(run.folder, [made / "val/images/n00000001_0.JPEG"])
    assert np.abs(np.array(seen["box"]) - sides[0] * 64).max() < 5
    again = kstyle.evaluate(run.folder, made / "all.csv")
    assert again.boxes == run.scores.boxes
    # A box told of a picture that is stretched is one of the whole picture.
    facts = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(facts | {"resize": "stretch"}))
    wide = Image.open(made / "val/images/n00000001_0.JPEG").resize((128, 64))
    (stretched,) = kstyle.predict(run.folder, [np.asarray(wide)])
    assert np.abs(np.array(stretched["box"]) - sides[0] * [128, 64, 128, 64]).max() < 10
    # Features that are computed once, in two views, keep their boxes too.
    stages = {"epochs": None, "stages": [{"train": "head", "epochs": 2, "views": 2}], "augment.horizontal_flip": True}
    assert "iou" in kstyle.train(recipe, made / "all.csv", tmp_path / "views", overrides=stages).history
