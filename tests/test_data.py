"""Data sets against the real files, and against files that are damaged, forged or not there."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from failing import fails
from PIL import Image

from kstyle import data
from kstyle.data.batches import arrays
from kstyle.data.sets import cifar10, cifar_batches, mnist
from kstyle.errors import DataError

SHARED = Path(__file__).parents[2] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real files are not in {SHARED}")
RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine with no data sets of its own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("KSTYLE_DATA", raising=False)


# ---------------------------------------------------------------------------------------------------- the real files


@needs_shared
def test_mnist(monkeypatch):
    """Failure: pictures go with the wrong labels, or some are lost. Facts from the paper and the files' own page."""
    monkeypatch.setenv("KSTYLE_DATA", str(SHARED))
    dataset = data.load("mnist", download=False)
    assert dataset.train.images.shape == (60000, 28, 28, 1) and dataset.test.images.shape == (10000, 28, 28, 1)
    assert np.bincount(dataset.train.labels)[:2].tolist() == [5923, 6742]
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9] and dataset.test.labels[:3].tolist() == [7, 2, 1]
    mean, std = data.channel_statistics(dataset.train.images)
    assert (round(mean[0], 4), round(std[0], 4)) == (0.1307, 0.3081)  # what every MNIST script normalises by
    assert dataset.origin == str(SHARED / "mnist/mnist.npz")


@needs_shared
def test_tiny_imagenet():
    """Failure: grey pictures stop the reading or come out wrong, or boxes and labels belong to other pictures."""
    dataset = data.load("tiny_imagenet", SHARED / "tiny-imagenet-200")
    assert (len(dataset.train), len(dataset.test), len(dataset.classes)) == (1393, 400, 20)
    assert dataset.classes[:3] == ("Egyptian cat", "parking meter", "oboe")
    root, grey = SHARED / "tiny-imagenet-200", 0
    for label, wnid in enumerate((root / "wnids.txt").read_text().split()):
        of_class = dataset.train.images[dataset.train.labels == label]
        names = [line.split("\t")[0] for line in (root / f"train/{wnid}/{wnid}_boxes.txt").read_text().splitlines()]
        assert len(of_class) == len(names)
        for pixels, name in zip(of_class, names):
            with Image.open(root / f"train/{wnid}/images/{name}") as image:
                grey += image.mode == "L"
                assert np.array_equal(pixels, np.asarray(image.convert("RGB"))), name
    assert grey == 219
    assert arrays.count_grey(dataset.train.images) == 222  # and three in colour that show none
    # val_7.JPEG n02823428 (beer bottle) 5 0 57 63 is the list's first line.
    assert dataset.classes[dataset.test.labels[0]] == "beer bottle"
    assert dataset.test.boxes[0].tolist() == [5, 0, 57, 63]
    boxes = np.concatenate([dataset.train.boxes, dataset.test.boxes])
    assert boxes.min() == 0 and boxes.max() == 63 and (boxes[:, 2:] >= boxes[:, :2]).all()


def test_digits():
    """Failure: the accuracy of a run in seconds is measured on pictures it was trained with, or on too bright ones."""
    dataset = data.load("digits", download=False)
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)
    assert (dataset.train.images.min(), dataset.train.images.max()) == (0, 255)
    assert {128, 255, 0, 16} <= set(np.unique(dataset.train.images).tolist())  # 8, 16, 0 and 1 of 16
    assert arrays.count_shared(dataset.train, dataset.test) == 0
    assert abs(np.bincount(dataset.train.labels) / 4 - np.bincount(dataset.test.labels)).max() <= 1


# ---------------------------------------------------------------------------------------------------- small forgeries


def write_idx(folder, pictures=(20, 10), end=""):
    """MNIST's four files with random pictures; returns what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    held = []
    for part, count in zip(("train", "t10k"), pictures):
        images, labels = RNG.integers(0, 256, (count, 28, 28), np.uint8), RNG.integers(0, 10, count, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            write = gzip.compress if end else bytes
            (folder / f"{part}-{kind}-ubyte{end}").write_bytes(write(head + array.tobytes()))
        held.append((images, labels))
    return held


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist_from_its_original_files(tmp_path, end):
    """Failure: who has the four files of MNIST's page must fetch it again."""
    held = write_idx(tmp_path / "mnist", end=end)
    dataset = data.load("mnist", tmp_path)
    for split, (images, labels) in zip((dataset.train, dataset.test), held):
        assert np.array_equal(split.images[..., 0], images) and split.labels.tolist() == labels.tolist()
        assert split.images.flags.writeable
    (tmp_path / f"mnist/t10k-images-idx3-ubyte{end}").write_bytes(b"\0\0\x08\x03" + bytes([127] * 12))
    fails(DataError, lambda: data.load("mnist", tmp_path), "t10k-images")


