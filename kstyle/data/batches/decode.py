"""Photographs as arrays: all of a split at once, kept in the cache, or batch by batch while the device works."""

import contextlib
import hashlib
import logging
import math
import os
import shutil
import tempfile
import time

import numpy as np
import PIL

from kstyle.data.batches import arrays
from kstyle.data.batches.opening import STRETCH, boxes_within
from kstyle.data.batches.verdicts import cache_folder
from kstyle.data.batches.workers import Decoder, place_of
from kstyle.errors import DataError, UsageError, unknown

log = logging.getLogger("kstyle")

AHEAD = 3  # batches in memory: the one that is waited for, and two that are decoded while the device works
STALE = 86400  # seconds after which a half-written file is nobody's any more


def decode(photos, size, resize, workers=None, cache=True, progress=None, limit=4 << 30, resample="bilinear"):
    """All pictures of a split for evaluation, each as `kstyle.data.batches.opening.centre` gives it.

    The array is a file in the cache folder (`$KSTYLE_CACHE` or `~/.cache/kstyle`), mapped into memory, which the next
    call with the same files, sizes and version of Pillow finds there. Writing to the array changes no file. Pictures
    with boxes are not kept: where each was cut is not in such a file.

    Args:
        photos: a `kstyle.data.photos.tree.Photos`.
        size, resize, resample: as for `kstyle.data.batches.opening.centre`.
        workers: as for `kstyle.data.batches.workers.Decoder`.
        cache: False keeps the array in memory only, as where it would take more than half of the free disk.
        progress: `progress(done, total)` in pictures.
        limit: bytes of all arrays in the cache; the ones unused for longest make room.

    Returns: an `arrays.Split` of (N, size, size, 3) uint8.

    Raises:
        UsageError: a size is out of range.
        DataError: a picture can no longer be read, or a worker died.
    """
    _check_sizes(size, resize)
    shape, options = (len(photos), size, size, 3), {"task": "center", "side": size, "resize": resize}
    options["resample"] = resample
    boxed = photos.boxes is not None
    path = _cached_name(photos, size, resize, resample) if cache and not boxed else None
    places = np.zeros((len(photos), 4))
    if path and _is_whole(path, math.prod(shape)):
        return _mapped(path, shape, photos)
    file = _reserved(path, math.prod(shape), limit) if path else None
    with contextlib.ExitStack() as on_failure:
        if file:
            on_failure.callback(os.unlink, file.name)
        with file or contextlib.nullcontext(), Decoder(photos.paths, options, shape, file, workers) as decoder:
            for index in range(len(photos)):
                decoder.submit(index, index)
            for done in range(1, len(photos) + 1):
                place, _, went_well, text = decoder.collect()
                if not went_well:
                    raise DataError(text)
                places[place] = place_of(text)
                if progress:
                    progress(done, len(photos))
            if not file:
                boxes = None
                if boxed:  # by the last pixels that they hold, as a `Split` has them
                    boxes = boxes_within(photos.boxes, places) * np.float32(size) - np.array([0, 0, 1, 1], np.float32)
                return arrays.Split(decoder.pictures, photos.labels, boxes, photos.several)
            os.fsync(file.fileno())
        os.replace(file.name, path)
        on_failure.pop_all()
    return _mapped(path, shape, photos)


def _check_sizes(size, resize):
    if not 1 <= size <= (size if resize == STRETCH else resize):
        raise UsageError(f"A picture is resized to at least the size of its crop; got a crop of {size} of {resize}.")


def _mapped(path, shape, photos):
    return arrays.Split(
        np.memmap(path, np.uint8, "c", shape=shape).view(np.ndarray), photos.labels, None, photos.several
    )


def _cached_name(photos, size, resize, resample):
    how = "" if resample == "bilinear" else f" {resample}"
    digest = hashlib.sha256(f"{size} {resize}{how} Pillow {PIL.__version__}".encode())
    for path in photos.paths:
        try:
            found = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        digest.update(os.fsencode(f"\0{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}"))
    return cache_folder() / "decoded" / f"{digest.hexdigest()[:32]}.uint8"


def _is_whole(path, size):
    with contextlib.suppress(OSError):
        if os.path.getsize(path) == size:
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
    return False


def _reserved(path, size, limit):
    """A file of `size` bytes beside `path`, open, its blocks taken from the disk; None where that cannot be."""
    folder = path.parent
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.tmp"):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink(missing_ok=True)
        if size > limit or size > shutil.disk_usage(folder).free // 2:
            return None
        total = size
        for old in sorted(folder.glob("*.uint8"), key=os.path.getmtime, reverse=True):
            total += old.stat().st_size
            if total > limit:
                old.unlink(missing_ok=True)
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp", delete=False)  # noqa: SIM115
        try:
            # A write to a mapped file for which the disk has no room left kills the process.
            getattr(os, "posix_fallocate", lambda where, _, length: os.truncate(where, length))(file.fileno(), 0, size)
            return file
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise
    return None


