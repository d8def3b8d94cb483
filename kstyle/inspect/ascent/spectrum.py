"""Pictures as sums of waves, in colours that do not go together: what an optimiser changes in place of pixels.

Gradient ascent on pixels ends in noise of the highest frequencies. Where a step changes waves instead, each as much as
photographs have of it (their amplitudes fall with 1 / frequency), large forms come first. And as the three channels of
photographs go up and down together, a step on channels is nearly one on grey alone; along the axes of `AXES` each
number says something of its own (Olah et al. 2017, doi 10.23915/distill.00007, "Preconditioning and parameterization").
"""

import keras
import numpy as np

from kstyle import backend

ops = keras.ops

# Light, red against blue, green against both: what the principal axes of photographs' colours come to (Ruderman,
# Cronin & Chiao 1998, doi 10.1364/JOSAA.15.002036). Rows of length 1, orthogonal.
AXES = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
# Standard deviations along them, measured on 1,000 photographs at 32 × 32 pixels, in RGB from 0 to 1. Two of the axes
# go together with a correlation of at most 0.06 there; those of red, green and blue, of 0.77 and more.
DEVIATIONS = np.array([0.423, 0.124, 0.062])
# The standard deviation of what an optimiser begins with, of that which sets the units of its steps.
START = 0.01
# A spectrum of amplitudes 1, seen through the logistic function below, is of about the contrast of photographs so.
CONTRAST = 0.25


def cosines(length):
    """The orthonormal cosine basis, (length, length) float32, a wave a row: `scipy.fft.dct(norm="ortho")`'s.

    Cosines rather than the complex waves of Fourier's: real matrices are all that they take, on any backend, and as
    they go on mirrored at the edges, opposite edges need not fit together.
    """
    place, wave = np.arange(length) + 0.5, np.arange(length)[:, None]
    rows = np.sqrt(2 / length) * np.cos(np.pi / length * wave * place)
    rows[0] /= np.sqrt(2)
    return rows.astype("float32")


def frequencies(height, width):
    """(height, width): of each wave of `Spectrum`, periods a pixel."""
    down, across = (np.arange(length) / (2 * length) for length in (height, width))
    return np.hypot(down[:, None], across)


class Spectrum:
    """Pictures of one size, each a spectrum: (3, height, width), amplitudes along `AXES`.

    Args:
        height, width: in pixels.

    >>> from kstyle.inspect.ascent.spectrum import Spectrum
    >>> spectrum = Spectrum(24, 32)
    >>> tuple(spectrum.picture(spectrum.start(2, seed=0)).shape)
    (2, 24, 32, 3)
    """

    def __init__(self, height, width):
        self._frequencies = frequencies(height, width)
        # The slowest wave is as large as one of a whole period in the longer side would be.
        amplitudes = CONTRAST / np.maximum(self._frequencies, 1 / max(height, width))
        self._down, self._across, self._amplitudes, self._squares = map(
            backend.placed, (cosines(height).T, cosines(width), amplitudes.astype("float32"), self._exponent())
        )
        self._colours = backend.placed((AXES * (DEVIATIONS / DEVIATIONS[0])[:, None]).astype("float32"))

    def _exponent(self):
        # A blur by a Gaussian of deviation s takes exp(-s² (2π f)² / 2) of a wave.
        return (-0.5 * np.square(2 * np.pi * self._frequencies)).astype("float32")

    def start(self, count, seed):
        """What `count` pictures begin with, (count, 3, height, width) float32 NumPy: nearly grey noise."""
        return np.random.default_rng(seed).normal(0, START, (count, 3, *self._frequencies.shape)).astype("float32")

    def picture(self, values, blur=0.0):
        """The pictures: RGB strictly between 0 and 1.

        Args:
            values: (B, 3, height, width).
            blur: the standard deviation, in pixels, of a Gaussian by which they are blurred; a number or a scalar.

        Returns:
            (B, height, width, 3) float32.
        """
        waves = values * (self._amplitudes * ops.exp(self._squares * ops.square(blur)))
        planes = ops.matmul(ops.matmul(self._down, waves), self._across)
        return ops.sigmoid(ops.matmul(ops.transpose(planes, (0, 2, 3, 1)), self._colours))
