"""kstyle.io.checkpoints, and what kstyle.models.weights makes of what it reads: every format, and files that are not
what they say."""

import collections
import io
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from weight_files import LAYERS, arrays, keras1, resolve, same, tensors, torch_arrays, write_h5

from kstyle.errors import DataError
from kstyle.io import checkpoints
from kstyle.models.networks import feature_layers

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
    same(resolve("vgg19", "caffe", write_h5(tmp_path / "w.h5", rename), layers=LAYERS))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_keras_3_saves_is_read_by_layer_name(tmp_path, dtype):
    keras = pytest.importorskip("keras")
    convs = [keras.layers.Conv2D(feature_layers.LAYERS["vgg19"][n].shape[-1], 3, name=n, dtype=dtype) for n in LAYERS]
    model = keras.Sequential([keras.Input((8, 8, 3)), *convs])
    model.set_weights(list(map(arrays().get, [f"{n}/{kind}" for n in LAYERS for kind in ("kernel", "bias")])))
    model.save_weights(tmp_path / "m.weights.h5")
    model.save(tmp_path / "m.keras")
    for name in ("m.weights.h5", "m.keras"):
        same(resolve("vgg19", "caffe", tmp_path / name, layers=LAYERS))


@pytest.mark.parametrize("prefix", ["", "state_dict.module."])
def test_npz_by_either_naming(tmp_path, prefix):
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez_compressed(tmp_path / "b.npz", **{prefix + name: value for name, value in torch_arrays().items()})
    same(resolve("vgg19", "caffe", tmp_path / "a.npz", layers=LAYERS))
    same(resolve("vgg19", "caffe", tmp_path / "b.npz", layers=LAYERS))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_safetensors(tmp_path, dtype):
    import ml_dtypes
    from safetensors.numpy import save_file

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    save_file({n: np.ascontiguousarray(v, dtype=kind) for n, v in torch_arrays().items()}, tmp_path / "w.safetensors")
    same(resolve("vgg19", "torchvision", tmp_path / "w.safetensors", layers=LAYERS))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_checkpoints(tmp_path, dtype, zipped):
    torch, state = tensors()
    state = {name: torch.nn.Parameter(value.to(getattr(torch, dtype))) for name, value in state.items()}
    state["features.5.weight"] = state["features.5.weight"].to(memory_format=torch.channels_last)
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "state_dict": collections.OrderedDict(state)}, path, _use_new_zipfile_serialization=zipped)
    same(resolve("vgg19", "torchvision", path, layers=LAYERS))


def test_torch_files_of_2017(tmp_path):
    # torchvision's own vgg16 and vgg19 name the older of torch's two functions.
    torch, state = tensors()
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    assert file.getvalue().count(b"_rebuild_tensor_v2\n") == 1
    (tmp_path / "w.pth").write_bytes(file.getvalue().replace(b"_rebuild_tensor_v2\n", b"_rebuild_tensor\n"))
    same(resolve("vgg19", "torchvision", tmp_path / "w.pth", layers=LAYERS))


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
    with pytest.raises(DataError, match="refused: with a/kernel it would unpack to 4,000,000,000,000 bytes"):
        checkpoints.read(tmp_path / "endless.h5")


# ---------------------------------------------------------------------------------------------- what does not fit


def test_what_does_not_fit_names_file_layer_and_shapes(tmp_path):
    path = tmp_path / "w.npz"

    def line(changes, network="vgg19", layers=LAYERS):
        np.savez(path, **{n: v for n, v in {**arrays(), **changes}.items() if v is not None})
        with pytest.raises(DataError) as caught:
            resolve(network, "caffe", path, layers=layers)
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
    same(resolve("vgg19", "caffe", tmp_path / "w.npz", layers=iter(LAYERS)))
