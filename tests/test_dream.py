"""Deep Dream: whether layers are excited, in tiles too, guides guide, and films go deeper."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import ops
from PIL import Image

import kstyle
from kstyle import backend
from kstyle.cli import cli
from kstyle.errors import UsageError
from kstyle.inspect.ascent import dream as dreams
from kstyle.inspect.ascent import zoom as zooms
from kstyle.style.result import Interrupted

COLOURS = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]]) / 255


@pytest.fixture(scope="module")
def network():
    """`colour`: how red, green and blue a place is; `coarse`: the same of 4 × 4 pixels."""
    layers = [
        keras.layers.Conv2D(3, 1, activation="relu", name="colour"),
        keras.layers.AveragePooling2D(4, name="coarse"),
        keras.layers.Flatten(name="flat"),
    ]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers], name="small")
    layers[0].set_weights([COLOURS[None, None], np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def picture():
    """(96, 128, 3) uint8."""
    return np.asarray(Image.open("examples/chelsea.jpg").convert("RGB").resize((128, 96)))


def redness(rgb):
    """Of red, green and blue how much more there is than of the other two, means."""
    return np.maximum(np.asarray(rgb, "float64") @ COLOURS.T * 255, 0).mean((0, 1))


def test_layers_are_excited(network, picture):
    """Failure: the dream excites its layer no more than the photograph does, or calms it; or leaves the range of
    colours."""
    loud = kstyle.inspect.dream(picture, network, "colour", size=None, octaves=2, steps=5, rate=0.02)
    calm = kstyle.inspect.dream(picture, network, {"colour": -1}, size=None, octaves=2, steps=5, rate=0.02)
    assert redness(calm.rgb).sum() < 0.9 * redness(picture / 255).sum() < 0.6 * redness(loud.rgb).sum()
    assert loud.rgb.shape == picture.shape and loud.rgb.dtype == np.float32
    assert loud.rgb.min() >= 0 and loud.rgb.max() <= 1
    assert loud.history["scale"].tolist() == [91] * 5 + [128] * 5 and loud.losses["colour"] < 0


def test_a_step_is_what_it_says(network, picture):
    """Failure: a step moves colours by more or less than the rate, or in another direction than the excitement grows.

    `colour` sees single pixels, so that its gradient is known: (W x)+ W, whatever tile it is in.
    """
    rgb = picture.astype("float32") / 255
    found = kstyle.inspect.dream(rgb, network, "colour", size=None, octaves=1, steps=1, rate=0.001, tile=128)
    slope = np.maximum(255 * rgb @ COLOURS.T, 0) @ COLOURS
    wanted = np.clip(rgb + 0.001 * dreams.evened(slope.astype("float32")), 0, 1)
    np.testing.assert_allclose(found.rgb, wanted, atol=2e-6)


def test_tiles_leave_no_seams(network):
    """Failure: parts of a large picture are left out, or what one tile dreams is put in another's place."""
    rng = np.random.default_rng(0)
    large = rng.uniform(0.2, 0.8, (150, 210, 3)).astype("float32")
    whole, tiled = (
        kstyle.inspect.dream(large, network, "colour", size=None, octaves=1, steps=3, rate=0.002, tile=tile).rgb
        for tile in (256, 64)
    )
    # Tiles differ in how loud they are, by a few hundredths of what a step moves.
    assert np.abs(tiled - whole).mean() < 0.1 * np.abs(whole - large).mean()


def test_detail_is_handed_on(network, picture):
    """Failure: what was dreamt at the small sizes is forgotten at the large ones."""
    rgb = picture[::2, ::2].astype("float32") / 255
    seen = []
    dreamer = dreams.Dreamer(network, "colour", rate=0.05)
    dreamer.octave = lambda begun, steps, rng, told: seen.append(begun) or np.clip(begun + 0.1, 0, 1)
    dreams.dreamt(dreamer, rgb * 0.5, 3, 1.4, 1, 0)
    assert [each.shape[:2] for each in seen] == [(48, 64)]  # smaller ones have too short a side
    large = np.repeat(np.repeat(rgb * 0.5, 4, axis=0), 4, axis=1)
    seen.clear()
    found = dreams.dreamt(dreamer, large, 3, 2.0, 1, 0)
    assert [each.shape[:2] for each in seen] == [(48, 64), (96, 128), (192, 256)]
    np.testing.assert_allclose(found - large, 0.3, atol=1e-3)


