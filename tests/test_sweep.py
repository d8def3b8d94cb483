"""kstyle sweep: a grid of settings on one sheet, a page and a table."""

import csv
import html.parser
import json
import os
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import SHALLOW
from PIL import Image

import kstyle
from kstyle import backend, cli
from kstyle.cli.common import progress as cli_progress
from kstyle.cli.common.vary import parse_vary
from kstyle.errors import DataError, UsageError
from kstyle.pictures import images
from kstyle.style import transfer
from kstyle.style.jobs import sweep

ROOT = Path(__file__).parents[1]
CONTENT, STYLE = str(ROOT / "examples/chelsea.jpg"), str(ROOT / "examples/night.jpg")


@pytest.fixture
def run(tmp_path, monkeypatch, command):
    """`run("--vary", "a=1,2")` -> (exit code, stdout, stderr) of a small sweep to sheet.png, in an empty folder."""
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run(*arguments, content=CONTENT, steps=2):
        options = ["-p", str(tmp_path / "shallow.yaml"), "-o", "sheet.png", "--size", "48", "--steps", str(steps)]
        return command("sweep", content, STYLE, *options, *arguments)

    return run


class Links(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.links, self.sources, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes["href"]] if tag == "a" else []
        self.sources += [attributes["src"]] if "src" in attributes else []

    def handle_data(self, data):
        self.text += data


def test_a_grid(run):
    """Failure: a combination is missing, captioned as another, or its command makes another picture."""
    layers = "{block1_conv1: 1, block2_conv1: 2}"
    ran = run("--vary", "style.weight=1,100", "--vary", f"style.layers={{block1_conv1: 1}},{layers}", "--json")
    code, got = ran[0], json.loads(ran[1])
    assert (code, got["done"], got["failed"], got["interrupted"]) == (0, 4, 0, False)
    rows = got["rows"]
    assert [(row["style.weight"], row["style.layers"]) for row in rows] == [
        ("1", "{block1_conv1: 1}"), ("1", layers), ("100", "{block1_conv1: 1}"), ("100", layers),
    ]  # fmt: skip
    for row in rows:
        assert row["loss"] == pytest.approx(row["content"] + row["style"], rel=1e-5) and row["seconds"] > 0
    with open("sheet.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["command"] for line in table] == [row["command"] for row in rows]
    assert [float(line["loss"]) for line in table] == [row["loss"] for row in rows]
    page = Links(Path("sheet.html").read_text())
    assert page.links == page.sources == [f"sheet-pictures/{number:03d}.png" for number in range(1, 5)]
    assert all(Path(link).is_file() for link in page.links) and rows[3]["command"] in page.text
    with Image.open("sheet.png") as image:
        assert image.width < image.height < 1000

    # The command as it stands, but for the size and where to.
    words = shlex.split(rows[3]["command"])
    assert words[:4] == ["kstyle", "stylize", CONTENT, STYLE]
    with pytest.raises(SystemExit):
        cli.main([*words[1:], "--size", "48", "-o", "again.png", "-q"])
    pair = [np.asarray(Image.open(name)).astype(int) for name in ("again.png", "sheet-pictures/004.png")]
    assert np.abs(pair[0] - pair[1]).max() <= 1
    assert np.abs(pair[0] - np.asarray(Image.open("sheet-pictures/003.png"))).max() > 20


def test_presets_seeds_and_steps_vary_too(run, tmp_path):
    """Failure: what is no setting of a preset cannot be compared."""
    (tmp_path / "other.yaml").write_text(SHALLOW.replace("20", "40"))
    names = ",".join(str(tmp_path / name) for name in ("shallow.yaml", "other.yaml"))
    printed = run(
        "--vary", f"preset={names}", "--vary", "steps=1,3", "--vary", "seed=7", "--set", "init=noise", "--json"
    )
    rows = json.loads(printed[1])["rows"]
    assert [row["steps"] for row in rows] == ["1", "3", "1", "3"] and {row["state"] for row in rows} == {"done"}
    assert rows[1]["loss"] < rows[0]["loss"] and rows[2]["style"] == pytest.approx(2 * rows[0]["style"], rel=0.01)
    words = shlex.split(rows[3]["command"])
    assert words[words.index("--preset") + 1].endswith("other.yaml") and "--size" not in words
    assert words[words.index("--steps") + 1] == "3" and words[words.index("--seed") + 1] == "7"
    with Image.open("sheet-pictures/004.png") as image:
        assert json.loads(image.text["kstyle"])["seed"] == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("style.weight=1,1e-3", ["1", "1e-3"]),
        ("content.layers={a: 1, b: 2},{c: 1}", ["{a: 1, b: 2}", "{c: 1}"]),
        ("scales.steps=[1, [2, 3]], [4]", ["[1, [2, 3]]", "[4]"]),
        ("init='a,b.png',d'or.png,content", ["'a,b.png'", "d'or.png", "content"]),
        ("clamp=null,[0, 1]", ["null", "[0, 1]"]),
    ],
)
def test_values_are_parted_at_commas_that_part(text, expected):
    """Failure: a list or a quoted name is torn apart."""
    assert parse_vary(text) == (text.partition("=")[0], expected)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--vary", "style.wieght=1,2"], "style.wieght=1: shallow.yaml with"),
        (["--vary", "style.weight"], "--vary expects key=value,value"),
        (["--vary", "style.weight=1,,2"], "a value is missing"),
        (["--vary", "style.weight=1,1"], "1 is there twice"),
        (["--vary", "style.weight=1,[2"], "--vary style.weight=[2: the value is not YAML"),
        (["--vary", "style.weight=1", "--vary", "style.weight=2"], "--vary style.weight is there twice"),
        (["--vary", "style.weight=1,-5"], "style.weight=-5: "),
        (["--vary", "preset=kstyle,gaty"], "Did you mean 'gatys'?"),
        (["--vary", "size=48,4"], "size=4: size must be a whole number"),
        (["--vary", "precision=float32,float16"], "Did you mean 'bfloat16'?"),
        (["--vary", "style.layers={block1_conv1: 1},{block9_conv1: 1}"], "Unknown layer of vgg19 'block9_conv1'"),
        (["--vary", "extractor=vgg19,vgg18"], "Did you mean 'vgg19'?"),
        (["--vary", "optimizer=adam,adm"], "Did you mean 'adam'?"),
        (["--vary", "init=content,nothing.png"], "there is no file 'nothing.png'"),
        (
            ["--vary", "seed=" + ",".join(map(str, range(65)))],
            "65 combinations, more than 64: give --most 65",
        ),
    ],
)
def test_every_setting_is_checked_before_the_first_picture(run, monkeypatch, more, words):
    """Failure: the last of sixty-four combinations is found to be impossible after half an hour."""
    monkeypatch.setattr(transfer.Painter, "load", lambda self: pytest.fail("a network was loaded"))
    code, printed, errors = run(*more)
    assert (code, printed) == (2, "") and words in errors and errors.count("\n") == 1 and os.listdir() == []


