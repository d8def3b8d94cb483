"""The public API: what `kstyle.__all__` promises is there, typed, described and shown."""

import ast
import doctest
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
from batches import STYLE, picture

import kstyle
from kstyle import backend

ROOT = Path(__file__).parents[1]
MODULES = [name for name in kstyle.__all__ if inspect.ismodule(getattr(kstyle, name))]
# {name of a public function or class as a user writes it: itself}
PUBLIC = {name: getattr(kstyle, name) for name in kstyle.__all__ if name not in MODULES}
PUBLIC |= {f"{m}.{name}": getattr(getattr(kstyle, m), name) for m in MODULES for name in getattr(kstyle, m).__all__}
DEFINING = sorted({thing.__module__ for thing in PUBLIC.values()} | {"kstyle", *(f"kstyle.{m}" for m in MODULES)})


def signatures(thing):
    """(name, function) of a function; of a class of kstyle its own public methods, __init__ and __call__."""
    if not inspect.isclass(thing):
        yield thing.__name__, thing
        return
    for name, member in vars(thing).items():
        member = member.fget if isinstance(member, property) else member
        if inspect.isfunction(member) and (name in ("__init__", "__call__") or not name.startswith("_")):
            yield f"{thing.__name__}.{name}", member


def mentioned(thing):
    """The classes of kstyle in the types of what a public thing takes, has and gives."""
    typed = [function for _, function in signatures(thing)] + [thing] * inspect.isclass(thing)
    left = [hint for each in typed for hint in typing.get_type_hints(each, localns={"pd": pandas}).values()]
    while left:
        hint = left.pop()
        left += typing.get_args(hint)
        if isinstance(hint, list):  # the arguments of a Callable
            left += hint
        elif inspect.isclass(hint) and hint.__module__.startswith("kstyle."):
            yield hint


def reached():
    """{name: a public thing, or a class that one of them takes, has or gives}."""
    found = dict(PUBLIC)
    left = [*found.values()]
    while left:
        for each in mentioned(left.pop()):
            if each not in found.values():
                found[f"{each.__module__}.{each.__name__}"] = each
                left.append(each)
    return found


REACHED = reached()


def test_the_promise_is_kept_in_all_places():
    """Failure: a public name cannot be imported, completed or seen by a type checker."""
    assert list(kstyle.__all__) == sorted(kstyle.__all__)
    assert set(kstyle.__all__) <= set(dir(kstyle))
    (block,) = (
        node for node in ast.parse(Path(kstyle.__file__).read_text("utf-8")).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )  # fmt: skip
    typed = {alias.asname or alias.name: (node.module, alias.name) for node in block.body for alias in node.names}
    told = {name: (module, called) if called else ("kstyle", name) for name, (module, called) in kstyle._LAZY.items()}
    assert typed == told and {*told, "DataError", "KStyleError", "UsageError"} == set(kstyle.__all__)


