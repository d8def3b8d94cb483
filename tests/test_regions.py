"""Masks: which part of the picture has which style, and which part of a style counts."""

from pathlib import Path

import numpy as np
import pytest
from keras import ops
from pictures import example
from PIL import Image

import kstyle
from kstyle import backend
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.losses import terms
from kstyle.style.losses.positions import Features, Positions
from kstyle.style.objectives import objective, targets
from kstyle.style.passes import regions, scene
from kstyle.style.settings import FurtherTerm

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(1)

SHALLOW = """
content: {layers: {relu2_1: 1}, loss: relative}
style: {layers: {relu1_1: 1, relu2_1: 1}, weight: 20}
clamp: [0, 1]
optimizer: {name: lbfgs, max_step: 0.05}
"""


@pytest.fixture
def preset(tmp_path):
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    return tmp_path / "shallow.yaml"


def features(size=(12, 16)):
    """A picture and a layer of half its size, with positive activations of uneven spread."""
    height, width = size
    found = {
        "pixels": RNG.uniform(0, 1, (1, height, width, 3)),
        "relu2_1": RNG.gamma(1, 1, (1, height // 2, width // 2, 5)),
    }
    return {name: values.astype("float32") for name, values in found.items()}


def tensors(found):
    tensors = {layer: ops.convert_to_tensor(array) for layer, array in found.items()}
    return Features(tensors, found["pixels"].shape[1:3])


def distance(*arguments):
    return sum(factor * value for factor, value in terms.distances(*arguments))


def left(found):
    return {name: values[:, :, : values.shape[2] // 2] for name, values in found.items()}


LOSSES = ("relative", "elements", "wasserstein", "batch_norm", "histogram", "nearest", "remd", "moments", "palette")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_hard_mask_is_a_cropped_picture(loss):
    """Failure: what lies outside a mask is in the statistics of what lies inside, of the picture or of the style."""
    # Read between the positions of a layer, half a picture ends otherwise than a whole one goes on.
    layer = "pixels" if loss in ("palette", "remd", "moments") else "relu2_1"
    term = FurtherTerm(layers={layer: 1.0}, loss=loss, samples=4096)
    mask = np.zeros((12, 16), "float32")
    mask[:, :8] = 1
    region = regions.Region(mask)
    picture, style = features(), features()
    positions = Positions(0)
    of_half = terms.target(term, [tensors(style)], [1.0], positions, [region], apart=True)
    of_crop = terms.target(term, [tensors(left(style))], [1.0], positions)
    found = distance(term, tensors(picture), of_half, Positions(0), 192, [region])
    expected = distance(term, tensors(left(picture)), of_crop, Positions(0), 96)
    assert float(expected) > 1e-3
    assert float(found) == pytest.approx(0.5 * float(expected), rel=1e-4)  # half of the picture


def test_a_soft_mask_is_a_weight():
    """Failure: a mask that fades counts as all or nothing."""
    f = features((8, 8))["relu2_1"]
    mask = np.zeros((4, 4), "float32")
    mask[:, 0], mask[:, 1] = 1, 0.25
    term = FurtherTerm(layers={"relu2_1": 1.0}, loss="elements")
    style = {"relu2_1": ops.convert_to_tensor(f)}
    ((_, found),) = terms.target(term, [style], [1.0], Positions(0), [regions.Region(mask)])
    flat, weights = f.reshape(-1, 5).astype("float64"), mask.ravel()
    expected = (flat * weights[:, None]).T @ flat / weights.sum() / 5
    np.testing.assert_allclose(ops.convert_to_numpy(found["relu2_1"][0]), expected, rtol=1e-5)


def halves(shape):
    mask = np.zeros(shape, "uint8")
    mask[:, : shape[1] // 2] = 255
    return mask, 255 - mask


def test_two_regions_are_as_two_pictures(preset):
    """Failure: a style bleeds into the region of another, or does not fill its own.

    In each half the content's loss and the style's add up to what they are where this style is alone.
    """
    content, styles = example("chelsea", 96), [example(name, 96) for name in ("night", "wave")]
    masks = halves(content.shape[:2])
    options = {"preset": preset, "size": 96, "steps": 100, "precision": "float32"}
    both = kstyle.stylize(content, styles, masks=list(masks), **options).rgb
    for index, mask in enumerate(masks):
        alone = kstyle.stylize(content, styles[index], masks=[mask], **options).rgb
        losses = [_loss_inside(preset, content, styles[index], mask, rgb) for rgb in (both, alone, content)]
        assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[2] > 5 * losses[1]
        outside = np.abs(alone - content)[mask == 0]
        assert np.median(outside) < 0.01  # where no style is, the content stays


def _loss_inside(preset, content, style, mask, rgb):
    painter = transfer.Painter(style, preset, precision="float32")
    extractor, settings = painter.load(), painter.settings
    region = regions.Region(mask.astype("float32") / 255)
    styles = targets.style_targets(extractor, settings, [style], [1], apart=True)
    aims = targets.content_targets(extractor, settings, content)
    loss = objective.Objective(extractor, settings, aims, styles, regions=[region])
    picture = ops.convert_to_tensor(rgb)
    aim, found = (ops.convert_to_numpy(f["relu2_1"]) for f in (aims, backend.compile(lambda: extractor(picture), [])()))
    own = ops.convert_to_numpy(region.weights(found)) * region.share
    style_loss = backend.value_and_grad(loss)(picture)[0][1]["style"]
    return float(ops.convert_to_numpy(style_loss)) + float(np.mean(own * (found - aim) ** 2) / np.mean(aim**2))


def test_what_of_a_style_counts(preset):
    """Failure: the frame around a painting, or what is transparent in it, is painted too."""
    style, content = example("night", 64), example("chelsea", 64)
    framed = np.ones((*style.shape[:2], 4), "float32")
    framed[..., :3] = 0.5
    framed[..., 3] = 0
    framed[8:-8, 8:-8, :3], framed[8:-8, 8:-8, 3] = style[8:-8, 8:-8], 1
    options = {"preset": preset, "size": 64, "steps": 3, "precision": "float32"}
    by_alpha = kstyle.stylize(content, framed, **options)
    by_mask = kstyle.stylize(content, framed[..., :3], style_masks=[framed[..., 3]], **options)
    whole = kstyle.stylize(content, framed, style_masks=["all"], **options)
    # What lies behind a transparent pixel is not the grey that was written there.
    near, far = (np.abs(by_alpha.rgb - other.rgb).mean() for other in (by_mask, whole))
    assert far > 0.01 and near < 0.5 * far


def test_colours_by_region(preset):
    """Failure: masks and colour modes do not go together: the luminance mode greys what no style is for."""
    content = example("coffee", 64)
    mask, _ = halves(content.shape[:2])
    options = {"preset": preset, "size": 64, "steps": 3, "colour": "luminance"}
    result = kstyle.stylize(content, example("wave", 64), masks=[mask], **options)
    luma = lambda rgb: rgb @ np.array([0.299, 0.587, 0.114], "float32")  # noqa: E731
    chroma = [rgb - luma(rgb)[..., None] for rgb in (result.rgb, content)]
    np.testing.assert_allclose(chroma[0][:, :30], chroma[1][:, :30], atol=1 / 255)
    assert np.abs(result.rgb - content)[:, 40:].mean() < 0.02


def test_masks_that_cannot_be(preset, tmp_path):
    """Failure: a mask for another picture is stretched over this one, or none of the styles is where the user looks."""
    content = example("chelsea", 64)
    good, black = halves(content.shape[:2])[0], np.zeros((43, 64), "uint8")

    def paint(**more):
        return kstyle.stylize(content, example("wave", 64), preset=preset, size=64, steps=1, **more)

    with pytest.raises(UsageError, match="2 content masks were given for 1 style"):
        paint(masks=[good, good])
    with pytest.raises(DataError, match="black everywhere"):
        paint(masks=[black])
    with pytest.raises(DataError, match="64×20, of another shape than array, 64×43"):
        paint(masks=[np.full((20, 64), 255, "uint8")])
    with pytest.raises(DataError, match="opaque"):
        paint(masks=["alpha"])
    with pytest.raises(DataError, match=r"none\.png"):
        paint(style_masks=[tmp_path / "none.png"])


def test_a_mask_of_another_size_and_alpha(preset):
    """Failure: a mask drawn on the full photograph does not fit the small result, or alpha is no mask."""
    content = example("chelsea", 64)
    mask, _ = halves(content.shape[:2])
    large = np.asarray(Image.fromarray(mask).resize((640, 430), Image.Resampling.NEAREST))
    options = {"preset": preset, "size": 64, "steps": 2, "deterministic": True}
    style = example("wave", 64)
    small = kstyle.stylize(content, style, masks=[mask], **options).rgb
    np.testing.assert_allclose(kstyle.stylize(content, style, masks=[large], **options).rgb, small, atol=0.01)
    cut = np.dstack([content, mask / 255]).astype("float32")
    found = kstyle.stylize(cut, style, masks=["alpha"], **options)
    np.testing.assert_allclose(found.rgb[:, :28], small[:, :28], atol=0.02)
    assert found.alpha is not None


def test_a_painter_does_its_work_once(preset, monkeypatch):
    """Failure: a folder of pictures takes as long as a command for each."""
    made = []
    wrapped = targets.style_targets
    monkeypatch.setattr(targets, "style_targets", lambda *a, **k: made.append(1) or wrapped(*a, **k))
    painter = transfer.Painter(example("wave", 64), preset, deterministic=True)
    cat, cup = example("chelsea", 64), example("coffee", 64)
    first, _, again = (painter.paint(content, size=64, steps=2).rgb for content in (cat, cup, cat))
    assert len(made) == 1
    np.testing.assert_array_equal(first, again)
    follows = transfer.Painter(example("wave", 64), preset, colour="match-pca")
    for content in (cat, cup):
        follows.paint(content, size=64, steps=1)
    assert len(made) == 3  # these colours come from the content


def test_regions_of_a_margin(preset):
    """Failure: at coarse sizes, where a margin surrounds the picture, the mask is shifted against it."""
    mask = np.zeros((6, 8), "float32")
    mask[:, :4] = 1
    wide = scene.mirrored(mask, 2)
    assert wide.shape == (10, 12) and wide[0, 0] == 1 and wide[5, 6] == 0
    content = example("chelsea", 96)
    result = kstyle.stylize(
        content, example("wave", 96), preset=preset, size=96, steps=[6][0], masks=[halves(content.shape[:2])[0]],
        scales={"smallest": 48, "margin": 8, "steps": [1, 5]},
    )  # fmt: skip
    change = np.abs(result.rgb - images.resize(content, result.rgb.shape[:2])).mean((0, 2))
    assert change[:40].mean() > 2 * change[-40:].mean()
