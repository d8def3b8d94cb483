"""Computes on the backend that KERAS_BACKEND names what must be the same on all, for test_backends.py.

Arguments: an .npz file to write, and names from PARTS; none: all.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

import kstyle
from kstyle import backend
from kstyle.models import features
from kstyle.nn import optimizers
from kstyle.pictures import images
from kstyle.style import settings
from kstyle.style.learning import settings as network_settings
from kstyle.style.learning.learner import Learner
from kstyle.style.objectives import objective, targets
from kstyle.style.passes import units
from kstyle.style.passes.styles import Styles

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64
STEPS = 6  # losses are those before a step, so these are the losses after 0, 1, … 5 steps
# Average pooling has no window whose two largest values are the same but for rounding.
SMOOTH = {"network.pool": "average", "style_weight": 10}
# An epsilon of 1e-4 keeps Adam from dividing gradients that are nothing but rounding by their own size.
ADAM = {"optimizer": {"name": "adam", "learning_rate": 0.01, "beta_2": 0.99, "epsilon": 1e-4}}
SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.2, "momentum": 0.5}}
SHALLOW = """
content: {layers: {block2_conv1: 1}, loss: relative}
style: {layers: {block1_conv1: 1, block2_conv1: 1}, weight: 20}
"""
RULE_STEPS = 7  # L-BFGS forgets its oldest pair after five


def numpy(value):
    return ops.convert_to_numpy(value)


def picture(name):
    found = images.read(ROOT / f"examples/{name}.jpg")
    return images.resize_picture(found, images.fit(found.size, SIDE)).rgb


def terms(preset, changes=None):
    """Terms of a preset and their gradient at one picture, the content with noise, where no term is zero."""
    own = settings.load(preset, changes or {}).at(SIDE)
    content, style = picture("coffee"), picture("wave")
    start = content + 0.1 * np.random.default_rng(0).normal(size=content.shape)
    start = units.to_space(start, own.space).astype("float32")
    extractor = features.load("vgg19", own.taps, **own.network.model_dump(exclude={"extractor"}))
    aims = targets.content_targets(extractor, own, content)
    styles = targets.style_targets(extractor, own, [style], [1])
    loss = objective.Objective(extractor, own, aims, styles)
    image = keras.Variable(start)
    gradient = backend.value_and_grad(lambda values: loss(values))
    (total, parts), slope = backend.compile(lambda: gradient(image.value), [image])()
    return {"loss": numpy(total), **{name: numpy(value) for name, value in parts.items()}, "gradient": numpy(slope)}


def painted(**options):
    """{each term: its values before each step} of a painting, and the picture's mean and spread."""
    result = kstyle.stylize(
        ROOT / "examples/astronaut.jpg",
        ROOT / "examples/wave.jpg",
        steps=STEPS,
        size=SIDE,
        precision="float32",
        deterministic=True,
        **{"scales.smallest": None, **options},
    )
    table = result.history.drop(columns=["seconds", "scale", "step"])
    return {**table.to_dict("list"), "pixels": [result.rgb.mean(), result.rgb.std()]}


def rule():
    """Where L-BFGS goes from each of a row of pictures, given their gradients: a bowl's, steep and flat, and noise."""
    rng, shape = np.random.default_rng(0), (10, 12, 3)
    steep, goal = 10 ** rng.uniform(-4, 1, shape), rng.uniform(0, 1, shape)
    x = keras.Variable(np.zeros(shape, "float32"))
    optimizer = optimizers.make("lbfgs", history=5, first_step=1 / 255)
    optimizer.build([x])
    moved = []
    for _ in range(RULE_STEPS):
        here = rng.uniform(0, 1, shape).astype("float32")
        x.assign(here)
        optimizer.apply([ops.convert_to_tensor((steep * (here - goal)).astype("float32"))], [x])
        moved.append(numpy(x.value) - here)
    return {"moved": np.stack(moved)}


def taps():
    """{tap: [mean, root mean square]} of the content picture's features, before and after each ReLU."""
    names = [f"{kind}{b}_1" for b in range(1, 6) for kind in ("conv", "relu")]
    found = features.load("vgg19", names)(ops.convert_to_tensor(picture("astronaut")))
    values = {tap: numpy(f).astype("float64") for tap, f in found.items()}
    return {tap: [v.mean(), np.sqrt(np.mean(v * v))] for tap, v in values.items()}


def learned():
    """Losses of a tiny style network on a photograph that it does not see, before 200 steps, in the middle and after
    them. Its first weights and the parts of photographs come from NumPy, and so are the same on all backends."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        preset = Path(folder, "shallow.yaml")
        preset.write_text(SHALLOW)
        recipe = {"width": 0.2, "preset": str(preset), "size": SIDE, "crop": 32, "batch": 2, "learning_rate": 0.002}
        learning, losses = network_settings.load(recipe)
    extractor = features.load("vgg19", losses.taps)
    learner = Learner(learning, losses, extractor, Styles([images.read(ROOT / "examples/wave.jpg")]))
    weights = [
        w if w.ndim < 4 else rng.normal(0, 1 / np.sqrt(w[..., 0].size), w.shape) for w in learner.model.get_weights()
    ]
    for model in (learner.model, learner.average):
        model.set_weights(weights)
    photographs = [np.rint(255 * picture(name)).astype("uint8") for name in ("chelsea", "coffee", "rocket")]
    scores = []
    for step in range(201):
        if step % 100 == 0:
            scores.append(learner.score([picture("astronaut")])["loss"])
        parts = []
        for photograph in (photographs[i] for i in rng.integers(0, 3, 2)):
            y, x = (rng.integers(0, side - 31) for side in photograph.shape[:2])
            parts.append(photograph[y : y + 32, x : x + 32])
        learner.take(np.stack(parts), step / 200)
    return {"loss": np.array(scores)}


PARTS = {
    "learned": learned,
    "kstyle": lambda: terms("kstyle"),
    "gatys": lambda: terms("gatys", {"network.pool": "average"}),
    "adam": lambda: painted(**ADAM, **SMOOTH),
    "sgd": lambda: painted(**SGD, **SMOOTH),
    "rule": rule,
    "taps": taps,
    "repeat": lambda: painted(),  # for torch, which is the reference
}


if __name__ == "__main__":
    wanted = sys.argv[2:] or [name for name in PARTS if name != "repeat" or backend.NAME == "torch"]
    np.savez(sys.argv[1], **{f"{part}/{key}": value for part in wanted for key, value in PARTS[part]().items()})
