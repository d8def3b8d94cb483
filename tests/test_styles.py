"""Style networks that come with kstyle, and files in 8 bits: what they hold, what reads them, what they paint."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kstyle
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style.learning import settings as network_settings
from kstyle.style.networks import eight_bits, shipped, small_file, style_facts, style_file
from kstyle.style.networks.network import style_network

ROOT = Path(__file__).parents[1]
CAT = ROOT / "examples/chelsea.jpg"


@pytest.fixture
def noise(tmp_path):
    """The file of a network with weights of noise and one style picture, as learning writes it: its path."""
    model, rng = style_network(0.15), np.random.default_rng(0)
    model.set_weights([weights + rng.normal(0, 0.05, weights.shape) for weights in model.get_weights()])
    facts = {"width": 0.15, "styles": ["noise.png"], "brush": None, "size": 64, "learned": {}}
    return style_file.StyleFile(model, facts, (rng.random((24, 32, 3), "float32"),)).write(tmp_path / "noise.keras")


def test_eight_bits_are_as_near_as_they_can_be():
    """Failure: weights are rounded by more than half a step of their channel, or norms and biases are rounded too."""
    rng = np.random.default_rng(0)
    kernel = (rng.normal(0, 1, (3, 3, 5, 4)) * [1e-3, 1, 1e3, 0]).astype("float32")
    arrays = {"kernel": kernel, "bias": rng.random(4).astype("float32")}
    got = eight_bits.unpacked(eight_bits.packed(arrays))
    assert list(got) == list(arrays) and got["kernel"].dtype == np.float32
    step = np.abs(kernel).max((0, 1, 2)) / 127
    assert (np.abs(got["kernel"] - kernel) <= 0.501 * step).all()
    np.testing.assert_array_equal(got["bias"], arrays["bias"])


def test_a_small_file_paints_the_same(noise, tmp_path):
    """Failure: a file in 8 bits is large, paints something else, or lacks what the first one knows."""
    path, off = small_file.write(noise, tmp_path / "small.keras")
    whole, small = style_file.read(noise), style_file.read(path)
    rgb = np.random.default_rng(1).random((31, 45, 3), "float32")
    assert np.abs(whole.paint(rgb) - rgb).mean() > 0.02 and np.abs(whole.paint(rgb) - small.paint(rgb)).mean() < 2 / 255
    assert 0 < off < 2 / 255
    assert small.facts == {**whole.facts, "bits": 8} and small.pictures[0].shape == (24, 32, 3)
    assert path.stat().st_size < 0.5 * noise.stat().st_size  # most of so small a network's file are names
    again = style_file.read(small.write(tmp_path / "again.keras", bits=8))
    np.testing.assert_array_equal(again.paint(rgb), small.paint(rgb))
    with pytest.raises(UsageError, match="read too"):
        small_file.write(noise, noise)
    with pytest.raises(UsageError, match="32 or 8"):
        whole.write(tmp_path / "odd.keras", bits=16)


def test_what_paints_otherwise_is_not_kept(noise, tmp_path, monkeypatch):
    """Failure: a network that 8 bits do not hold is written all the same."""
    monkeypatch.setattr(eight_bits, "LARGEST", 1)  # three values a weight
    with pytest.raises(DataError, match="Nothing was kept"):
        small_file.write(noise, tmp_path / "small.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.keras"]


@pytest.mark.parametrize("fault", ["no scale", "scale of another shape", "scale of nan", "another shape", "a pickle"])
def test_small_files_that_lie(noise, tmp_path, fault):
    """Failure: a stranger's file paints with wrong weights in silence, shows a traceback, or runs code."""
    path, _ = small_file.write(noise, tmp_path / "small.keras", check=False)
    name = "layers/half_conv/vars/0"
    with zipfile.ZipFile(path) as archive:
        arrays = {n: np.load(archive.open(n)) for n in archive.namelist() if n.endswith(".npy")}
        others = {n: archive.read(n) for n in archive.namelist() if not n.endswith(".npy")}
    scale = f"{name}/scale.npy"
    if fault == "no scale":
        del arrays[scale]
    elif fault == "scale of another shape":
        arrays[scale] = arrays[scale][:1]
    elif fault == "scale of nan":
        arrays[scale] = arrays[scale] * np.nan
    elif fault == "another shape":
        arrays[f"{name}.npy"] = np.zeros((3, 3, 4096, arrays[scale].size), "int8")
    else:
        arrays[f"{name}.npy"] = np.array([print], dtype=object)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, array in arrays.items():
            with archive.open(n, "w") as file:
                np.lib.format.write_array(file, array)
        for n, raw in others.items():
            archive.writestr(n, raw)
    with pytest.raises(DataError, match=r"small\.keras") as error:
        style_file.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", shipped.names())
