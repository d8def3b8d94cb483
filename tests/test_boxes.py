"""Boxes: their overlap and losses against NumPy, augmentation that moves them against pixels, and a training that tells
them."""

import json

import boxed
import keras
import numpy as np
import pytest
from boxed import PLACES
from keras import ops
from PIL import Image

import kstyle
from kstyle import backend, config
from kstyle.data.batches.arrays import Split, resized
from kstyle.errors import UsageError
from kstyle.models import classifiers, finetune
from kstyle.training.augment import policy
from kstyle.training.boxes import heads, overlap, scores, truth
from kstyle.training.boxes.settings import Boxes
from kstyle.training.loop import steps
from kstyle.training.setup import build, settings, stages

RNG = np.random.default_rng(7)


def boxes(count):
    """(count, 4) random boxes with sides of at least 0.01."""
    first = RNG.uniform(0, 0.9, (count, 2))
    return np.concatenate([first, first + RNG.uniform(0.01, 0.6, (count, 2))], axis=1).astype("float32")


def by_counting(a, b):
    """(IoU, GIoU) of two boxes in hundredths, by counting cells of a grid."""
    y, x = np.mgrid[0:100, 0:100] + 0.5
    one, two = ((x > x0) & (x < x1) & (y > y0) & (y < y1) for x0, y0, x1, y1 in (a, b))
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    both = (one | two).sum()
    found = (one & two).sum() / both
    return found, found - (hull - both) / hull


def test_overlap_is_that_of_counted_cells():
    """Failure: the IoU that a run reports is not IoU, or the loss pulls boxes that do not touch nowhere."""
    whole = np.sort(RNG.integers(0, 101, (60, 2, 2, 2)), axis=2).reshape(60, 2, 4)  # (pair, box, left top right bottom)
    whole[..., 2:] = np.maximum(whole[..., 2:], whole[..., :2] + 1)
    whole[:3] = [[[0, 0, 50, 50], [50, 50, 100, 100]], [[10, 10, 90, 90], [20, 30, 40, 50]], [[5, 5, 20, 30]] * 2]
    wanted = np.array([by_counting(*pair) for pair in whole])
    told, true = (ops.convert_to_tensor(whole[:, i] / 100, "float32") for i in range(2))
    for function, column in ((overlap.iou, wanted[:, 0]), (overlap.giou, wanted[:, 1])):
        assert np.allclose(ops.convert_to_numpy(function(told, true)), column, atol=1e-5)


def test_smooth_l1_and_the_weights_of_a_recipe():
    """Failure: `beta` or a weight means something else than its description; a box that is gone is learnt."""
    told, true = boxes(8), boxes(8)
    true[0, 2] = true[0, 0]  # augmentation has moved it out of the picture
    off = np.abs(told - true).astype("float64")
    smooth = np.where(off < 0.1, off**2 / 0.2, off - 0.05).sum(axis=1)
    pair = [ops.convert_to_tensor(x) for x in (told, true)]
    found = ops.convert_to_numpy(overlap.smooth_l1(*pair, 0.1))
    assert np.allclose(found, smooth, rtol=1e-5)
    giou = ops.convert_to_numpy(overlap.giou(*pair))
    wanted = (2 * (1 - giou) + 3 * smooth) * ([0] + [1] * 7)
    found = ops.convert_to_numpy(overlap.losses(Boxes(giou=2, smooth_l1=3), *pair))
    assert np.allclose(found, wanted, rtol=1e-4)


def test_what_stands_for_a_box_is_turned_into_its_sides():
    """Failure: width and height, or x and y, are taken for each other."""
    sides = ops.convert_to_numpy(overlap.corners(ops.convert_to_tensor([[0.5, 0.4, 0.2, 0.6]])))
    assert np.allclose(sides, [[0.4, 0.1, 0.6, 0.7]], atol=1e-6)


