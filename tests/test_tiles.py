"""A picture seen tile by tile has the loss and the gradient of the whole."""

import keras
import numpy as np
import pytest
from keras import ops
from pictures import SHALLOW, example

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.models import features
from kstyle.style import settings as style_settings
from kstyle.style import transfer
from kstyle.style.losses.scalings import GRAM_LOSSES
from kstyle.style.losses.summed import SUMMED
from kstyle.style.objectives import grid, objective, targets, tiles, tiling
from kstyle.style.passes import regions, units

SOME = {"block1_conv1": 0.2, "block2_conv2": 0.3, "block3_conv1": 1.0}
# Four tiles of 40 pixels, none with another's shape: each is two programs for JAX to compile.
SMALL = 75, 70
# JAX compiles two programs for each shape of a tile: of all of the network that takes a minute each.
DEEP = (1, 2, 3) if backend.NAME == "jax" else (1, 4, 5)
ALL = {f"block{block}_conv1": weight for block, weight in zip(DEEP, (0.2, 0.3, 1.0))}


def pictures(height, width):
    """Content, painting at work and style, no two alike; sizes that no pooling divides."""
    rng = np.random.default_rng(7)
    crop = np.tile(example("chelsea", 256), (6, 6, 1))[:height, :width]
    here = np.clip(crop + rng.normal(0, 0.1, crop.shape), 0, 1).astype("float32")
    return np.ascontiguousarray(crop), here, example("wave", 160)


def both(settings, shape, side, masks=None, kind=tiles.Tiles):
    """(loss, parts, gradient) of the whole picture, and by tiles."""
    content, here, style = pictures(*shape)
    extractor = features.load("vgg19", settings.taps, precision="float32", pool=settings.network.pool)
    seen = masks and [regions.region(mask) for mask in masks]
    styles = [style] if masks is None else [style, style[::-1]]
    aims = targets.style_targets(extractor, settings, styles, [1.0, 2.0][: len(styles)], apart=masks is not None)
    whole = objective.Objective(
        extractor, settings, targets.content_targets(extractor, settings, content), aims, regions=seen
    )
    divided = kind(extractor, shape, side)
    assert len(divided.tiles) > 3
    parts = tiles.Content(settings, content, divided)
    tiled = tiling.TiledObjective(extractor, settings, parts, aims, divided, regions=seen)
    image = ops.convert_to_tensor(units.to_space(here, settings.space))
    found = []
    for each in (whole, tiled):
        (loss, terms), grad = each.gradient(lambda values: values, tuple)(image)
        numbers = {name: float(ops.convert_to_numpy(value)) for name, value in terms.items()}
        found.append((float(ops.convert_to_numpy(loss)), numbers, ops.convert_to_numpy(grad)))
    return found


def check(found):
    (loss, parts, grad), (tiled_loss, tiled_parts, tiled_grad) = found
    assert tiled_loss == pytest.approx(loss, rel=1e-5)
    assert tiled_parts == pytest.approx(parts, rel=1e-5)
    # Where a unit of the network is at its kink, rounding decides on which side, and with it over the gradient of what
    # the unit sees. So it is the middle one of the pixels that is held to rounding, and all of them to less.
    size, away = np.linalg.norm(grad), np.linalg.norm(tiled_grad - grad, axis=-1)
    assert np.median(away) * away.size**0.5 <= 1e-5 * size and np.linalg.norm(away) <= 5e-3 * size


def settings_of(loss, content=None, weight=1.0, **more):
    """Of a style loss of a weight, and perhaps a content loss."""
    preset = {
        "style": {"loss": loss, "layers": SOME, "weight": weight},
        "content": {"loss": "relative", "layers": {"block2_conv1": 1.0}, "weight": 0.0, **(content or {})},
    }
    return style_settings.load({**preset, **more})


KINDS = pytest.mark.parametrize("kind", [tiles.Tiles, tiles.Halves])


