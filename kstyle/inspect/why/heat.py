"""What an attribution found, and how it is shown."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The highest percent of the numbers by which single pixels are shown all look the same (Smilkov et al. 2017): a few
# pixels would leave all others dark.
HIGHEST = 99
COLOURS = "turbo"  # Matplotlib's map from cold to hot
SEEN = 0.75  # how much of what is shown is colour where it is hottest
GREY = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R 601


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each place of a picture adds to one class, by one method.

    Attributes:
        method: `"grad-cam"`, `"integrated-gradients"`, `"smoothgrad"` or `"occlusion"`.
        label, number: of the class: its name, and its place among the classes, from 0.
        probability, score: what the network gives the class for the picture, and the logit of that.
        picture: (H, W, 3) float32 in [0, 1], as the network saw it.
        values: what the method gave, float32. Grad-CAM: (h, w), as large as the layer's maps. Integrated gradients and
            SmoothGrad: (H, W, 3), for each value of the picture. Occlusion: (H, W).
        heat: (H, W) float32 in [0, 1], of `values` what speaks for the class, or, where these are of single pixels, how
            much each matters; 1 is the most.
        facts: what the method was told, and its figures.

    >>> import keras, numpy, kstyle
    >>> layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    >>> (found,) = kstyle.inspect.attribution(model, numpy.zeros((8, 8, 3)), classes=1)
    >>> found.label, found.values.shape, found.heat.shape
    ('1', (6, 6), (8, 8))
    """

    method: str
    label: str
    number: int
    probability: float
    score: float
    picture: np.ndarray
    values: np.ndarray
    heat: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> np.ndarray:
        """(H, W, 3) uint8: the heat in colours over the picture in grey, which is seen where it is cold."""
        import matplotlib

        grey = np.repeat((self.picture @ GREY)[..., None], 3, axis=2)
        colours = matplotlib.colormaps[COLOURS](self.heat)[..., :3]
        part = SEEN * self.heat[..., None]
        return (np.clip(grey * (1 - part) + colours * part, 0, 1) * 255).round().astype("uint8")

    def said(self) -> str:
        """The method and its figures in a line: `"grad-cam: layer top_relu"`."""
        facts = (
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.facts.items()
        )
        return f"{self.method}: {', '.join(facts)}"

    def as_json(self) -> dict[str, Any]:
        """Its figures, without the pictures."""
        about = {"method": self.method, "class": self.label, "number": self.number, "probability": self.probability}
        return about | {"score": self.score, **self.facts}


def of_places(values):
    """(H, W): what of `values` is above zero, at most 1."""
    values = np.maximum(values, 0)
    return (values / max(float(values.max()), 1e-12)).astype("float32")


def of_pixels(values):
    """(H, W), at most 1: the sum of the sizes of `values` (H, W, C) over a pixel's channels."""
    sizes = np.abs(values).sum(axis=-1)
    return np.clip(sizes / max(float(np.percentile(sizes, HIGHEST)), 1e-12), 0, 1).astype("float32")
