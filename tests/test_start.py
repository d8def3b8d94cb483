"""What `model.weights` takes: runs and what is in them, and PyTorch's files by what they hold, not by their names."""

import argparse
import pickle
import zipfile

import keras
import numpy as np
import pytest

from kstyle.errors import DataError
from kstyle.io import pickles, runs
from kstyle.models import classifiers, torch_names
from kstyle.nn import state as checkpoint
from kstyle.training.setup import settings, start


def small(classes=4, name="mnist_cnn", **options):
    return classifiers.build(name, classes, 8, 1, **options)


@pytest.fixture
def run(tmp_path):
    """A run of the MNIST post's network, whose classes are a to d, as training leaves it."""
    folder, model = tmp_path / "run", small()
    folder.mkdir()
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.weights])
    recipe = settings.load("mnist_cnn")
    runs.start(folder, settings.resolved(recipe), {"classes": list("abcd"), "mean": [0.25], "std": [0.5]})
    runs.save_arrays(folder / runs.RESULT, checkpoint.named(model.weights, "model"))
    runs.save_arrays(folder / runs.STATE, checkpoint.named(model.variables, "model") | {"optimizer/0000 x": np.ones(3)})
    return folder, [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def got(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.mark.parametrize("what", [".", "weights.safetensors", "state.safetensors"])
def test_a_run_is_what_training_starts_from(run, what):
    """Failure: kstyle does not take its own weights, or gives them pictures that are prepared otherwise."""
    folder, weights = run
    model = small()
    preprocessing = start.give_weights(model, str(folder / what), list("abcd"))
    assert preprocessing == ([0.25], [0.5])
    assert all(map(np.array_equal, got(model), weights))


def test_the_head_of_a_run_goes_by_the_names_of_classes(run):
    """Failure: in another order of classes the head takes each for another; with others it is kept in silence."""
    folder, weights = run
    model = small(3)
    start.give_weights(model, folder, ["d", "a", "c"])
    assert all(map(np.array_equal, got(model)[:4], weights[:4]))
    assert np.array_equal(got(model)[4], weights[4][:, [3, 0, 2]]) and np.array_equal(
        got(model)[5], weights[5][[3, 0, 2]]
    )
    other = small()
    before = got(other)
    start.give_weights(other, folder, ["a", "b", "c", "x"])
    assert all(map(np.array_equal, got(other)[:4], weights[:4])) and all(
        map(np.array_equal, got(other)[4:], before[4:])
    )


def test_weights_away_from_their_run(run, tmp_path, caplog):
    """Failure: a file that was moved is refused, or another network's is taken."""
    folder, weights = run
    moved = (folder / "weights.safetensors").rename(tmp_path / "moved")
    model = small(9)
    with caplog.at_level("INFO", "kstyle"):
        assert start.give_weights(model, moved, list("123456789")) is None
    assert all(map(np.array_equal, got(model)[:4], weights[:4])) and "the head is new" in caplog.text
    with pytest.raises(DataError, match=r"another mnist_cnn: .* there and .* here"):
        start.give_weights(classifiers.build("mnist_cnn", 4, 8, 3), moved)
    with pytest.raises(DataError, match="holds weights of mnist_cnn; the recipe's network is resnet18"):
        start.give_weights(classifiers.build("resnet18", 4, 32, 1), folder / "state.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is no run folder"):
        start.give_weights(model, tmp_path / "empty")


def in_torchs_names(model):
    """{torch name: array} of a model's weights."""
    found = {}
    for name, (_, shape, _) in torch_names.entries(model).items():
        found[name] = np.full(shape, len(found) + 1, "float32")
    return found


@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "model.pkl", "weights", "w.bin"])
def test_pytorchs_files_by_what_they_hold(tmp_path, name):
    """Failure: `model.weights=best.pth.tar` is looked for Keras' names, as its suffix is not .pth."""
    torch = pytest.importorskip("torch")
    model = small()
    tensors = {f"module.{key}": torch.from_numpy(value) for key, value in in_torchs_names(model).items()}
    beside = {"best": np.float64(0.5), "args": argparse.Namespace(rate=0.1, of=np.float32(2)), "dtype": np.dtype("f4")}
    torch.save(
        {"epoch": 3, "state_dict": tensors, **beside},
        tmp_path / name,
        _use_new_zipfile_serialization=name != "model.pkl",
    )
    assert start.give_weights(model, tmp_path / name) == "torch"
    assert [float(value.flat[0]) for value in got(model)] == [1, 2, 3, 4, 5, 6]


def test_a_pickle_that_is_a_program_is_refused(tmp_path):
    """Failure: a stranger's .pkl or .pth.tar runs a command."""
    torch = pytest.importorskip("torch")

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Hostile()}, tmp_path / "a.pth.tar")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Hostile(), 2))
    # What is ignored cannot be given another behaviour: BUILD on the class itself.
    program = b"\x80\x02cargparse\nNamespace\n}U\x0c__setstate__c__builtin__\nprint\nsb."
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", program)
    with pytest.raises(DataError, match=r"only plain tensors"):
        start.give_weights(small(), tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("c/data.pkl", b"\x80\x02cargparse\nNamespace\n}U\x01aK\x01sb.")
    with pytest.raises(DataError, match="damaged"):
        start.give_weights(small(), tmp_path / "c.pth")
    assert not hasattr(pickles._Ignored, "a")
    for name in ("a.pth.tar", "a.pkl"):
        with pytest.raises(DataError, match=r"only plain tensors|is a program"):
            start.give_weights(small(), tmp_path / name)
    assert not (tmp_path / "ran").exists()


HEADS = {
    "a Sequential": ({"fc.1.weight": (3, 512), "fc.1.bias": (3,)}, "another there"),
    "two layers": (
        {"fc.0.weight": (8, 512), "fc.0.bias": (8,), "fc.3.weight": (3, 8), "fc.3.bias": (3,)},
        "another there",
    ),
    "cut off": ({}, "none there"),
    "timm's": ({"head.fc.weight": (3, 512)}, "another there"),
    "other classes": ({"fc.weight": (7, 512), "fc.bias": (7,)}, "7 classes there"),
}


@pytest.fixture(scope="module")
def resnet():
    return classifiers.build("resnet18", 5, 32)


@pytest.mark.parametrize("kind", HEADS)
def test_another_head_is_left_out(resnet, kind):
    """Failure: a checkpoint that was fine-tuned with a head of its own is refused for it."""
    state = {name: value for name, value in in_torchs_names(resnet).items() if not name.startswith("fc.")}
    heads, said = HEADS[kind]
    done = torch_names.convert(state | {name: np.zeros(shape, "float32") for name, shape in heads.items()}, resnet)
    assert done.left_out == ("fc.weight", "fc.bias") and said in done.message
    del state["layer2.0.conv1.weight"]  # what is not the head is still needed
    with pytest.raises(DataError, match="lacks"):
        torch_names.convert(state | {name: np.zeros(shape, "float32") for name, shape in heads.items()}, resnet)


def test_another_classifier():
    """Failure: AlexNet or VGG with dense layers of its own, as courses teach it, is refused; or half of it is taken."""
    model = classifiers.build("alexnet", 5, 96)
    state = in_torchs_names(model)
    dense = [name for name in state if name.startswith("classifier.")]
    state["classifier.4.weight"], state["classifier.6.weight"] = (
        np.zeros((9, 4096), "float32"),
        np.zeros((5, 9), "float32"),
    )
    done = torch_names.convert(state, model)
    assert sorted(done.left_out) == sorted(dense) and "another there" in done.message
