"""The pictures that a style network learns from: parts of them, drawn anew in each epoch, and those held out."""

import hashlib
import itertools
import os

import numpy as np

from kstyle.data.batches.decode import FileBatches
from kstyle.data.photos.photoset import Photos
from kstyle.errors import DataError
from kstyle.io.files import one_line
from kstyle.pictures import folders, images


class Photographs:
    """Batches of square parts, in an order and with places that depend on seed and step alone. At most a fifth of the
    photographs are held out, evenly spread over all.

    Args:
        paths: folders of photographs, and files.
        learning: `kstyle.style.learning.settings.Learning`.
        seed: 0 or more.
        workers: as for `kstyle.data.batches.workers.Decoder`.
        kind: what they are called.

    Attributes:
        counts: {what it is called: how many are learned from}.
        sha256: of all names and sizes, by which a run that goes on knows them again.

    Raises:
        DataError: fewer than two.
    """

    def __init__(self, paths, learning, seed, workers=None, kind="photographs"):
        found = [picture.path for picture in folders.pictures(paths).pictures]
        if len(found) < 2:
            names = ", ".join(map(one_line, paths))
            raise DataError(f"{names}: expected {kind} to learn from, two at least; found {len(found)}.")
        apart = min(learning.held_out, max(1, len(found) // 5))
        self._held_out, self._size = found[:: -(-len(found) // apart)][:apart], learning.size
        rest = [path for path in found if path not in set(self._held_out)]
        self.counts, self.sha256 = {kind: len(rest)}, _digest(found)
        least = -(-learning.batch // len(rest)) * len(rest)  # a small folder fills a batch with several parts of each
        self._batches = FileBatches(
            Photos(np.array(list(itertools.islice(itertools.cycle(rest), least)), object), np.zeros(least, np.int32)),
            learning.batch, seed, side=learning.crop, scale=learning.area, ratio=(1, 1), drop_last=True,
            workers=workers,
        )  # fmt: skip

    def shown(self):
        """Those held out: list of (name, (H, W, 3) float32 in [0, 1], at most `learning.size` wide and high)."""
        pictures = [(os.path.splitext(os.path.basename(path))[0], images.read(path)) for path in self._held_out]
        return [(name, images.resize_picture(p, images.fit(p.size, self._size)).rgb) for name, p in pictures]

    def close(self):
        """Ends the processes that decode."""
        self._batches.close()

    def __call__(self, first=0):
        """Yields (B, crop, crop, 3) uint8 without end, from step number `first` on; those of every other step mirrored
        left to right."""
        steps = self._batches.steps
        epoch, within = divmod(first, steps)
        for number in itertools.count(epoch):
            for parts, _ in self._batches(number, within):
                yield np.ascontiguousarray(parts[:, :, ::-1]) if first % 2 else parts
                first += 1
            within = 0


class Pairs:
    """Photographs, each with a painting, in the way of `Photographs`: a step of a network for any style has a batch of
    both. They go through their epochs by themselves, so that a photograph meets other paintings in each.

    Args:
        photographs, paintings: paths, as for `Photographs`.
        learning, seed, workers: likewise.
    """

    def __init__(self, photographs, paintings, learning, seed, workers=None):
        self._photographs = Photographs(photographs, learning, seed, workers)
        self._paintings = Photographs(paintings, learning, (seed + 1) % 2**31, workers, "paintings")
        self._both = self._photographs, self._paintings
        self.counts = {kind: count for each in self._both for kind, count in each.counts.items()}
        self.sha256 = "-".join(each.sha256 for each in self._both)

    def shown(self):
        """Those held out: list of (names, (photograph, painting)); where one kind has fewer, they come again."""
        found = [each.shown() for each in self._both]
        pairs = zip(*(itertools.islice(itertools.cycle(each), max(map(len, found))) for each in found))
        return [(f"{photograph}, {painting}", (rgb, style)) for (photograph, rgb), (painting, style) in pairs]

    def close(self):
        """Ends the processes that decode."""
        for each in self._both:
            each.close()

    def __call__(self, first=0):
        """Yields (photographs, paintings), each as `Photographs` does."""
        return zip(self._photographs(first), self._paintings(first))


def _digest(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(f"{os.path.basename(path)}\0{os.path.getsize(path)}\0"))
    return digest.hexdigest()
