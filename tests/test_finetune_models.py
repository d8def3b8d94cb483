"""Pretrained networks with a new head: which layers train, where a network is cut, where its weights come from."""

import fnmatch
import hashlib
import itertools
import re
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from keras import ops
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import save
from server import Server
from weight_files import changed_source, hide_weights

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.models import classifiers, finetune, registry, torch_names, weights
from kstyle.models.rows import small
from kstyle.nn import layers
from kstyle.training.setup import build, settings

torch_only = pytest.mark.skipif(backend.NAME != "torch", reason="takes minutes elsewhere, and shows nothing more")


def symbolic(name, *arguments, **options):
    """A network that on torch takes no memory for its weights."""
    with keras.device("meta" if backend.NAME == "torch" else "cpu:0"):
        return classifiers.build(name, *arguments, **options)


def predict(model, x):
    # Compiled, since JAX otherwise compiles each operation by itself.
    run = backend.compile(lambda x: model(x, training=False), model.variables)
    return ops.convert_to_numpy(run(ops.convert_to_tensor(x)))


def pictures(count, size, channels=3):
    return np.random.default_rng(0).normal(size=(count, size, size, channels)).astype("float32")


def shake(model):
    """Weights and statistics that are nobody's default."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, v.shape) for v in layer.get_weights()])
        elif not isinstance(layer, keras.layers.Normalization):
            # Of a kernel √(2 / inputs), of a bias little.
            inputs = (slice(None), slice(None), 0) if isinstance(layer, keras.layers.DepthwiseConv2D) else (..., 0)
            deviations = [(2 / v[inputs].size) ** 0.5 if v.ndim > 1 else 0.1 for v in layer.get_weights()]
            layer.set_weights([rng.normal(0, d, v.shape) for d, v in zip(deviations, layer.get_weights())])
    return model


# ---------------------------------------------------------------------------------------------------------- parts


def check_parts(model, lean=False):
    """Each part begins where it says, later parts train less, and nothing after a part is left out."""
    parts = registry.get(model.name).parts
    trained, weighted = [], [layer for layer in model.layers if layer.weights]
    for part, patterns in parts.items():
        if part == "dense" and lean:
            with pytest.raises(UsageError, match=r"has no part 'dense'\. It has: block1"):
                finetune.from_part(model, part)
            continue
        chosen = [layer for layer in finetune.from_part(model, part) if layer.weights]
        assert any(fnmatch.fnmatchcase(chosen[0].name, pattern) for pattern in patterns), (part, chosen[0].name)
        assert chosen == weighted[-len(chosen) :]
        trained.append(len(chosen))
        if part in list(parts)[1:-1:6]:
            body, tail = finetune.split(model, finetune.from_part(model, part))
            assert len(body.trainable_weights) + len(tail.trainable_weights) == len(model.trainable_weights)
    assert trained[0] == len(weighted) and trained[-1] == 1
    assert all(more > less for more, less in itertools.pairwise(trained))
    assert len(finetune.from_part(model, "all")) == len(model.layers) - 1


# Keras' networks and DenseNet are looked at where they are built anyway.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}), ("vgg16", {}), ("vgg19", {"head": "gap"}), ("alexnet", {}), ("caffenet", {}),
        ("squeezenet1.1", {}), ("squeezenet1.1", {"head": "gap"}), ("efficientnet_lite2", {}), ("vit_b_16", {}),
        ("convnext_tiny", {}), ("mobilenet_v3_small", {}), ("mobilenet_v3_large", {}), ("efficientnet_v2_s", {}),
        ("resnext50_32x4d", {}),
    ],
)  # fmt: skip
def test_parts_are_the_networks(name, options):
    """Failure: a stage of a recipe names a part that trains nothing, or trains what it should have left."""
    check_parts(symbolic(name, 3, 80, **options), lean="head" in options)


SMALL = {row.name for row in small.NETWORKS}  # nobody's weights of ImageNet fit them


def test_backbones_are_classifiers():
    """Failure: a network with known weights cannot be built."""
    for name in registry.names():
        row = registry.get(name)
        pretrained = {bool(each) for each in (row.preprocessing, row.size, row.resize, row.parts)}
        assert pretrained == {name not in SMALL}, name
        if row.size:
            row.check(2, row.size, 3, {})
            assert row.resize >= row.size and list(row.parts)[-1] == "head", name
            assert row.weights or name == "caffenet"


def test_wrong_parts_are_said():
    """Failure: a slip in a recipe ends in a traceback, or freezes the whole network."""
    model = symbolic("resnet18", 3, 32)
    for part in ("layer5", None):
        for function in (finetune.from_part, finetune.set_trainable):
            with pytest.raises(UsageError, match=rf"'{part}'.* It has: stem, layer1, .*, layer4, head, all"):
                function(model, part)
    with pytest.raises(UsageError, match="It has: head, all"):
        finetune.from_part(symbolic("mnist_cnn", 3, 8), "conv1")


def test_normalisation_of_each_source():
    """Failure: pretrained weights see colours they were never shown, and start 20 points lower."""
    pixel = np.array([200, 100, 50])

    def seen(name, preprocessing=None):
        recipe = settings.load("digits_cnn", {"model": name, "data.normalize": "pretrained"})
        parts = SimpleNamespace(shape=(64, 64, 3))
        mean, std = map(np.array, build.normalisation(recipe, parts, preprocessing))
        return (pixel / 255 - mean) / std

    assert np.allclose(seen("vgg16", "caffe"), [200 - 123.68, 100 - 116.779, 50 - 103.939])
    assert np.allclose(seen("vgg16", "raw"), pixel)
    assert np.allclose(seen("mobilenet_v2"), pixel / 127.5 - 1)
    assert np.allclose(seen("efficientnet_b0"), seen("resnet18", "torch"))
    assert np.allclose(seen("efficientnet_lite0"), (pixel - 127) / 128)
    with pytest.raises(UsageError, match="of mnist_cnn no pretrained weights are known"):
        seen("mnist_cnn")


# ------------------------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize("kind", [layers.BatchNormalization, keras.layers.BatchNormalization])
def test_frozen_normalisation_stays(kind):
    """Failure: two dozen pictures of a small data set overwrite the statistics of a million."""
    layer = kind(trainable=False)
    layer.build((None, 4, 4, 3))
    before = [np.random.default_rng(i).uniform(0.5, 1.5, 3).astype("float32") for i in range(4)]
    layer.set_weights(before)
    x = 5 + pictures(8, 4)
    gamma, beta, mean, variance = before
    expected = gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
    assert np.allclose(ops.convert_to_numpy(layer(x, training=True)), expected, rtol=1e-4, atol=1e-4)
    assert all(np.array_equal(old, new) for old, new in zip(before, layer.get_weights()))


@pytest.mark.parametrize("part", ["layer4", pytest.param("head", marks=torch_only)])
def test_frozen_layers_do_not_move(part):
    """Failure: fine-tuning of the head alone ruins the pretrained body, statistics first."""
    model = shake(classifiers.build("resnet18", 3, 16, stem="small"))
    chosen = finetune.set_trainable(model, part)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    trained = model.trainable_variables

    def objective(x, labels):
        entropy = keras.losses.sparse_categorical_crossentropy(labels, model(x, training=True), from_logits=True)
        return ops.mean(entropy), {}

    rest = [v for v in model.variables if not any(v is t for t in trained)]
    differentiate = backend.gradients(objective, trained, rest)

    def step(x, labels):
        backend.update(trained, 1, differentiate(x, labels)[2], -0.1)

    backend.compile(step, model.variables)(ops.convert_to_tensor(pictures(6, 16)), ops.convert_to_tensor([0, 1, 2] * 2))
    free = {layer.name for layer in chosen}
    assert ("layer4_0_downsample_1" in free) == (part == "layer4") and "layer3_1_bn2" not in free
    for layer in model.layers:
        for old, new in zip(before[layer.name], layer.get_weights()):
            assert np.array_equal(old, new) == (layer.name not in free), layer.name
    finetune.set_trainable(model, "all")
    assert len(model.trainable_variables) == 62


# ---------------------------------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize(
    ("name", "part", "size", "options", "shape"),
    [
        ("resnet18", "layer4", 32, {"stem": "small", "dropout": 0.5}, (8, 8, 256)),
        ("resnet18", "head", 32, {"stem": "small", "dropout": 0.5}, (512,)),
        pytest.param("squeezenet1.1", "head", 40, {}, (2, 2, 512), marks=torch_only),
        ("squeezenet1.1", "fire9", 40, {"head": "gap"}, (2, 2, 512)),
        ("efficientnet_lite0", "block7", 40, {}, (2, 2, 192)),
        pytest.param("densenet121", "denseblock4", 32, {}, (2, 2, 1024), marks=torch_only),
    ],
)
def test_tail_of_body_is_the_model(name, part, size, options, shape):
    """Failure: a head trained on features computed once is not the head of the network that is kept."""
    model = shake(classifiers.build(name, 3, size, **options))
    if name == "densenet121":
        check_parts(model)
    finetune.set_trainable(model, part)
    body, tail = finetune.split(model, finetune.from_part(model, part))
    assert body.output.shape[1:] == shape
    assert not body.trainable_variables
    assert {id(v) for v in tail.trainable_variables} == {id(v) for v in model.trainable_variables}
    dropped = [m for m in (body, tail) if any(isinstance(layer, keras.layers.Dropout) for layer in m.layers)]
    assert dropped in ([], [tail])
    x = pictures(2, size)
    expected = predict(model, x)
    assert np.ptp(expected, axis=0).max() > 1e-3
    assert np.allclose(predict(tail, predict(body, x)), expected, rtol=1e-4, atol=1e-5)


def test_no_cut_where_something_goes_round_it():
    """Failure: the features that are kept lack what a shortcut carries past them."""
    x = inputs = keras.Input((8, 8, 3))
    for stage in range(1, 5):
        x = keras.layers.Conv2D(3, 1, name=f"layer{stage}_conv1")(x)
    round_it = keras.layers.Add()([x, inputs])
    y = keras.layers.Dense(2, name="fc")(keras.layers.GlobalAveragePooling2D()(round_it))
    model = keras.Model(inputs, y, name="resnet18")
    assert finetune.split(model, finetune.from_part(model, "layer4")) is None
    assert finetune.split(model, finetune.from_part(model, "head")) is not None
    assert finetune.split(model, finetune.from_part(model, "all")) is None


# -------------------------------------------------------------------------------------------------------- weights


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Empty caches, no package, no network."""
    hide_weights(tmp_path, monkeypatch)
    return tmp_path


