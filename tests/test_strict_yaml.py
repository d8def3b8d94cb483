"""What is YAML and cannot be a setting, and the obvious ways to say a setting."""

import json
import textwrap
import time

import pytest

from kstyle import cli, config
from kstyle.errors import DataError, UsageError
from kstyle.style import settings as style_settings
from kstyle.training.setup import settings as train_settings

STYLE = "style: {layers: {block1_conv1: 1}}\n"
RECIPE = "model: mnist_cnn\ndata: digits\noptimizer: {learning_rate: 0.1}\n"
STAGES = RECIPE + "stages: [{train: head, epochs: 6}, {train: all, epochs: 2}, {train: all, epochs: 2}]\n"


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code or 0


@pytest.fixture
def file(tmp_path):
    def file(text):
        (tmp_path / "p.yaml").write_text(textwrap.dedent(text))
        return str(tmp_path / "p.yaml")

    return file


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("tv: {weight: 1}\ninit: noise\ntv: {weight: 2}\n", "'tv' is given twice, in line 1 and in line 3"),
        ("tv:\n  weight: 1\n  kind: blur\n  weight: 2\n", "'tv.weight' is given twice, in line 2 and in line 4"),
        ("tv: {weight: 1, weight: 1}\n", "'tv.weight' is given twice, in line 1, columns 6 and 17"),
        (
            "terms:\n- {loss: gram}\n- loss: mrf\n  loss: gram\n",
            "'terms.1.loss' is given twice, in line 3 and in line 4",
        ),
        ("scales: {steps_from: {64: 1, 064: 1, 0x40: 2}}\n", "'scales.steps_from.0x40' is given twice"),
        ("a: &a {weight: 1}\nb: &b {weight: 2}\ntv:\n  <<: *a\n  <<: *b\n", "'tv.<<' is given twice, in line 4 and"),
    ],
)
def test_a_key_given_twice(file, capsys, text, where):
    """Failure: of two values of one key, one is dropped in silence, and the user reads the other in the file."""
    path = file(text + STYLE)
    for arguments in (["presets", path], ["train", path]):
        assert call(*arguments) == 2
        errors = capsys.readouterr().err
        assert f"{path}: the key {where}" in errors and errors.count("\n") == 1


def test_a_key_given_twice_on_the_command_line(capsys):
    """Failure: as above, of --set."""
    for texts, said in (
        (["tv={weight: 1, weight: 2}"], "--set tv={weight: 1, weight: 2}: the key 'weight' is given twice"),
        (["tv.weight=1", "init=noise", "tv.weight=2"], "--set tv.weight is given twice: 1 and 2"),
    ):
        with pytest.raises(UsageError) as caught:
            config.parse_overrides(texts)
        assert said in str(caught.value)
    assert config.parse_overrides(["a=1", "a=1"]) == {"a": 1}


def test_a_merge_key_is_no_second_one(file):
    """Failure: `<<`, which gives what a mapping does not say itself, is refused or loses to what it is merged with."""
    text = "tv: &tv {weight: 1, kind: blur}\nrange: {weight: 3}\n" + STYLE
    assert style_settings.load(file(text)).tv.weight == 1
    merged = style_settings.load(file("tv: {<<: {weight: 1, kind: blur}, weight: 2}\n" + STYLE))
    assert (merged.tv.weight, merged.tv.kind) == (2, "blur")


def _laughs(levels):
    lines = ["l0: &l0 [lol, lol]"] + [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tv: " + "[" * 5000 + "]" * 5000, "more than 50 levels"),
        ("tv: " + "{a: " * 5000, "more than 50 levels"),
        ("- " * 5000, "more than 50 levels"),
        (_laughs(12), "repeats itself by its aliases"),
        ("tv: &a [*a]", "repeats itself by its aliases"),
        ("tv: {weight: " + "1" * 5000 + "}", "'tv.weight' is a whole number of 5000 digits"),
        ("tv: {weight: 0x" + "f" * 5000 + "}", "'tv.weight' is a whole number of 5002 digits"),
        (f"? {'1' * 5000}\n: 1", "is a whole number of 5000 digits"),
        ("tv: {weight: " + "1" * 60 + "}", None),  # as a float it is one
        (STYLE + "noise: 1e999", "'noise': input should be a finite number; got inf"),
        ("seed: 2020-99-99", "month"),
        ("tv: !!python/object:os.system {}", "could not determine a constructor"),
        ("tv: !!int ''", ""),
        ("? [a, b]\n: 1", "unhashable"),
        (STYLE + "1: 2", "'1'"),
        ("", None),
        ("# nothing\n", None),
    ],
)
def test_what_no_settings_have(file, capsys, text, words):
    """Failure: RecursionError, a machine without memory, or a traceback of Python's limits, for a file of a few KB."""
    begun = time.perf_counter()
    path = file(text + "\n")
    code = call("presets", path)
    errors = capsys.readouterr().err
    assert code in (1, 2) and errors.startswith("kstyle: ") and errors.count("\n") == 1
    assert "unexpected" not in errors and len(errors) < 1200
    if words:
        assert words in errors
    with pytest.raises(UsageError) as caught:
        key, value = config.parse_override(f"tv={text}")
        style_settings.load("kstyle", {key: value, "nonsense": 1})
    assert len(str(caught.value)) < 1200
    assert time.perf_counter() - begun < 20


