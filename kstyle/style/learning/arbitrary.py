"""A network for any style as it learns: Huang & Belongie 2017 (arXiv 1703.06868)."""

import keras
import numpy as np

from kstyle import backend
from kstyle.pictures import images
from kstyle.style.learning.trained import Trained
from kstyle.style.losses.content import mse
from kstyle.style.losses.moments import mean_and_deviation
from kstyle.style.networks import arbitrary, style_facts
from kstyle.style.networks.arbitrary_file import ArbitraryFile

ops = keras.ops

MEASURED = 8  # photographs and paintings that are looked at for how active each channel is
LEAST_ACTIVE = 0.2  # of the layer's mean: a channel that is hardly ever active is taken for one that is so much


class ArbitraryLearner(Trained):
    """A decoder, what it learns by and how far it is.

    The losses are the paper's, in its units: its VGG was scaled so that each channel's mean activation is 1
    (as Gatys et al. did), and here the differences are divided by that mean.

    Args:
        learning: `kstyle.style.learning.settings.Arbitrary`.
        extractor: from `kstyle.style.networks.arbitrary_file.load_extractor`.
        shown: from `kstyle.style.learning.photographs.Pairs.shown`, some of which are measured.
    """

    def __init__(self, learning, extractor, shown):
        self._extractor, self._layers = extractor, learning.layers
        channels = self._channels = arbitrary.channels_of(extractor, learning.layers)
        dtype = "mixed_bfloat16" if extractor.precision == "bfloat16" else "float32"
        super().__init__(learning, lambda: arbitrary.decoder(channels, learning.width, dtype))
        means, variances = self._measured([rgb for _, pair in shown[:MEASURED] for rgb in pair])
        for model in (self.model, self.average):
            model.get_layer("units").set_weights([means[self._layers[-1]], variances[self._layers[-1]]])
        self._units = {name: backend.placed(_at_least(mean)) for name, mean in means.items()}

        def loss(*batch):
            return self._losses(self.model, *(ops.cast(pictures, "float32") / 255 for pictures in batch))

        found = backend.gradients(loss, self.variables, [])

        def take(photographs, paintings, keep):
            total, parts, gradients = found(photographs, paintings)
            self.apply(gradients, keep)
            return {"loss": total, **parts}

        def look(photograph, painting):
            total, parts = self._losses(self.average, photograph, painting, clipped=True)
            return {"loss": total, **parts}

        self._take, self._look = backend.compile(take, self.changed), backend.compile(look, self.averaged)

    def _measured(self, pictures):
        """{layer: (C,)} means over all pictures, and likewise variances."""
        rows = [self._moments(ops.convert_to_tensor(rgb[None])) for rgb in pictures]
        means, variances = {}, {}
        for name in self._layers:
            mean, deviation = (np.stack([backend.as_numpy(row[name][0][i]) for row in rows]) for i in (0, 1))
            means[name] = mean.mean(0)
            variances[name] = _at_least((deviation**2 + mean**2).mean(0) - means[name] ** 2)
        return means, variances

    def _moments(self, pictures):
        """{layer: [(mean, deviation) of each picture]}."""
        found = self._extractor(pictures)
        return {name: [mean_and_deviation(each) for each in _each(found[name])] for name in self._layers}

    def _losses(self, model, photographs, paintings, clipped=False):
        """`(loss, parts)` of a batch: both (B, H, W, 3) in [0, 1]."""
        deepest, count = self._layers[-1], photographs.shape[0]
        goals = self._moments(paintings)
        found = _each(self._extractor(photographs)[deepest])
        moved = ops.concatenate([arbitrary.adain(x, *goal) for x, goal in zip(found, goals[deepest])], axis=0)
        painted = model([moved, photographs], training=not clipped)
        seen = self._extractor(ops.clip(painted, 0, 1) if clipped else painted)
        units = self._units[deepest]
        content = mse(ops.cast(seen[deepest], "float32") / units, moved / units)
        style = 0.0
        for name in self._layers:
            for each, goal in zip(_each(seen[name]), goals[name]):
                for is_now, is_to_be in zip(mean_and_deviation(each), goal):
                    style += mse(is_now / self._units[name], is_to_be / self._units[name]) / count
        return content + self.learning.style_weight * style, {"content": content, "style": style}

    def take(self, batch, progress):
        """One step. batch: photographs and paintings, (B, h, w, 3) uint8 each; progress: how much of the learning is
        done, 0 to 1. Returns the losses before it, scalars of the device by name."""
        keep = self.begin(progress)
        losses = self._take(*map(backend.uploaded, batch), np.float32(keep))
        self.step_number += 1
        return losses

    def score(self, pairs):
        """Mean losses of the average's pictures, clipped: {name: float}.

        Args:
            pairs: list of (photograph, painting), (H, W, 3) float32 RGB in [0, 1] each, of any sides.
        """
        rows = [self._look(*(ops.convert_to_tensor(rgb[None]) for rgb in pair)) for pair in pairs]
        return {name: float(np.mean([float(backend.as_numpy(row[name])) for row in rows])) for name in rows[0]}

    def file(self, facts):
        """The average as a `kstyle.style.networks.arbitrary_file.ArbitraryFile`, its decoder in float32."""
        own = {
            "kind": style_facts.ARBITRARY, "sha256": self._extractor.sha256,
            **self.learning.model_dump(mode="json", include={"width", "size", "extractor", "pool", "layers"}),
        }  # fmt: skip
        model = arbitrary.decoder(self._channels, self.learning.width)
        model.set_weights(self.average.get_weights())
        return ArbitraryFile(model, {**own, **facts}, self._extractor)

    @staticmethod
    def beside(network, pair):
        """A photograph held out, a painting, and what the network makes of them, beside one another, one picture."""
        photograph, painting = pair
        height, width = len(photograph), len(photograph) * painting.shape[1] / len(painting)
        shown = images.resize_picture(images.read(painting), (height, max(1, round(width)))).rgb
        return np.concatenate([photograph, shown, network.paint(photograph, painting)], axis=1)


def _each(features):
    """(B, H, W, C) -> list of (1, H, W, C). Split and not sliced: the gradient of a slice is as large as all."""
    return ops.split(features, features.shape[0], axis=0)


def _at_least(values):
    return np.maximum(values, LEAST_ACTIVE * values.mean()).astype("float32")
