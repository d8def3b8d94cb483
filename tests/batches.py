"""What the tests of `kstyle batch` and of films share; their fixtures are in conftest.py."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

STYLE = str(Path(__file__).parents[1] / "examples/night.jpg")


def summary(ran):
    code, printed, _ = ran
    return code, json.loads(printed)


def picture(path, seed=0, size=(36, 28)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), "uint8")
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)
    return path
