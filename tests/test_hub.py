"""Runs and style networks go to the Hub and come back whole; what strangers put there is refused or not looked at."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_server import TOKEN, Hub
from pictures import example

import kstyle
from kstyle import plugins
from kstyle.errors import DataError, UsageError
from kstyle.hub import known
from kstyle.io import runs
from kstyle.style.networks import shipped

constants = pytest.importorskip("huggingface_hub.constants")
# The library's own way of sending large files, of its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parents[1]
OWN = """
import pathlib, keras

pathlib.Path("it_ran").touch()

def build(input_shape, num_classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch on the digits, whose network is in a file of its own."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "own.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plugins.load(folder / "own.py")
        settings = {"model": {"name": str(folder / "own.py:build")}, "epochs": 1}
        kstyle.train("digits_cnn", run=folder / "run", overrides=settings)
    return folder / "run"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in, which the library takes for the Hub, and a token that it knows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(plugins, "_loaded", {})  # as on the machine of somebody who did not train the run
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def strange(files, **changed):
    """The files of a run with some replaced; None: taken away."""
    return {name: each for name, each in {**files, **changed}.items() if each is not None}


@pytest.fixture
def files(trained):
    """{name: bytes} of a run as a stranger could have put it there."""
    return {name: (trained / name).read_bytes() for name in (*known.REQUIRED, "scores.json", "own.py")}


def test_a_run_goes_and_comes_back(hub, trained, tmp_path):
    """Failure: somebody else's copy of a run predicts otherwise, or runs its code without being asked to."""
    done = kstyle.push(trained, "me/digits", private=True)
    kept = hub.repositories["me/digits"]
    assert kept["private"] and done.files == {name: len(each) for name, each in kept["files"].items()}
    assert done.url.endswith(kept["sha"]) and not {"state.safetensors", "log.txt", "model.keras"} & set(kept["files"])
    without = kstyle.pull("me/digits", tmp_path / "without")
    assert without.left == ["own.py"] and not (tmp_path / "without/own.py").exists()
    got = kstyle.pull("me/digits", tmp_path / "there", code=True)
    assert (got.kind, got.revision, got.files) == ("run", kept["sha"], done.files)
    assert (got.path / runs.RESULT).read_bytes() == (trained / runs.RESULT).read_bytes()
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), "uint8")
    with pytest.raises(UsageError, match="--allow-code"):
        kstyle.predict(got.path, [image])
    assert not Path("it_ran").exists()
    plugins.allow_code()
    (theirs,), (mine,) = kstyle.predict(got.path, [image]), kstyle.predict(trained, [image])
    assert theirs["predictions"] == mine["predictions"] and Path("it_ran").exists()


def test_a_style_network_goes_and_comes_back(hub, command):
    """Failure: a style network does not come back as it was, or its card has no metadata or command."""
    code, out, _ = command("push", "style:night", "me/night", "--license", "cc0-1.0", "--json")
    assert code == 0 and json.loads(out)["kind"] == "network" and hub.repositories["me/night"]["private"] is False
    code, out, _ = command("pull", "me/night", "--json")
    assert code == 0 and json.loads(out)["path"] == str(Path("night/style.keras"))
    assert Path("night/style.keras").read_bytes() == shipped.located("style:night").read_bytes()
    _, about, text = Path("night/README.md").read_text("utf-8").split("---\n", 2)
    about = yaml.safe_load(about)
    assert about["license"] == "cc0-1.0" and about["pipeline_tag"] == "image-to-image" and "night.jpg" in text
    painted = kstyle.stylize(example("chelsea", 48), "night/style.keras").rgb
    np.testing.assert_array_equal(painted, kstyle.stylize(example("chelsea", 48), "style:night").rgb)


def test_the_card_is_of_the_run(hub, trained):
    """Failure: a card says other scores than were measured, or text of a class becomes Markdown or metadata."""
    copy = Path("copy")
    shutil.copytree(trained, copy)
    facts = runs.facts(copy)
    facts["classes"][3] = "`x` \n---\nlicense: stolen\n# Head"
    (copy / "run.json").write_text(json.dumps(facts))
    kstyle.push(copy, "me/digits")
    text = hub.repositories["me/digits"]["files"]["README.md"].decode()
    _, about, rest = text.split("---\n", 2)
    result = yaml.safe_load(about)["model-index"][0]["results"][0]
    scores = json.loads((trained / "scores.json").read_text())
    assert {m["name"]: m["value"] for m in result["metrics"]}["top-1"] == pytest.approx(scores["top1"], abs=1e-6)
    assert f"top-1 | {100 * scores['top1']:.2f} %" in rest and "kstyle pull me/digits" in rest
    lines = rest.splitlines()
    assert "license: stolen" not in lines and "# Head" not in lines and "---" not in lines


