"""Runs style transfers on the backend that KERAS_BACKEND names and prints their losses as JSON, for test_backends.py.

Arguments: names from RUNS; none: all.
"""

import json
import sys
from pathlib import Path

import kstyle

ROOT = Path(__file__).resolve().parents[2]
STEPS = 11  # losses are those before a step, so these are the losses after 0, 1, … 10 steps

# An epsilon of 1e-4 keeps Adam from dividing gradients that are nothing but rounding by their own size.
ADAM = {"optimizer": {"name": "adam", "learning_rate": 0.01, "beta_2": 0.99, "epsilon": 1e-4}}
SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.2, "momentum": 0.5}}
# Average pooling has no window whose two largest values are the same but for rounding, and a style weight of 10 no step
# long enough to multiply an error: only the arithmetic is left to be compared.
SMOOTH = {"network.pool": "average", "style_weight": 10}
# The preset's own objective, max pooling and all, on a picture without the astronaut's flat, saturated areas.
COFFEE = {"content": "coffee", "size": 160}
RUNS = {
    "kstyle": {},
    "gatys": {"preset": "gatys", **SMOOTH},
    "adam": {**ADAM, **SMOOTH},
    "sgd": {**SGD, **SMOOTH},
    "kstyle-adam": {**ADAM, **COFFEE},
}


def history(content="astronaut", **options):
    """{"loss": […], each term: […]} of 11 steps, at 96 pixels unless told otherwise."""
    result = kstyle.stylize(
        ROOT / f"examples/{content}.jpg",
        ROOT / "examples/wave.jpg",
        steps=STEPS,
        precision="float32",
        deterministic=True,
        **{"size": 96, "scales.smallest": None, **options},
    )
    table = result.history.drop(columns=["seconds", "scale", "step"])
    return {**table.to_dict("list"), "pixels": [float(result.rgb.mean()), float(result.rgb.std())]}


def taps():
    """{tap: [mean, root mean square]} of the content picture's features, before and after each ReLU."""
    import numpy as np
    from keras import ops

    from kstyle import images
    from kstyle.models import features

    names = [f"{kind}{b}_1" for b in range(1, 6) for kind in ("conv", "relu")]
    picture = images.read(ROOT / "examples/astronaut.jpg")
    picture = images.resize_picture(picture, images.fit(picture.size, 96)).rgb
    found = features.load("vgg19", names)(ops.convert_to_tensor(picture))
    values = {tap: ops.convert_to_numpy(f).astype("float64") for tap, f in found.items()}
    return {tap: [v.mean(), np.sqrt(np.mean(v * v))] for tap, v in values.items()}


if __name__ == "__main__":
    wanted = sys.argv[1:] or RUNS
    found = {name: history(**RUNS[name]) for name in wanted}
    found["taps"] = taps()
    print(json.dumps(found))
