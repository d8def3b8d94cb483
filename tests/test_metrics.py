"""Scores against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from kstyle.errors import DataError
from kstyle.training.results.metrics import calibration_error, scores

NAMES = ["ant", "bee", "wasp"]
# True ant ant ant bee bee, predicted ant bee bee bee wasp; no wasp among the labels.
PROBABILITIES = np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.0, 1.0, 0.0], [0.2, 0.0, 0.8]])
LABELS = np.array([0, 0, 0, 1, 1])


def one_hot(columns, width):
    return np.eye(width)[columns]


def test_by_hand():
    """Failure: the numbers a user publishes are wrong."""
    s = scores(PROBABILITIES, LABELS, NAMES)
    assert (s.count, s.top1, s.top5) == (5, 0.4, None)
    # The last is of probability 0 and costs the most that one can.
    assert s.loss == pytest.approx(-math.log(0.5 * 0.2 * 0.1 * 1.0 * 1e-7) / 5)
    assert s.confusion.loc["ant"].tolist() == [1, 2, 0]
    assert s.confusion.loc["bee"].tolist() == [0, 1, 1]
    assert s.confusion.loc["wasp"].tolist() == [0, 0, 0]
    assert s.classes["support"].tolist() == [3, 2, 0]
    assert s.classes["precision"].tolist() == pytest.approx([1, 1 / 3, 0])
    assert s.classes["recall"].tolist() == pytest.approx([1 / 3, 1 / 2, 0])
    assert s.classes["f1"].tolist() == pytest.approx([1 / 2, 2 / 5, 0])
    # The wasps, of which there is no picture, do not count.
    assert s.macro == pytest.approx({"precision": 2 / 3, "recall": 5 / 12, "f1": 9 / 20})
    assert s.most_confused(9).to_numpy().tolist() == [["ant", "bee", 2, 2 / 3], ["bee", "wasp", 1, 1 / 2]]
    assert len(s.most_confused(1)) == 1


def test_top5_and_ties():
    """Failure: a network that has collapsed to a constant is given a perfect top-5."""
    constant = np.full((7, 7), 1 / 7)
    s = scores(constant, np.arange(7), list("abcdefg"))
    assert (s.top1, s.top5) == (1 / 7, 5 / 7)
    # Ranks of the true class: 0, 4, 5.
    row = np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.07])
    s = scores(np.stack([row] * 3), np.array([0, 4, 5]), list("abcdef"))
    assert (s.top1, s.top5) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_calibration():
    """Failure: an overconfident network is called calibrated, or the other way round."""

    def pictures(confidence, right, wrong):
        rest = 1 - confidence
        return np.tile([confidence, rest], (right + wrong, 1)), np.array([0] * right + [1] * wrong)

    perfect = [pictures(0.75, 3, 1), pictures(0.9, 9, 1), pictures(1.0, 5, 0)]
    probabilities, labels = (np.concatenate(parts) for parts in zip(*perfect))
    assert calibration_error(probabilities, labels) == pytest.approx(0, abs=1e-12)
    # 10 pictures at 0.9 of which half are right, 30 at 0.7 of which 24 are: (10 * 0.4 + 30 * 0.1) / 40.
    constructed = [pictures(0.9, 5, 5), pictures(0.7, 24, 6)]
    probabilities, labels = (np.concatenate(parts) for parts in zip(*constructed))
    assert calibration_error(probabilities, labels) == pytest.approx(7 / 40)
    # 0.75 and 0.8 share the bin (11/15, 12/15], in which too sure and too unsure cancel; 0.82 is in the next.
    for other, expected in ((0.8, abs(1 - 0.75 - 0.8) / 2), (0.82, (0.25 + 0.82) / 2)):
        probabilities, labels = (np.concatenate(p) for p in zip(pictures(0.75, 1, 0), pictures(other, 0, 1)))
        assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_two_classes_of_one_name():
    """Failure: Tiny ImageNet has two cranes, and their scores are mixed up or lost."""
    s = scores(one_hot([0, 2, 2], 3), np.array([0, 1, 2]), ["crane", "dog", "crane"])
    assert s.most_confused().to_numpy().tolist() == [["dog", "crane", 1, 1.0]]
    assert [row["recall"] for row in s.as_json()["classes"]] == [1, 0, 1]


def test_json():
    """Failure: scores.json is not written, for a NumPy number in it, or holds NaN, which JSON has not."""
    s = scores(PROBABILITIES.astype("float32"), LABELS.astype("uint8"), NAMES)
    again = json.loads(json.dumps(s.as_json(), allow_nan=False))
    assert again == s.as_json()
    assert again["top5"] is None
    assert again["classes"][1] == {"class": "bee", "precision": 1 / 3, "recall": 0.5, "f1": 0.4, "support": 2}


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[np.nan, 0.5, 0.5], [1, 0, 0]], [0, 1], "1 of 2 predictions are NaN"),
        ([[2.0, -1.0, 3.0]], [0], "logits"),
        ([[1.5, -0.5, 0.0]], [0], "logits"),
        ([[1, 0, 0]], [3], "labels from 0 to 2; got 3 to 3"),
        ([[1, 0, 0]], [-1], "labels from 0 to 2"),
        ([[1, 0, 0]], [0, 1], "Expected 1 integer labels"),
        ([[1, 0, 0]], [0.5], "integer labels"),
        ([[1, 0]], [0], "Expected 2 class names"),
        (np.zeros((0, 3)), np.zeros(0, int), r"got \(0, 3\)"),
    ],
)
def test_what_cannot_be_scored(probabilities, labels, message):
    """Failure: a diverged training, or a bug, comes out as a score."""
    with pytest.raises(DataError, match=message):
        scores(np.array(probabilities), np.array(labels), NAMES)
