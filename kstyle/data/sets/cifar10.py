"""CIFAR-10: 60,000 photographs of 32×32 pixels in ten classes, from the batches for Python or the archive of them.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from kstyle.data.sets import cifar_batches
from kstyle.data.sets.find import Source

SIDE = cifar_batches.SIDE
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch"


def read(path):
    """`(classes, train, test)`, see `kstyle.data.sets.cifar_batches.read`."""
    splits = cifar_batches.read(path, TRAIN, [TEST], title="CIFAR-10", labels="labels", classes=len(CLASSES))
    return CLASSES, *splits


# The file, address and checksum of keras.datasets.cifar10, and where that unpacks it to.
SOURCE = Source(
    title="CIFAR-10",
    pictures=(50000, 10000),
    classes=10,
    shape=(SIDE, SIDE, 3),
    read=read,
    marks=(
        f"cifar-10-batches-py/{TRAIN[0]}",
        "cifar-10-python.tar.gz",
        TRAIN[0],
        f"cifar-10-batches-py-target/cifar-10-batches-py/{TRAIN[0]}",
        "cifar-10-batches-py-target_archive",
        "cifar-10-batches-py.tar.gz",
    ),
    file="cifar-10-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sums={"sha256": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    size=170498071,
)
