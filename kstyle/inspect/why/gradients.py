"""Attributions by gradients in the picture: integrated gradients and SmoothGrad."""

import logging
import math

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError

log = logging.getLogger("kstyle")
ops = keras.ops

# Pixels of the pictures that go through a network at once, forward and back: ten of 224 × 224.
PIXELS = 1 << 19
# Steps along the path of integrated gradients that are tried one after the other, and the gap that is small enough.
STEPS, GAP = (32, 64, 128, 256, 512), 0.01


def at_once(shape, count):
    """How many of `count` pictures of a shape (H, W, …) go through a network together."""
    return max(1, min(count, PIXELS // math.prod(shape[:2])))


class Gradient:
    """Callable: `(pictures (N, H, W, C), number) -> (scores (N,), gradients (N, H, W, C))`, NumPy float32: the logit
    `number` of each picture, and how it changes with each of its values.

    Args:
        subject: a `kstyle.inspect.Subject` with classes.
    """

    def __init__(self, subject):
        def step(pictures, number):
            def total(pictures):
                scores = ops.take(subject.logits(subject.prepare(pictures)), number, axis=-1)
                return ops.sum(scores), {"scores": scores}

            (_, found), gradients = backend.value_and_grad(total)(pictures)
            return found["scores"], gradients

        self._run = backend.compile(step, subject.variables)

    def __call__(self, pictures, number):
        size = at_once(pictures.shape[1:], len(pictures))
        found = [
            self._run(backend.uploaded(pictures[first : first + size]), np.int32(number))
            for first in range(0, len(pictures), size)
        ]
        return tuple(np.concatenate([ops.convert_to_numpy(each) for each in part]) for part in zip(*found))


def integrated(gradient, picture, number, baseline=0.0, steps=None, progress=None):
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): the gradient's mean on the straight way from a
    picture without content to this one, times the difference of the two. Their sum is the difference of the outputs.

    The integral is Gauss and Legendre's sum, which is exact for polynomials of degree 2 · steps − 1.

    Args:
        gradient: a `Gradient`.
        picture: (H, W, C) float32.
        number: of the output.
        baseline: the value of all pixels of the picture that the way begins at, or a picture of that shape.
        steps: pictures on the way, at least 1; None: from 32 on twice as many each time, up to 512, until the sum is
            within 1 % of the difference.
        progress: `progress(done, total)` in pictures.

    Returns:
        `(values, facts)`: (H, W, C) float32; and `{"steps", "difference": of the outputs, "sum": of the values, "gap":
        how far they are apart, as a part of the difference}`.

    The log warns where the gap is more than 1 %.

    Raises:
        UsageError: fewer steps than one.
    """
    if steps is not None and steps < 1:
        raise UsageError(f"steps: expected 1 or more on the way to the picture; got {steps}.")
    begin = np.broadcast_to(np.float32(baseline), picture.shape)
    way = picture - begin
    (end, start), _ = gradient(np.stack([picture, begin]), number)
    difference = float(end) - float(start)
    for count in STEPS if steps is None else (steps,):
        places, weights = np.polynomial.legendre.leggauss(count)
        mean, size = np.zeros(picture.shape), at_once(picture.shape, count)
        for first in range(0, count, size):
            part = slice(first, first + size)
            passed = ((1 + places[part]) / 2).astype("float32")[:, None, None, None]
            mean += np.tensordot(weights[part] / 2, gradient(begin + passed * way, number)[1], 1)
            if progress:
                progress(min(first + size, count), count)
        values = (mean * way).astype("float32")
        total = float(values.sum(dtype=np.float64))
        gap = abs(total - difference) / max(abs(difference), 1e-12)
        if gap <= GAP:
            break
    else:
        log.warning(
            "Integrated gradients of %d steps sum to %.4g, and the outputs differ by %.4g: take more.",
            count, total, difference,
        )  # fmt: skip
    return values, {"steps": count, "difference": difference, "sum": total, "gap": gap}


def smooth(gradient, picture, number, noise=0.15, samples=50, seed=0, progress=None):
    """SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825): the mean of the gradients in copies of a picture with noise.

    Args:
        gradient, picture, number: as for `integrated`.
        noise: standard deviation of the normal noise, as a part of the range of the picture's values, 0 to 1; or the
            noise itself, (samples, H, W, C).
        samples: copies, at least 1.
        seed: of the noise.
        progress: as for `integrated`.

    Returns:
        `(values, facts)`: (H, W, C) float32; and `{"samples", "noise", "seed"}`.

    Raises:
        UsageError: no samples, or a noise below 0.
    """
    if np.ndim(noise):
        given, facts = np.asarray(noise, "float32"), {"samples": len(noise)}
    elif samples < 1 or noise < 0:
        raise UsageError(f"Expected 1 sample or more and a noise from 0 on; got {samples} and {noise}.")
    else:
        given, facts = None, {"samples": samples, "noise": noise, "seed": seed}
    rng, total, count = np.random.default_rng(seed), np.zeros(picture.shape), facts["samples"]
    size = at_once(picture.shape, count)
    for first in range(0, count, size):
        many = min(size, count - first)
        if given is None:
            drawn = rng.standard_normal((many, *picture.shape), "float32") * np.float32(noise * np.ptp(picture))
        else:
            drawn = given[first : first + many]
        total += gradient(picture + drawn, number)[1].sum(axis=0, dtype=np.float64)
        if progress:
            progress(first + many, count)
    return (total / count).astype("float32"), facts
