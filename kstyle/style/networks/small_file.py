"""The file of a style network once more with weights in 8 bits, compared before it gets its name."""

from pathlib import Path

import numpy as np

from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.io import names
from kstyle.io.files import ending, expanded, one_line, replacing
from kstyle.style.networks import shipped, style_file

TOLERANCE = 2 / 255  # by how much numbers of a picture may be off, on average


def write(network, path=None, check=True):
    """Writes a style network's file in 8 bits.

    Args:
        network: path of the file, or `style:NAME`.
        path: of the new one; None: the same name with -8bit.
        check: compare what both networks paint of the style's pictures. Nothing is left at `path` but what passed.

    Returns:
        `(path, by how much numbers are off on average, or None)`.

    Raises:
        UsageError: `path` is the network's own, or has another suffix.
        DataError: no style network, a file that cannot be written, or that gives other pictures.
    """
    given = shipped.located(network)
    path = Path(expanded(path)) if path is not None else ending(shipped.beside(network), "-8bit")
    if path.suffix.lower() != ".keras":
        raise UsageError(f"{one_line(path)}: a style network in 8 bits is written as .keras.")
    names.check_spares([path], [given])
    backend.configure(deterministic=True)
    known, off = style_file.read(given), None
    with replacing(path, ".keras") as beside:
        known.write(beside, bits=8)
        if check:
            small = style_file.read(beside)
            off = float(np.mean([np.abs(small.paint(rgb) - known.paint(rgb)).mean() for rgb in known.pictures]))
            if not off <= TOLERANCE:  # so that NaN fails too
                raise DataError(f"In 8 bits its pictures are off by {off * 255:.1f}/255 on average. Nothing was kept.")
    return path, off
