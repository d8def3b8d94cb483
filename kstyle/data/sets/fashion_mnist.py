"""Fashion-MNIST: 70,000 pictures of clothes of 28×28 pixels in ten classes, in files of MNIST's format and names.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
2017, arXiv 1708.07747.
"""

from kstyle.data.sets import mnist
from kstyle.data.sets.find import Source
from kstyle.errors import DataError

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_DIGITS = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the first labels of MNIST, whose files are called the same
_FILES = tuple(f"{name}.gz" for name in mnist.IDX)


def read(path):
    """Reads the idx files in the folder of `path`, or an .npz, as `kstyle.data.sets.mnist.read` does.

    Raises:
        DataError: as that; or the files are MNIST's.
    """
    _, train, test = mnist.read(path)
    if train.labels[: len(_DIGITS)].tolist() == _DIGITS:
        raise DataError(f"{path}: is MNIST, whose files are called as those of Fashion-MNIST are.")
    return CLASSES, train, test


# The files, addresses and sizes of keras.datasets.fashion_mnist, and where that keeps them.
SOURCE = Source(
    title="Fashion-MNIST",
    pictures=(60000, 10000),
    classes=10,
    shape=(mnist.SIDE, mnist.SIDE, 1),
    read=read,
    marks=(
        *(f"{folder}{mnist.IDX[0]}{end}" for folder in ("fashion-mnist/", "FashionMNIST/raw/") for end in (".gz", "")),
        *(f"{mnist.IDX[0]}{end}" for end in (".gz", "")),
    ),
    file=f"fashion-mnist/{_FILES[0]}",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/train-images-idx3-ubyte.gz",
    sums={"md5": "8d4fb7e6c68d591d4c3dfef9ec88bf0d"},
    size=26421880,
    more={
        f"fashion-mnist/{_FILES[1]}": {"md5": "25c81989df183df01b3e8a0aad5dffbe"},
        f"fashion-mnist/{_FILES[2]}": {"md5": "bef4ecab320f06d8554ea6380940ec79"},
        f"fashion-mnist/{_FILES[3]}": {"md5": "bb300cfdad3c16e7a12a480ee83cd310"},
    },
)