def test_a_combination_that_cannot_be_is_an_empty_cell(run, monkeypatch):
    """Failure: one bad combination costs all others, or leaves the table with its columns shifted."""
    paint = transfer.Painter.paint

    def sometimes(self, *arguments, **options):
        if self.settings.style.weight == 2:
            raise DataError("<b>no</b> & never")
        return paint(self, *arguments, **options)

    monkeypatch.setattr(transfer.Painter, "paint", sometimes)
    code, printed, errors = run("--vary", "style.weight=1,2,3", "-q")
    assert (code, printed, errors) == (1, "", "kstyle: style.weight=2: <b>no</b> & never\n")
    page = Path("sheet.html").read_text()
    assert "<b>no" not in page and "&lt;b&gt;no&lt;/b&gt; &amp; never" in page
    assert Links(page).links == ["sheet-pictures/001.png", "sheet-pictures/003.png"]
    with open("sheet.csv", newline="") as file:
        assert [(line["state"], line["error"]) for line in csv.DictReader(file)] == [
            ("done", ""), ("failed", "<b>no</b> & never"), ("done", ""),
        ]  # fmt: skip


def test_ctrl_c_keeps_what_is_done(run, monkeypatch):
    """Failure: Ctrl-C in the last picture of an evening leaves no sheet of the others."""
    counted, steps = cli_progress.Progress.step, []

    def step(self, step):
        counted(self, step)
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_progress.Progress, "step", step)
    code, printed, errors = run("--vary", "style.weight=1,2,3,4", "-q")
    assert (code, printed, errors) == (130, "", "kstyle: stopped with 2 of 4 painted; they are on sheet.png\n")
    with open("sheet.csv", newline="") as file:
        assert [line["state"] for line in csv.DictReader(file)] == ["done", "done", "open", "open"]
    assert sorted(os.listdir("sheet-pictures")) == ["001.png", "002.png"]


@pytest.mark.skipif(backend.NAME != "torch", reason="a compiled step a shape takes seconds")
def test_several_at_once(run):
    """Failure: other pictures than one by one, or in other places."""
    vary = ["--vary", "style.weight=1,100,3", "--precision", "float32", "--json"]
    code, printed, errors = run(*vary, "--jobs", "2")
    assert (code, errors) == (0, "")
    together = json.loads(printed)["rows"]
    shown = [np.asarray(Image.open(f"sheet-pictures/{number:03d}.png")).astype(int) for number in range(1, 4)]
    alone = json.loads(run(*vary)[1])["rows"]
    assert [(row["style.weight"], row["command"]) for row in together] == [
        (row["style.weight"], row["command"]) for row in alone
    ]
    for number, (one, other) in enumerate(zip(together, alone)):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        again = np.asarray(Image.open(f"sheet-pictures/{number + 1:03d}.png")).astype(int)
        assert np.abs(shown[number] - again).max() <= 1

    def flat(features, style):
        return 0.0

    with pytest.raises(UsageError, match="Other processes do not know"):
        kstyle.sweep(CONTENT, STYLE, {"seed": [0, 1]}, size=48, steps=1, terms=flat, jobs=2)
    with pytest.raises(UsageError, match=r"auto or HOST:PORT|takes Ray"):
        kstyle.sweep(CONTENT, STYLE, {"seed": [0, 1]}, size=48, steps=1, cluster="here")


