"""The command line: what it writes, prints and exits with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import SHALLOW
from PIL import Image
from waiting import until

from kstyle import backend, cli, config
from kstyle.cli.common import progress as cli_progress
from kstyle.models import registry, weights

ROOT = Path(__file__).parents[1]
CONTENT, STYLE = str(ROOT / "examples/chelsea.jpg"), str(ROOT / "examples/night.jpg")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run("presets")` -> (exit code, stdout, stderr), in an empty folder."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    monkeypatch.chdir(tmp_path / "cwd")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def stylize(run, tmp_path):
    """`run` of a small stylize command with more options."""

    def stylize(*more, styles=(STYLE,), steps=3):
        preset = str(tmp_path / "shallow.yaml")
        return run("stylize", CONTENT, *styles, "-p", preset, "--size", "64", "--steps", str(steps), *map(str, more))

    return stylize


def one_line(errors):
    assert errors.startswith("kstyle: ") and errors.count("\n") == 1 and errors.endswith("\n"), errors
    return errors


def test_help_loads_nothing_heavy():
    """Failure: `kstyle --help` takes seconds."""
    code = (
        "import sys; from kstyle.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'keras', 'numpy', 'torch', 'jax', 'tensorflow', 'pandas', 'PIL', 'rich', 'pydantic', 'yaml'}\n"
        "heavy |= {'logging', 'csv', 'hashlib'}  # a hundredth of a second\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    for arguments in (["--help"], ["stylize", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.stderr == "set()\n" and "kstyle" in done.stdout


def test_presets_load_no_framework():
    """Failure: listing names takes seconds, because a module of settings imports Keras."""
    code = (
        "import sys; from kstyle.cli import main\n"
        "try: main(['presets', 'gatys', '--json'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "set()\n" and json.loads(done.stdout)["optimizer"]["name"] == "lbfgs"


def test_a_picture_with_its_recipe_in_it(tmp_path, capsys):
    """Failure: the plain command does not run, or its picture cannot be made again from what it carries."""
    out = tmp_path / "out.png"
    command = ["stylize", CONTENT, STYLE, "-o", out, "--size", 64, "--steps", 3, "--style-weight", 21]
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, command)])
    printed, errors = capsys.readouterr()
    assert (ended.value.code or 0, printed) == (0, "") and f"{out}: 64×43, 3 steps in " in errors
    with Image.open(out) as image:
        assert image.size == (64, 43) and image.text["Software"].startswith("kstyle 0.")
        recipe = json.loads(image.text["kstyle"])
    assert recipe["preset"] == "kstyle" and recipe["steps"] == 3 and recipe["size"] == [43, 64]
    assert recipe["weights"]["sha256"] == weights.obtain(registry.get("vgg19"), "caffe").sha256
    assert recipe["style"]["weight"] == 21 and recipe["backend"] == backend.NAME and recipe["seed"] == 0


def test_json_is_all_that_is_on_standard_output(stylize):
    """Failure: a script that reads the summary meets a note or a bar, or other numbers than the run's."""
    code, printed, errors = stylize("--json", "-o", "a.webp", "--tv-weight", "0.1", "--seed", "4")
    got = json.loads(printed)
    assert (code, errors) == (0, "") and printed.count("\n") == 1
    assert (got["output"], got["width"], got["height"], got["steps"]) == ("a.webp", 64, 43, 3)
    assert got["loss"] == pytest.approx(got["content"] + got["style"] + got["tv"], rel=1e-5)
    assert not got["interrupted"] and got["settings"]["seed"] == 4 and got["settings"]["tv"]["weight"] == 0.1


def test_quiet_says_nothing_and_loud_says_what_it_did(stylize):
    """Failure: -q prints; without it the weights that were used stay unknown, or a note is broken over lines."""
    assert stylize("-q", "-o", "a.png") == (0, "", "")
    code, printed, errors = stylize("-o", "b.png")
    first, last = errors.splitlines()
    assert (code, printed) == (0, "") and first.startswith("weights: ") and "sha256" in first
    assert last.startswith("b.png: 64×43, 3 steps in ") and ", loss " in last