def test_nothing_of_this_machine_goes(hub, trained, tmp_path):
    """Failure: folders of the one who trained, or the token, are published."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text())
    recipe["data"]["path"] = "/home/me/secret/digits"
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    facts = runs.facts(copy)
    facts["data"]["origin"] = r"C:\Users\me\secret\digits"
    (copy / "run.json").write_text(json.dumps(facts))
    kstyle.push(copy, "me/digits")
    every = b"".join(hub.repositories["me/digits"]["files"].values())
    assert b"secret" not in every and TOKEN.encode() not in every and str(tmp_path).encode() not in every
    assert yaml.safe_load(hub.repositories["me/digits"]["files"]["recipe.yaml"])["data"]["path"] == "digits"


def test_a_dry_run_asks_nobody(hub, trained, command):
    """Failure: --dry-run makes a repository, or says other files and bytes than then go."""
    code, out, _ = command("push", trained, "me/digits", "--dry-run", "--json")
    told = json.loads(out)
    assert (code, hub.requests, told["url"]) == (0, [], None)
    assert told["files"] == kstyle.push(trained, "me/digits").files and told["bytes"] == sum(told["files"].values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"run.json": None}, "no run or style network"),
        ({"run.json": b"[]"}, "no classes"),
        ({"run.json": b"[" * 5000}, "damaged"),
        ({"recipe.yaml": b"!!python/object/apply:os.mkdir [it_ran]"}, "recipe.yaml"),
        ({runs.RESULT: b"\x80\x04cos\nmkdir\n(S'it_ran'\ntR."}, "cannot be read"),
        ({"scores.json": b"{"}, "damaged"),
        ({"style.keras": b"PK no archive"}, "damaged"),
        ({"history.csv": bytes(33 << 20)}, "may have"),
    ],
)
def test_what_a_stranger_put_there(hub, files, changed, message, tmp_path):
    """Failure: damaged, false or endless files of a stranger are taken, run, or leave half a folder."""
    hub.put("you/odd", strange(files, **changed))
    with pytest.raises((DataError, UsageError), match=message):
        kstyle.pull("you/odd", tmp_path / "odd")
    assert not list(tmp_path.iterdir())


def test_names_that_lead_elsewhere_are_passed_over(hub, files, tmp_path):
    """Failure: a file of a stranger's is written outside the folder, or one that kstyle does not know inside."""
    odd = ["../../up.txt", "/tmp/up.txt", "sub/run.json", "conftest.py", "model.keras", "evil\x1b[31m.bin"]
    hub.put("you/odd", {**files, **dict.fromkeys(odd, b"x")})
    got = kstyle.pull("you/odd", tmp_path / "odd", code=True)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == set(files) == set(got.files)
    assert len(got.left) == len(odd) and not any("\x1b" in name for name in got.left)


@pytest.mark.parametrize("said", [{"file": "../own.py"}, {"file": "/etc/own.py"}, {"sha256": "0" * 64}, {"file": 3}])
def test_code_is_what_the_run_was_trained_with(hub, files, said, tmp_path):
    """Failure: `--allow-code` takes a file from elsewhere, or another program than the run's."""
    facts = json.loads(files["run.json"])
    facts["code"] |= said
    hub.put("you/odd", strange(files, **{"run.json": json.dumps(facts).encode()}))
    with pytest.raises(DataError, match=r"Python file that is none|trained with"):
        kstyle.pull("you/odd", tmp_path / "odd", code=True)
    assert not list(tmp_path.iterdir())


def test_a_size_that_is_a_lie(hub, files, tmp_path, monkeypatch):
    """Failure: a listing that says little lets through what fills the disk."""
    monkeypatch.setitem(known.REQUIRED, "recipe.yaml", 2000)
    hub.put("you/odd", {**files, "recipe.yaml": files["recipe.yaml"] + b"#" * 2001})
    hub.claimed["recipe.yaml"] = 10
    with pytest.raises(DataError, match="2,000"):
        kstyle.pull("you/odd", tmp_path / "odd")
    assert not list(tmp_path.iterdir())


def test_what_the_hub_refuses(hub, trained, monkeypatch, command, tmp_path):
    """Failure: a missing token, repository or server is a traceback, or says the token."""
    for arguments, said in (
        (("pull", "you/none"), "not there, or not for you"),
        (("pull", "../up"), "OWNER/NAME"),
        (("push", tmp_path / "none", "me/x"), "no such run"),
    ):
        code, _, errors = command(*arguments)
        assert code in (1, 2) and said in errors and errors.count("\n") == 1
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    code, _, errors = command("push", trained, "me/x")
    assert code == 1 and "HF_TOKEN" in errors and "secret" not in errors and errors.count("\n") == 1
    hub.put("you/night", {"style.keras": shipped.located("style:night").read_bytes()})
    Path("night").mkdir()
    Path("night/mine.txt").touch()
    code, _, errors = command("pull", "you/night")
    assert (
        code == 2 and "is there already" in errors and [path.name for path in Path("night").iterdir()] == ["mine.txt"]
    )
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, errors = command("pull", "you/night", "-o", "other")
    assert code == 1 and "cannot be reached" in errors and errors.count("\n") == 1


def test_the_endpoint_is_the_environments(hub):
    """Failure: HF_ENDPOINT, by which companies have a Hub of their own, is passed over."""
    hub.put("you/night", {"style.keras": shipped.located("style:night").read_bytes()})
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "kstyle", "pull", "you/night"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "night/style.keras: a network of you/night" in done.stdout