@pytest.mark.parametrize(("end", "says"), [(slice(0, -1), "shorter"), (slice(0, 6), "its header"), (None, "longer")])
def test_mnist_cut_short(tmp_path, end, says):
    """Failure: half a file ends in a traceback, or trains."""
    write_idx(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[end] if end else path.read_bytes() + b"\1")
    fails(DataError, lambda: data.load("mnist", tmp_path), str(path), says)


def test_mnist_with_pickled_objects_runs_nothing(tmp_path):
    """Failure: a file of data from a stranger runs the stranger's program."""
    trap = tmp_path / "ran"
    objects = np.empty(1, object)
    objects[0] = Trap(trap)
    np.savez(tmp_path / "mnist.npz", x_train=objects, y_train=[0], x_test=objects, y_test=[0])
    fails(DataError, lambda: data.load("mnist", tmp_path), "mnist.npz", "allow_pickle")
    assert not trap.exists()


def test_mnist_with_labels_that_are_none(tmp_path):
    """Failure: a label beyond int32 comes round to a digit, or an entry that is no array ends in a traceback."""
    images = np.zeros((3, 28, 28), np.uint8)
    arrays = {"x_train": images, "y_train": np.array([1, 2, 2**32]), "x_test": images, "y_test": np.array([1, 2, 3])}
    np.savez(tmp_path / "mnist.npz", **arrays)
    fails(DataError, lambda: data.load("mnist", tmp_path), "y_train", "0 to 9")
    for broken in (b"", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 17):
        with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
            for name in arrays:
                archive.writestr(f"{name}.npy", broken)
        fails(DataError, lambda: data.load("mnist", tmp_path), "mnist.npz", "damaged")


class Trap:
    """Pickled, a program that makes the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def python2_pickle(pixels, labels):
    """A batch as Python 2 wrote the official ones: byte strings throughout, protocol 2."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
        b"(K\x01M" + len(labels).to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little") + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\x01\x87R(K\x03" + text(b"|") + b"NNN"
        + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
        b"\x89T" + pixels.nbytes.to_bytes(4, "little") + pixels.tobytes() + b"tb"
    )  # fmt: skip
    return b"\x80\x02}(" + text(b"labels") + b"](" + numbers + b"e" + text(b"data") + array + b"u."


def write_cifar10(folder, dump=None):
    """Six batches of three pictures; returns (18, 3072) pixels and 18 labels, the test batch's last."""
    dump = dump or (lambda x, y: pickle.dumps({"data": x, "labels": y, "batch_label": "b", "filenames": []}, 2))
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = RNG.integers(0, 256, (18, 3072), np.uint8), RNG.integers(0, 10, 18).tolist()
    for number, name in enumerate((*cifar10.TRAIN, cifar10.TEST)):
        part = slice(3 * number, 3 * number + 3)
        (folder / name).write_bytes(dump(pixels[part], labels[part]))
    return pixels, labels


@pytest.mark.parametrize("form", ["python2", "protocol 2", "protocol 4", "fortran", "archive"])
def test_cifar10(tmp_path, form):
    """Failure: the photographs come out with mixed-up colours or rows, or the official files do not open."""
    dump = {
        "python2": python2_pickle,
        "protocol 4": lambda x, y: pickle.dumps({"data": x, "labels": y}, 4),
        "fortran": lambda x, y: pickle.dumps({"data": np.asfortranarray(x), "labels": y}, 2),
    }.get(form)
    folder = tmp_path / "cifar-10-batches-py"
    pixels, labels = write_cifar10(folder, dump)
    if form == "archive":
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(folder, "../../up")  # nothing of it is written, so it leads nowhere
        for path in folder.iterdir():
            path.unlink()
    before = sorted(tmp_path.rglob("*"))
    dataset = data.load("cifar10", tmp_path)
    assert dataset.train.labels.tolist() == labels[:15] and dataset.test.labels.tolist() == labels[15:]
    assert sorted(tmp_path.rglob("*")) == before
    for split, rows in ((dataset.train, pixels[:15]), (dataset.test, pixels[15:])):
        for picture, row in zip(split.images, rows):
            # The format's page: 1,024 of red, then green, then blue, each row by row.
            for at in ((0, 0, 0), (0, 31, 0), (31, 0, 1), (7, 20, 2)):
                assert picture[at] == row[1024 * at[2] + 32 * at[0] + at[1]]


