"""benchmarks/gpu.py, which a lent GPU has minutes for, runs from end to end without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kstyle import backend

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(backend.NAME != "torch", reason="the benchmark is torch's")
def test_its_parts(tmp_path):
    """Failure: the minutes on a GPU go to a misspelt name, or one part that fails takes the others' results along."""
    parts = [f"--part={part}" for part in ("presets", "painting")]
    small = ["--side=48", "--preset=gatys", "--minutes=30", "--steps=4"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *parts, *small, "-o", str(tmp_path / "out")], capture_output=True, text=True
    )
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert done.returncode == 0 and not [part for part in found["parts"].values() if part["error"]], done.stderr
    rows = {name: part["rows"] for name, part in found["parts"].items()}
    assert [row["precision"] for row in rows["presets"]] == ["float32", "tf32", "bfloat16"]
    assert all(row["off"] < 0.05 for row in rows["presets"]) and rows["painting"][0]["steps"] == 4
    assert "## presets" in (tmp_path / "out" / "results.md").read_text() and "| gatys | float32 |" in done.stdout
    assert ("No GPU here" in done.stderr) != found["gpu"]
