"""One network for any style: adaptive instance normalisation, its decoder, how that learns, what it paints."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kstyle
from kstyle import backend
from kstyle.cli import main
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style.learning import settings as network_settings
from kstyle.style.learning.photographs import Pairs
from kstyle.style.networks import arbitrary, arbitrary_file, style_file
from kstyle.style.networks.network import style_network

ops = keras.ops
EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {
    "width": 0.25, "layers": ["relu1_1", "relu2_1"], "size": 48, "crop": 32, "batch": 2, "steps": 100, "look": 10,
    "held_out": 1, "warmup": 5, "learning_rate": 0.003, "average": 0.9,
}  # fmt: skip
FIXED = {"precision": "float32", "deterministic": True, "workers": 0}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of four photographs in photos/ and three paintings in paintings/, all of them small."""
    folder = tmp_path_factory.mktemp("any")
    for kind, names in (
        ("photos", ("astronaut", "chelsea", "coffee", "rocket")),
        ("paintings", ("night", "wave", "glass")),
    ):
        (folder / kind).mkdir()
        for name in names:
            images.write(folder / kind / f"{name}.png", small(name), None)
    return folder


def small(name, shape=(48, 64)):
    return images.resize_picture(images.read(EXAMPLES / f"{name}.jpg"), shape).rgb


@pytest.fixture(scope="module")
def learned(pictures):
    """A hundred steps of a small decoder of shallow features."""
    given = {"run": pictures / "run", **FIXED, **SMALL}
    return kstyle.learn(photographs=pictures / "photos", paintings=pictures / "paintings", **given)


def test_adain_by_hand():
    """Failure: features get another mean or deviation than the style's, or strength moves them another part of it."""
    rng = np.random.default_rng(0)
    features, style = rng.gamma(1.0, 3.0, (1, 7, 5, 4)), rng.gamma(2.0, 2.0, (1, 6, 9, 4))
    mean, deviation = style.mean((0, 1, 2)), style.std((0, 1, 2))
    for strength in (1.0, 0.3):
        got = arbitrary.adain(
            *(ops.convert_to_tensor(a.astype("float32")) for a in (features, mean, deviation)), strength
        )
        own_mean, own_deviation = features.mean((0, 1, 2)), features.std((0, 1, 2))
        to_mean, to_deviation = (
            strength * a + (1 - strength) * b for a, b in ((mean, own_mean), (deviation, own_deviation))
        )
        wanted = (features - own_mean) / own_deviation * to_deviation + to_mean
        np.testing.assert_allclose(backend.as_numpy(got), wanted, rtol=1e-3, atol=1e-3)


def test_decoder_in_torch():
    """Failure: edges are not mirrored, a layer is left out, features are not brought to their units, or an odd picture
    is cut at the wrong side."""
    torch = pytest.importorskip("torch")
    F, rng = torch.nn.functional, np.random.default_rng(0)
    model = arbitrary.decoder((4, 8, 12))
    for layer in model.layers:  # weights of all kinds, biases too
        layer.set_weights([rng.uniform(0.1, 0.5, w.shape) * rng.choice([-1, 1], w.shape) for w in layer.get_weights()])
    mean, variance = rng.random((2, 12)).astype("float32") + 0.5
    model.get_layer("units").set_weights([mean, variance])
    features = rng.normal(size=(1, 5, 6, 12)).astype("float32")
    got = model([ops.convert_to_tensor(features), ops.zeros((1, 19, 22, 3))])

    def convolve(x, name, last=False):
        kernel, bias = (torch.from_numpy(np.array(w)) for w in model.get_layer(name).get_weights())
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel.permute(3, 2, 0, 1), bias)
        return x if last else F.relu(x)

    x = torch.from_numpy(((features - mean) / np.sqrt(variance + 1e-6)).transpose(0, 3, 1, 2).astype("float32"))
    x = F.interpolate(convolve(x, "level2_fewer"), scale_factor=2)
    for name in ("level1_1", "level1_2", "level1_3", "level1_fewer"):
        x = convolve(x, name)
    x = F.interpolate(x, scale_factor=2)[:, :, :19, :22]
    x = convolve(convolve(x, "level0_1"), "picture", last=True).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(backend.as_numpy(got), x, rtol=1e-3, atol=1e-3 * np.abs(x).max())