@pytest.mark.parametrize("archived", [False, True])
def test_cifar100(tmp_path, archived):
    """Failure: the hundred classes are the twenty coarse ones, or the official files do not open."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    held = {}
    for name, count in (("train", 150), ("test", 100)):
        pixels, fine = RNG.integers(0, 256, (count, 3072), np.uint8), (RNG.permutation(count) % 100).tolist()
        coarse = [label % 20 for label in fine]
        batch = {"data": pixels, "fine_labels": fine, "coarse_labels": coarse, "filenames": [], "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch, 2))
        held[name] = pixels, fine
    if archived:
        with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
            archive.add(folder, "cifar-100-python")
        for path in folder.iterdir():
            path.unlink()
    dataset = data.load("cifar100", tmp_path)
    for split, (pixels, fine) in ((dataset.train, held["train"]), (dataset.test, held["test"])):
        assert split.labels.tolist() == fine and split.images.shape == (len(fine), 32, 32, 3)
        assert np.array_equal(split.images[3, :, :, 2].ravel(), pixels[3, 2048:])
    assert len(set(dataset.classes)) == 100 and dataset.classes[0] == "apple" and dataset.classes[99] == "worm"
    assert list(dataset.classes) == sorted(dataset.classes)  # as in the set's file of names


def test_fashion_mnist(tmp_path):
    """Failure: clothes are called by digits, or MNIST's own files, which have the same names, are taken for them."""
    ((images, labels), _) = write_idx(tmp_path / "fashion-mnist", end=".gz")
    dataset = data.load("fashion_mnist", tmp_path)
    assert np.array_equal(dataset.train.images[..., 0], images) and dataset.train.labels.tolist() == labels.tolist()
    assert dataset.classes[9] == "Ankle boot"
    digits = bytes([5, 0, 4, 1, 9, 2, 1, 3, 1, 4] * 2)
    (tmp_path / "fashion-mnist/train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\1" + (20).to_bytes(4, "big") + digits)
    )
    fails(DataError, lambda: data.load("fashion_mnist", tmp_path), "is MNIST")


def test_all_files_of_a_set_are_fetched(tmp_path, monkeypatch):
    """Failure: of a set in four files one is fetched, and the rest is missing; or a broken download looks whole."""
    asked = []
    monkeypatch.setattr("kstyle.net.download.fetch", lambda url, target, **more: asked.append((url, target)) or target)
    path = data.download("fashion_mnist", tmp_path)
    assert path == asked[-1][1] == tmp_path / "fashion-mnist/train-images-idx3-ubyte.gz"
    assert len({target for _, target in asked}) == 4
    assert all(url.rpartition("/")[2] == target.name for url, target in asked)


