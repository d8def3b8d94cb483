"""`kstyle train digits_cnn` on every backend, one process each."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("backend", ["torch", "tensorflow", "jax"])
def test_digits_on_every_backend(backend, tmp_path):
    """Failure: training works on torch only, or to another accuracy."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = ["train", "digits_cnn", "--run", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *command],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # By the recipe's header 98.6 % are right, of 359 pictures 98.6 ± 0.6 % by chance alone: each backend draws its own
    # start and its own shifts, and each processor rounds in its own way. Four deviations below:
    assert json.loads(done.stdout)["top1"] >= 0.96
