"""Hymenoptera: photographs of ants and bees, 244 to train on and 153 to test, of PyTorch's transfer-learning tutorial.

S. Chilamkurthy, "Transfer Learning for Computer Vision Tutorial", PyTorch. A subset of ImageNet.
"""

import contextlib
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from kstyle.data.photos import tree as photos
from kstyle.data.sets.find import ZIP_FAULTS, Source
from kstyle.errors import DataError
from kstyle.io.files import expanded, plain

FOLDERS = ("hymenoptera_data", "hymenoptera")
# A host's picture that says "image not found". torchvision reads no .gif, so the tutorial does not train on it either.
LEAVE_OUT = {"imageNotFound.gif": "a placeholder, no photograph"}
MOST_FILES = 2000  # of the zip; the official one has 398
MOST_BYTES = 1 << 28  # that they may unpack to; the official ones have 47 million


def read(path, *, workers=None, progress=None):
    """Reads the folder with `train/` and `val/`, one that holds it as `hymenoptera_data/` or `hymenoptera/`, a file of
    it, or the zip, which is unpacked beside itself.

    Its placeholder is left out and named in `skipped`.

    Args:
        path: the folder or file.
        workers, progress: as for `kstyle.data.photos.tree.read_folder`.

    Returns: a `kstyle.data.photos.tree.PhotoSet`; `val` is its test split.

    Raises:
        DataError: it is not there, or a file in it is damaged or refused.
    """
    path = Path(expanded(path))
    if path.is_file():
        path = unpack(path) if zipfile.is_zipfile(path) else path.absolute().parents[2]
    root = next((place for place in (path, *(path / name for name in FOLDERS)) if (place / "train").is_dir()), None)
    if root is None or not (root / "val").is_dir():
        raise DataError(f"{path}: holds no Hymenoptera; expected train/ and val/ there or in hymenoptera_data/.")
    return photos.read_folder(root, name="hymenoptera", leave_out=LEAVE_OUT, workers=workers, progress=progress)


def unpack(archive, folder=None):
    """Unpacks the official zip as `hymenoptera_data/` in `folder` (default: its own), whole or not at all.

    Returns: the path of `hymenoptera_data/`; as it is, where it is there already.

    Raises:
        DataError: the zip is damaged, holds something else or more than it may, or the folder cannot be written to.
    """
    archive = Path(archive)
    folder = Path(folder) if folder else archive.parent
    target = folder / FOLDERS[0]
    if target.is_dir():
        return target
    beside = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder, prefix=".hymenoptera_data."))
        _extract(archive, beside)
        beside.chmod(0o755)  # mkdtemp's own is for one user alone
        with contextlib.suppress(FileExistsError):
            os.rename(beside, target)
    except DataError:  # a ValueError too
        raise
    except ZIP_FAULTS as error:
        raise DataError(f"{archive}: is damaged ({plain(error)}). Delete it, and download it again.") from error
    except OSError as error:
        if not target.is_dir():  # another process was faster
            raise DataError(f"{target}: cannot be written ({error.strerror or error}).") from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
    return target


def _extract(archive, folder):
    left = MOST_BYTES
    with zipfile.ZipFile(archive) as packed:
        # No other name is looked at, so none leads elsewhere; what is a link becomes a file of its text.
        names = [
            re.fullmatch(r"hymenoptera_data/((?:train|val)/(?:ants|bees)/\w[\w.-]*)", n) for n in packed.namelist()
        ]
        names = [match for match in names if match]
        if not names or len(names) > MOST_FILES:
            raise DataError(f"{archive}: expected the ants and bees, 1 to {MOST_FILES} files; found {len(names)}.")
        for match in names:
            target = folder / match[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(match[0]) as source, open(target, "wb") as file:
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:
                        raise DataError(f"{archive}: refused: it unpacks to more than {MOST_BYTES} bytes.")
                    file.write(chunk)


# Photographs differ in shape. No checksum has been published.
SOURCE = Source(
    title="Hymenoptera",
    pictures=(244, 153),
    classes=2,
    shape=(),
    read=read,
    marks=(
        "train/ants/0013035.jpg",
        *(f"{name}/train/ants/0013035.jpg" for name in FOLDERS),
        "hymenoptera_data.zip",
    ),
    file="hymenoptera_data.zip",
    url="https://download.pytorch.org/tutorial/hymenoptera_data.zip",
    sums={},
    size=47286322,
)