def test_one_network_for_what_looks_at_the_same_layers(tmp_path, monkeypatch):
    """Failure: each of sixty-four small pictures costs the loading of the network; or shares targets it may not."""
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    loads, load = [], transfer.features.load
    monkeypatch.setattr(transfer.features, "load", lambda *a, **k: loads.append(1) or load(*a, **k))
    vary = [parse_vary("style.loss=gatys,relative"), parse_vary("network.pool=max,average")]
    common = {"preset": tmp_path / "shallow.yaml", "size": 48, "steps": 1, "precision": "float32"}
    try:
        cells = sweep.grid(CONTENT, [STYLE], vary, common)
    except UsageError as error:
        pytest.fail(str(error))
    cells = list(sweep.paint(cells, CONTENT, [STYLE], deterministic=True))
    assert len(loads) == 2
    alone = kstyle.stylize(CONTENT, STYLE, common["preset"], 48, 1, precision="float32", deterministic=True,
                             style={"loss": "relative"}, network={"pool": "average"})  # fmt: skip
    assert cells[3].losses["loss"] == pytest.approx(float(alone.history["loss"].iloc[-1]), rel=1e-5)


def test_what_only_python_can_say(tmp_path, monkeypatch):
    """Failure: a sweep paints with another network or other terms than were given, names a command that does not, or
    says what is wrong with them after the first picture."""

    def brighter(features, style):
        return keras.ops.square(keras.ops.mean(features) - keras.ops.mean(style))

    x = keras.Input((None, None, 3))
    look = kstyle.Extractor.from_model(keras.Model(x, keras.layers.Conv2D(2, 3, name="a")(x)), ["a"], "torch")
    preset = {"content": {"layers": {"a": 1}}, "style": {"layers": {"a": 1}}}
    given = {"preset": preset, "extractor": look, "size": 48, "steps": 1}
    noise, vary = {"init": "noise"}, {"style.weight": [1, 2]}
    cells = kstyle.sweep(CONTENT, STYLE, vary, terms=[brighter], overrides=noise, **given)
    assert [(cell.state, cell.command) for cell in cells] == [("done", "")] * 2
    for cell, weight in zip(cells, (1, 2)):
        again = kstyle.stylize(CONTENT, STYLE, terms=[brighter], **given, **{**noise, "style.weight": weight})
        assert cell.losses == pytest.approx(again.losses, rel=1e-5) and cell.result.settings["terms"]

    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    named = kstyle.sweep(CONTENT, STYLE, {}, terms="batch_norm", preset=tmp_path / "shallow.yaml", size=48, steps=1)
    assert shlex.split(named[0].command)[-2:] == ["--set", 'terms=["batch_norm"]']
    assert [term["loss"] for term in named[0].result.settings["terms"]] == ["batch_norm"]
    monkeypatch.setattr(transfer.Painter, "paint", lambda *_, **__: pytest.fail("a picture was painted"))
    for wrong, said in [
        ({"vary": {"network.pool": ["max"]}}, "was given ready made"),
        ({"vary": {"style.layers": [{"b": 1}]}}, "has no layer 'b'"),
        ({"terms": [3]}, "terms.0"),
    ]:
        with pytest.raises(UsageError, match=said):
            kstyle.sweep(CONTENT, STYLE, **{"vary": vary, **given, **wrong})


def test_the_sheet_is_a_table(tmp_path):
    """Failure: a column is not one value of the key that varies last, or a large grid is more than a sheet can be."""
    vary = [("style.weight", ["1", "2"]), ("seed", ["1", "2", "3"])]
    cells = sweep.grid(CONTENT, [STYLE], vary)
    for cell in cells:
        grey = 40 * cell.number
        cell.picture, cell.losses = np.full((96, 96, 3), grey, "uint8"), {"loss": 1.0, "style": 1.0}
    sweep.write_sheet(tmp_path / "s.png", cells, vary, CONTENT, [STYLE], 96)
    seen = (images.read(tmp_path / "s.png").rgb * 255).round().astype(int)
    assert (np.ptp(seen, axis=-1) > 60).any()  # content and style
    places = {}
    for number in range(1, 7):
        y, x = np.nonzero((seen == 40 * number).all(-1))
        places[number] = round(np.median(y)), round(np.median(x))
    rows, columns = (np.reshape([places[n][axis] for n in range(1, 7)], (2, 3)) for axis in (0, 1))
    assert np.ptp(rows, axis=1).max() <= 3 and rows[0, 0] + 96 < rows[1, 0]
    assert np.ptp(columns, axis=0).max() <= 3 and (np.diff(columns[0]) > 96).all()
    many = [cells[0]] * 400
    sweep.write_sheet(tmp_path / "many.png", many, [("seed", [str(n) for n in range(20)])], CONTENT, [STYLE], 1024)
