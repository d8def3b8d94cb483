"""How pictures are prepared for networks: the one table of ImageNet's means and deviations. Needs no framework."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How a picture, RGB in [0, 1], becomes what a network was trained on: (factor · picture - mean) / deviation.

    Attributes:
        order: of the channels that the network wants, `"rgb"` or `"bgr"`.
        factor: 255 where it wants bytes.
        mean, deviation: three numbers each, in the network's own order of channels.
    """

    order: str
    factor: float
    mean: tuple
    deviation: tuple = (1.0, 1.0, 1.0)

    @property
    def rgb(self):
        """`(mean, deviation)` of RGB in [0, 1], three numbers each: what normalises a picture whose channels stay RGB.

        >>> from kstyle.models.preprocessing import PREPROCESSINGS
        >>> PREPROCESSINGS["tf"].rgb
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        """
        step = -1 if self.order == "bgr" else 1
        return tuple(tuple(n / self.factor for n in numbers[::step]) for numbers in (self.mean, self.deviation))


# {name: Preprocessing}, what presets and rows of the registry call it.
PREPROCESSINGS = {
    # Caffe's models, Oxford's VGGs and so Keras' among them: BGR bytes minus the mean.
    "caffe": Preprocessing("bgr", 255.0, (103.939, 116.779, 123.68)),
    # jcjohnson/neural-style multiplies by 256.
    "caffe-256": Preprocessing("bgr", 256.0, (103.939, 116.779, 123.68)),
    # torchvision's models.
    "torch": Preprocessing("rgb", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # From -1 to 1.
    "tf": Preprocessing("rgb", 1.0, (0.5,) * 3, (0.5,) * 3),
    # EfficientNet-Lite's, which it shares with its builds in whole numbers.
    "efficientnet-lite": Preprocessing("rgb", 255.0, (127.0,) * 3, (128.0,) * 3),
    # Bytes.
    "raw": Preprocessing("rgb", 255.0, (0.0,) * 3),
}