class FileBatches:
    """Batches of photographs that are decoded while the device works, with the interface of
    `kstyle.training.loop.batches.ArrayBatches`, but of NumPy arrays: the caller makes tensors of them.

    Order and random crops depend on `seed`, the epoch and a picture's number alone: not on the number of workers, the
    size of the batches or the batch an epoch goes on from. A file that can no longer be read is replaced by the next of
    its class, with a warning. One epoch can be iterated over at a time. `close`, or the object's end, ends the workers.

    Args:
        photos: a `kstyle.data.photos.tree.Photos`.
        size: pictures a batch.
        seed: at least 0.
        side: pixels, of the square pictures.
        resize: for `crop="center"`, the pixels of the short side that the crop is taken from, or `"stretch"`, as in
            `decode`.
        crop: `"random"` (see `kstyle.data.batches.opening.random_box`) or `"center"`.
        scale, ratio: (least, most) share of the area, and width / height, of random crops.
        drop_last: leave out a last batch that is not full.
        workers: as for `kstyle.data.batches.workers.Decoder`.
        resample: as in `decode`.
        share: `share(B)` is a slice of a batch's B places: only these pictures are decoded, the others are zeros.

    Attributes: `count`, `size`, `steps`, `seed`.

    Raises:
        UsageError: an unknown crop, or a number out of range.
    """

    def __init__(
        self,
        photos,
        size,
        seed,
        *,
        side=224,
        resize=256,
        crop="random",
        scale=(0.08, 1.0),
        ratio=(0.75, 4 / 3),
        drop_last=False,
        workers=None,
        resample="bilinear",
        share=lambda count: slice(0, count),
    ):
        if crop not in ("random", "center"):
            raise unknown("crop", crop, ("random", "center"))
        _check_sizes(side, resize if crop == "center" else side)
        if size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise UsageError(
                "Batches are of at least 1 picture, scale is two numbers above 0 and up to 1, ratio two above 0, the "
                f"lesser first; got {size}, {scale} and {ratio}."
            )
        self.count, self.size, self.seed = len(photos), int(size), int(seed)
        self.steps = self.count // size if drop_last else -(-self.count // size)
        self._paths, self._labels, self._bad, self._epoch = photos.paths, photos.labels, set(), None
        self._boxes, self._several = photos.boxes, photos.several
        self._options = {"task": crop, "side": side, "resize": resize, "resample": resample, "seed": self.seed}
        self._options |= {"scale": tuple(scale), "ratio": tuple(ratio)}
        self._side, self._workers, self._decoder, self._share = side, workers, None, share

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the workers; the next epoch starts new ones."""
        if self._decoder:
            self._decoder.close()
        self._decoder = None

    def __call__(self, epoch, first=0):
        """Yields (images (B, side, side, 3) uint8, labels), arrays of the caller's own, from batch number `first` of an
        epoch on.

        Labels are (B,) int32; of pictures with boxes (B, 5) float32, the label, and the box in parts of the sides of
        what is shown; of pictures of several classes (B, K) float32. In the latter two those of another's share are 0.

        Raises:
            DataError: no picture of a class can be read any more, or a worker died.
        """
        order, size = arrays.order(self.count, self.seed, epoch), self.size
        if self._decoder is None or self._decoder.closed:
            shape = (AHEAD * min(size, self.count), self._side, self._side, 3)
            self._decoder = Decoder(self._paths, self._options, shape, workers=self._workers)
        decoder, self._epoch = self._decoder, (mine := object())
        decoder.drain()
        ahead = AHEAD if decoder.workers else 1
        slot = min(size, self.count)
        missing = [0] * ahead  # pictures still to come of the batch that is in each part of the memory
        shown, places = np.zeros(ahead * slot, int), np.tile([0.0, 0, 1, 1], (ahead * slot, 1))  # what, and where cut

        def submit(batch):
            where = order[batch * size : (batch + 1) * size]
            part = self._share(len(where))
            missing[batch % ahead] = part.stop - part.start
            for at, index in enumerate(where[part], batch % ahead * slot + part.start):
                decoder.submit(at, self._readable(index), epoch)

        for batch in range(first, min(first + ahead, self.steps)):
            submit(batch)
        for batch in range(first, self.steps):
            while missing[batch % ahead]:
                place, index, went_well, text = decoder.collect()
                if went_well:
                    missing[place // slot] -= 1
                    shown[place], places[place] = index, place_of(text)
                else:
                    self._give_up(index, text)
                    decoder.submit(place, self._readable(index), epoch)
            where = order[batch * size : (batch + 1) * size]
            begin, part = batch % ahead * slot, self._share(len(where))
            images = decoder.pictures[begin : begin + len(where)].copy()
            labels = self._told(where, shown[begin : begin + len(where)], places[begin : begin + len(where)])
            for each in (images, labels) if labels.ndim == 2 else (images,):
                each[: part.start], each[part.stop :] = 0, 0  # what an earlier batch has left there
            if batch + ahead < self.steps:
                submit(batch + ahead)
            yield images, labels
            if self._epoch is not mine or decoder is not self._decoder:
                raise UsageError("This epoch's batches have ended: another was begun, or they were closed.")

    def _told(self, where, shown, places):
        """The labels of a batch: of pictures number `where`; of `shown`, in place of one that cannot be read another,
        and what `places` shows of it, where there are boxes or several labels."""
        if self._several is not None:
            return self._several[shown].astype(np.float32)
        if self._boxes is None:
            return self._labels[where]
        boxes = boxes_within(self._boxes[shown], places)
        return np.concatenate([self._labels[where][:, None].astype(np.float32), boxes], axis=1)

    def _give_up(self, index, text):
        if index not in self._bad:
            self._bad.add(index)
            log.warning("%s From now on another picture of its class takes its place.", text)

    def _readable(self, index):
        """The number itself, or of the next picture of its class that has not failed."""
        if index not in self._bad:
            return index
        alike = np.flatnonzero(self._labels == self._labels[index])
        for other in np.roll(alike, -np.searchsorted(alike, index)):
            if other not in self._bad:
                return int(other)
        raise DataError(f"{self._paths[index]}: cannot be read, nor can any other picture of its class.")
