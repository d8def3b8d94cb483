"""What cannot be asked for, and figures that JSON does not have."""

from kstyle import backend  # noqa: F401  # isort: skip  # first: it settles what Keras runs on

import json
import math

import pytest
from batches import picture

from kstyle import files, locks, runs
from kstyle.errors import UsageError
from kstyle.training import evaluate


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", str(2**64)], "seed must be at most 2^63 - 1"),
        (["--seed", "9" * 4000], "seed must be at most 2^63 - 1"),
        (["--set", "style.scale=0.001"], "style.scale"),
        (["--set", "style.scale=0.02"], "style.scale: at 0.02 times 32"),
        (["--set", "optimizer.learning_rate=-1"], "learning_rate"),
        (["--set", "optimizer.learning_rate=.nan"], "optimizer.learning_rate"),
        (["--set", "clamp=[1,0]"], "clamp"),
        (["--set", "clamp=[1,1]"], "clamp"),
        (["--set", "content.layers={}"], "content.layers"),
        (["--set", "style.weight=.inf"], "style.weight"),
        (["--set", "style.weight=true"], "style.weight"),
        (["--set", f"style.weight={'9' * 5000}"], "style.weight"),
        (["--set", f"style={'[' * 3000}"], "--set style"),
    ],
)
def test_settings_that_cannot_be(run, options, said):
    """Failure: a traceback, a black picture, or an hour of work for nothing; exit code 2 names what is wrong."""
    picture("a.png")
    code, out, errors = run("a.png", *options)
    assert (code, out) == (2, "") and errors.count("kstyle: ") == 1
    assert said in errors.splitlines()[-1]


def test_json_has_no_infinity():
    """Failure: `--json | jq` fails where a loss is infinite: JSON has no such number."""
    text = files.json_text({"loss": math.inf, "each": [math.nan, 1.5], "deep": {"x": (-math.inf, "NaN", 2)}})
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "loss": None, "each": [None, 1.5], "deep": {"x": [None, "NaN", 2]}
    }  # fmt: skip


def test_a_run_is_not_evaluated_while_it_is_trained(tmp_path):
    """Failure: scores of weights that are just being replaced, and two who write scores.json."""
    runs.write_facts(tmp_path, {"classes": ["a"], "data": {"sha256": "0"}})
    with locks.held(tmp_path, "training"), pytest.raises(UsageError, match=r"in use .training, by process"):
        evaluate.evaluate(tmp_path)
