"""The registry of networks: one row makes a network of the user's own buildable, nameable and checked."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kstyle
from kstyle.errors import UsageError
from kstyle.models import classifiers, features, finetune, registry
from kstyle.models.networks.feature_layers import Layer
from kstyle.models.registry import Network, Option, Source
from kstyle.training.setup import settings

ROOT = Path(__file__).parents[1]
CONTENT, STYLE = ROOT / "examples/chelsea.jpg", ROOT / "examples/night.jpg"


def tiny(classes, size, channels, *, dtype, width=4, act="relu"):
    x = inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(width, 3, activation=act, name="body", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="top", dtype="float32")(x))


def looks(taps, *, pool, pool_factor, pool_edge, first_padding, dtype):
    """Two convolutions, whose weights the function itself gives."""
    x = inputs = keras.Input((None, None, 3), dtype=dtype)
    found = {}
    for name in ("one", "two"):
        x = keras.layers.Conv2D(4, 3, activation="relu", name=name, dtype=dtype, bias_initializer="ones")(x)
        found[name] = x
    return keras.Model(inputs, {tap: found[tap] for tap in taps})


TINY = {
    "build": tiny, "options": {"width": Option(4, low=1, high=64), "act": "relu"}, "smallest": 5,
    "size": 40, "resize": 50, "preprocessing": "tf", "parts": {"body": ("body",), "head": ("top",)},
}  # fmt: skip


def test_a_network_of_ones_own(tmp_path):
    """Failure: a registered network is no network for recipes, or its options, parts, sizes and pixels are not its
    row's."""
    registry.register(Network("tiny", **TINY))
    model = classifiers.build("tiny", 3, (9, 8), 1, width=2, dtype="float32")
    assert (model.name, model.input_shape, model.get_layer("body").filters) == ("tiny", (None, 9, 8, 1), 2)
    assert [layer.name for layer in finetune.set_trainable(model, "head") if layer.weights] == ["top"]
    assert not model.get_layer("body").trainable and registry.get("tiny").preprocessing == "tf"

    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: {name: tiny, width: 8}\ndata: {name: digits, normalize: unit}\nbatch: 64\n"
        "optimizer: {name: adam, learning_rate: 0.01}\n"
        "stages: [{train: head, epochs: 1}]\n"
    )
    run = kstyle.train(recipe, run=tmp_path / "run")
    assert run.model.name == "tiny" and run.model.get_layer("body").filters == 8
    for key, value, says in [
        ("model.width", 65, r"Option 'width' of model tiny is a whole number from 1 to 64; got 65"),
        ("model.width", 2.5, r"'width' of model tiny is a whole number from 1 to 64; got 2.5"),
        ("model.act", 3, r"Option 'act' of model tiny is a text; got 3"),
        ("model.wdth", 8, r"Unknown option of model tiny 'wdth'\. Did you mean 'width'\? Known: width, act, dtype"),
        ("model.name", "tinny", r"Unknown model 'tinny'\. Did you mean 'tiny'\?"),
        ("stages", [{"train": "bodi", "epochs": 1}], r"Unknown part of tiny 'bodi'\. Did you mean 'body'\?"),
    ]:
        with pytest.raises(UsageError, match=says):
            settings.load(recipe, {key: value})
    with pytest.raises(UsageError, match="tiny takes pictures of 5 × 5 pixels or more; got 4 × 9"):
        classifiers.build("tiny", 3, (4, 9))


