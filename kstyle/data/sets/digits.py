"""The 1,797 handwritten digits of 8×8 pixels that come with scikit-learn: real pictures for runs of seconds.

From E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI Machine Learning Repository, 1998); it is
that set's test part.
"""

import numpy as np

from kstyle.data.batches.arrays import Split, hold_out
from kstyle.data.sets.find import Source
from kstyle.errors import DataError

# The set has no published split: a stratified fifth is the test split, drawn by scikit-learn with this seed.
TEST_FRACTION, TEST_SEED = 0.2, 0


def read(_path=None):
    """`(classes, train, test)`; pictures (N, 8, 8, 1), the ink's 0 … 16 scaled to 0 … 255 and rounded.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "The data set digits comes with scikit-learn, which is missing: pip install scikit-learn."
        ) from (error)
    ink, labels = load_digits(return_X_y=True)
    images = np.rint(ink.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    train, test = hold_out(Split(images, labels.astype(np.int32)), TEST_FRACTION, TEST_SEED)
    return tuple("0123456789"), train, test


def package():
    """The package the pictures come with, and its version."""
    import importlib.metadata

    try:
        return f"scikit-learn {importlib.metadata.version('scikit-learn')}"
    except importlib.metadata.PackageNotFoundError:
        return None


SOURCE = Source("digits", (1438, 359), 10, (8, 8, 1), read)