def test_pairs_depend_on_seed_and_step(pictures):
    """Failure: after a stop other photographs come, or other paintings with them; or each has always the same one."""
    learning = network_settings.load_arbitrary("arbitrary", SMALL)

    def batches(first, count):
        pairs = Pairs([pictures / "photos"], [pictures / "paintings"], learning, 3, workers=0)
        return [batch for _, batch in zip(range(count), pairs(first))]

    for got, wanted in zip(batches(3, 2), batches(0, 5)[3:]):
        np.testing.assert_array_equal(np.stack(got), np.stack(wanted))
    assert got[0].shape == (2, 32, 32, 3) and not np.array_equal(*got)


def test_it_learns(learned):
    """Failure: the loss on a pair that was held out does not fall, or the sheet is missing."""
    held_out = [row["held_out"] for row in learned.history]
    assert held_out[-1] < 0.85 * held_out[0] and np.isfinite(held_out).all()
    assert (learned.folder / "sheet.png").is_file()
    facts = learned.network.facts["learned"]
    assert (facts["photographs"], facts["paintings"]) == (3, 2)


def test_a_stopped_run_goes_on_to_the_same_weights(learned, pictures):
    """Failure: after a stop the optimiser, the average or either kind of pictures begins anew."""
    folder, given = pictures / "stopped", {"photographs": pictures / "photos", "paintings": pictures / "paintings"}
    kstyle.learn(**given, run=folder, callback=lambda look: look.step == 30, **FIXED, **SMALL)
    whole = kstyle.learn(resume=folder)
    for got, wanted in zip(whole.network.model.get_weights(), learned.network.model.get_weights()):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(UsageError, match="nothing but extend"):
        kstyle.learn(resume=folder, paintings=pictures / "paintings")


def test_file_keeps_the_network(learned, tmp_path):
    """Failure: what is read paints otherwise than what was written, or the extractor went into the file."""
    path = learned.network.write(tmp_path / "any.keras")
    photograph, painting = small("coffee", (21, 34)), small("glass", (40, 30))
    again = arbitrary_file.read(path)
    np.testing.assert_array_equal(again.paint(photograph, painting), learned.network.paint(photograph, painting))
    own = 4 * sum(np.size(weight) for weight in learned.network.model.get_weights())
    assert path.stat().st_size < own + 100_000


def test_stylize_and_batch(learned, tmp_path):
    """Failure: several paintings are not blended by their statistics, strength or size is passed over, or a batch
    paints otherwise."""
    path = learned.network.write(tmp_path / "any.keras")
    photograph, styles = small("coffee", (24, 32)), [small("glass", (24, 32)), small("night", (24, 32))]
    given = {"size": 32, "precision": "float32", "network": path}
    got = kstyle.stylize(photograph, styles, blend=[1, 3], strength=0.5, **given)
    one, other = (learned.network.style(style) for style in styles)
    told = [np.float32(0.25) * a + np.float32(0.75) * b for a, b in zip(one, other)]
    np.testing.assert_allclose(got.rgb, learned.network.paint(photograph, told, 0.5), atol=1e-5)
    plain = kstyle.stylize(photograph, styles[0], **given)
    assert np.abs(plain.rgb - kstyle.stylize(photograph, styles[0], **{"style.scale": 0.5}, **given).rgb).mean() > 1e-4
    left = np.zeros((24, 32), "float32")
    left[:, :16] = 1
    parts = kstyle.stylize(photograph, styles, masks=[left, 1 - left], **given).rgb
    np.testing.assert_allclose(parts[:, :16], plain.rgb[:, :16], atol=1e-5)

    for name, rgb in (("photo", photograph), ("glass", styles[0])):
        images.write(tmp_path / f"{name}.png", rgb, None)
    command = ["batch", tmp_path / "photo.png", "--style", tmp_path / "glass.png", "--network", path, "--size", 32]
    with pytest.raises(SystemExit) as done:
        main([*map(str, command), "-o", str(tmp_path / "out"), "--precision", "float32", "-q"])
    assert done.value.code == 0
    np.testing.assert_allclose(images.read(tmp_path / "out" / "photo.png").rgb, plain.rgb, atol=2.5 / 255)


