"""Names that a user's own Python adds: the example, from the command line and from Python, and plugins that fail."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

import kstyle
from kstyle import augmentations, losses, optimizers, plugins
from kstyle.errors import UsageError
from kstyle.nn.optimizers import described
from kstyle.style import settings as style_settings
from kstyle.style.jobs import sweep
from kstyle.training.augment import policy

EXAMPLE = Path(__file__).parents[1] / "examples/plugin"
PICTURES = Path(__file__).parents[1] / "examples"
SMALL = ["--size", "48", "--steps", "3", "--precision", "float32"]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A folder with the example's files, to work in."""
    shutil.copytree(EXAMPLE, tmp_path / "plugin")
    monkeypatch.chdir(tmp_path / "plugin")


def test_the_example_is_short():
    """Failure: adding to kstyle takes more than a page."""
    assert len((EXAMPLE / "mine.py").read_text().splitlines()) < 30


def test_from_the_command_line(example, command):
    """Failure: a preset or a recipe cannot name what a plugin adds, or jobs do not know it."""
    pictures = [PICTURES / "chelsea.jpg", PICTURES / "night.jpg"]
    code, out, _ = command(
        "stylize", *pictures, "-p", "painting.yaml", "--plugin", "mine.py", "-o", "a.png", *SMALL, "--json"
    )
    assert code == 0 and json.loads(out)["settings"]["style"]["loss"] == "means"
    style = ["--style", pictures[1], "-p", "painting.yaml"]
    code, out, errors = command(
        "batch", pictures[0], *style, "-o", "out", "--jobs", 2, "--plugin", "mine.py", *SMALL, "--json"
    )
    assert (code, json.loads(out)["done"]) == (0, 1), errors
    train = ["train", "training.yaml", "--run", "run", "--epochs", 2]
    code, out, errors = command(*train, "--plugin", "mine.py", "--json")
    assert code == 0 and json.loads(out)["top1"] > 0.3, errors
    code, out, errors = command("evaluate", "run", "--plugin", "mine.py", "--json")
    assert code == 0, errors


NAMED = """
from kstyle import schedules, settings

digits = {"name": "digits", "normalize": "unit", "train_limit": 128, "test_limit": 40}
schedules.register("falling", lambda epoch, first=0.1: first / (1 + epoch))
settings.register_recipe("brief", {
    "description": "two epochs", "model": "mnist_cnn", "data": digits, "epochs": 2,
    "optimizer": {"name": "torch-sgd", "learning_rate": 1}, "schedule": {"name": "falling", "first": 0.05},
})
style = {"layers": {"block1_conv1": 1}, "weight": 2}
settings.register_preset("faint", {"description": "little style", "style": style})
"""


def test_presets_and_recipes_by_name(tmp_path, monkeypatch, command):
    """Failure: what a plugin names is not found, not listed, or its picture cannot be made again by the sweep's
    command."""
    monkeypatch.chdir(tmp_path)
    Path("named.py").write_text(NAMED)
    plugin, pictures = ["--plugin", "named.py"], [PICTURES / "chelsea.jpg", PICTURES / "night.jpg"]
    code, out, errors = command("train", "brief", *plugin, "--run", "run", "--json")
    assert code == 0, errors
    assert pd.read_csv("run/history.csv")["learning_rate"].tolist() == pytest.approx([0.05, 0.025])
    code, out, _ = command("stylize", *pictures, "-p", "faint", *plugin, "-o", "a.png", *SMALL, "--json")
    said = json.loads(out)["settings"]
    assert code == 0 and (said["preset"], said["style"]["weight"]) == ("faint", 2)
    assert "brief" in command("recipes", *plugin)[1] and "two epochs" in command("recipes", "brief", *plugin)[1]
    assert json.loads(command("presets", *plugin, "--json")[1])["faint"] == "little style"
    (cell,) = sweep.grid("a.png", ["b.png"], [], {"preset": "faint"})
    assert f"--plugin {tmp_path / 'named.py'}" in cell.command
    with pytest.raises(UsageError, match="There is a preset called 'gatys' already"):
        kstyle.settings.register_preset("gatys", {})
    with pytest.raises(UsageError, match="Expected a mapping of settings for the recipe; got str"):
        kstyle.settings.register_recipe("mine", "mine.yaml")
    with pytest.raises(UsageError, match="Did you mean 'faint'"):
        style_settings.load("fainted")