def official(monkeypatch, network, source, body, url="http://127.0.0.1:9/"):
    """Makes `body` the official file."""
    sums = {"sha256": hashlib.sha256(body).hexdigest()[:8]}
    return changed_source(monkeypatch, network, source, url=url, sums=sums).file


def torch_file(model):
    """A model's weights as torchvision would name and lay them out."""
    tensors = {}
    for name, torch in torch_names.layer_names(model).items():
        values = model.get_layer(name).get_weights()
        if len(values) == 4:
            tensors.update(zip((f"{torch}.{k}" for k in ("weight", "bias", "running_mean", "running_var")), values))
            continue
        kernel = values[0].T if values[0].ndim == 2 else values[0].transpose(3, 2, 0, 1)
        tensors[f"{torch}.weight"] = np.ascontiguousarray(kernel)
        if len(values) == 2:
            tensors[f"{torch}.bias"] = values[1]
    return save(tensors)


def test_torchvisions_weights_are_fetched_once_and_checked(home, monkeypatch):
    """Failure: fine-tuning starts from random numbers, from a damaged file, or loads 45 MB each time."""
    source = shake(classifiers.build("resnet18", 7, 32))
    body = torch_file(source)
    model = classifiers.build("resnet18", 3, 32)
    head = model.get_layer("fc").get_weights()
    with Server(body) as server:
        file = official(monkeypatch, "resnet18", "torchvision", body[:-1] + b"?", server.url)
        with pytest.raises(DataError, match=rf"^{file} could not be fetched .*sha256.*--weights FILE") as caught:
            classifiers.load_imagenet(model)
        assert "\n" not in str(caught.value) and not list((home / "torch").rglob("*.pth"))
        official(monkeypatch, "resnet18", "torchvision", body, server.url)
        loaded = classifiers.load_imagenet(model)
        asked = len(server.requests)
        again = classifiers.load_imagenet(model)
        assert len(server.requests) == asked
    path = home / "torch/hub/checkpoints" / file
    assert (loaded.preprocessing, loaded.head, loaded.sha256) == ("torch", False, hashlib.sha256(body).hexdigest())
    assert "7 classes there, 3 here" in loaded.message and again.origin == str(path) and path.read_bytes() == body
    for layer in model.layers[1:]:
        expected = head if layer.name == "fc" else source.get_layer(layer.name).get_weights()
        for mine, theirs in zip(layer.get_weights(), expected):
            assert np.array_equal(mine, theirs), layer.name