MOVES = {
    "horizontal_flip": {"horizontal_flip": 1.0}, "vertical_flip": {"vertical_flip": 1.0}, "pad_crop": {"pad_crop": 6},
    "shift": {"shift": 0.2}, "zoom": {"zoom": 0.3}, "zoom_range": {"zoom_range": 0.3},
    "random_resized_crop": {"random_resized_crop": {"scale": [0.4, 0.9]}},
    "all": {"random_resized_crop": {"scale": [0.4, 1]}, "horizontal_flip": True, "pad_crop": 4, "zoom": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_boxes_move_as_the_pixels_do(name):
    """Failure: the head learns boxes beside the things in its pictures."""
    images, count = np.zeros((24, 48, 64, 1), "float32"), 24
    images[:, 14:31, 20:41] = 1
    placed = np.tile(np.array([[20 / 64, 14 / 48, 41 / 64, 31 / 48]], "float32"), (count, 1))
    augment = policy.build(config.check(policy.AugmentSettings, MOVES[name], "test"))
    given = [ops.convert_to_tensor(x) for x in (images, np.ones((count, 1), "float32"))]
    moved, _, found = truth.augmented(augment, *given, backend.Random(3), 1.0, 1.0, ops.convert_to_tensor(placed))
    moved, found = ops.convert_to_numpy(moved)[..., 0], ops.convert_to_numpy(found) * [64, 48, 64, 48]
    for image, box in zip(moved, found):
        rows, columns = (np.nonzero(image.max(axis) >= 0.5)[0] for axis in (1, 0))
        if len(rows):
            assert np.abs(box - [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).max() <= 1.0
        else:
            assert (box[2:] - box[:2]).min() < 1
    assert np.ptp(found, axis=0).max() > 1 or "flip" in name


def test_resized_arrays_keep_their_boxes():
    """Failure: the boxes of enlarged pictures are those of the small ones, or half a pixel beside the thing."""
    images = np.zeros((1, 16, 16, 3), "uint8")
    images[0, 3:9, 5:12] = 255
    split = Split(images, np.zeros(1, "int32"), np.array([[5, 3, 11, 8]], "float32"))
    large = resized(split, (48, 48, 3))
    assert np.allclose(truth.fractions(large), truth.fractions(split)) and large.images.shape == (1, 48, 48, 3)
    rows, columns = (np.nonzero(large.images[0, ..., 0].max(axis) > 127)[0] for axis in (1, 0))
    assert large.boxes[0].tolist() == [columns[0], rows[0], columns[-1], rows[-1]] == [15, 9, 35, 26]


def test_what_cannot_move_a_box_is_refused():
    """Failure: a recipe trains on boxes that are those of other pictures."""
    for change, says in (
        ({"augment.mixup": 0.2}, "augment.mixup cannot be where there are boxes"),
        ({"augment.cutmix": 1.0}, "augment.cutmix cannot be"),
        ({"boxes.giou": 0, "boxes.smooth_l1": 0}, "learn nothing"),
        ({"model": "given"}, "has no box head"),
    ):
        with pytest.raises(UsageError, match=says):
            settings.load("tiny_imagenet_boxes", change)
    with pytest.raises(UsageError, match="the data set 'digits' has none"):
        kstyle.train("digits_cnn", overrides={"boxes": True})


@pytest.mark.parametrize("name", ["mnist_cnn", "resnet18", "squeezenet1.1", "efficientnet_lite0"])
def test_the_head_looks_at_places(name):
    """Failure: the box head gets what is averaged over the picture, or training the head trains the network below."""
    model = classifiers.build(name, 3, 64)
    both = heads.add(model, Boxes(width=8))
    assert both.output_shape == (None, 7) and heads.without_box(both).output_shape == (None, 3)
    chosen = finetune.set_trainable(both, "head")
    mine = [layer.name for layer in chosen if layer.weights]
    assert sorted(mine)[:3] == ["box_hidden", "box_narrow", "box_sides"] and len(mine) == 4
    body, tail = finetune.split(both, chosen)
    assert len(body.output_shape) == 4 and tail.output_shape == (None, 7)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return boxed.write(tmp_path_factory.mktemp("data") / "tiny-imagenet-200")


RECIPE = {
    "model": "mnist_cnn", "data": {"name": "tiny_imagenet", "normalize": "unit", "size": 32}, "boxes": {"width": 64},
    "optimizer": {"name": "adam", "learning_rate": 0.003}, "epochs": 50, "batch": 8, "deterministic": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def told(pictures, tmp_path_factory):
    again = [keras.metrics.CategoricalAccuracy(name="again")]
    return kstyle.train(RECIPE, pictures, tmp_path_factory.mktemp("told") / "run", metrics=again)


def test_a_training_tells_boxes(told, pictures):
    """Failure: the head does not learn, or what the history says of boxes is not so."""
    last = told.history.iloc[-1]
    assert last["val_iou"] > 0.8 and last["val_iou_50"] == 1 and last["accuracy"] == 1
    assert told.history["again"].tolist() == told.history["accuracy"].tolist()
    assert told.scores.boxes["iou"] == pytest.approx(last["val_iou"], abs=1e-5)
    assert told.scores.boxes["mean_box"]["iou"] < 0.6
    true = np.array(PLACES * 2, "float32") / 64 + np.array([0, 0, 1, 1], "float32") / 64
    facts = json.loads((told.folder / "run.json").read_text())
    assert np.allclose(facts["boxes"]["mean"], true.mean(axis=0))
    again = kstyle.evaluate(told.folder, pictures)
    assert again.boxes == told.scores.boxes == json.loads((told.folder / "scores.json").read_text())["boxes"]


def test_predictions_have_boxes_of_the_whole_picture(told, pictures, tmp_path):
    """Failure: a box is said in pixels of what the network saw, or lies beside the thing in a wide picture."""
    path = pictures / "val/images/n00000001_0.JPEG"
    left, top, right, bottom = PLACES[0]
    (seen,) = kstyle.predict(told.folder, [path])
    assert np.abs(np.array(seen["box"]) - [left, top, right + 1, bottom + 1]).max() < 4
    assert np.allclose(np.array(seen["true_box"]) * 64, [left, top, right + 1, bottom + 1])
    wide = np.full((128, 200, 3), 128, "uint8")
    wide[:, 36:164] = np.asarray(Image.open(path)).repeat(2, 0).repeat(2, 1)
    (other,) = kstyle.predict(told.folder, [wide])
    assert np.abs(np.array(other["box"]) - (np.array(seen["box"]) * 2 + [36, 0, 36, 0])).max() < 6
    assert "true_box" not in other
    with pytest.raises(UsageError, match="boxes of several views"):
        kstyle.predict(told.folder, [path], tta="flip")


def test_the_command_line_says_and_draws_boxes(told, pictures, tmp_path, command):
    """Failure: the columns or the drawn boxes are missing, or the drawn one is not that of the table."""
    files = pictures / "val/images"
    code, printed, errors = command("predict", told.folder, files, "--csv", "--sheet", tmp_path / "s.png")
    assert code == 0, errors
    assert printed.splitlines()[0] == "path,rank,class,probability,left,top,right,bottom"
    assert len(printed.splitlines()[1].split(",")) == 8
    pixels = np.asarray(Image.open(tmp_path / "s.png"))
    for colour in ((240, 228, 66), (0, 114, 178)):
        assert (pixels == colour).all(axis=-1).sum() > 8 * 60
    recipe = told.folder / "recipe.yaml"
    assert command("train", recipe, "--data", pictures, "--show-batch", tmp_path / "b.png")[0] == 0
    assert (np.asarray(Image.open(tmp_path / "b.png")) == (240, 228, 66)).all(axis=-1).sum() > 8 * 60
    code, printed, _ = command("evaluate", told.folder, "--data", pictures, "--json", "--sheet", tmp_path / "e.png")
    assert code == 0 and json.loads(printed)["boxes"]["iou"] > 0.8


def test_files_of_the_network_have_both_outputs(told, pictures):
    """Failure: who takes the network elsewhere gets the classes alone, or other boxes."""
    images = np.stack([np.asarray(Image.open(path).resize((32, 32))) for path in sorted(pictures.glob("val/images/*"))])
    wanted = kstyle.predict(told.folder, list(images))
    opened = keras.saving.load_model(told.folder / "model.keras", compile=False)
    found = opened.predict(images.astype("float32"), verbose=0)
    assert np.allclose(found["boxes"], [each["picture_box"] for each in wanted], atol=1e-4)
    assert found["probabilities"].shape == (8, 2)
    assert kstyle.export(told.folder, "keras").check
    with pytest.raises(UsageError, match="no place for the box head"):
        kstyle.export(told.folder, "torch")


@pytest.mark.skipif(backend.NAME != "torch", reason="ONNX files are written through torch")
def test_an_onnx_file_has_both_outputs(told, pictures):
    """Failure: the file gives the network's own four numbers, which nobody outside kstyle can read."""
    onnxruntime = pytest.importorskip("onnxruntime")
    images = np.stack([np.asarray(Image.open(path).resize((32, 32))) for path in sorted(pictures.glob("val/images/*"))])
    session = onnxruntime.InferenceSession(kstyle.export(told.folder).path)
    (found,) = session.run(["boxes"], {"images": images})
    assert np.allclose(found, [each["picture_box"] for each in kstyle.predict(told.folder, list(images))], atol=1e-4)


def test_a_run_goes_on_with_its_boxes(pictures, tmp_path):
    """Failure: a resumed run ends elsewhere, or its sums of boxes begin anew."""
    changes = {"augment": {"horizontal_flip": True}, "epochs": 4, "batch": 4}
    whole = kstyle.train({**RECIPE, **changes}, pictures, tmp_path / "whole")
    kstyle.train({**RECIPE, **changes, "epochs": 2}, pictures, tmp_path / "part")
    rest = kstyle.train(None, pictures, tmp_path / "part", resume=True, overrides={"epochs": 4})
    names = ["loss", "iou", "iou_50", "val_iou"]
    assert np.array_equal(whole.history[names], rest.history[names])


def test_cached_views_hold_their_boxes(pictures):
    """Failure: features of a mirrored picture are taught with the box of the picture itself."""
    stage = {"train": "head", "epochs": 1, "views": 1}
    changes = {"augment": {"horizontal_flip": 1.0}, "epochs": None, "stages": [stage]}
    recipe = settings.load({**RECIPE, **changes})
    parts = build.data(recipe, pictures)
    model = build.network(recipe, 2, parts.shape, "float32")
    work = stages.prepare(recipe.plan[0], recipe, model, parts, steps.Normalise([0] * 3, [1] * 3))
    (labels,) = [ops.convert_to_numpy(labels) for _, labels in work.batches(0)]
    mirrored = truth.fractions(parts.training)
    mirrored[:, [0, 2]] = 1 - mirrored[:, [2, 0]]
    wanted = np.concatenate([parts.training.labels[:, None], mirrored], axis=1)
    assert np.allclose(sorted(labels.tolist()), sorted(wanted.tolist()), atol=1e-6)


def test_weights_of_runs_with_and_without_boxes(told, pictures, tmp_path):
    """Failure: a box head that was learnt is thrown away with the classes', or a run of classes alone is no start."""
    begins = []

    class First(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            begins.append({weight.path: np.array(weight) for weight in self.model.weights})

    plain = kstyle.train({**RECIPE, "boxes": None, "epochs": 1}, pictures, tmp_path / "plain")
    for number, start in enumerate((told, plain)):
        changes = {"epochs": 1, "model": {"name": "mnist_cnn", "weights": str(start.folder)}}
        kstyle.train({**RECIPE, **changes}, pictures, tmp_path / f"{number}", callbacks=[First()])
    had = {weight.path: np.array(weight) for weight in told.model.weights}
    assert all(np.array_equal(begins[0][name], had[name]) for name in had)
    for weight in plain.model.weights:
        assert np.array_equal(begins[1][weight.path], np.array(weight))


def test_scores_of_boxes():
    """Failure: the score is a sum, or the mean box is compared with itself."""
    true = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], "float32")
    told = np.array([[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], "float32")
    found = scores.scores(told, true, np.array([0.25, 0.25, 0.75, 0.75], "float32"))
    assert found["iou"] == pytest.approx(0.75) and found["iou_50"] == 1.0 and found["count"] == 2
    assert found["mean_box"] == {"iou": pytest.approx(0.0625 / 0.4375), "iou_50": 0.0}
