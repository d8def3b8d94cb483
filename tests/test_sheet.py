"""What a classifier got wrong, as a table and as a contact sheet."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kstyle.errors import DataError
from kstyle.pictures import sheet
from kstyle.training.results import mistakes

NAMES = ["cat", "dog", "owl"]


def test_pairs_are_counted_from_true_to_predicted():
    """Failure: the table says that dogs are taken for cats where cats are taken for dogs."""
    matrix = pd.DataFrame([[90, 10, 0], [2, 3, 0], [0, 2, 98]], index=NAMES, columns=NAMES)
    found = mistakes.pairs(matrix, 2)
    assert found.to_dict("records") == [
        {"true": "cat", "predicted": "dog", "count": 10, "share": 0.1},
        {"true": "dog", "predicted": "cat", "count": 2, "share": 0.4},
    ]
    assert len(mistakes.pairs(matrix, 9)) == 3
    assert mistakes.pairs(pd.DataFrame(np.eye(3, dtype=int), NAMES, NAMES)).empty


@pytest.fixture
def predictions():
    """Six pictures, each of its own grey: labels, and probabilities with three mistakes."""
    images = np.stack([np.full((8, 8, 1), 40 * i, "uint8") for i in range(6)])
    probabilities = [
        [0.6, 0.4, 0.0],  # wrong
        [0.9, 0.1, 0.0],  # right, sure
        [0.0, 0.0, 1.0],  # wrong, surest
        [0.0, 0.5, 0.5],  # right, unsure
        [0.1, 0.2, 0.7],  # wrong
        [0.0, 0.8, 0.2],  # right
    ]
    return images, np.array([1, 0, 0, 1, 1, 1]), np.array(probabilities)


def test_the_surest_mistakes_come_first(predictions, monkeypatch, tmp_path):
    """Failure: the telling mistakes are at the end or left out, or a caption is of another picture."""
    seen = {}
    monkeypatch.setattr(sheet, "sheet", lambda entries, path, title: seen.update(entries=entries, title=title))
    mistakes.sheet(*predictions, NAMES, tmp_path / "s.png", right=2, title="a run")
    assert [int(picture[0, 0, 0]) // 40 for picture, _, _ in seen["entries"]] == [2, 4, 0, 3, 5]
    assert [right for _, _, right in seen["entries"]] == [False, False, False, True, True]
    assert seen["entries"][0][1] == ["is cat: 0.0 %", "said owl: 100.0 %"]
    assert seen["entries"][1][1] == ["is dog: 20.0 %", "said owl: 70.0 %"]
    assert seen["title"] == "a run: 3 of 6 wrong"


def test_a_sheet_of_predictions_is_a_picture(predictions, tmp_path):
    """Failure: the mistakes are chosen, and what is written is no picture or frames them as right."""
    mistakes.sheet(*predictions, NAMES, tmp_path / "s.jpg", wrong=2, right=0)
    mistakes.sheet(*predictions, NAMES, tmp_path / "s.png", wrong=0)
    with Image.open(tmp_path / "s.jpg") as image:
        assert image.format == "JPEG"
    with Image.open(tmp_path / "s.png") as image:
        pixels = np.asarray(image)
    frames = {right: (pixels == colour).all(axis=2).any() for right, colour in sheet.FRAMES.items()}
    assert frames == {True: True, False: False}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.jpg", "s.png"]


def test_what_is_no_picture_is_said(predictions, tmp_path):
    """Failure: a traceback of NumPy's for a list, a name that Pillow does not write, or arrays of two data sets."""
    images, labels, probabilities = predictions
    for thing, name in (([[0]], "list"), (None, "NoneType"), (Image.new("L", (8, 8)), "Image")):
        with pytest.raises(DataError, match=f"NumPy arrays .* got {name}"):
            sheet.sheet([(thing, [], None)], tmp_path / "s.png")
    with pytest.raises(DataError, match=r"s\.gif: expected a name that ends in \.png or \.jpg"):
        sheet.sheet([(images[0], [], None)], tmp_path / "s.gif")
    with pytest.raises(DataError, match="5 labels"):
        mistakes.sheet(images, labels[:5], probabilities, NAMES, tmp_path / "s.png")
    with pytest.raises(DataError, match=r"nowhere.s\.png: cannot be written"):
        sheet.sheet([(images[0], [], None)], tmp_path / "nowhere" / "s.png")
    assert list(tmp_path.iterdir()) == []