def test_an_extractor_of_ones_own_paints(tmp_path):
    """Failure: a registered extractor cannot be named in a preset, or has not its row's pixels and weights."""
    registry.register(
        Network("looks", features=looks, preprocessing="raw", taps=("one", "two"), aliases={"eins": "one"})
    )
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "network: {extractor: looks}\ncontent: {layers: {two: 1}}\nstyle: {layers: {eins: 1, two: 1}, weight: 1}\n"
        "optimizer: {name: adam, learning_rate: 0.002}\nscales: {steps: [3]}\n"
    )
    result = kstyle.stylize(CONTENT, STYLE, preset=preset, size=64)
    assert len(result.history) == 3 and np.isfinite(result.history["loss"]).all()
    assert result.settings["weights"]["origin"] == "the function that builds looks"
    extractor = features.load("looks", ["eins"])
    seen = {str(row.source): row.preprocessing for row in [registry.extractor("looks")]}
    assert seen == {"None": "raw"} and extractor.preprocessing == "raw" and list(extractor.taps.values()) == ["one"]
    assert re.fullmatch("[0-9a-f]{64}", extractor.sha256) and not extractor.model.trainable_variables
    with pytest.raises(UsageError, match=r"Unknown layer of looks 'tow'\. Did you mean 'two'\?"):
        features.load("looks", ["tow"])

    wanted = {"one/kernel": np.full((3, 3, 3, 4), 0.25, "float32"), "one/bias": np.full(4, 2, "float32")}
    np.savez(tmp_path / "w.npz", **wanted)
    model = features.load("looks", ["one"], weights=tmp_path / "w.npz").model
    kernel, bias = model.get_layer("one").get_weights()
    assert np.array_equal(kernel, wanted["one/kernel"]) and np.array_equal(bias, wanted["one/bias"])


def test_sources_of_ones_own(tmp_path, monkeypatch):
    """Failure: a row's official files are not looked for, or only the first of its sources can be named."""
    layers = {"one": Layer((3, 3, 3, 4), ())}
    sources = {"first": Source("first.npz", preprocessing="caffe"), "second": Source("second.npz")}
    row = {"features": looks, "taps": ("one",), "layers": layers, "weights": sources}
    registry.register(Network("looks", **row))
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(tmp_path))
    for number, (name, preprocessing) in enumerate({"looks": "caffe", "looks-second": "torch"}.items()):
        arrays = {"one/kernel": np.full((3, 3, 3, 4), number, "float32"), "one/bias": np.zeros(4, "float32")}
        np.savez(tmp_path / f"{['first', 'second'][number]}.npz", **arrays)
        extractor = features.load(name, ["one"])
        assert extractor.preprocessing == preprocessing
        assert (extractor.model.get_layer("one").get_weights()[0] == number).all()


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("vgg16", TINY, "'vgg16' already"),
        ("vgg19-torchvision", TINY, "'vgg19-torchvision' already"),
        ("mine", {}, "'mine' has neither 'build' nor 'features'"),
        ("mine", {**TINY, "parts": {"head": ("top",), "body": ("body",)}}, "last of its parts must be 'head'"),
        ("mine", {**TINY, "preprocessing": "cafe"}, r"Unknown preprocessing 'cafe'\. Did you mean 'caffe'"),
        ("mine", {"features": looks, "taps": ("one",)}, "'mine' needs 'preprocessing'"),
    ],
)
def test_rows_that_cannot_be(name, row, says):
    """Failure: a slip in a row shows hours later, or one of kstyle's own names comes to mean something else."""
    with pytest.raises(UsageError, match=says):
        registry.register(Network(name, **row))
    assert registry.find("mine") is None and registry.get("vgg16").build != tiny


def test_a_row_may_be_registered_again():
    """Failure: running a notebook's cell twice is an error, or changes nothing."""
    registry.register(Network("tiny", **TINY))
    registry.register(Network("tiny", **{**TINY, "smallest": 7}))
    assert registry.names("classifier").count("tiny") == 1 and registry.get("tiny").smallest == 7
    with pytest.raises(UsageError, match=r"Unknown network 'tyny'\. Did you mean 'tiny'\? Known: mnist_cnn, "):
        registry.get("tyny")


def test_no_framework_is_imported_for_the_rows():
    """Failure: a wrong name in a recipe is told after the seconds that a framework takes to load."""
    code = (
        "import sys; from kstyle.models import registry; registry.classifier('vgg16').check(2, 64, 3, {});"
        "print({'torch', 'tensorflow', 'jax', 'keras'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_imagenets_means_stand_once():
    """Failure: two tables of the same numbers, of which one is corrected."""
    files = [path for path in (ROOT / "kstyle").rglob("*.py") if re.search(r"0\.485|103\.939", path.read_text("utf-8"))]
    assert [path.name for path in files] == ["preprocessing.py"]