@pytest.mark.parametrize(
    ("name", "size", "options", "order"),
    [
        ("vgg19", 224, {}, ["torchvision", "caffe offline", "torchvision offline", "caffe"]),
        ("vgg16", 64, {}, ["caffe offline", "torchvision offline", "caffe"]),
        ("vgg19", 224, {"head": "gap"}, ["caffe offline", "torchvision offline", "caffe"]),
        ("squeezenet1.1", 64, {}, ["caffe offline", "torchvision"]),
    ],
)
@torch_only
def test_order_of_sources(home, monkeypatch, name, size, options, order):
    """Failure: half a gigabyte is downloaded for a head that cannot take it, or what is on the machine is passed by."""
    asked = []

    def obtain(row, source, file, *, progress, offline):
        asked.append(source + " offline" * offline)
        raise weights.Absent("none")

    monkeypatch.setattr(weights, "obtain", obtain)
    with pytest.raises(DataError, match="none"):
        classifiers.load_imagenet(symbolic(name, 3, size, **options))
    assert asked == order


@pytest.mark.parametrize("caffe", [True, False])
def test_whose_weights_a_file_holds_is_told(home, caffe):
    """Failure: Caffe's weights under PyTorch's names are shown RGB in torchvision's scale, and name nothing."""
    source = shake(classifiers.build("squeezenet1.1", 3, 32))
    kernel, bias = source.get_layer("conv1").get_weights()
    if caffe:
        bias[:4] = registry.get("squeezenet1.1").weights["caffe"].bias
        source.get_layer("conv1").set_weights([kernel, bias])
    path = home / "mine.pth"
    path.write_bytes(torch_file(source))
    model = classifiers.build("squeezenet1.1", 3, 32)
    loaded = classifiers.load_imagenet(model, path)
    assert loaded.preprocessing == ("caffe" if caffe else "torch")
    assert np.array_equal(model.get_layer("conv1").get_weights()[0], kernel[:, :, ::-1] if caffe else kernel)
    second = "fire2_squeeze1x1"
    assert np.array_equal(model.get_layer(second).get_weights()[0], source.get_layer(second).get_weights()[0])


