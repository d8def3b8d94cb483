"""Published policies, RandAugment, AutoAugment and TrivialAugment: what a sample goes through, and how strongly.

A sample goes through them in the order of `kstyle.training.augment.policy`: what moves pixels first, in one
interpolation, colours after that, and not in the order in which they were drawn.
"""

from dataclasses import dataclass

import numpy as np
from keras import ops

from kstyle import backend
from kstyle.training.augment import colour

# AutoAugment (Cubuk et al. 2018, arXiv 1805.09501, its appendix): of each policy 25 pairs, of which a sample gets one;
# an operation of a pair, its probability in tenths, its magnitude from 0 to 9.
_SAID = {
    "imagenet": """
        posterize 4 8 rotate 6 9      | solarize 6 5 autocontrast 6 0 | equalize 8 0 equalize 6 0
        posterize 6 7 posterize 6 6   | equalize 4 0 solarize 2 4     | equalize 4 0 rotate 8 8
        solarize 6 3 equalize 6 0     | posterize 8 5 equalize 10 0   | rotate 2 3 solarize 6 8
        equalize 6 0 posterize 4 6    | rotate 8 8 colour 4 0         | rotate 4 9 equalize 6 0
        equalize 0 0 equalize 8 0     | invert 6 0 equalize 10 0      | colour 6 4 contrast 10 8
        rotate 8 8 colour 10 2        | colour 8 8 solarize 8 7       | sharpness 4 7 invert 6 0
        shear_x 6 5 equalize 10 0     | colour 4 0 equalize 6 0       | equalize 4 0 solarize 2 4
        solarize 6 5 autocontrast 6 0 | invert 6 0 equalize 10 0      | colour 6 4 contrast 10 8
        equalize 8 0 equalize 6 0""",
    "cifar10": """
        invert 1 0 contrast 2 6       | rotate 7 2 translate_x 3 9        | sharpness 8 1 sharpness 9 3
        shear_y 5 8 translate_y 7 9   | autocontrast 5 0 equalize 9 0     | shear_y 2 7 posterize 3 7
        colour 4 3 brightness 6 7     | sharpness 3 9 brightness 7 9      | equalize 6 0 equalize 5 0
        contrast 6 7 sharpness 6 5    | colour 7 7 translate_x 5 8        | equalize 3 0 autocontrast 4 0
        translate_y 4 3 sharpness 2 6 | brightness 9 6 colour 2 8         | solarize 5 2 invert 0 0
        equalize 2 0 autocontrast 6 0 | equalize 2 0 equalize 6 0         | colour 9 9 equalize 6 0
        autocontrast 8 0 solarize 2 8 | brightness 1 3 colour 7 0         | solarize 4 5 autocontrast 9 0
        translate_y 9 9 translate_y 7 9 | autocontrast 9 0 solarize 8 3   | equalize 8 0 invert 1 0
        translate_y 7 9 autocontrast 9 0""",
    "svhn": """
        shear_x 9 4 invert 2 0       | shear_y 9 8 invert 7 0      | equalize 6 0 solarize 6 6
        invert 9 0 equalize 6 0      | equalize 6 0 rotate 9 3     | shear_x 9 4 autocontrast 8 0
        shear_y 9 8 invert 4 0       | shear_y 9 5 solarize 2 6    | invert 9 0 autocontrast 8 0
        equalize 6 0 rotate 9 3      | shear_x 9 4 solarize 3 3    | shear_y 8 8 invert 7 0
        equalize 9 0 translate_y 6 6 | invert 9 0 equalize 6 0     | contrast 3 3 rotate 8 4
        invert 8 0 translate_y 0 2   | shear_y 7 6 solarize 4 8    | invert 6 0 rotate 8 4
        shear_y 3 7 translate_x 9 3  | shear_x 1 6 invert 6 0      | solarize 7 2 translate_y 6 7
        shear_y 8 4 invert 8 0       | shear_x 7 9 translate_y 8 3 | shear_y 8 5 autocontrast 7 0
        shear_x 7 2 invert 1 0""",
}


def _table(said):
    """(25, 2, 3) int: number of the operation, tenths of its probability, magnitude."""
    pairs = [pair.split() for line in said.strip().splitlines() for pair in line.split("|")]
    rows = [[(colour.OPERATIONS.index(p[i]), int(p[i + 1]), int(p[i + 2])) for i in (0, 3)] for p in pairs]
    return np.array(rows, "int32")


AUTOAUGMENT = {name: _table(said) for name, said in _SAID.items()}


@dataclass(frozen=True)
class Reach:
    """What an operation does at level 1.

    Attributes:
        shear: pixels a row, or a column, by which the next one is moved.
        share, pixels: translation, as a part of the side, and in pixels.
        degrees: rotation.
        colour: how far the factor of brightness, contrast, colour and sharpness is from 1.
        bits: of the 8 that posterize drops.
    """

    shear: float = 0.3
    share: float = 150 / 331
    pixels: float = 0.0
    degrees: float = 30.0
    colour: float = 0.9
    bits: float = 4.0


USUAL = Reach()
WIDE = Reach(shear=0.99, share=0.0, pixels=32.0, degrees=135.0, colour=0.99, bits=6.0)


def choosing(settings):
    """What draws the operations of a batch, or None where `AugmentSettings` name no policy.

    Returns:
        `choose(random, batch, strength)` -> a list of `(choice, level, sign, reach)`: (B,) int32 in
        `colour.OPERATIONS`; 0-d or (B,) float32 in [0, 1]; (B,) float32, -1 or 1; a `Reach`. strength: the probability
        that a sample is touched at all, and a factor of each level.
    """
    if settings.trivialaugment:
        return _trivial
    if settings.autoaugment:
        return lambda random, batch, strength: _auto(AUTOAUGMENT[settings.autoaugment], random, batch, strength)
    if not settings.randaugment.ops:
        return None
    draws, magnitude = settings.randaugment.ops, settings.randaugment.magnitude
    return lambda random, batch, strength: [
        (*each, USUAL) for each in colour.choose(random, draws, batch, magnitude, strength)
    ]


def _trivial(random, batch, strength):
    """TrivialAugment in its wide space (Müller & Hutter 2021, arXiv 2103.10158): one operation a sample, each equally
    often, at one of 31 levels."""
    choice = random.integers((batch,), 0, colour.OPERATIONS.index("equalize") + 1)
    choice = ops.where(random.uniform((batch,)) < strength, choice, 0)
    level = ops.minimum(ops.floor(random.uniform((batch,)) * 31.0), 30.0) * (strength / 30.0)
    return [(choice, level, _sign(random, batch), WIDE)]


def _auto(table, random, batch, strength):
    """One pair of a policy for each sample."""
    pair, drawn = random.integers((batch,), 0, len(table)), []
    for number in (0, 1):
        choice, tenths, magnitude = (
            ops.take(backend.constant(table[:, number, column], "int32"), pair, axis=0) for column in range(3)
        )
        happens = random.uniform((batch,)) < ops.cast(tenths, "float32") * (strength / 10.0)
        level = ops.cast(magnitude, "float32") * (strength / 9.0)
        drawn.append((ops.where(happens, choice, 0), level, _sign(random, batch), USUAL))
    return drawn


def _sign(random, batch):
    return 2.0 * ops.cast(random.uniform((batch,)) < 0.5, "float32") - 1.0
