"""Style networks on pictures that memory has no room for."""

import numpy as np
import pytest

from kstyle.errors import UsageError
from kstyle.style.engine import memory
from kstyle.style.networks import by_rows, style_facts, style_file
from kstyle.style.networks.network import style_network

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network():
    """Of two styles, with weights drawn at random: nothing in it is zero."""
    model = style_network(0.15, styles=2)
    for layer in model.layers:
        layer.set_weights([rng.normal(0, 0.3, w.shape) for w in layer.weights])
    return style_file.StyleFile(model, {"width": 0.15, "styles": ["one", "two"], "brush": None})


@pytest.mark.parametrize("shape", [(5, 5), (41, 18), (58, 61), (33, 32)], ids=str)
@pytest.mark.parametrize("rows", [4, 20])
def test_by_rows_is_the_whole(network, shape, rows):
    """Failure: seams between bands, edges that are not mirrored, or a band that is normalised by itself."""
    rgb, blend = rng.random((*shape, 3), "float32"), [0.3, 0.7]
    told = style_facts.condition(network.facts, blend)
    whole = network.paint(rgb, blend)
    assert np.abs(whole - rgb).max() > 0.1
    np.testing.assert_allclose(by_rows.paint(network.model, rgb, told, rows), whole, atol=1e-4)


def test_it_plans_by_itself(network, monkeypatch):
    """Failure: a large picture ends for want of memory, or a small one is painted slowly."""
    monkeypatch.setattr(memory, "in_use", lambda: 0)
    rgb = rng.random((61, 40, 3), "float32")
    at_once, kept, row = by_rows._bytes(network.model, rgb.shape[:2])

    def limit(needed):
        return int(by_rows.BESIDE + memory.SAFE * needed) + 1

    assert by_rows.planned(network.model, (61, 40), limit(at_once)) is None
    assert by_rows.planned(network.model, (61, 40), limit(kept + 17 * row)) == 16
    painted, taken = network.paint(rgb), []
    paint = by_rows.paint
    monkeypatch.setattr(by_rows, "paint", lambda *given: taken.append(given[-1]) or paint(*given))
    np.testing.assert_allclose(network.paint(rgb, limit=limit(kept + 17 * row)), painted, atol=1e-4)
    assert taken == [16]
    with pytest.raises(UsageError, match=r"^4096×6144 takes more than the 500 MB that there are: --size \d+ fits\.$"):
        by_rows.planned(network.model, (6144, 4096), 500_000_000)