@pytest.mark.parametrize(
    "fault", [{"width": 99}, {"layers": []}, {"layers": ["relu1_1", "relu3_1"]}, {"extractor": 3}], ids=str
)
def test_files_that_lie(learned, tmp_path, fault):
    """Failure: a stranger's file takes all memory, shows a traceback, or paints with weights that do not fit."""
    lying = arbitrary_file.ArbitraryFile(
        learned.network.model, learned.network.facts | fault, learned.network.extractor
    )
    with pytest.raises((DataError, UsageError)) as error:
        arbitrary_file.read(lying.write(tmp_path / "lying.keras"))
    assert "\n" not in str(error.value)


def test_the_other_kind_of_network(learned, tmp_path, capsys):
    """Failure: who gives one kind of network for the other gets a traceback, or no word of what to do."""
    images.write(tmp_path / "photo.png", small("coffee"), None)
    learned.network.write(tmp_path / "any.keras")
    facts = {"width": 0.1, "styles": ["night"], "brush": None, "size": 64, "learned": {}}
    style_file.StyleFile(style_network(0.1), facts, (small("night"),)).write(tmp_path / "night.keras")
    photo, own, one = (str(tmp_path / name) for name in ("photo.png", "any.keras", "night.keras"))
    cases = {
        (photo, own): "as --network",
        (photo, photo, "--network", one): "in the place of the style picture",
        (photo, one, "--network", own): "paints after pictures",
        (photo, photo, "--network", own, "--steps", "3"): "steps",
    }
    for arguments, said in cases.items():
        with pytest.raises(SystemExit) as done:
            main(["stylize", *arguments, "-o", str(tmp_path / "x.png")])
        assert done.value.code in (1, 2) and said in capsys.readouterr().err


def test_what_cannot_be(learned, pictures, tmp_path):
    """Failure: a picture that is too small, or what cannot be learned from, is told by a traceback."""
    with pytest.raises(DataError, match="3 pixels a side"):
        learned.network.paint(np.zeros((2, 9, 3), "float32"), small("glass"))
    both = {"photographs": pictures / "photos", "paintings": pictures / "paintings"}
    for wrong in (
        {"styles": pictures / "paintings" / "night.png"},
        {"layers": ["relu1_1", "relu1_2"]},
        {"preset": "gatys"},
    ):
        with pytest.raises(UsageError):
            kstyle.learn(**both, run=tmp_path / "none", **wrong)
    with pytest.raises(UsageError, match="paintings"):
        kstyle.learn(pictures / "paintings" / "night.png", pictures / "photos", "arbitrary")
    with pytest.raises(DataError, match="expected paintings"):
        kstyle.learn(
            photographs=pictures / "photos", paintings=pictures / "paintings" / "night.png", run=tmp_path / "one"
        )


@pytest.mark.skipif(backend.NAME != "torch", reason="ONNX files are written through PyTorch")
def test_onnx(learned, tmp_path, capsys):
    """Failure: other programs get fixed sizes, or other pictures than kstyle's."""
    runtime = pytest.importorskip("onnxruntime")
    path = learned.network.write(tmp_path / "any.keras")
    with pytest.raises(SystemExit):
        main(["export", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["off"] <= 1 / 255
    session, rng = runtime.InferenceSession(told["path"]), np.random.default_rng(1)
    for shape, other in (((33, 58), (40, 21)), ((64, 96), (75, 60))):
        rgb, style = (rng.random((*sides, 3), "float32") for sides in (shape, other))
        painted = session.run(None, {"photograph": rgb[None], "style": style[None]})[0][0]
        np.testing.assert_allclose(painted, learned.network.paint(rgb, style), atol=1 / 255)