def test_a_plugin_runs_only_for_who_asks(tmp_path, monkeypatch):
    """Failure: a preset from a stranger runs the program beside it."""
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    preset = tmp_path / "preset.yaml"
    preset.write_text("plugins: [evil.py]\nstyle: {layers: {block1_conv1: 1}}\n")
    with pytest.raises(UsageError, match=r"preset\.yaml needs the plugin evil\.py.*--plugin .*evil\.py"):
        style_settings.load(str(preset))
    preset.write_text("plugins: {evil.py: 1}\nstyle: {layers: {block1_conv1: 1}}\n")
    with pytest.raises(UsageError, match="'plugins' is a list"):
        style_settings.load(str(preset))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n1 / 0\n", "plugin bad.py, line 2: ZeroDivisionError"),
        ("def f(:\n", "plugin bad.py, line 1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "plugin bad.py, line 2: SystemExit: 3"),
        ("from kstyle import losses\nlosses.register('gatys', len)\n", "line 2: There is a style loss called 'gatys'"),
        ("from kstyle import losses\nlosses.register('my loss', len)\n", "line 2: The name of a style loss is made of"),
        (
            "from kstyle import augmentations as a\na.register('mine', 3)\n",
            "line 2: Expected a function for the augmentation",
        ),
    ],
)
def test_plugins_that_fail(example, command, text, said):
    """Failure: a page of traceback, or the plugin's end is taken for the command's."""
    Path("bad.py").write_text(text)
    code, _, errors = command("stylize", "a", "b", "--plugin", "bad.py")
    assert code == 2 and said in errors and len(errors.splitlines()) == 1, errors
    assert not list(Path().glob("__pycache__"))


def test_from_python(tmp_path):
    """Failure: what has a name on the command line takes a file in Python."""
    plugins.load(EXAMPLE / "mine.py")
    losses.register_content("absolute", lambda features, target: ops.mean(ops.abs(features - target)))
    style = {"layers": {"block1_conv1": 1}, "loss": "means", "weight": 0.01}
    preset = {"content": {"layers": {"block1_conv2": 1}, "loss": "absolute"}, "style": style, "clamp": [0, 1]}
    chelsea, night = PICTURES / "chelsea.jpg", PICTURES / "night.jpg"
    result = kstyle.stylize(
        chelsea, night, preset, 48, 3, optimizer=keras.optimizers.Adam(0.02, beta_1=0.8), precision="float32"
    )
    assert result.settings["optimizer"] == {"name": "adam", "learning_rate": 0.02, "beta_1": 0.8}
    losses_now = result.history
    assert losses_now["content"].iloc[-1] > 0 and losses_now["style"].iloc[-1] < losses_now["style"].iloc[0]
    recipe = {
        "model": "small", "data": {"name": "digits", "normalize": "unit"}, "augment": {"own": {"salt": None}},
        "optimizer": {"name": "heavy-ball", "learning_rate": 0.1}, "epochs": 1,
    }  # fmt: skip
    run = kstyle.train(recipe, run=tmp_path / "run")
    assert pd.notna(run.history["loss"]).all()