def test_files_that_are_no_settings(file, tmp_path):
    """Failure: a file of a gigabyte is read, or one in another encoding ends in a traceback."""
    for content, words in (
        (b"#" * 1_000_001, "more than 1000000 bytes"),
        (b"\xff\xfe", "utf-8"),
        (b"a: \0", "special"),
    ):
        (tmp_path / "p.yaml").write_bytes(content)
        with pytest.raises(DataError, match=words):
            style_settings.load(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_bytes(b"\xef\xbb\xbf" + STYLE.encode())  # as editors of Windows write it
    assert style_settings.load(tmp_path / "p.yaml").style.layers


@pytest.mark.parametrize("text", ["augment={}", "augment=null", "augment=none", "augment=", "augment=~"])
def test_no_augmentation(file, text):
    """Failure: `--set augment={}` changes nothing, and the training goes on with flips and crops."""
    path = file(RECIPE + "epochs: 1\naugment: {horizontal_flip: true, rotation: 10}\n")
    assert train_settings.load(path).augment.horizontal_flip == 0.5
    key, value = config.parse_override(text)
    assert not train_settings.load(path, {key: value}).augment.model_fields_set
    assert train_settings.load(path, {key: value, "augment.rotation": 5}).augment.model_fields_set == {"rotation"}
    assert not train_settings.load(path, {"augment.rotation": 5, key: value}).augment.model_fields_set


def test_none_is_none(file):
    """Failure: `none` is refused, or is the name of a file, where `null` is taken."""
    path = file(STYLE + "tv: {weight: 3}\nclamp: [0, 1]\nstrength: 0.5\n")
    for none in ("none", None):
        checked = style_settings.load(path, {"tv": none, "clamp": none, "strength": none, "colour": "none"})
        assert (checked.tv.weight, checked.clamp, checked.strength, checked.colour) == (0, None, None, "none")
        checked = train_settings.load("digits_cnn", {"average": none, "early_stop": none, "model.weights": none})
        assert (checked.average, checked.early_stop, checked.model.weights) == (None, None, None)


def test_entries_of_lists(file):
    """Failure: one stage of a recipe can only be changed in a copy of the file."""
    path = file(STAGES)
    checked = train_settings.load(path, {"stages.0.epochs": 9, "stages.2.optimizer.learning_rate": 3})
    assert [stage.epochs for stage in checked.stages] == [9, 2, 2] and checked.stages[2].optimizer.learning_rate == 3
    preset = file(
        STYLE + "terms: [{layers: {block2_conv1: 1}}]\nscales: {steps: [9, 8], steps_from: {64: 5, 256: 7}}\n"
    )
    checked = style_settings.load(
        preset, {"terms.0.weight": 4, "scales.steps.1": 3, "scales.steps_from.256": 6, "terms.0.layers.block1_conv1": 2}
    )
    assert checked.terms[0].weight == 4 and checked.terms[0].layers == {"block2_conv1": 1, "block1_conv1": 2}
    assert checked.scales.steps == [9, 3] and checked.scales.steps_from == {64: 5, 256: 6}
    for key in (
        "terms.1.weight",
        "terms.-1.weight",
        "terms.x",
        "scales.steps.99999999999999999999",
        "scales.steps.0.a",
    ):
        with pytest.raises(UsageError, match="cannot be set: '"):
            style_settings.load(preset, {key: 1})


def test_epochs_of_a_recipe_with_stages(file, capsys):
    """Failure: `--epochs 1`, which every other recipe takes, is refused with a riddle."""
    path = file(STAGES)
    for epochs, shares in ((10, [6, 2, 2]), (20, [12, 4, 4]), (3, [1, 1, 1]), (7, [5, 1, 1])):
        assert [stage.epochs for stage in train_settings.load(path, {"epochs": epochs}).stages] == shares
    assert call("train", path, "--epochs", 2) == 2
    assert "2 in all, and there are 3 stages" in capsys.readouterr().err
    with pytest.raises(UsageError, match="give one of them"):
        train_settings.load(path, {"epochs": 9, "stages.1.epochs": 3})
    with pytest.raises(UsageError, match="not both"):  # in a file it is a contradiction
        train_settings.load(file(STAGES + "epochs: 3\n"))


def test_class_weights():
    """Failure: a factor for one class of a thousand takes a list of a thousand numbers; or it is another class's."""
    from kstyle.data import parts

    def factors(weights, classes=("ant", "bee", "cow")):
        checked = train_settings.load("digits_cnn", {"loss.class_weights": weights})
        checked = train_settings.TrainSettings.model_validate(json.loads(json.dumps(train_settings.resolved(checked))))
        return list(parts.factors(checked.loss.class_weights, [0, 0, 1, 2], classes))

    assert factors({"cow": 3, "ant": 0.5}) == factors({2: 3, "0": 0.5}) == factors([0.5, 1, 3]) == [0.5, 1, 3]
    assert factors({7: 2}, ["9", "8", "7"]) == [1, 1, 2]  # a name before a place
    for weights, words in (({"bea": 2}, "Did you mean 'bee'"), ({3: 2}, "'3'"), ({"bee": 2, 1: 3}, "by its number")):
        with pytest.raises(UsageError, match=words):
            factors(weights)
    for weights in ({"bee": -1}, {"bee": float("nan")}, {"bee": True}, "heavy"):
        with pytest.raises(UsageError, match=r"loss\.class_weights"):
            factors(weights)