def test_caffenet_from_a_file(home):
    """Failure: Caffe's example of fine-tuning cannot start from Caffe's weights."""
    source = classifiers.build("caffenet", 5, 67)
    arrays = {}
    for layer in source.layers:
        arrays.update(zip((f"{layer.name}/kernel", f"{layer.name}/bias"), layer.get_weights()))
    np.savez(home / "caffenet.npz", **arrays)
    model = classifiers.build("caffenet", 3, 67)
    head = model.get_layer("fc8").get_weights()[0]
    loaded = classifiers.load_imagenet(model, home / "caffenet.npz")
    assert loaded.preprocessing == "caffe" and not loaded.head
    assert np.array_equal(model.get_layer("fc8").get_weights()[0], head)
    assert np.array_equal(model.get_layer("conv1").get_weights()[0], arrays["conv1/kernel"][:, :, ::-1])
    assert np.array_equal(model.get_layer("fc6").get_weights()[0], arrays["fc6/kernel"])
    with pytest.raises(UsageError, match="caffenet has no official file"):
        classifiers.load_imagenet(model)


THEIRS = {
    "mobilenet_v2": keras.applications.MobileNetV2,
    "efficientnet_b0": keras.applications.EfficientNetB0,
    "efficientnet_b4": keras.applications.EfficientNetB4,
    "inception_v3": keras.applications.InceptionV3,
    "xception": keras.applications.Xception,
}


@pytest.mark.parametrize("name", THEIRS)
@torch_only
def test_keras_networks_and_their_files(home, monkeypatch, name):
    """Failure: Keras' weights land in other layers than they were learnt in, or pictures are normalised twice."""
    size = {"inception_v3": 75, "xception": 71}.get(name, 40)
    theirs = shake(THEIRS[name](weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)))
    path = home / "theirs.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
    model = classifiers.build(name, 3, size)
    check_parts(model)
    with Server(path.read_bytes()) as server:
        file = official(monkeypatch, name, "keras", path.read_bytes(), server.url)
        loaded = classifiers.load_imagenet(model)
    assert (home / "keras/models" / file).exists()
    assert (loaded.head, loaded.preprocessing) == (False, registry.get(name).preprocessing)
    x = pictures(2, size)
    # Without ImageNet's numbers in it, their normalisation only divides by 255.
    expected = predict(theirs, x * 255 if name.startswith("efficientnet") else x)
    features = predict(keras.Model(model.input, model.get_layer("avg_pool").output), x)
    assert expected.max() > 1e-3 and np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()
    if name in ("inception_v3", "xception"):  # not Keras' names, which count through the process
        assert all(re.match(r"stem_|mixed\d|block\d+_", layer.name) for layer in model.layers[1:-3])


@torch_only
def test_keras_weights_that_cannot_be_had(home, monkeypatch):
    """Failure: without a network the command ends in Keras' traceback, or a wrong file is half loaded."""
    model = classifiers.build("mobilenet_v2", 3, 32)
    before = model.get_weights()
    file = official(monkeypatch, "mobilenet_v2", "keras", b"")
    with pytest.raises(DataError, match=rf"^{file} could not be fetched .*connection refused.*--weights FILE"):
        classifiers.load_imagenet(model)
    wrong = home / "wrong.h5"
    with h5py.File(wrong, "w") as stored:
        legacy_h5_format.save_weights_to_hdf5_group(stored, classifiers.build("mnist_cnn", 3, 8))
    web = home / "web.h5"
    web.write_text("<!DOCTYPE html>")
    for path, says in ((wrong, r"wrong\.h5: not the weights of mobilenet_v2"), (web, r"web\.h5: is a web page")):
        with pytest.raises(DataError, match=says) as caught:
            classifiers.load_imagenet(model, path)
        assert "\n" not in str(caught.value)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights()))