def test_the_loss_is_the_functions():
    """Failure: a registered loss is called with the wrong features, or weighed twice."""
    from kstyle.style.losses import terms
    from kstyle.style.losses.positions import Features, Positions

    losses.register("sum-of-all", lambda features, target: ops.sum(features) - target, lambda f: ops.sum(f))
    term = style_settings.FurtherTerm(layers={"one": 0.5, "two": 2.0}, loss="sum-of-all")
    ones = {name: np.full((1, 4, 6, 3), value, "float32") for name, value in (("one", 1.0), ("two", 3.0))}
    twos = {name: np.full((1, 2, 2, 3), 2.0, "float32") for name in ("one", "two")}
    features, styles = ({k: ops.convert_to_tensor(v) for k, v in each.items()} for each in (ones, twos))
    positions = Positions()
    reached = terms.target(term, [Features(styles, (2, 2))], [1.0], positions)
    found = terms.distances(term, Features(features, (4, 6)), reached, positions, 24)
    total = sum(factor * float(ops.convert_to_numpy(value)) for factor, value in found)
    assert total == pytest.approx(0.5 * (72 - 24) + 2.0 * (216 - 24))
    with pytest.raises(UsageError, match=r"style\.turned: false"):
        terms.target(term, [Features(styles, (2, 2))] * 4, [1.0], positions, views=4)


def test_losses_that_are_functions(tmp_path):
    """Failure: a loss given to one painting is weighed or fed otherwise than a registered one, leaks into the next, or
    is not named in the record."""

    def means(features):
        return ops.mean(features, axis=(0, 1, 2))

    def far(features, target):
        return ops.sum(ops.square(means(features) - target))

    def brighter(features, style):
        return ops.square(ops.mean(features) - ops.mean(style))

    chelsea, night, shallow = PICTURES / "chelsea.jpg", PICTURES / "night.jpg", {"style": {"layers": {"relu1_1": 1}}}
    terms = [brighter, {"loss": far, "statistics": means, "weight": 3, "layers": {"relu1_2": 1}}, "histogram"]
    given = {"terms": terms, "style.loss": far, "style.statistics": means, "content.loss": brighter}
    common = {"preset": shallow, "size": 32, "steps": 1, "init": "noise", "precision": "float32"}
    result = kstyle.stylize(chelsea, night, **common, **given)
    recorded = [(term["loss"], term["weight"], term["layers"]) for term in result.settings["terms"]]
    assert recorded == [
        ("brighter", 1, {"relu1_1": 1}), ("far", 3, {"relu1_2": 1}), ("histogram", 1, {"relu1_1": 1}),
    ]  # fmt: skip
    assert result.settings["style"]["loss"] == "far" and result.settings["content"]["loss"] == "brighter"
    with pytest.raises(UsageError, match="Unknown style loss 'far'"):  # it was known to that painting alone
        kstyle.Painter(night, shallow, terms=["far"])

    losses.register("far", far, means)
    losses.register("brighter", brighter)
    losses.register_content("brighter", brighter)
    names = ["brighter", {**terms[1], "loss": "far"}, "histogram"]
    del names[1]["statistics"]
    named = {"terms": names, "style.loss": "far", "content.loss": "brighter"}
    assert kstyle.stylize(chelsea, night, **common, **named).losses == result.losses

    def gatys(features, style):
        return 0.0

    for terms, said in [
        (gatys, "There is a style loss called 'gatys' already"),
        ([lambda features, style: 0.0], "a lambda has none"),
        ([{"loss": far, "statistics": 3}], "Expected a function for the statistics; got int"),
        ([far, far], "'far' is taken"),
        ([3], "terms.0"),
    ]:
        with pytest.raises(UsageError, match=said):
            kstyle.Painter(night, shallow, terms=terms)
    with pytest.raises(UsageError, match="Other processes do not know brighter"):
        list(kstyle.batch(kstyle.Painter(night, shallow, terms=[brighter]), chelsea, tmp_path / "out", jobs=2))


def test_unknown_names_have_a_nearest():
    """Failure: a misspelt name of one's own is told kstyle's only."""
    losses.register("velvet", lambda features, target: ops.mean(features))
    with pytest.raises(UsageError, match="Did you mean 'velvet'"):
        style_settings.load("kstyle", {"style.loss": "velvett"})
    with pytest.raises(UsageError, match="heavy-bal"):
        optimizers.get("heavy-bal")
    augmentations.register("dust", lambda images, random, strength: images)
    with pytest.raises(ValueError, match="dust"):
        policy.AugmentSettings(own={"dusty": {}})
    with pytest.raises(UsageError, match=r"kstyle\.optimizers\.register"):

        class Mine(keras.optimizers.SGD):
            pass

        described(Mine())
