"""Attributions by occlusion: how much less a class is seen where a part of the picture is covered."""

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.inspect.why.gradients import at_once

ops = keras.ops


class Occlusion:
    """Occlusion (Zeiler & Fergus 2013, arXiv 1311.2901): a grey square goes over the picture, and each place has the
    mean of by how much the output fell while it was covered.

    Callable: `(picture, number, window, stride, value, progress) -> values (H, W)`, NumPy float32.

    Args:
        subject: a `kstyle.inspect.Subject` with classes.
    """

    def __init__(self, subject):
        def step(pictures, number):
            return ops.take(subject.logits(subject.prepare(pictures)), number, axis=-1)

        self._run = backend.compile(step, subject.variables)

    def __call__(self, picture, number, window, stride, value=0.5, progress=None):
        """The values of a picture.

        Args:
            picture: (H, W, C) float32.
            number: of the output.
            window: (height, width) of what is covered, in pixels.
            stride: (down, right) pixels from one place of it to the next, at most as many as the window has. The last
                window of a row or column is cut at the picture's edge.
            value: of the pixels that are covered.
            progress: `progress(done, total)` in places.

        Raises:
            UsageError: a window that is larger than the picture, or a stride larger than the window.
        """
        sides = picture.shape[:2]
        for what, values, most in (("window", window, sides), ("stride", stride, window)):
            if not all(1 <= side <= limit for side, limit in zip(values, most)):
                raise UsageError(f"{what}: expected {_size((1, 1))} to {_size(most)} pixels; got {_size(values)}.")
        rows, columns = (
            [slice(at, at + long) for at in range(0, side - long + step, step)]
            for side, long, step in zip(sides, window, stride)
        )
        places, size = [(row, column) for row in rows for column in columns], at_once(picture.shape, 1 << 30)
        whole = float(self._scores(picture[None], number)[0])
        fallen, covered = np.zeros(sides), np.zeros(sides)
        for first in range(0, len(places), size):
            part = places[first : first + size]
            pictures = np.repeat(picture[None], len(part), axis=0)
            for each, place in zip(pictures, part):
                each[place] = value
            for place, score in zip(part, self._scores(pictures, number)):
                fallen[place] += whole - score
                covered[place] += 1
            if progress:
                progress(first + len(part), len(places))
        return (fallen / covered).astype("float32")

    def _scores(self, pictures, number):
        return ops.convert_to_numpy(self._run(backend.uploaded(pictures), np.int32(number)))


def _size(pair):
    return " × ".join(str(side) for side in pair)