@KINDS
@pytest.mark.parametrize("loss", SUMMED)
def test_each_loss(loss, kind):
    """Failure: a style term of the tiles is not that of the picture."""
    check(both(settings_of(loss), SMALL, 40, kind=kind))


@KINDS
@pytest.mark.parametrize("content", ["mse", "sum", "half_sum", "half_root", "relative"])
def test_each_content_loss(content, kind):
    """Failure: a content term of the tiles is not that of the picture."""
    layers = {"block2_conv2": 1.0, "block3_conv1": 0.5}
    own = {"loss": content, "layers": layers, "weight": 2.0, "target_factor": 0.9}
    check(both(settings_of("gatys", own, 0.0), SMALL, 40, kind=kind))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((480, 640), tiles.Tiles), ((471, 613), tiles.Tiles), ((333, 1000), tiles.Tiles), ((471, 613), tiles.Halves)],
)
def test_all_at_once(shape, kind):
    """Failure: sizes that do not divide, several terms, average pooling, masks, total variation."""
    masks = [np.tile(np.linspace(0, 1, shape[1], dtype="float32"), (shape[0], 1)), None]
    terms = [{"loss": loss, "layers": SOME, "weight": 0.1} for loss in ("wasserstein", "batch_norm")]
    content = {"layers": {f"block{DEEP[1]}_conv2": 1.0}, "weight": 1.0}
    style = {"loss": "relative", "layers": ALL, "weight": 1}
    settings = settings_of(
        "relative",
        content,
        style=style,
        terms=terms,
        network={"pool": "average"},
        tv={"kind": "squares", "weight": 0.01},
    )
    check(both(settings, shape, 256, masks, kind))


def test_the_gradient_of_what_lies_around_a_tile_counts(monkeypatch):
    """Failure: this test could not see that the gradient beyond a tile's core is dropped."""
    inner = grid.Grid._around
    found = both(settings_of("relative"), (107, 91), 40)
    monkeypatch.setattr(grid.Grid, "_around", lambda self, box, shape: box)
    alone = both(settings_of("relative"), (107, 91), 40)[1]
    with pytest.raises(AssertionError):
        check([found[0], (*found[0][:2], alone[2])])
    assert inner and np.linalg.norm(alone[2] - found[0][2]) > 0.02 * np.linalg.norm(found[0][2])


def test_what_cannot_be_tiled_is_named():
    """Failure: a loss that compares single places is computed from sums, or the user is not told which it is."""
    with pytest.raises(UsageError, match="remd, nearest: compares single places"):
        tiling.check(settings_of("remd", terms=[{"loss": "nearest", "layers": ALL, "weight": 1}]))
    layers = [keras.layers.Conv2D(4, 3, strides=2, name="half")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers], name="mine")
    with pytest.raises(UsageError, match="The network mine cannot look at a picture tile by tile"):
        grid.of(features.Extractor.from_model(model, ["half"], "tf"))
    assert set(GRAM_LOSSES) < set(SUMMED)


def test_a_painting_by_tiles(tmp_path):
    """Failure: twenty steps by tiles, styles and strength included, end at another loss than without."""
    preset = tmp_path / "preset.yaml"
    preset.write_text(SHALLOW.replace("{name: adam, learning_rate: 0.03}", "{name: lbfgs, max_step: 0.05}"))
    ends = []
    for tile in (None, 64):
        painter = transfer.Painter(example("wave", 160), preset, precision="float32", deterministic=True, strength=0.5)
        painting = painter.painting(example("chelsea", 160), size=160, steps=20)
        painting.fit([each.divided(tile) for each in painting.plan])
        ends.append(painter.finish(painting))
    assert ends[1].losses["loss"] == pytest.approx(ends[0].losses["loss"], rel=1e-3)
    assert np.abs(ends[1].rgb - ends[0].rgb).mean() < 0.01
    assert ends[1].history["loss"][0] == pytest.approx(ends[0].history["loss"][0], rel=1e-5)
