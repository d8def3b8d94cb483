"""CIFAR-100: 60,000 photographs of 32×32 pixels in a hundred classes, from the files for Python or the archive of them.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The labels are the fine ones; the files'
twenty coarse ones are not read.
"""

from kstyle.data.sets import cifar_batches
from kstyle.data.sets.find import Source

# In the order of the labels, as the file `meta` has them.
CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip


def read(path):
    """`(classes, train, test)`, see `kstyle.data.sets.cifar_batches.read`."""
    splits = cifar_batches.read(
        path, ["train"], ["test"], title="CIFAR-100", labels="fine_labels", classes=len(CLASSES)
    )
    return CLASSES, *splits


# The file, address and checksum of keras.datasets.cifar100, and where that unpacks it to.
SOURCE = Source(
    title="CIFAR-100",
    pictures=(50000, 10000),
    classes=100,
    shape=(cifar_batches.SIDE, cifar_batches.SIDE, 3),
    read=read,
    marks=(
        "cifar-100-python/train",
        "cifar-100-python.tar.gz",
        "cifar-100-python-target/cifar-100-python/train",
        "cifar-100-python-target_archive",
        "train",
    ),
    file="cifar-100-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    sums={"sha256": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
    size=169001437,
)
