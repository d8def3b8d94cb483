"""Small files that would take all memory or hours if they were believed."""

import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from PIL import TiffImagePlugin
from weight_files import LAYERS, arrays, hide_weights, resolve, torch_arrays

from kstyle.data.lists import flickr_style
from kstyle.errors import DataError
from kstyle.io import checkpoints
from kstyle.pictures import images


def header(shape):
    """Of a .npy of float32."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("name", ["block1_conv1/kernel", "features.0.weight"])
@pytest.mark.parametrize("shape", [(5 * 10**9,), (10**3, 10**3)])
def test_a_deflated_npz(tmp_path, monkeypatch, name, shape):
    """Failure: 20 GB of nothing are unpacked before anyone asks whether they are the layer's; or 4 MB, for 7 kB."""
    hide_weights(tmp_path, monkeypatch)
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", header(shape) + bytes(4 * 10**6))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"w\.npz: refused: with .* it would unpack to [0-9,]+ bytes"):
        resolve("vgg19", "caffe", tmp_path / "w.npz", layers=LAYERS[:1])


def test_a_stored_npz_that_claims_more_than_it_is(tmp_path):
    """Failure: room is made for what is not there."""
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header((10**9,)) + bytes(40))
    with pytest.raises(DataError, match=r"refused: a claims 4000000000 bytes that the file does not hold"):
        checkpoints.read(tmp_path / "w.npz")


@pytest.mark.parametrize("chunk", [10**5, 3 * 10**6])
def test_a_deflated_h5(tmp_path, chunk):
    """Failure: as for .npz; or a small array is in a chunk that is not, and chunks are unpacked whole."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        shape = (3 * 10**6,) if chunk < 10**6 else (10,)
        stored = file.create_dataset("b/kernel", shape, "f4", chunks=(chunk,), maxshape=(None,), compression="gzip")
        stored[:] = 1
    with pytest.raises(DataError, match=r"refused: with b/kernel it would unpack to 12,000,000 bytes"):
        checkpoints.read(tmp_path / "w.h5", most=10**7)
    assert list(checkpoints.read(tmp_path / "w.h5", most=12 * 10**6)) == ["b/kernel"]


def test_compressed_weights_are_read(tmp_path, monkeypatch):
    """Failure: who saves weights in a compressed file cannot use it any more."""
    hide_weights(tmp_path, monkeypatch)
    np.savez_compressed(tmp_path / "w.npz", **{name: value.astype("f8") for name, value in arrays().items()})
    assert len(resolve("vgg19", "caffe", tmp_path / "w.npz", layers=LAYERS).arrays) == 4


def torch_zip(path, stream):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", stream)
    return path


DEEP = b"\x80\x02N" + b"\x85" * 3000 + b"."  # a tuple in a tuple in a tuple …
MEMO = b"\x80\x02Nr" + struct.pack("<I", 1 << 25) + b"."  # remembered under a large number
NAMED = b"\x80\x02}X" + struct.pack("<I", 2000) + b"k" * 2000  # {"kkk…": a tensor}
NAMED += b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR" + b"s."
COPIED = b"\x80\x02" + b"]q\x00(" + b"N" * 10**5 + b"e0" + b"ctorch\nSize\nq\x010" + b"h\x01h\x00\x85R0" * 100 + b"N."
LONG = b"\x80\x02X" + struct.pack("<I", 1 << 23) + b"k" * (1 << 23) + b"."


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (DEEP, "it is nested more than 100 deep"),
        (NAMED, "a tensor's name, k+…, has 2000 characters"),
        (COPIED, "its pickle copies more than it holds"),
        (LONG, "its pickle has more than [0-9]+ bytes"),
    ],
)
def test_a_pickle_that_grows(tmp_path, stream, said):
    """Failure: time or memory with the square of what a .pth holds."""
    with pytest.raises(DataError, match=f"refused: {said}"):
        checkpoints.read(torch_zip(tmp_path / "w.pth", stream))


def test_a_pickle_that_counts_high(tmp_path):
    """Failure: six bytes make room for as many objects as they say."""
    path = torch_zip(tmp_path / "w.pth", MEMO)
    tracemalloc.start()
    try:
        assert checkpoints.read(path) == {}
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_what_trainings_save_is_read(tmp_path):
    """Failure: a checkpoint with an optimiser's state is taken for a bomb."""
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in torch_arrays().items()}
    saved = {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "sizes": [torch.Size([1, 2])]}}
    torch.save(saved, tmp_path / "w.pth")
    torch.save(saved, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    expected = {*(f"model.{name}" for name in state), "optimizer.state.0.step"}
    assert set(checkpoints.read(tmp_path / "w.pth")) == set(checkpoints.read(tmp_path / "old.pth")) == expected


def test_a_tiff_of_many_pages(tmp_path, monkeypatch):
    """Failure: to say how many pages there are, each is looked for among all before it."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    size, count = 2 + 12 * len(tags) + 4, 3000
    raw = b"II*\0" + struct.pack("<I", 16) + bytes(8)
    for number in range(count):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        following = 16 + size * (number + 1) if number + 1 < count else 0
        raw += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    (tmp_path / "a.tif").write_bytes(raw)
    seeks, seek = [], TiffImagePlugin.TiffImageFile._seek
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_seek", lambda s, n: (seeks.append(n), seek(s, n))[1])
    picture = images.read(tmp_path / "a.tif")
    assert picture.size == (1, 1) and len(seeks) < 1010
    assert picture.notes[0] == "1000 or more frames, the first is used"


def test_a_list_of_commas(tmp_path):
    """Failure: a line of commas takes minutes, as each row is given as many fields."""
    (tmp_path / "b.csv").write_text("image_url,label,_split" + "," * 5000)
    with pytest.raises(DataError, match=r"b\.csv: expected a list of URLs; its first line has 5,002 commas"):
        flickr_style.read_list(tmp_path / "b.csv")
