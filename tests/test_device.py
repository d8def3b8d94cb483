"""On a GPU: nothing of a step is on another device, and the host never waits for it, but where it has to look.

There is no GPU here: `spare_device.py` stands in for one, in a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kstyle import backend, startup
from kstyle.errors import UsageError

HERE = Path(__file__).resolve().parent
TORCH_ONLY = pytest.mark.skipif(backend.NAME != "torch", reason="torch has a place for another device")


def program(*arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=HERE, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# What a case has to wait for: predictions are there to be looked at, and tiles bring and fetch parts of the picture.
LOOKS = ("scores", "tiled")


@TORCH_ONLY
@pytest.mark.parametrize("kinds", [("style",), ("together", "tiled", "scores", "training", "augment")], ids="/".join)
def test_no_wait(kinds):
    """Failure: on a GPU an operation would fail, for something of it is on the CPU, or a step would wait: for a number
    that Python wants to see, or for a few bytes that are copied there anew at each step."""
    found = program("on_device.py", *kinds)
    assert len(found) > 20
    assert not {name: case["mixed"] for name, case in found.items() if case["mixed"]}
    assert not {name: case["waits"] for name, case in found.items() if case["waits"] and not name.startswith(LOOKS)}
    if "scores" in found:  # of each of the three batches one copy to the device, and one of its result
        assert sum(found["scores"]["waits"].values()) == 6, found["scores"]["waits"]


SEEN = """
import json, spare_device as spare, torch
x = torch.arange(6.0).to(spare.DEVICE).reshape(2, 3)
spare.seen.clear()
weight = torch.ones(3, device=spare.DEVICE, requires_grad=True)
(x * weight).sum().backward()
gradient = weight.grad.cpu().tolist()
x[x > 2], x.sum().item(), x + torch.tensor(1.0)
try:
    x + torch.ones(3)
finally:
    seen = spare.seen
    print(json.dumps([gradient, dict(seen.launches), [what for what, where in seen.waits], len(seen.mixed)]))
"""


@TORCH_ONLY
def test_what_the_device_sees():
    """Failure: the device that stands in for a GPU computes something else, or overlooks a wait or a mixture."""
    gradient, launches, waits, mixed = program("-c", SEEN)
    assert gradient == [3.0, 5.0, 7.0]
    assert sorted(waits) == ["_local_scalar_dense", "download", "index"] and mixed == 1
    assert launches["aten.mul.Tensor"] == 2 and launches["aten.sum.default"] == 2
    assert not any("view" in name or "expand" in name for name in launches)


@pytest.mark.parametrize("name", ["cuda:x", "gpu", "cpu:1", "", "mps:0"])
def test_names_of_devices(name):
    with pytest.raises(UsageError, match="expected auto, cpu, cuda, cuda:1, mps or xpu"):
        startup.use_device(name)


@TORCH_ONLY
@pytest.mark.parametrize("way", ["option", "environment"])
def test_device_that_is_not_there(way):
    """Failure: a GPU that is not there gives a traceback, or is passed over without a word."""
    import os

    given = ["--device", "xpu:3"] if way == "option" else []
    environment = {**os.environ, "KSTYLE_DEVICE": "xpu:3"} if way == "environment" else None
    command = [sys.executable, "-m", "kstyle", "info", *given]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kstyle: There is no device 'xpu:3' for this torch") and "cpu" in done.stderr
