"""Features of many pictures: a vector each, by which they are compared."""

import functools
import logging
import os
from dataclasses import dataclass

import keras
import numpy as np

from kstyle import backend
from kstyle.data.batches import decode, verdicts
from kstyle.data.photos.photoset import Photos
from kstyle.errors import DataError, UsageError
from kstyle.inspect import subject as subjects
from kstyle.io.files import listed, one_line
from kstyle.pictures import folders

log = logging.getLogger("kstyle")
ops = keras.ops

# Of a network that takes pictures of any size: the middle, and what the short side is brought to before.
SIDE, RESIZE = 224, 256
PIXELS = 1 << 21  # of the pictures that go through a network at once: 41 of 224 × 224
PART = 1024  # pictures that are decoded before the network sees them: 150 MB of 224 × 224


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files, and the class of each.

    Attributes:
        paths: texts.
        labels: for each the first folder on the way from the one that was given to the picture; "" where there is none.
        folder: the one that was given.
    """

    paths: list[str]
    labels: list[str]
    folder: str


def of_folder(folder, least=1):
    """The `Pictures` of a folder and those below.

    Raises:
        DataError: there is no such folder, or fewer pictures than `least`.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{one_line(folder)}: there is no such folder.")
    paths = [picture.path for picture in folders.pictures(folder).pictures]
    if len(paths) < least:
        raise DataError(f"{one_line(folder)}: expected pictures, {least} or more; found {len(paths)}.")
    parts = [os.path.relpath(path, folder).split(os.sep) for path in paths]
    return Pictures(paths, [part[0] if len(part) > 1 else "" for part in parts], os.fspath(folder))


class Features:
    """What a network makes of pictures.

    Args:
        subject: a `kstyle.inspect.Subject`.
        layer: of which the features are, any of its names; maps are averaged over their places. None: what a
            classifier's last layer of weights sees, or the last layer of an extractor.
    """

    def __init__(self, subject, layer=None):
        self.subject = subject
        self.layer = subject.layer(layer) if layer is not None else _last(subject)
        shape = getattr(subject.outputs[self.layer], "shape", ())
        if len(shape) < 2:
            raise UsageError(f"{subject.name}: '{self.layer}' gives {tuple(shape)}, and features are a vector or maps.")
        look = subject.watch([self.layer])

        def step(pictures):
            found = ops.cast(look(subject.prepare(pictures))[self.layer], "float32")
            return ops.mean(found, axis=tuple(range(1, len(shape) - 1))) if len(shape) > 2 else found

        self._run = backend.compile(step, subject.variables)

    def __call__(self, paths, workers=None, progress=None):
        """Features of picture files.

        Args:
            paths: texts.
            workers: processes that decode, see `kstyle.data.batches.workers.Decoder`.
            progress: `progress(done, total, what="pictures")`, of files that are looked at, then of features.

        Returns:
            `(features (N, D) float32, places)`: of the pictures that can be read, which have these places among
            `paths`; what cannot be is told in the log.
        """
        told = functools.partial(progress, what="pictures") if progress else None
        judged = verdicts.examine(paths, workers=workers, progress=told)
        bad = [path for path, (_, reason) in judged.items() if reason]
        if bad:
            said = listed([f"{path} ({judged[path][1]})" for path in bad], 3, 200)
            log.warning("%d of %d pictures are left out: %s.", len(bad), len(paths), said)
        places = [place for place, path in enumerate(paths) if not judged[path][1]]
        found = []
        for first in range(0, len(places), PART):
            part = [paths[place] for place in places[first : first + PART]]
            found += self._of(self._decoded(part, workers))
            if told:
                told(first + len(part), len(places))
        return np.concatenate(found) if found else np.zeros((0, 0), "float32"), np.array(places, int)

    def _decoded(self, paths, workers):
        """Yields (H, W, 3) float32 in [0, 1], as the network takes them."""
        height, width, _ = self.subject.shape
        resize = self.subject.facts.get("resize")
        if height is None or width is None:
            height, width, resize = SIDE, SIDE, RESIZE
        if not resize or self.subject.shape[2] != 3:
            yield from map(self.subject.picture, paths)
            return
        photos = Photos(np.array([*paths, None], object)[:-1], np.zeros(len(paths), np.int32))
        resample = self.subject.facts.get("resample", "bilinear")
        yield from decode.decode(photos, height, resize, workers, cache=False, resample=resample).images

    def _of(self, pictures):
        """A list of (n, D), of pictures one after the other."""
        found, batch = [], []
        for picture in pictures:
            batch.append(picture if picture.dtype == np.float32 else picture / np.float32(255))
            if len(batch) * batch[0].shape[0] * batch[0].shape[1] >= PIXELS:
                found.append(ops.convert_to_numpy(self._run(backend.uploaded(np.stack(batch)))))
                batch = []
        if batch:
            found.append(ops.convert_to_numpy(self._run(backend.uploaded(np.stack(batch)))))
        return found


def _last(subject):
    """The layer that the last layer with weights tells the classes from; of an extractor its last layer."""
    if subject.classes is None:
        return [*subject.outputs][-1]
    made = {id(node.output): node for node in subject.graph.nodes}
    node, seen = made.get(id(subject.outputs[subjects.LOGITS])), False
    while node is not None and (not seen or isinstance(node.operation, keras.layers.Dropout)):
        seen = seen or bool(getattr(node.operation, "weights", ()))
        node = made.get(id(node.inputs[0])) if node.inputs else None
    if node is None:
        raise UsageError(f"{subject.name}: no layer comes before the one that tells its classes: name a layer.")
    return node.name
