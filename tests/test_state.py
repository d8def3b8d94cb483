"""A painting's state is data: saved between two steps and loaded elsewhere, it goes on as if nothing had been."""

import json

import numpy as np
import pytest
from pictures import SHALLOW, example

from kstyle.io import runs
from kstyle.style import transfer

SIZES = "scales: {smallest: 32, factor: 2, steps: [3, 4], carry: true, margin: 4}\n"
PRESETS = {
    "lbfgs": SHALLOW.replace("{name: adam, learning_rate: 0.03}", "{name: lbfgs}") + SIZES,
    "average": SHALLOW.replace("relative", "mse") + SIZES + "average: 0.9\n",
    "sampling": SHALLOW + SIZES + "terms: [{loss: remd, layers: {block1_conv1: 1}, weight: 1, samples: 64}]\n",
    "pyramid": SHALLOW.replace("clamp: [0, 1]\n", "") + SIZES + "pyramid: 3\n",
    "detail": SHALLOW + SIZES + "init: detail\n",
}


class Enough(Exception):
    pass


def painting(preset, seed=3):
    painter = transfer.Painter(example("wave", 64), preset, precision="float32", deterministic=True)
    return painter, painter.painting(example("chelsea", 96), size=96, seed=seed)


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("taken", [1, 4, 6])
def test_a_painting_goes_on_from_its_state(tmp_path, kind, taken):
    """Failure: something that the next step depends on is not in the state, so that a resumed painting is another."""
    preset = tmp_path / "preset.yaml"
    preset.write_text(PRESETS[kind])
    painter, whole = painting(preset)
    expected = painter.finish(whole)

    painter, begun = painting(preset)

    def save():
        arrays, facts = begun.state()
        if len(facts["history"]) == taken:
            runs.save_arrays(tmp_path / "state.safetensors", arrays, {"facts": json.dumps(facts)})
            raise Enough

    with pytest.raises(Enough):
        painter.finish(begun, save)
    arrays, notes = runs.load_arrays(tmp_path / "state.safetensors")
    painter, resumed = painting(preset)
    resumed.resume(arrays, json.loads(notes["facts"]))
    found = painter.finish(resumed)
    np.testing.assert_array_equal(found.rgb, expected.rgb)
    columns = [name for name in expected.history if name != "seconds"]
    assert found.history[columns].equals(expected.history[columns]) and len(found.history) == 7
    assert found.history["seconds"].is_monotonic_increasing
