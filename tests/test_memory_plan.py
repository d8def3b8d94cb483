"""What a painting is predicted to take, and how its passes are divided to fit."""

import dataclasses

import numpy as np
import pytest
from pictures import SHALLOW, example

from kstyle.errors import UsageError
from kstyle.models import features
from kstyle.pictures.images import Picture
from kstyle.style import settings as style_settings
from kstyle.style import transfer
from kstyle.style.engine import loop, memory
from kstyle.style.passes import sizes


def planned(monkeypatch, size, limit, preset="gatys", **overrides):
    monkeypatch.setattr(memory, "in_use", lambda: 600_000_000)
    settings = style_settings.load(preset, overrides)
    content = Picture(np.zeros((48, 64, 3), "float32"))
    extractor = features.load("vgg19", settings.taps, precision="float32")
    return memory.fitted(sizes.plan(settings, content, size, None), extractor, memory.parsed(limit))


@pytest.mark.parametrize(
    ("text", "amount"), [("6GB", 6e9), ("1.5 GiB", 1.5 * 2**30), ("800mb", 8e8), (4000, 4000), ("2G", 2e9)]
)
def test_amounts(text, amount):
    """Failure: a limit is a thousand times what was meant."""
    assert memory.parsed(text) == amount


@pytest.mark.parametrize("text", ["", "six", "-1GB", "0", "6 GBit"])
def test_what_is_no_amount(text):
    """Failure: a limit that was not understood is taken for another."""
    with pytest.raises(UsageError, match="max_memory: expected an amount"):
        memory.parsed(text)


def test_the_larger_the_limit_the_less_is_tiled(monkeypatch):
    """Failure: a picture that fits is painted by tiles, or one that does not is begun whole and killed."""
    plans = [planned(monkeypatch, 1024, limit, optimizer={"name": "adam"}) for limit in ("20GB", "2.2GB", "1.4GB")]
    whole, half, tiled = (plan.passes[-1] for plan in plans)
    assert whole.tile is None and half.halved and half.tile > tiled.tile >= 128 and not tiled.halved
    for plan in plans:
        assert max(plan.peaks) <= plan.limit and [now.steps for now in plan.passes] == [500]


def test_a_shorter_history_where_tiles_do_not_help(monkeypatch):
    """Failure: a hundred pairs of L-BFGS, 24 GB at 4096 pixels, make a size impossible that five pairs allow."""
    (now,) = planned(monkeypatch, 4096, "8GB").passes
    assert now.tile and now.settings.optimizer.arguments["history"] < 10


def test_what_cannot_fit_is_refused_with_the_size_that_does(monkeypatch):
    """Failure: an hour's work ends in a killed process, or the user has to try sizes."""
    with pytest.raises(
        UsageError, match=r"4096×3072 takes .* at least, more than the 1\.5 GB .*: --size (\d+) fits"
    ) as caught:
        planned(monkeypatch, 4096, "1.5GB")
    fits = int(str(caught.value).rpartition("--size ")[2].split()[0])
    assert planned(monkeypatch, fits, "1.5GB")
    with pytest.raises(UsageError, match=r"remd.*: compares single places.*--size .* fits whole"):
        planned(monkeypatch, 4096, "4GB", style={"loss": "remd"})


def test_memory_that_is_full_against_the_prediction(tmp_path, monkeypatch):
    """Failure: a painting is lost where a smaller tile would have gone on; or a step is counted twice."""
    preset = tmp_path / "preset.yaml"
    preset.write_text(SHALLOW)
    painter = transfer.Painter(example("wave", 64), preset, precision="float32")
    run, asked = loop.run, []

    def full_at_first(course, objective, between=None):
        asked.append(objective.whole)
        if len(asked) == 1:
            raise MemoryError
        return run(course, objective, between)

    monkeypatch.setattr(loop, "run", full_at_first)
    monkeypatch.setattr(memory, "SIDES", (48, 32))
    result = painter.paint(example("chelsea", 96), size=96, steps=3)
    assert asked == [True, False] and list(result.history["step"]) == [0, 1, 2]
    assert dataclasses.is_dataclass(memory.Plan) and np.isfinite(result.rgb).all()