def test_styles_that_come_with_kstyle(name):
    """Failure: a style is too large for the wheel, was learned by another recipe than the one that bears its name, or
    nobody can say what it is."""
    path = shipped.located(f"style:{name}")
    facts, recipe = kstyle.styles()[name], (ROOT / f"configs/networks/{name}.yaml").read_text("utf-8")
    assert path.stat().st_size < 1_000_000 and facts["bits"] == 8 and facts["description"]
    told, learned = network_settings.load(name)[0].model_dump(mode="json"), facts["learned"]
    assert {**told, "description": 0} == {**learned["recipe"], "description": 0}
    head = " ".join(line.lstrip("# ") for line in recipe.splitlines() if line.startswith("#"))
    for figure in (learned["photographs"], learned["steps"], round(learned["held_out"]["loss"], 1)):
        assert re.search(rf"(?<![\d.,]){figure:,}(?![\d,]|\.\d)", head), figure


def test_a_name_stands_where_a_file_stands(place, command):
    """Failure: the command after the install fails, names its picture oddly, or a misspelt style is a missing file."""
    shutil.copy(CAT, "cat.jpg")
    code, out, errors = command("stylize", "cat.jpg", "style:night", "--size", 40, "--precision", "float32", "--json")
    assert code == 0, errors
    assert json.loads(out)["output"] == "cat-night.png"
    painted = images.read("cat-night.png").rgb
    result = kstyle.stylize("cat.jpg", "style:night", size=40, precision="float32")
    np.testing.assert_allclose(painted, result.rgb, atol=1 / 255)
    assert result.settings["network"]["file"] == "night.keras"
    code, _, errors = command("batch", "cat.jpg", "--style", "style:night", "-o", "out", "--size", 40, "-q")
    assert code == 0 and Path("out/cat.png").is_file(), errors
    for paint in (lambda: kstyle.stylize("cat.jpg", "style:nigth"), lambda: style_facts.read("style:../night")):
        with pytest.raises(UsageError, match=r"Unknown style .*Known: .*night"):
            paint()
    code, _, errors = command("stylize", "cat.jpg", "style:nigth")
    assert code == 2 and "Did you mean 'night'?" in errors
    shutil.copy(shipped.located("style:night"), "style:mine")  # a file of one's own that is really called so
    assert shipped.located("./style:mine").is_file()


def test_it_paints_soon(tmp_path):
    """Failure: the first picture takes a second longer, for packages that a network's painting never uses."""
    code = f"""
import sys
from kstyle import cli
try:
    cli.main(["stylize", {str(CAT)!r}, "style:night", "--size", "40", "-o", "cat.png", "-q"])
except SystemExit as ended:
    assert not ended.code
loaded = {{"sklearn", "scipy", "matplotlib"}} & set(sys.modules)
assert not loaded, loaded
import matplotlib.figure, sklearn.metrics  # they can be had afterwards
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "cat.png").is_file()


def test_styles_are_listed(command):
    """Failure: nobody finds out which styles there are."""
    code, out, _ = command("styles", "--json")
    assert code == 0 and json.loads(out) == kstyle.styles() and "night" in kstyle.styles()
    code, out, _ = command("styles")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == sorted(kstyle.styles())


def test_export_in_eight_bits(noise, place, command):
    """Failure: the option writes another file than it says, into the package, or passes over what cannot be."""
    code, out, errors = command("export", noise, "--bits", 8, "--json")
    said = json.loads(out)
    assert code == 0 and said["path"] == str(noise.with_name("noise-8bit.keras")) and said["format"] == "keras", errors
    assert style_file.read(said["path"]).facts["bits"] == 8 and said["bytes"] == Path(said["path"]).stat().st_size
    assert command("export", "style:night", "--bits", 8, "--no-check")[0] == 0
    assert [path.name for path in Path().iterdir()] == ["night-8bit.keras"]
    for wrong in ((noise, "--bits", 8, "--format", "onnx"), (noise, "--format", "torch"), ("runs", "--bits", 8)):
        assert command("export", *wrong)[0] == 2
