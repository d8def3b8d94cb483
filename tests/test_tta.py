"""Test-time augmentation: the mean over mirror images and crops, written beside the run's own scores."""

import json

import numpy as np
import pytest
from keras import ops
from PIL import Image

import kstyle
from kstyle.errors import UsageError
from kstyle.training.results import evaluate

SIZE, RESIZE = 16, 21
RECIPE = {
    "model": "mnist_cnn", "optimizer": {"name": "adam", "learning_rate": 0.002}, "epochs": 1, "batch": 8,
    "data": {"name": "folder", "normalize": "unit", "photographs": {"size": SIZE, "resize": RESIZE, "workers": 0}},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on noise, and a picture of that kind: a network that sees every pixel."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(1)
    for name in ("one", "two"):
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            noise = rng.integers(0, 256, (RESIZE, RESIZE, 3), np.uint8)
            Image.fromarray(noise).save(root / "pictures" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KSTYLE_CACHE", str(root / "cache"))
        kstyle.train(RECIPE, root / "pictures", root / "run")
    return root / "run", root / "pictures" / "one" / "0.png"


@pytest.mark.parametrize("way", ["flip", "five_crop", "ten_crop"])
def test_predictions_are_the_mean_over_views(trained, way):
    """Failure: a view is left out or counted twice, or logits are averaged in place of probabilities."""
    run, path = trained
    _, _, model, _ = evaluate.load(run)
    whole = np.asarray(Image.open(path)) / np.float32(255)
    last, middle = RESIZE - SIZE, round((RESIZE - SIZE) / 2)
    places = [(0, 0), (0, last), (last, 0), (last, last)] * (way != "flip") + [(middle, middle)]
    seen = [whole[y : y + SIZE, x : x + SIZE] for y, x in places]
    if way != "five_crop":
        seen += [each[:, ::-1] for each in seen]
    logits = ops.convert_to_numpy(model(np.stack(seen), training=False))
    wanted = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).mean(0)
    (found,) = kstyle.predict(run, [path], tta=way)
    assert {p["class"]: p["probability"] for p in found["predictions"]} == pytest.approx(
        dict(zip(("one", "two"), wanted)), abs=1e-5
    )


def test_scores_lie_beside_the_runs_own(trained, command):
    """Failure: scores of mirrored pictures take the place of the run's, or nobody sees which is which."""
    run, _ = trained
    before = (run / "scores.json").read_bytes()
    code, out, _ = command("evaluate", run, "--tta", "ten_crop", "--json")
    assert code == 0 and (run / "scores.json").read_bytes() == before
    assert json.loads(out)["data"]["tta"] == "ten_crop"
    assert json.loads((run / "scores-ten_crop.json").read_text("utf-8")) == json.loads(out)
    assert kstyle.evaluate(run, tta="flip").count == kstyle.evaluate(run).count


def test_ways_that_cannot_be(trained, tmp_path):
    """Failure: crops of a picture that the network sees whole are all the same, and look like a result."""
    run, path = trained
    with pytest.raises(UsageError, match="Did you mean 'flip'"):
        kstyle.predict(run, [path], tta="flipped")
    facts = json.loads((run / "run.json").read_text("utf-8"))
    (tmp_path / "run.json").write_text(json.dumps({**facts, "resize": SIZE}), "utf-8")
    with pytest.raises(UsageError, match="there is nothing around it to crop: use tta flip"):
        kstyle.evaluate(tmp_path, tta="five_crop")
