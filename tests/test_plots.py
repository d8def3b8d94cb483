"""Pictures of a training: what must be in them, and that nothing is half-written. How they look is for the eye."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kstyle.errors import DataError, UsageError
from kstyle.pictures.sheet import FRAMES, sheet
from kstyle.training.results import plots
from kstyle.training.results.plots import GREY, TRAIN, VALIDATION, confusion, curves


def history(epochs=6, validation=True):
    e = np.arange(1, epochs + 1)
    columns = {"epoch": e, "loss": 1 / e, "accuracy": 1 - 0.5 / e, "learning_rate": 0.1 ** (e // 3), "seconds": 1.0}
    if validation:
        columns |= {"val_loss": 1.2 / e, "val_accuracy": 0.9 - 0.5 / e}
    return pd.DataFrame(columns)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def share(path, colour):
    """Of the pixels, how many are about the colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if isinstance(colour, str) else colour
    return float((np.abs(pixels(path) - rgb).max(axis=2) < 12).mean())


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_curves_show_what_there_is(tmp_path):
    """Failure: a line is missing from the picture, or one is drawn for data that are not there."""
    for name, validation in (("both.png", True), ("alone.png", False)):
        curves(history(validation=validation), tmp_path / name)
        assert share(tmp_path / name, TRAIN) > 5e-4
        assert (share(tmp_path / name, VALIDATION) > 5e-4) == validation
    assert files(tmp_path) == ["alone.png", "both.png"]


def test_nothing_slow_or_global_is_imported(tmp_path):
    """Failure: reading a recipe takes the seconds that Keras or matplotlib takes, or a plot opens a window."""
    code = """if True:
        import sys
        from kstyle.pictures import sheet
        from kstyle.training.schedules import schedules
        from kstyle.training.results import metrics, plots
        slow = {"keras", "torch", "matplotlib", "sklearn"} & set(sys.modules)
        assert not slow, slow
        import pandas as pd
        one = pd.DataFrame({"epoch": [1], "loss": [1.0], "accuracy": [0.5], "learning_rate": [0.1]})
        plots.curves(one, sys.argv[1])
        late = {"keras", "torch", "matplotlib.pyplot"} & set(sys.modules)
        assert not late, late
    """
    subprocess.run([sys.executable, "-c", code, tmp_path / "c.png"], check=True)


def test_curves_of_odd_histories(tmp_path):
    """Failure: a run ends with a traceback, or warnings, because its first epoch diverged or was its only one."""
    diverged = history()
    diverged.loc[2:, ["loss", "val_loss"]] = np.nan
    diverged.loc[1, "val_loss"] = np.inf
    nothing = history().assign(loss=np.nan, val_loss=np.nan, val_accuracy=np.nan, learning_rate=0.0)
    for i, odd in enumerate((diverged, history(1), nothing, history().assign(learning_rate=0.0))):
        curves(odd, tmp_path / f"{i}.png", title=r"a $\frac$ in a name")
    # One epoch is a dot, as a line through it is invisible.
    assert share(tmp_path / "1.png", TRAIN) > 1e-4
    with pytest.raises(DataError, match="no columns accuracy"):
        curves(history().drop(columns="accuracy"), tmp_path / "x.png")
    with pytest.raises(DataError, match="no epochs"):
        curves(history()[:0], tmp_path / "x.png")


def test_the_rate_of_one_last_step_does_not_rule_the_panel(tmp_path):
    """Failure: a cosine by step, 1e-9 at its end, is a flat line above an empty panel of nine decades."""
    share = np.linspace(0.05, 1, 20)
    falling = history(20).assign(learning_rate=0.05 + 0.05 * np.cos(np.pi * share) + 1e-9)
    decades = history(20).assign(learning_rate=10.0 ** -np.arange(1, 21))
    for name, rows in (("falling", falling), ("decades", decades)):
        curves(rows, tmp_path / f"{name}.png", title="")
        grey = np.abs(pixels(tmp_path / f"{name}.png") - int(GREY[1:3], 16)).max(axis=2) < 12
        # A rate is drawn as a line through its epoch; what else is that grey are the edges of letters.
        level = [y for y, row in enumerate(grey) if "1" * 20 in "".join(map(str, row.astype(int)))]
        steps = np.diff(level)
        assert max(level) - min(level) > 150, name
        assert (steps > 2).sum() >= 12, name


def test_an_old_picture_stays_until_the_new_one_is_whole(tmp_path):
    """Failure: a full disk or a bad name leaves half a picture, or a stray file in the run's folder."""
    curves(history(), tmp_path / "curves.png")
    before = (tmp_path / "curves.png").read_bytes()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: cannot be written"):
        curves(history(), tmp_path / "folder.png")
    with pytest.raises(DataError, match=r"ends in \.png"):
        curves(history(), tmp_path / "curves.gif")
    with pytest.raises(DataError, match="cannot be written"):
        sheet([(np.zeros((8, 8, 3), "uint8"), [], None)], tmp_path / "folder.png")
    assert files(tmp_path) == ["curves.png", "folder.png"]
    assert (tmp_path / "curves.png").read_bytes() == before


