"""Parts of a data set: held out, taken, in the order of an epoch; and what tells data apart."""

import numpy as np
from failing import fails

from kstyle import data
from kstyle.errors import DataError, UsageError


def split_of(*counts):
    """A split with so many pictures of each class; the pictures are their own numbers."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    labels = np.random.default_rng(1).permutation(labels)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return data.Split(images, labels, np.repeat(images.reshape(-1, 1), 4, axis=1).astype(np.float32))


def test_hold_out_is_stratified_and_loses_nothing():
    """Failure: validation measures other proportions of classes, or pictures that were trained on."""
    split = split_of(100, 50, 10)
    train, validation = data.hold_out(split, 0.2, seed=3)
    assert np.bincount(validation.labels).tolist() == [20, 10, 2]
    numbers = np.concatenate([train.images, validation.images]).ravel()
    assert sorted(numbers.tolist()) == list(range(160))
    for part in (train, validation):
        assert (split.labels[part.images.ravel()] == part.labels).all()
        assert (part.boxes[:, 0] == part.images.ravel()).all()
    again, other = data.hold_out(split, 0.2, seed=3)[1], data.hold_out(split, 0.2, seed=4)[1]
    assert (again.images == validation.images).all() and not (other.images == validation.images).all()


def test_hold_out_and_take_say_what_cannot_be():
    """Failure: a class is silently missing from validation, or scikit-learn's error about members is all there is."""
    fails(DataError, lambda: data.hold_out(split_of(50, 1), 0.2, 0), "Class 1", "single")
    fails(DataError, lambda: data.hold_out(split_of(90, 2), 0.1, 0), "Class 1", "2 of 92", "0.1")
    fails(UsageError, lambda: data.hold_out(split_of(50, 50), 1.0, 0), "1.0")
    fails(UsageError, lambda: data.hold_out(split_of(50, 50), 0.5, -1), "-1")
    fails(UsageError, lambda: data.take(split_of(50, 50), 101, 0), "101", "2 to 100")
    fails(UsageError, lambda: data.take(split_of(50, 50), 1, 0), "2 classes")
    fails(DataError, lambda: data.take(split_of(98, 2), 10, 0), "class 1", "2 of 100")


def test_take():
    """Failure: a run on part of the data sees other proportions, or fails just short of all pictures."""
    split = split_of(100, 50, 10)
    assert np.bincount(data.take(split, 32, seed=0).labels).tolist() == [20, 10, 2]
    assert data.take(split, 160, seed=0) is split
    for count in (159, 158):
        lost = np.array([100, 50, 10]) - np.bincount(data.take(split, count, seed=0).labels)
        assert lost.sum() == 160 - count and lost.max() == 1
    pairs = split_of(*[2] * 40)
    assert np.bincount(data.take(pairs, 50, seed=0).labels).min() == 1


def test_order():
    """Failure: runs on two backends or machines cannot be compared, or every epoch goes the same way round."""
    first = data.order(1000, 7, 0)
    assert first.dtype == np.int32 and sorted(first.tolist()) == list(range(1000))
    pairs = [(7, 0), (7, 1), (8, 0), (0, 7), (1, 7)]
    assert len({data.order(1000, *pair).tobytes() for pair in pairs}) == len(pairs)
    # Written down from NumPy 2: another version or machine must give the same.
    assert data.order(8, 3, 4).tolist() == [7, 2, 4, 3, 6, 0, 1, 5]
    assert len(data.order(0, 0, 0)) == 0
    fails(UsageError, lambda: data.order(10, -1, 0), "seed", "-1")


def test_sha256_tells_data_apart():
    """Failure: two runs on different data are taken for runs on the same."""
    split = split_of(5, 5)
    flipped = data.Split(split.images, 1 - split.labels, split.boxes)
    sums = {
        data.Dataset("x", classes, train, split).sha256
        for classes, train in ((("a", "b"), split), (("b", "a"), split), (("a", "b"), flipped))
    }
    assert len(sums) == 3
    fails(DataError, lambda: data.Dataset("x", ("a",), split, split), "train", "0 to 1")