def test_a_guide_guides(network, picture):
    """Failure: whatever the guide shows, the dream is the same."""
    blue, red = (np.full((8, 8, 3), colour, "uint8") for colour in ((20, 20, 230), (230, 20, 20)))
    small = picture[::2, ::2]
    grey = np.clip(small.mean(-1, keepdims=True) + small * 0.1, 0, 255).astype("uint8")
    options = {"layers": ["colour", "coarse"], "size": None, "octaves": 1, "steps": 6, "rate": 0.03}
    found = [kstyle.inspect.dream(grey, network, guide=guide, **options) for guide in (blue, red)]
    of_blue, of_red = (redness(each.rgb) for each in found)
    assert of_blue[2] > 2 * of_red[2] and of_red[0] > 2 * of_blue[0], (of_blue, of_red)


def test_evened_parts_are_equally_strong():
    """Failure: the finest part of a gradient outweighs all others, and the dream is noise."""
    rng = np.random.default_rng(2)
    x = np.linspace(0, 4 * np.pi, 128)
    coarse = np.broadcast_to(np.sin(x)[None, :, None], (64, 128, 3))
    found = dreams.evened((coarse + 30 * rng.normal(size=(64, 128, 3))).astype("float32"))
    assert found.std() == pytest.approx(1, abs=1e-3)
    fine = found - found.reshape(16, 4, 32, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    assert 0.2 < fine.var() < 0.85  # of noise alone, 15/16


def test_a_callback_ends_it_and_ctrl_c_keeps_it(network, picture):
    """Failure: who presses Ctrl-C loses what was dreamt so far."""
    options = {"layers": "colour", "size": None, "octaves": 1, "steps": 9}
    ended = kstyle.inspect.dream(picture, network, callback=lambda step: step.step == 2, **options)
    assert len(ended.history) == 3

    def interrupt(step):
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stop:
        kstyle.inspect.dream(picture, network, callback=interrupt, **options)
    np.testing.assert_array_equal(stop.value.result.rgb, ended.rgb)


def test_nearer_is_about_the_middle(picture):
    """Failure: the zoom drifts to one side, or turns the wrong way."""
    rgb = np.zeros((40, 60, 3), "float32")
    rgb[18:22, 40:44] = 1  # 11.5 pixels to the right of the middle
    down, across = np.indices((40, 60))

    def middle(shown):
        return [np.average(each - (side - 1) / 2, weights=shown[..., 0]) for each, side in ((down, 40), (across, 60))]

    np.testing.assert_allclose(middle(zooms.nearer(rgb, 1.5, 0)), [0, 1.5 * 12], atol=0.2)
    up, right = middle(zooms.nearer(rgb, 1.0, 30))
    np.testing.assert_allclose([up, right], [-12 * 0.5, 12 * np.cos(np.pi / 6)], atol=0.2)


def test_a_film_goes_deeper(network, tmp_path):
    """Failure: a film lacks frames, or its colours become ever more glaring."""
    rgb = np.asarray(Image.open("examples/rocket.jpg").convert("RGB").resize((64, 48)))
    options = {"size": 64, "steps": 2, "octaves": 1, "rate": 0.1}
    path = kstyle.inspect.zoom(rgb, tmp_path / "deeper.webp", 5, network, "colour", **options)
    with Image.open(path) as film:
        assert film.n_frames == 5 and film.size == (64, 48)
        film.seek(4)
        last = np.asarray(film.convert("RGB"), "float64")
    np.testing.assert_allclose(last.mean((0, 1)), rgb.mean((0, 1)), atol=12)
    assert (last.std((0, 1)) < rgb.std((0, 1)) + 12).all()


@pytest.mark.parametrize(
    "given, said",
    [
        ({"layers": "color"}, "Did you mean 'colour'"),
        ({"layers": "flat"}, "it has no maps"),
        ({"layers": {"colour": 0.0}}, "a weight other than 0"),
        ({"octaves": 0}, "octaves must be a whole number from 1"),
        ({"octave_scale": 1.0}, "octave_scale must be above 1"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"tile": 8}, "tile must be from 64"),
    ],
)
def test_mistakes(network, picture, given, said):
    """Failure: a mistake ends in a traceback from the middle of a framework."""
    with pytest.raises(UsageError, match=said):
        kstyle.inspect.dream(picture, network, **given)