def test_confusion_rows_are_shares(tmp_path):
    """Failure: a class of many pictures looks better than one of few, or rows and columns are swapped."""
    # Both classes half right; all mistakes of the first row fall to the second column.
    matrix = np.array([[0, 1000, 0], [0, 5, 5], [0, 0, 0]])
    confusion(matrix, ["a", "b", "none of these"], tmp_path / "c.png", title="")
    dark, half = (8, 48, 107), (107, 174, 214)
    cells = {name: np.abs(pixels(tmp_path / "c.png") - c).max(axis=2) < 12 for name, c in (("1", dark), ("half", half))}
    # The colour bar on the right has all colours; the cells are the long runs.
    rows = {name: np.flatnonzero(mask.sum(axis=1) > 80) for name, mask in cells.items()}
    columns = {name: np.flatnonzero(mask.sum(axis=0) > 80) for name, mask in cells.items()}
    assert rows["1"].max() < rows["half"].min()
    assert np.median(columns["1"]) < np.median(columns["half"])
    assert len(columns["half"]) > 1.8 * len(columns["1"])


def test_confusion_at_every_size(tmp_path):
    """Failure: a hundred labels overlap, or a name in Chinese or with a dollar stops the evaluation."""
    for count in (1, 2, 120):
        names = [r"$\frac$ 中文 " + "x" * (i % 40) for i in range(count)]
        confusion(np.eye(count, dtype=int), names, tmp_path / f"{count}.png")
    height, width, _ = pixels(tmp_path / "120.png").shape
    # A label of 6.5 points is 14 pixels high at 150 dots per inch.
    assert min(height, width) > 120 * 14
    with pytest.raises(DataError, match="matrix of 3 × 3"):
        confusion(np.eye(2, dtype=int), ["a", "b", "c"], tmp_path / "x.png")


def test_confusion_of_very_many_classes(tmp_path, monkeypatch):
    """Failure: a thousand classes make a picture of 400 megapixels, which fills the memory and opens nowhere."""
    monkeypatch.setattr(plots, "NAMED", 24)
    shapes = []
    for count in (24, 480):
        matrix = np.eye(count, dtype=int)
        matrix[count // 2 :, 0] = 20
        confusion(matrix, [f"{i:03d}" for i in range(count)], tmp_path / f"{count}.png", title="")
        found = pixels(tmp_path / f"{count}.png")
        shapes.append(found.shape)
        # One column of 480, a pixel wide, still shows in the lower half, and only there.
        blue = (found[..., 2] - found[..., 0] > 40) & (found[..., 0] < 200)
        column = blue[:, : found.shape[1] // 4].any(axis=1)
        upper, lower = (
            column[int(a * len(column)) : int(b * len(column))].mean() for a, b in ((0.3, 0.4), (0.6, 0.75))
        )
        assert upper.mean() < 0.1 and lower.mean() > 0.9, count
    assert np.allclose(shapes[0], shapes[1], rtol=0.1)


def test_small_pictures_are_enlarged_without_blur(tmp_path):
    """Failure: a digit of 28 pixels is a blot."""
    picture = np.zeros((28, 28, 1), "uint8")
    picture[::2, ::2] = 255
    sheet([(picture, ["a digit"], True)], tmp_path / "s.png", size=160)
    found = pixels(tmp_path / "s.png")
    frame = np.argwhere(np.abs(found - FRAMES[True]).max(axis=2) == 0)
    (top, left), (bottom, right) = frame.min(axis=0), frame.max(axis=0)
    inside = found[top + 4 : bottom - 3, left + 4 : right - 3]
    expected = np.repeat(np.repeat(picture, 5, axis=0), 5, axis=1)
    assert inside.shape == (140, 140, 3)
    assert np.array_equal(inside, np.repeat(expected, 3, axis=2))


def test_frames_captions_and_columns(tmp_path):
    """Failure: right and wrong are mixed up, a caption runs into the next picture, or pictures are left out."""
    grey = np.full((300, 200, 3), 128, "uint8")
    long = "an extraordinarily long caption that no picture is wide enough for " * 2
    entries = [(grey, [long, "Größe"], right) for right in (True, False, None, False)]
    sheet(entries, tmp_path / "s.png", columns=2, title="title")
    found = pixels(tmp_path / "s.png")
    half = found.shape[1] // 2
    green, red = (np.abs(found - FRAMES[k]).max(axis=2) == 0 for k in (True, False))
    assert green[:, :half].any() and not green[:, half:].any()
    assert red[:, half:].any() and not red[:, :half].any()
    assert red.sum() == 2 * green.sum()
    assert (np.abs(found - 128).max(axis=2) == 0).sum() >= 4 * 107 * 160
    # White between the columns, from top to bottom, but for the title above.
    assert (found[50:, half - 3 : half + 3] == 255).all()


@pytest.mark.parametrize(
    ("picture", "options", "error", "message"),
    [
        (np.zeros((8, 8), "uint8"), {}, DataError, r"got \(8, 8\), uint8"),
        (np.zeros((8, 8, 3)), {}, DataError, "float64"),
        (np.zeros((0, 8, 3), "uint8"), {}, DataError, r"\(0, 8, 3\)"),
        (np.zeros((8, 8, 3), "uint8"), {"size": 0}, UsageError, "size from 32"),
        (np.zeros((8, 8, 3), "uint8"), {"columns": 0}, UsageError, "columns from 1"),
        (np.zeros((8, 8, 3), "uint8"), {"size": 20_000}, UsageError, "size from 32 to 1024"),
    ],
)
def test_what_no_sheet_can_hold(tmp_path, picture, options, error, message):
    """Failure: a traceback of Pillow's, or gigabytes of memory, for a slip."""
    with pytest.raises(error, match=message):
        sheet([(picture, ["x"], None)], tmp_path / "s.png", **options)
    with pytest.raises(DataError, match="too large"):
        sheet([(np.zeros((8, 8, 3), "uint8"), [], None)] * 100, tmp_path / "s.png", size=1024)
    with pytest.raises(DataError, match="no picture"):
        sheet([], tmp_path / "s.png")
    assert files(tmp_path) == []
