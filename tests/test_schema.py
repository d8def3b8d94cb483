"""`kstyle schema` against what kstyle itself takes, and docs/settings.md against the code."""

import doctest
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import kstyle.schema
from kstyle import config
from kstyle.errors import UsageError
from kstyle.schema import described
from kstyle.style import settings as style_settings
from kstyle.style.learning import settings as network_settings
from kstyle.training.setup import sections as sections_of_recipes
from kstyle.training.setup import settings as train_settings

ROOT = Path(__file__).parents[1]
LOAD = {"preset": style_settings.load, "recipe": train_settings.load, "network": network_settings.load}
FILES = {"preset": "stylize", "recipe": "train", "network": "networks", "arbitrary": "networks"}
NAMED = [
    (kind, name)
    for kind, folder in FILES.items()
    for name in config.names(folder)
    if folder != "networks" or (name == "arbitrary") == (kind == "arbitrary")
]


@pytest.fixture(scope="module")
def validators():
    from click.testing import CliRunner

    from kstyle.cli import cli

    made = {}
    for kind in FILES:
        said = json.loads(CliRunner().invoke(cli, ["schema", kind], catch_exceptions=False).output)
        jsonschema.Draft202012Validator.check_schema(said)
        made[kind] = jsonschema.Draft202012Validator(said)
    return made


def as_json(settings):
    return json.loads(json.dumps(settings))  # keys of JSON are text


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_it_takes_what_comes_with_kstyle(kind, name, validators):
    """Failure: an editor marks a preset or recipe of kstyle's as wrong."""
    settings, _ = config.read(FILES[kind], name)
    assert not [error.message for error in validators[kind].iter_errors(as_json(settings))]


TAKEN = {
    "preset": [
        "optimizer: lbfgs",
        "optimizer: {name: adam, beta_1: 0.8}",
        "tv: none",
        "clamp: none",
        "plateau: {}",
        "colour: luminance",
        "terms: [moments, {loss: mrf}]",
        "content: {layers: {from: relu1_1, to: relu5_1, ratio: 0.25}}",
        "scales: {weights_from: {content: {0: 16, 128: 8}}}",
    ],
    "recipe": [
        "augment: none",
        "augment: {horizontal_flip: true, zoom: 0.2, rotation: [-3, 5], cutout: 4, mixup: 0.2}",
        "augment: {random_resized_crop: true, erasing: {probability: 0.5, fill: noise}}",
        "boxes: true",
        "data: {name: folder, photographs: {resize: stretch}}",
        "head: [flatten, {dense: 8, activation: relu}, {dropout: 0.5}]",
        "loss: {name: focal, gamma: 1.0}",
        "loss: {class_weights: {3: 2}}",
        "metrics: [top3]",
        "schedule: cosine",
        "schedule: {name: multi_step, milestones: [1]}",
    ],
    "network": ["brush: [0.5, 2]", "brush: none"],
}
REFUSED = {
    "preset": [
        "contnet: {}",
        "content: {median: 4}",
        "content: {weight: -1}",
        "content: {layers: {from: relu1_1, too: relu5_1}}",
        "strength: 1",
        "clamp: [0]",
        "space: 3",
        "tv: {kind: sqares}",
    ],
    "recipe": [
        "augment: {zoom: 1.5}",
        "augment: {rotation: 400}",
        "batch: 0",
        "data: {name: folder, photographs: {resize: 4}}",
        "head: [flaten]",
        "lookahead: {alpha: 2}",
        "precision: float16",
        "schedule: {name: multi_step}",
    ],
    "network": ["width: 3"],
}
SAID = [(kind, text, said is TAKEN) for said in (TAKEN, REFUSED) for kind in said for text in said[kind]]
NEEDED = {
    "preset": {"style": {"layers": {"relu1_1": 1}}},
    "recipe": {"model": "mnist_cnn", "data": "digits", "optimizer": {"learning_rate": 0.1}, "epochs": 2},
    "network": {},
}


@pytest.mark.parametrize(("kind", "text", "sound"), SAID)
def test_it_says_what_kstyle_says(kind, text, sound, validators):
    """Failure: an editor takes what kstyle refuses, or marks a short form that kstyle takes."""
    settings = {**NEEDED[kind], **yaml.safe_load(text)}
    assert validators[kind].is_valid(as_json(settings)) == sound
    if sound:
        LOAD[kind](settings)
    else:
        with pytest.raises(UsageError):
            LOAD[kind](settings)


def sections(schema):
    """{section: its keys' schemas}, all of a schema."""
    found = {"": schema["properties"]}
    for name, definition in schema["$defs"].items():
        section = definition["anyOf"][0] if "anyOf" in definition else definition
        found[name] = section["properties"]
        for rule in section.get("allOf", ()):
            found[f"{name} {rule['if']['properties']['name']['const']}"] = rule["then"]["properties"]
    return found


@pytest.mark.parametrize("kind", ["preset", "recipe"])
def test_every_key_is_explained(kind, validators):
    """Failure: nobody is told what a key means, since its section's docstring lacks it under `Attributes:`."""
    known = sections(validators[kind].schema)
    assert len(known) > 9
    assert not [
        (name, key) for name, keys in known.items() for key, said in keys.items() if len(said["description"]) < 5
    ]


def test_descriptions_are_those_of_the_docstrings():
    """Failure: a description ends at its first line, is lost in a section built on another, or is another key's."""
    what, keys = described(style_settings.Style)
    assert what.startswith("The style term that every preset has") and "Attributes" not in what
    assert keys["scale"] == "the style picture's long side as a multiple of the result's."
    assert keys["samples"].endswith("`null`: 4096 and 1024.") and "\n" not in keys["samples"]
    assert described(sections_of_recipes.Stage)[1]["cache_features"].endswith("how many random views to take.")
    assert doctest.testmod(kstyle.schema).attempted and not doctest.testmod(kstyle.schema).failed
    keys = described(train_settings.TrainSettings)[1]
    assert list(keys) == list(train_settings.TrainSettings.model_fields)


def test_it_loads_no_framework():
    """Failure: an editor waits seconds for a schema."""
    code = "import sys; from kstyle.cli import cli; cli(['schema', 'recipe'], standalone_mode=False)\n"
    code += "assert not {'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def test_the_page_of_settings_is_up_to_date():
    """Failure: docs/settings.md lacks a key, or tells an old range or default; `make reference` writes it."""
    found = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    reference = importlib.util.module_from_spec(found)
    found.loader.exec_module(reference)
    assert (ROOT / "docs/settings.md").read_text("utf-8") == reference.page(), "run: make reference"