def test_the_command(network, picture, tmp_path, monkeypatch):
    """Failure: an option does nothing, a picture that is read is replaced, a film's option is taken for a picture."""
    monkeypatch.chdir(tmp_path)
    network.save("small.keras")
    Image.fromarray(picture).save("photo.png")

    def run(line):
        return CliRunner().invoke(cli, f"dream {line} --model small.keras".split())

    done = run("photo.png -o out.png --layers colour,coarse=0.5 --size 64 --octaves 1 --steps 2 --save-every 2 --json")
    told = json.loads(done.output)
    assert (told["steps"], told["width"], told["settings"]["layers"]) == (2, 64, {"colour": 1.0, "coarse": 0.5})
    with Image.open("out-step0002.png") as snapshot, Image.open("out.png") as made:
        assert snapshot.size == made.size == (64, 48)
    assert run("photo.png -o deeper.gif --zoom 3 --size 64 --octaves 1 --steps 1 --layers colour -q").exit_code == 0
    with Image.open("deeper.gif") as film:
        assert film.n_frames == 3
    for line, said in (
        ("photo.png -o photo.png", "would be replaced"),
        ("photo.png -o out.gif", "pictures are written as"),
        ("photo.png -o out.png --turn 3", "give --zoom N"),
        ("photo.png -o out.png --layers colour=much", "NAME=WEIGHT"),
        ("photo.png -o out.jpg --zoom 3", "films are written as"),
        ("photo.png -o photo.png --zoom 3", "would be replaced"),
    ):
        assert said in str(run(line).exception), line


def test_tiles_have_few_shapes(network):
    """Failure: a tile's shape differs at each step, so that a compiler makes a program for each."""
    dreamer, shapes = dreams.Dreamer(network, "colour", tile=64), set()
    slope = dreamer._slope
    dreamer._slope = lambda pixels: shapes.add(tuple(pixels.shape)) or slope(pixels)
    dreamer.octave(np.full((130, 100, 3), 0.5, "float32"), 4, np.random.default_rng(0), lambda rgb, parts: None)
    assert max(max(shape) for shape in shapes) <= 64 and len(shapes) <= 4, shapes


def test_what_is_dreamt_is_the_backends():
    """Failure: on another backend the excitement, or its gradient, is another."""
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, name="one")])
    kernel = np.random.default_rng(0).normal(0, 0.01, (3, 3, 3, 2))
    network.layers[0].set_weights([kernel, np.zeros(2)])
    pixels = np.random.default_rng(1).uniform(size=(9, 11, 3)).astype("float32")
    (_, parts), slope = dreams.Dreamer(network, "one")._slope(ops.convert_to_tensor(pixels))
    windows = np.lib.stride_tricks.sliding_window_view(255.0 * pixels, (3, 3), (0, 1))
    features = np.einsum("hwcij,ijck->hwk", windows, kernel)
    value = (features**2).mean()
    assert float(backend.as_numpy(parts["one"])) == pytest.approx(value, rel=1e-4)
    wanted = np.zeros((9, 11, 3))
    for i in range(3):
        for j in range(3):
            wanted[i : i + 7, j : j + 9] += 255 * 2 / features.size * np.einsum("hwk,ck->hwc", features, kernel[i, j])
    wanted /= value
    np.testing.assert_allclose(backend.as_numpy(slope), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