def test_a_free_name(stylize):
    """Failure: the second run writes over the first one's picture."""
    for name in ("chelsea-night.png", "chelsea-night-2.png", "chelsea-night-3.png"):
        code, _, errors = stylize(steps=1)
        assert code == 0 and f"{name}: " in errors
    assert sorted(os.listdir()) == ["chelsea-night-2.png", "chelsea-night-3.png", "chelsea-night.png"]


def test_save_every(stylize):
    """Failure: pictures on the way are missing, of the wrong step, or under names that do not sort."""
    assert stylize("-q", "-o", "a.png", "--save-every", "2", steps=4)[0] == 0
    assert sorted(os.listdir()) == ["a-step0002.png", "a-step0004.png", "a.png"]
    second, fourth, end = (np.asarray(Image.open(name)) for name in sorted(os.listdir()))
    assert (fourth == end).all() and (second != end).any()


def test_a_weight_for_each_style(stylize):
    """Failure: several weights are ignored or go to the wrong picture."""
    wave = str(ROOT / "examples/wave.jpg")
    recipe = json.loads(stylize("--json", "-o", "a.png", "--style-weight", "3,7", styles=(STYLE, wave))[1])["settings"]
    assert recipe["blend"] == [3, 7] and recipe["style"]["weight"] == 20
    recipe = json.loads(stylize("--json", "-o", "b.png", "--style-weight", "3", styles=(STYLE, wave))[1])["settings"]
    assert recipe["blend"] == [1, 1] and recipe["style"]["weight"] == 3
    code, _, errors = stylize("--style-weight", "1,2,3", styles=(STYLE, wave))
    assert (code, errors) == (2, "kstyle: --style-weight has 3 numbers for 2 style pictures.\n")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "style.wieght=3"], "unknown key 'style.wieght'. Did you mean 'weight'?"),
        (["--set", "size=5"], "unknown key 'size'"),  # an argument of the function, but no setting
        (["--set", "content=5"], "'content'"),
        (["--set", "style.weight"], "--set expects key=value"),
        (["--set", "style.weight=[1"], "the value is not YAML"),
        (["--style-weight", "much"], "--style-weight expects numbers like 20 or 3,7; got 'much'."),
        (["-p", "kstle"], "Unknown preset 'kstle'. Did you mean 'kstyle'?"),
        (["--extractor", "vgg18"], "Unknown extractor 'vgg18'. Did you mean 'vgg19'?"),
        (["--optimizer", "adm"], "Unknown optimizer 'adm'. Did you mean 'adam'?"),
        (["--optimizer", "lbfgs", "--set", "optimizer.histroy=5"], "no argument 'histroy'. Did you mean 'history'?"),
        (["--precision", "float16"], "Unknown precision 'float16'. Did you mean 'bfloat16'?"),
        (["--set", "content.layers={block9_conv1: 1}"], "Unknown layer of vgg19 'block9_conv1'."),
        (["--init", "nothing.png"], "there is no file 'nothing.png'"),
        (["--size", "4"], "size must be a whole number of pixels from 16 to 16384; got 4."),
        (["--steps", "0"], "steps must be a whole number, 1 or more; got 0."),
        (["--seed", "-1"], "seed must be a whole number, 0 or more; got -1."),
        (["--stpes", "5"], "No such option '--stpes'."),
        (["--save-every", "0"], "--save-every"),
        (["-o", "a.gif"], "a.gif: pictures are written as .png"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(stylize, more, words):
    """Failure: a traceback, a page of usage, or the wrong option is passed over and the run begins."""
    code, printed, errors = stylize("-o", "a.png", *more)
    assert (code, printed) == (2, "") and words in one_line(errors) and os.listdir() == []


@pytest.mark.parametrize(
    ("more", "words"),
    [(["-o", "no/a.png"], "no/a.png: the folder no does not exist; make it first."), (["--set", "stlye=1"], "'style'")],
)
def test_what_can_be_known_at_once_is_said_before_a_framework_is_loaded(tmp_path, more, words):
    """Failure: seconds of loading, or hours of work, before a typing error is noticed."""
    code = (
        "import sys; from kstyle.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, {'keras', 'torch', 'tensorflow', 'jax'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "stylize", CONTENT, STYLE, *more]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True)
    assert done.stdout in ("1 set()\n", "2 set()\n") and words in one_line(done.stderr)
    assert os.listdir(tmp_path) == []


def test_settings_by_set(stylize):
    """Failure: --set changes nothing, or what it says about an optimiser is lost when that is chosen beside it."""
    more = ["--set", "content={weight: 2}", "--set", "clamp=null", "--set", "optimizer.history=7"]
    recipe = json.loads(stylize("--json", "-o", "a.png", *more, "--optimizer", "lbfgs")[1])["settings"]
    assert recipe["optimizer"] == {"name": "lbfgs", "history": 7} and recipe["clamp"] is None
    assert {**recipe["content"], "layers": {"block2_conv1": 1}, "loss": "relative", "weight": 2} == recipe["content"]


def test_presets(run):
    """Failure: a preset cannot be found, or is listed as another."""
    code, printed, _ = run("presets")
    listed = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert code == 0 and [name for name, _ in listed] == sorted(config.names("stylize")) and "gatys" in printed
    assert json.loads(run("presets", "--json")[1]) == dict(listed)
    text = run("presets", "tf-tutorial")[1]
    assert text.strip() == (ROOT / "configs/stylize/tf-tutorial.yaml").read_text().strip()
    assert json.loads(run("presets", "tf-tutorial", "--json")[1])["optimizer"]["epsilon"] == 0.1
    assert run("presets", "gaty")[::2] == (2, one_line(run("presets", "gaty")[2]))


def test_info(run):
    """Failure: a bug report does not say what ran."""
    code, printed, errors = run("info", "--json")
    got = json.loads(printed)
    assert (code, errors) == (0, "") and got["backend"] == backend.NAME and got["device"]
    assert got["precision"] in ("float32", "bfloat16") and "vgg19" in got["weights"]
    assert got["weights"]["vgg19"] == weights.locate(registry.get("vgg19"), "caffe")
    code, printed, _ = run("info")
    assert code == 0 and all(word in printed for word in ("versions ", "backend ", "device ", "precision ", "weights "))


def test_an_interrupt_keeps_the_picture(stylize, monkeypatch):
    """Failure: Ctrl-C after an hour leaves nothing; or the coarse picture of a size on the way."""

    def stop(self, step):
        if step.step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_progress.Progress, "step", stop)
    code, printed, errors = stylize("-q", "-o", "a.png", "--set", "scales={smallest: 32}", steps=9)
    assert (code, printed) == (130, "")
    assert one_line(errors) == "kstyle: stopped after 2 of 9 steps; the picture so far is in a.png\n"
    with Image.open("a.png") as image:
        assert image.size == (64, 43) and json.loads(image.text["kstyle"])["steps"] == 9
    code, printed, errors = stylize("--json", "-o", "b.png", steps=9)
    assert code == 130 and errors == "" and json.loads(printed)["interrupted"]


def test_a_real_interrupt(tmp_path):
    """Failure: as above, where the signal comes at any point of a step."""
    (tmp_path / "p.yaml").write_text(SHALLOW)
    command = [sys.executable, ROOT / "cli.py", "stylize", CONTENT, STYLE, "-p", "p.yaml", "-o", "a.png", "-q"]
    command += ["--size", "64", "--steps", "100000", "--save-every", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "a-step0004.png").exists, process)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and "of 100000 steps; the picture so far is in a.png" in one_line(errors)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (64, 43)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["shape", "missing"])
def test_weights_that_do_not_fit(stylize, tmp_path, kind):
    """Failure: a traceback from deep inside Keras."""
    path = tmp_path / "w.npz"
    if kind == "shape":
        np.savez(path, **{"block1_conv1/kernel": np.zeros((3, 3, 3, 9), "f"), "block1_conv1/bias": np.zeros(9, "f")})
    code, _, errors = stylize("-o", "a.png", "--weights", path)
    words = {"shape": "expected (3, 3, 3, 64) float, got (3, 3, 3, 9) float32", "missing": "there is no such file"}
    assert code == 1 and one_line(errors).startswith(f"kstyle: {path}: ") and words[kind] in errors
    assert os.listdir() == []
