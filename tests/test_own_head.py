"""A head that a recipe lists: where it begins, what it is made of, what weights the rest has, and what a run keeps."""

import keras
import numpy as np
import pytest
import yaml
from keras import ops
from PIL import Image

import kstyle
from kstyle.errors import UsageError
from kstyle.io import runs
from kstyle.models import classifiers, finetune
from kstyle.training.results import export
from kstyle.training.setup import build, head, settings, start

POST = ["flatten", {"dense": 8, "activation": "relu"}, {"dropout": 0.5}]
RECIPE = {
    "model": {"name": "squeezenet1.1"},
    "data": {"name": "folder", "normalize": "unit", "photographs": {"size": 32, "resize": "stretch", "workers": 0}},
    "optimizer": {"name": "adam", "learning_rate": 0.003},
    "batch": 4,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of six pictures each."""
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng(number).integers(label * 120, label * 120 + 100, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{number}.png")
    return tmp_path / "in"


def layers(*given):
    """`head.HeadLayer`s, as a recipe has them."""
    return settings.load({**RECIPE, "epochs": 1, "head": list(given)}).head


@pytest.mark.parametrize(
    ("network", "features"),
    [
        ("vgg16", (2, 2, 512)), ("resnet18", (2, 2, 512)), ("mobilenet_v2", (2, 2, 1280)),
        ("squeezenet1.1", (3, 3, 512)), ("efficientnet_b0", (2, 2, 1280)),
    ],
)  # fmt: skip
def test_it_begins_at_the_map_of_features(network, features):
    """Failure: the list comes after the network's own pooling, or inside a block that squeezes and excites."""
    model = classifiers.build(network, 5, 64)
    made = head.attach(model, layers(*POST), 3, "float32")
    own = [layer for layer in made.layers if layer.name.startswith("head_")]
    assert [layer.name for layer in own] == ["head_1_flatten", "head_2_dense", "head_3_dropout", "head_4_classes"]
    assert own[0].input.shape == (None, *features) and made.output_shape == (None, 3) and made.name == model.name
    assert own[1].activation is keras.activations.relu and own[2].rate == 0.5
    assert finetune.from_part(made, "head") == own and finetune.split(made, own)[0].output_shape == (None, *features)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["flaten"], r"unknown key 'head\.0\.flaten'\. Did you mean 'flatten'"),
        ([{"dense": 0}], r"'head\.0\.dense'"), ([{"dropout": 1}], r"'head\.0\.dropout'"),
        ([{"dense": 4, "dropout": 0.5}], "expected one layer"), ([{}], "expected one layer"),
        (["flatten", {"dense": 4, "activation": "softmax"}], r"head\.1\.activation"),
        ([{"dropout": 0.5, "activation": "relu"}], "activation goes with dense"),
    ],
)  # fmt: skip
def test_it_is_closed(given, said):
    """Failure: a misspelt layer is left out in silence, or its error names another place."""
    with pytest.raises(UsageError, match=said):
        layers(*given)


def test_it_must_give_vectors():
    """Failure: a Dense is laid over each place of the map, and the training fails later with shapes nobody knows."""
    model = classifiers.build("resnet18", 5, 32)
    with pytest.raises(UsageError, match=r"gives \(1, 1, 8\) for each picture.*begin with flatten"):
        head.attach(model, layers({"dense": 8}), 3, "float32")
    with pytest.raises(UsageError, match="flatten takes a map"):
        head.attach(model, layers("flatten", "flatten"), 3, "float32")


def test_files_of_weights_are_for_the_usual_head(tmp_path):
    """Failure: a file of PyTorch's does not fit a network whose head is another, or not all of the rest is taken."""
    recipe = settings.load({**RECIPE, "model": "resnet18", "head": POST, "epochs": 1})
    given = classifiers.build("resnet18", 7, 32)
    runs.save_arrays(tmp_path / "torch.safetensors", export.state_dict(given))
    made = build.network(recipe, 2, (32, 32, 3), "float32")
    before = made.get_layer("head_2_dense").get_weights()[0]
    start.give_weights(
        made, tmp_path / "torch.safetensors", usual=lambda: build.network(recipe, 2, (32, 32, 3), "float32", None, True)
    )
    for layer in given.layers[:-1]:
        for ours, theirs in zip(made.get_layer(layer.name).get_weights() if layer.weights else [], layer.get_weights()):
            assert np.array_equal(ours, theirs), layer.name
    assert np.array_equal(made.get_layer("head_2_dense").get_weights()[0], before)


def test_a_run_keeps_it(folder, tmp_path):
    """Failure: a run with a head of its own cannot be scored, asked, gone on with or begun from."""
    stages = [{"train": "head", "epochs": 1, "augment": False}, {"train": "all", "epochs": 1}]
    run = kstyle.train({**RECIPE, "head": POST, "stages": stages}, folder, tmp_path / "run")
    assert yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["head"] == [
        "flatten", {"dense": 8, "activation": "relu"}, {"dropout": 0.5}
    ]  # fmt: skip
    assert kstyle.evaluate(run.folder).loss == pytest.approx(run.scores.loss, rel=1e-5)
    picture = np.zeros((1, 32, 32, 3), "float32")
    (seen,) = kstyle.predict(run.folder, [picture[0]])
    logits = ops.convert_to_numpy(run.model(picture, training=False))[0]
    assert seen["predictions"][0]["probability"] == pytest.approx(
        1 / (1 + np.exp(-abs(logits[0] - logits[1]))), abs=1e-5
    )
    kstyle.train(None, run=run.folder, resume=True, overrides={"epochs": 3}, data=folder)
    with pytest.raises(UsageError, match="no names in PyTorch"):
        kstyle.export(run.folder, path=tmp_path / "it.safetensors")
    again = build.network(settings.load(str(run.folder / "recipe.yaml")), 2, (32, 32, 3), "float32")
    start.give_weights(again, str(run.folder), ("light", "dark"))  # by their names, in whatever order
    ours = ops.convert_to_numpy(again(picture, training=False))[0]
    kept, _ = runs.load_arrays(runs.result_file(run.folder))
    theirs = [array for name, array in sorted(kept.items()) if array.shape == (8, 2)]
    assert np.array_equal(again.layers[-1].get_weights()[0], theirs[0][:, ::-1]) and np.isfinite(ours).all()