def test_importing_kstyle_loads_no_framework():
    """Failure: `kstyle --help` takes seconds since a public name is no longer loaded only when it is asked for."""
    code = "import sys, kstyle; kstyle.presets(); assert not {'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_type_checker_looks_at_all_of_it():
    """Failure: a public name moves to a module whose types are checked nowhere, or kstyle's types reach no user."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    checked = {path for name in settings["files"] for path in [ROOT / name, *(ROOT / name).glob("*.py")]}
    assert {Path(importlib.import_module(module).__file__) for module in DEFINING} <= checked
    assert all(path.exists() for path in checked) and (ROOT / "kstyle/py.typed").is_file()


@pytest.mark.parametrize("name", REACHED)
def test_types(name):
    """Failure: an editor or a type checker cannot say what a public function takes or gives, or what is in that."""
    for called, function in signatures(REACHED[name]):
        signature = inspect.signature(function)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        assert not bare, f"{called}: {bare}"
        assert signature.return_annotation is not signature.empty, called


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings(name):
    """Failure: a public name is not explained, or no example shows how it is used."""
    thing = PUBLIC[name]
    said = inspect.getdoc(thing) or ""
    assert ">>> " in said, "an example"
    if inspect.isfunction(thing):
        assert "Args:" in said or not inspect.signature(thing).parameters
        assert "Returns:" in said or inspect.signature(thing).return_annotation in (None, "None")
    elif issubclass(thing, BaseException):
        return
    else:
        assert "Args:" in said or "Attributes:" in said


@pytest.mark.parametrize("module", DEFINING)
def test_examples(module, tmp_path, monkeypatch):
    """Failure: an example in a docstring is out of date."""
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed


def test_docs_import_what_is_promised():
    """Failure: the docs send people into modules that may move."""
    code = [
        block
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for block in re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
    ]
    lines = [line for block in code for line in block.split("\n") if re.search(r"\b(from|import) kstyle\b", line)]
    assert lines
    for line in lines:
        if line.strip() != "import kstyle":
            assert re.match(r" *from kstyle import ", line), line
            assert set(re.split(r", *", line.split("import ")[1].partition("#")[0].strip())) <= set(kstyle.__all__), (
                line
            )
    for used in re.findall(r"\bkstyle\.(\w+)", "\n".join(code)):
        assert used in kstyle.__all__, used


def test_losses_and_lbfgs_in_code_of_ones_own(tmp_path, monkeypatch):
    """Failure: kstyle's losses have no gradient in Model.fit or a plain loop, or L-BFGS does not move there."""
    monkeypatch.chdir(tmp_path)
    for wanted, given in (("content", "chelsea"), ("style", "night")):
        shutil.copy(ROOT / f"examples/{given}.jpg", f"{wanted}.jpg")
    mine = {"torch": "# torch\n", "tensorflow": "# TensorFlow\n", "jax": "# JAX\n"}[backend.NAME]
    text = (ROOT / "docs/python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    *common, loop = [block for block in blocks if block.startswith(("# Any backend\n", mine))]
    there = {}
    for block in common:
        exec(block, there)

    def loss():
        return float(keras.ops.convert_to_numpy(there["total"](there["picture"].value)))

    first = loss()
    exec(loop, there)
    assert there["history"][-1] < 0.5 * there["history"][0] and loss() < 0.5 * first


def test_a_model_and_losses_of_ones_own_in_a_painting(tmp_path, monkeypatch):
    """Failure: what the docs show of a user's model and loss does not run."""
    monkeypatch.chdir(tmp_path)
    for wanted, given in (("content", "chelsea"), ("style", "night")):
        shutil.copy(ROOT / f"examples/{given}.jpg", f"{wanted}.jpg")
    text = (ROOT / "docs/python.md").read_text("utf-8")
    (block,) = (b for b in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "from_model" in b)
    there = {}
    exec(block, there)
    assert set(there["result"].losses) == {"loss", "content", "style", "brightness", "moments"}
    assert there["result"].settings["network"]["preprocessing"] == "tf"


def test_an_average_in_model_fit():
    """Failure: kstyle's callbacks look at weights that Keras keeps elsewhere during an epoch, as it does on JAX."""
    seen, x = [], np.random.default_rng(0).random((12, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(kstyle.optimizers.TorchSGD(0.1), "mse")
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0]))
    average, expected = kstyle.callbacks.WeightAverage(0.5), model.get_weights()[0]
    model.fit(x, x[:, :1] * 3, batch_size=3, epochs=2, callbacks=[average, watch], verbose=0)
    for count, weights in enumerate(seen, 1):
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights
    average.swap()
    assert len(seen) == 8 and np.abs(seen[0] - seen[-1]).max() > 0.1
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-5)


def test_a_sweep_and_a_batch_in_python(place):
    """Failure: values of Python's mean something else than in a preset file, or folders below are passed over."""
    common = {"preset": place / "shallow.yaml", "size": 32, "steps": 1}
    vary = {"style.weight": [1, 2.5], "style.layers": [{"block1_conv1": 1}]}
    cells = kstyle.sweep(ROOT / "examples/chelsea.jpg", STYLE, vary, "sheet.png", overrides={"clamp": None}, **common)
    assert [cell.settings["style.weight"] for cell in cells] == [1, 2.5] and Path("sheet.png").is_file()
    assert all(cell.result.settings["style"]["layers"] == {"block1_conv1": 1} for cell in cells)
    assert all(cell.result.settings["clamp"] is None and cell.losses["loss"] > 0 for cell in cells)
    with pytest.raises(kstyle.UsageError, match="wieght"):
        kstyle.sweep(STYLE, STYLE, {"style.wieght": [1]}, **common)
    with pytest.raises(kstyle.UsageError, match=r"^style\.weight=\[1: the value is not YAML"):  # no option is spoken of
        kstyle.sweep(STYLE, STYLE, {"style.weight": ["[1"]}, **common)

    picture("in/a.png")
    picture("in/below/b.png")
    painter = kstyle.Painter(STYLE, place / "shallow.yaml")
    done = kstyle.batch(painter, "in", "out", size=32, steps=1, recursive=True)
    assert [(content.name, outcome.state) for content, outcome in done] == [("a", "done"), ("below/b", "done")]


@pytest.mark.parametrize(
    "call",
    [
        lambda: kstyle.optimizers.get(3),
        lambda: kstyle.optimizers.get({"name": "adam", "speed": 1}),
        lambda: kstyle.optimizers.get(list),
        lambda: kstyle.download("mnist", images=3),
        lambda: kstyle.download("minst"),
        lambda: kstyle.sweep("photo.jpg", "night.jpg", {"seed": ["zero"]}),
    ],
)
def test_what_cannot_be_is_said(call):
    """Failure: a mistake in a call ends in a TypeError from somewhere inside."""
    with pytest.raises(kstyle.UsageError):
        call()
