"""Small pictures at another size: of a recipe (`data.size`), and of another set that a run is scored on."""

import numpy as np
import pytest
from PIL import Image

import kstyle
from kstyle.data.batches import arrays
from kstyle.errors import UsageError
from kstyle.training.setup import build, settings

RNG = np.random.default_rng(0)


def test_pictures_are_resized_as_by_pillow():
    """Failure: enlarged pictures are shifted or blurred, or boxes do not move with them."""
    split = arrays.Split(
        RNG.integers(0, 256, (3, 32, 32, 3), np.uint8), np.arange(3, dtype=np.int32),
        np.array([[0, 0, 31, 31], [8, 4, 15, 15], [0, 0, 0, 0]], np.float32),
    )  # fmt: skip
    found = arrays.resized(split, 64)
    for picture, large in zip(split.images, found.images):
        assert np.array_equal(large, np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.LANCZOS)))
    assert found.boxes.tolist() == [[0, 0, 63, 63], [16, 8, 31, 31], [0, 0, 1, 1]]
    grey = arrays.resized(split, (32, 32, 1)).images[0, ..., 0]
    assert np.abs(grey - split.images[0] @ [0.299, 0.587, 0.114]).max() <= 1
    assert arrays.resized(split, (32, 32, 3)) is split


def test_a_recipe_says_the_size():
    """Failure: `data.size` changes nothing, or is let pass where it means nothing."""
    recipe = settings.load("digits_cnn", {"data.size": 24})
    parts = build.data(recipe)
    assert parts.shape == parts.test.images.shape[1:] == parts.training.images.shape[1:] == (24, 24, 1)
    assert parts.validation is parts.test and parts.size is None
    with pytest.raises(UsageError, match=r"write 'data\.photographs\.size'"):
        settings.load("folder", {"data.size": 24})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on small digits, good enough to know enlarged ones."""
    return kstyle.train("digits_cnn", run=tmp_path_factory.mktemp("digits") / "run", overrides={"epochs": 6})


def test_a_run_is_scored_on_another_set(run, tmp_path, monkeypatch):
    """Failure: only the run's own set can be scored, or another of its classes is not brought to its size."""
    monkeypatch.setenv("KSTYLE_DATA", str(tmp_path))
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    own = build.data(settings.load("digits_cnn")).test
    large = arrays.resized(own, (28, 28, 1))
    order = RNG.permutation(len(own))
    both = {"x_train": large.images[..., 0], "y_train": own.labels.astype(np.uint8)}
    both |= {"x_test": large.images[order, ..., 0], "y_test": own.labels[order].astype(np.uint8)}
    np.savez(tmp_path / "mnist.npz", **both)
    scores = kstyle.evaluate(run.folder, "mnist")
    assert scores.count == len(own) and scores.top1 > 0.8 and scores.data["own"] is False

    for number, label in enumerate(own.labels[:60]):  # and on photographs of the same classes
        folder = tmp_path / "photos/test" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(own.images[number], 3, axis=2)).save(folder / f"{number}.png")
    scores = kstyle.evaluate(run.folder, tmp_path / "photos")
    assert scores.count == 60 and scores.top1 > 0.8
