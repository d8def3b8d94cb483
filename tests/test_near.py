"""Pictures that a network finds alike: neighbours and maps of a folder, by a network whose features are known."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from PIL import Image

from kstyle.backend import keras_private
from kstyle.errors import DataError, UsageError
from kstyle.inspect import subject as subjects
from kstyle.inspect.near import embedding, features_of, neighbours
from kstyle.training.results import evaluate

SIDE = 8
COLOURS = {"blue": (40, 60, 200), "green": (60, 190, 30), "red": (220, 30, 50)}


def network():
    """Its features at `mean` are the mean red, green and blue of a picture, 0 to 255."""
    x = start = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(3, 1, name="same")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    x = keras.layers.Dense(2, name="told")(keras.layers.Dropout(0.5, name="drop")(x))
    model = keras.Model(start, x, name="colours")
    model.get_layer("same").set_weights([np.eye(3)[None, None], np.zeros(3)])
    return model


@pytest.fixture
def folder(tmp_path):
    """Four pictures of each colour, in folders, and a file that is no picture though it is called one."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(4):
            values = np.clip(np.array(colour) + rng.integers(-25, 26, 3), 0, 255)
            pixels = np.full((SIDE, SIDE, 3), values, "uint8")
            pixels[::2] += 1
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{number}.png")
    (tmp_path / "in/red/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))


def means(paths):
    return np.stack([np.asarray(Image.open(path), "float64").mean(axis=(0, 1)) for path in paths])


def test_neighbours(folder):
    """Failure: others are nearest than by the cosine of the features, a picture is its own, or a damaged one counts."""
    asked = [folder / "red/1.png", folder / "blue/0.png"]
    table = neighbours.neighbours(network(), folder, asked, count=5)
    assert table.attrs["layer"] == "mean"  # what the last layer with weights sees, not the dropout between
    paths = sorted(path for path in folder.rglob("*.png") if path.name != "broken.png")
    unit = means(paths) / np.linalg.norm(means(paths), axis=1, keepdims=True)
    for path in asked:
        near = table[table["image"] == str(path)]
        similar = unit @ unit[paths.index(path)]
        order = [at for at in np.argsort(-similar) if paths[at] != path][:5]
        assert near["path"].tolist() == [str(paths[at]) for at in order]
        assert near["similarity"].to_numpy() == pytest.approx(similar[order], abs=1e-4)
        assert near["class"].tolist()[:3] == [path.parent.name] * 3
        assert near["rank"].tolist() == [1, 2, 3, 4, 5]


def test_decoded_as_for_evaluation(folder, monkeypatch):
    """Failure: pictures of a folder are cut out otherwise than in `kstyle predict`, or parts of it change places."""
    subject = dataclasses.replace(subjects.open(network()), facts={"resize": 11, "resample": "bicubic"})
    rng, paths = np.random.default_rng(1), []
    for number, shape in enumerate(((20, 13), (12, 12), (9, 30))):
        paths.append(str(folder / f"noise{number}.png"))
        Image.fromarray(rng.integers(0, 256, (*shape, 3), "uint8")).save(paths[-1])
    monkeypatch.setattr(features_of, "PART", 2)
    found, places = features_of.Features(subject)([*paths[:2], "gone.png", paths[2]])
    assert places.tolist() == [0, 1, 3]
    facts = {"shape": (SIDE, SIDE, 3), **subject.facts}
    expected = [evaluate.read(path, facts).mean(axis=(0, 1)) for path in paths]
    assert found == pytest.approx(np.stack(expected), rel=1e-4)


def test_maps(folder):
    """Failure: PCA's places are not the features' largest singular directions, or the legend's classes are lost."""
    table = embedding.embedding(network(), folder)
    unit = means(table["path"]) / np.linalg.norm(means(table["path"]), axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    for number, axis in enumerate("xy"):
        expected = centred @ axes[number]
        assert np.abs(table[axis]).to_numpy() == pytest.approx(np.abs(expected), abs=1e-4)
    assert table.attrs["explained"] == pytest.approx((sizes**2 / (sizes**2).sum())[:2].tolist(), abs=1e-3)
    assert table["class"].tolist() == [name for name in COLOURS for _ in range(4)]
    near = embedding.embedding(network(), folder, "t-sne", perplexity=3)
    again = embedding.embedding(network(), folder, "t-sne", perplexity=3)
    assert near[["x", "y"]].equals(again[["x", "y"]])
    places = near.groupby("class")[["x", "y"]].mean()
    apart = np.linalg.norm(places.to_numpy() - np.roll(places.to_numpy(), 1, axis=0), axis=1).min()
    spread = near.groupby("class")[["x", "y"]].std().to_numpy().max()
    assert apart > spread


def test_commands(folder, command, tmp_path):
    """Failure: the commands print other numbers than the functions, or write no pictures."""
    file, sheet, drawn = tmp_path / "colours.keras", tmp_path / "near.png", tmp_path / "map.png"
    with keras_private.without_tensorflow():
        network().save(file)
    code, out, _ = command(
        "inspect", "neighbours", file, folder, folder / "red/0.png", "--count", 3, "-o", sheet, "--json"
    )
    found = json.loads(out)
    assert code == 0 and found["layer"] == "mean"
    assert [each["class"] for each in found["neighbours"]] == ["red"] * 3
    code, out, _ = command("inspect", "embedding", file, folder, "-o", drawn, "--size", 512, "--thumbnail", 32, "--csv")
    assert code == 0 and out.startswith("path,class,x,y\n") and out.count("\n") == 13
    with Image.open(drawn) as seen:  # reds, greens and blues are seen, and apart
        pixels = np.asarray(seen.convert("RGB"), int)
    centres = []
    for colour in COLOURS.values():
        rows, columns = np.nonzero(np.abs(pixels[:512] - colour).max(axis=-1) <= 26)
        assert len(rows) >= 32**2
        centres.append((rows.mean(), columns.mean()))
    assert min(np.hypot(*np.subtract(centres[i], centres[i - 1])) for i in range(3)) > 100
    with Image.open(sheet) as seen:
        assert seen.width > 2 * seen.height  # itself and three beside it
    code, _, error = command("inspect", "embedding", file, folder)
    assert code == 2 and "-o map.png" in error


def test_what_cannot_be(folder, tmp_path):
    """Failure: an empty folder, a layer that is not there or a picture that is none ends in a traceback."""
    (tmp_path / "empty").mkdir()
    asked = folder / "red/0.png"
    near, maps = functools.partial(neighbours.neighbours, network()), functools.partial(embedding.embedding, network())
    for call, kind, said in (
        (lambda: near(tmp_path / "empty", asked), DataError, "expected pictures, 1 or more"),
        (lambda: near(tmp_path / "gone", asked), DataError, "no such folder"),
        (lambda: near(folder, folder / "red/broken.png"), DataError, "broken.png: is not a picture"),
        (lambda: near(folder, asked, "meen"), UsageError, "Did you mean 'mean'"),
        (lambda: near(folder, asked, count=0), UsageError, "1 neighbour or more"),
        (lambda: maps(folder, "umap"), UsageError, "Unknown method 'umap'"),
        (lambda: maps(folder, "t-sne", perplexity=12), UsageError, "below the 12 pictures"),
    ):
        with pytest.raises(kind, match=said):
            call()
