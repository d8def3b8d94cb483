"""`kstyle.inspect.attribution`: why a classifier sees a class in a picture."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from kstyle import backend
from kstyle.errors import UsageError, did_you_mean, unknown
from kstyle.inspect import subject as subjects
from kstyle.inspect.why import grad_cam, gradients, heat, occlusion
from kstyle.inspect.why.heat import Attribution
from kstyle.io.files import listed, one_line
from kstyle.pictures import images

ops = keras.ops

METHODS = ("grad-cam", "integrated-gradients", "smoothgrad", "occlusion")
MOST_NAMED = 20  # classes, in an error


def attribution(
    model: Any,
    image: images.Source,
    method: str | Iterable[str] = "grad-cam",
    classes: str | int | Iterable[str | int] | None = None,
    layer: str | None = None,
    *,
    steps: int | None = None,
    baseline: float = 0.0,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    window: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    cover: float = 0.5,
    size: int = 512,
    progress: Callable[..., Any] | None = None,
    **opening: Any,
) -> list[Attribution]:
    """Where in a picture a classifier sees a class: heat over the picture, and the figures.

    `"grad-cam"` (Selvaraju et al. 2017, arXiv 1610.02391) says which places of a layer's maps speak for the class: one
    pass, coarse. `"integrated-gradients"` (Sundararajan et al. 2017, arXiv 1703.01365) divides the difference between
    the logits of the picture and of a black one among all pixels. `"smoothgrad"` (Smilkov et al. 2017, arXiv
    1706.03825) is the mean gradient of noisy copies. `"occlusion"` (Zeiler & Fergus 2013, arXiv 1311.2901) covers one
    place after the other, and needs no gradient.

    Args:
        model: as for `kstyle.inspect.open`: a run's folder, a `.keras` file, a `keras.Model`, a network's name; one
            that tells classes apart.
        image: a picture's file, or an array as `kstyle.pictures.images.read` takes it.
        method: one of these, or several.
        classes: the class that is asked about, its name or its place among the classes from 0, or several; None: the
            most probable one.
        layer: for Grad-CAM, a layer with maps; None: the last one before pooling.
        steps: for integrated gradients, pictures on the way from black to the picture; None: from 32 on as many as make
            the sum right to 1 %, 512 at most.
        baseline: grey value in [0, 1] of the picture that the way begins at.
        samples, noise, seed: for SmoothGrad, how many noisy copies; the noise's standard deviation as a part of the
            picture's range; what it is drawn from.
        window, stride: for occlusion, pixels of the square that covers, and from one place of it to the next, numbers
            or (height, width); None: a quarter of the picture's side, and a quarter of that.
        cover: grey value in [0, 1] of the square.
        size: pixels that the long side is brought to where it is longer and the network takes pictures of any size.
        progress: `progress(done, total)` in bytes during a download; with `what="pictures"`, in pictures that have gone
            through the network.
        opening: further arguments of `kstyle.inspect.open`: weights, allow_code, preprocessing.

    Returns:
        An `Attribution` for each class and method, all methods of a class one after the other.

    Raises:
        UsageError: an unknown method, class or layer (with the nearest), a layer without maps, a number out of range,
            or a network without classes.
        DataError: the picture cannot be read, or see `kstyle.inspect.open`.

    >>> import kstyle
    >>> (found,) = kstyle.inspect.attribution("efficientnet_lite0", "cat.jpg")  # doctest: +SKIP
    >>> found.label, found.heat.shape, found.facts  # doctest: +SKIP
    ('tiger cat', (224, 224), {'layer': 'top_relu'})
    """
    methods = [method] if isinstance(method, str) else list(method)
    for each in methods:
        if each not in METHODS:
            raise unknown("method", each, METHODS)
    if layer is not None and "grad-cam" not in methods:
        raise UsageError(f"layer: it is for grad-cam; {listed(methods)} ask the pixels.")
    subject = subjects.open(model, progress=progress, **{"head": True, **opening})
    if subject.classes is None:
        raise UsageError(
            f"{subject.name} tells no classes apart: give a run, or a network with a head (efficientnet_lite0)."
        )
    layer = grad_cam.maps(subject, layer) if "grad-cam" in methods else None
    numbers = None if classes is None else [number_of(subject, each) for each in _listed(classes)]
    picture = subject.picture(image)
    if None in subject.shape[:2] and max(picture.shape[:2]) > size:
        picture = np.clip(images.resize(picture, images.fit(picture.shape[:2], size)), 0, 1)
    looked = None if progress is None else lambda done, total: progress(done, total, what="pictures")
    logits = backend.as_numpy(subject.logits(subject.prepare(ops.convert_to_tensor(picture[None]))))[0]
    probabilities = _probabilities(logits)
    numbers = [int(probabilities.argmax())] if numbers is None else numbers
    made: dict[str, Callable[[], Callable[..., Any]]] = {
        "grad-cam": lambda: _Camera(subject, layer),
        "integrated-gradients": lambda: _Pixels(subject, gradients.integrated, baseline=baseline, steps=steps),
        "smoothgrad": lambda: _Pixels(subject, gradients.smooth, noise=noise, samples=samples, seed=seed),
        "occlusion": lambda: _Cover(subject, picture.shape, window, stride, cover),
    }
    ways = {each: made[each]() for each in methods}
    found = []
    for number in numbers:
        about = subject.classes[number], number, float(probabilities[number]), float(logits[number]), picture
        found += [Attribution(each, *about, *way(picture, number, looked)) for each, way in ways.items()]
    return found


class _Camera:
    """A way: callable, `(picture, number, progress)` -> what `Attribution` has from `values` on."""

    def __init__(self, subject, layer):
        self._run, self._layer = grad_cam.GradCam(subject, layer), layer

    def __call__(self, picture, number, progress):
        found = self._run(picture, number)
        return found, heat.of_places(grad_cam.over(found, picture)), {"layer": self._layer}


class _Pixels:
    """A way, as `_Camera`, by gradients in the pixels."""

    def __init__(self, subject, method, **options):
        self._gradient, self._method, self._options = gradients.Gradient(subject), method, options

    def __call__(self, picture, number, progress):
        values, facts = self._method(self._gradient, picture, number, progress=progress, **self._options)
        return values, heat.of_pixels(values), facts


class _Cover:
    """A way, as `_Camera`, by covering the picture."""

    def __init__(self, subject, shape, window, stride, value):
        self._run, self._value = occlusion.Occlusion(subject), value
        self._window = _pair(window) or tuple(max(1, side // 4) for side in shape[:2])
        self._stride = _pair(stride) or tuple(max(1, round(side / 4)) for side in self._window)

    def __call__(self, picture, number, progress):
        values = self._run(picture, number, self._window, self._stride, self._value, progress)
        facts = {"window": list(self._window), "stride": list(self._stride), "cover": self._value}
        return values, heat.of_places(values), facts


def number_of(subject, named):
    """The place of a class among a subject's, of its name, or of that place, also as a text.

    Raises:
        UsageError: there is none, or two are called so.
    """
    classes, text = subject.classes, str(named)
    places = [place for place, label in enumerate(classes) if label == text] if isinstance(named, str) else []
    places = places or [place for place, label in enumerate(classes) if label.casefold() == text.casefold()]
    if len(places) > 1:
        raise UsageError(
            f"{subject.name}: the classes {listed(map(str, places))} are called '{one_line(text)}': give a number."
        )
    if not places and text.isdecimal() and int(text) < len(classes):
        places = [int(text)]
    if not places:
        said = did_you_mean(text, classes)
        raise UsageError(
            f"{subject.name}: no class is called '{one_line(text)}'.{said} There are {len(classes)}, from 0 on: "
            f"{listed(classes, MOST_NAMED)}."
        )
    return places[0]


def _listed(value):
    return [value] if isinstance(value, (str, int, np.integer)) else list(value)


def _pair(value):
    return value if value is None or isinstance(value, tuple) else (value, value)


def _probabilities(logits):
    """Softmax of (K,); of a single logit its sigmoid."""
    if len(logits) == 1:
        return 1 / (1 + np.exp(-logits))
    values = np.exp(logits - logits.max())
    return values / values.sum()