@pytest.mark.parametrize("where", ["data", "labels", "alone", "build"])
def test_a_malicious_batch_runs_nothing(tmp_path, where):
    """Failure: a batch from a stranger runs the stranger's program."""
    write_cifar10(tmp_path)
    trap = Trap(tmp_path / "ran")
    forged = {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 2]}
    if where == "build":  # sets an attribute of the function that rebuilds arrays
        raw = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}U\x08__self__K\x01sb."
    else:
        raw = pickle.dumps(trap if where == "alone" else {**forged, where: trap}, 2)
    (tmp_path / "data_batch_3").write_bytes(raw)
    line = fails(DataError, lambda: data.load("cifar10", tmp_path), "data_batch_3")
    assert "mkdir" in line or where == "build"
    assert not trap.path.exists()
    write_cifar10(tmp_path)  # and what was handed to the pickle still works
    assert len(data.load("cifar10", tmp_path).train) == 15


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        ({"data": np.zeros((3, 3071), np.uint8), "labels": [0, 1, 2]}, "(N, 3072) uint8"),
        ({"data": np.zeros((3, 3072), np.int64), "labels": [0, 1, 2]}, "(N, 3072) uint8"),
        ({"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1]}, "3 labels"),
        ({"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 10]}, "0 to 9"),
        ({"fine_labels": [1]}, "data"),
        ([1, 2], "dict"),
    ],
)
def test_a_batch_of_something_else(tmp_path, forged, says):
    """Failure: a traceback, or training on noise."""
    write_cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(forged, 2))
    fails(DataError, lambda: data.load("cifar10", tmp_path), "test_batch", says)


def test_archives_that_unpack_to_too_much(tmp_path, monkeypatch):
    """Failure: a file of some megabytes fills the memory."""
    monkeypatch.setattr(cifar_batches, "MOST_UNPACKED", 1 << 16)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.size = 1 << 20
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    fails(DataError, lambda: data.load("cifar10", tmp_path), "tar.gz", "unpacks to more than")
    monkeypatch.setattr(mnist, "MOST", 1 << 10)
    np.savez_compressed(tmp_path / "mnist.npz", **dict.fromkeys(mnist._NPZ, np.zeros((9, 28, 28), np.uint8)))
    fails(DataError, lambda: data.load("mnist", tmp_path), "x_train", "1024")


def write_tiny(folder):
    """Two classes of two pictures to train, one to test, in the original layout."""

    def jpeg(path, colour, size=(64, 64)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(path, "JPEG")

    for wnid, colour in (("n00000002", 200), ("n00000001", (250, 0, 0))):
        for number in range(2):
            jpeg(folder / f"train/{wnid}/images/{wnid}_{number}.JPEG", colour)
        boxes = "".join(f"{wnid}_{number}.JPEG\t1\t2\t3\t{number + 4}\n" for number in range(2))
        (folder / f"train/{wnid}/{wnid}_boxes.txt").write_text(boxes)
    jpeg(folder / "val/images/val_0.JPEG", (250, 0, 0))
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn00000001\t0\t0\t63\t63\n")
    (folder / "wnids.txt").write_text("n00000002\nn00000001\n")
    (folder / "words.txt").write_text("n00000001\tcrane, bird\nn00000002\tcrane\nn00000003\tdog\n")
    return folder


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def test_tiny_imagenet_is_the_same_from_its_zip(tmp_path):
    """Failure: the official file must be unpacked first, or gives other pictures."""
    folder = write_tiny(tmp_path / "tiny-imagenet-200")
    unpacked = data.load("tiny_imagenet", tmp_path)
    packed = data.load("tiny_imagenet", zipped(folder, tmp_path / "x.zip"))
    assert unpacked.sha256 == packed.sha256
    assert packed.classes == ("crane (n00000002)", "crane (n00000001)")  # two classes of one name stay apart
    assert packed.train.labels.tolist() == [0, 0, 1, 1] and packed.test.labels.tolist() == [1]
    assert packed.train.boxes[1].tolist() == [1, 2, 3, 5]
    assert packed.train.images[0].tolist() == np.full((64, 64, 3), 200).tolist()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train/n00000001/images/n00000001_1.JPEG", b"\xff\xd8\xff\xe0 cut", "is damaged"),
        ("train/n00000001/images/n00000001_1.JPEG", "odd", "got 65×64"),
        ("train/n00000001/images/n00000001_1.JPEG", None, "n00000001_1.JPEG"),
        ("val/val_annotations.txt", b"../../../secret.JPEG\tn00000001\t0\t0\t63\t63\n", "refused"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn00000001\t0\t0\t64\t63\n", "from 0 to 63"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn00000001\n", "6 columns"),
        ("wnids.txt", b"../../x\n", "WordNet"),
        ("words.txt", b"n00000001\tcrane\n", "n00000002"),
    ],
)
def test_tiny_imagenet_names_the_broken_file(tmp_path, name, content, says, packed):
    """Failure: one bad file of 110,000 and no word which, or a list that reads files outside the data set."""
    folder = write_tiny(tmp_path / "tiny-imagenet-200")
    if content == "odd":
        Image.new("RGB", (65, 64)).save(folder / name, "JPEG")
    elif content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    place = zipped(folder, tmp_path / "x.zip") if packed else tmp_path
    fails(DataError, lambda: data.load("tiny_imagenet", place), says, name.partition("/")[0])


def test_a_damaged_zip_is_one_line(tmp_path):
    """Failure: a byte that fell over in the download ends in a traceback from inside zipfile."""
    folder = write_tiny(tmp_path / "tiny-imagenet-200")
    whole = zipped(folder, tmp_path / "x.zip").read_bytes()
    # Of the central directory's entries: the version needed, flags (encrypted), compression, the size it claims, and a
    # name that is said to be UTF-8 and is not.
    changes = [
        ({6: 153}, "x.zip"), ({8: 1}, "encrypted"), ({10: 14}, "x.zip"), ({27: 255}, "refused"),
        ({9: 8, 46: 255}, "x.zip"),
    ]  # fmt: skip
    for values, says in changes:
        broken, at = bytearray(whole), whole.find(b"PK\1\2")
        while at >= 0:
            for offset, value in values.items():
                broken[at + offset] = value
            at = whole.find(b"PK\1\2", at + 1)
        (tmp_path / "x.zip").write_bytes(broken)
        fails(DataError, lambda: data.load("tiny_imagenet", tmp_path / "x.zip"), "x.zip", says)
