"""Learning-rate schedules against torch's own sequences and against numbers worked out by hand."""

import json
import math

import pytest

from kstyle import config
from kstyle.config import Closed
from kstyle.errors import UsageError
from kstyle.training.schedules import schedules
from kstyle.training.schedules.schedules import AugmentSchedule, Plateau, Schedule, rate, strength

torch = pytest.importorskip("torch", reason="torch is not installed")
lrs = torch.optim.lr_scheduler

BASE = 0.4


def theirs(make, ticks):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = make(optimizer)
    sequence = []
    for tick in range(ticks):
        sequence.append(optimizer.param_groups[0]["lr"])
        if tick < ticks - 1:  # one more is an error to OneCycleLR
            optimizer.step(), scheduler.step()
    return sequence


def ours(settings, steps_per_epoch, epochs, base=BASE):
    schedule = config.check(Schedule, settings, "test")
    return [rate(schedule, base, i, steps_per_epoch, epochs) for i in range(steps_per_epoch * epochs)]


def warm_up(start, length, make):
    def both(optimizer):
        first = lrs.LinearLR(optimizer, start_factor=start, total_iters=length)
        return lrs.SequentialLR(optimizer, [first, make(optimizer)], milestones=[length])

    return both


# One step per epoch in each, so that torch's tick is ours whichever way the schedule is told to change.
@pytest.mark.parametrize("by", ["epoch", "step"])
@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"name": "step", "size": 7, "gamma": 0.1}, lambda o: lrs.StepLR(o, 7, 0.1)),
        ({"name": "multi_step", "milestones": [3, 11], "gamma": 0.3}, lambda o: lrs.MultiStepLR(o, [3, 11], 0.3)),
        ({"name": "exponential", "gamma": 0.9}, lambda o: lrs.ExponentialLR(o, 0.9)),
        ({"name": "cosine"}, lambda o: lrs.CosineAnnealingLR(o, 24)),
        ({"name": "cosine", "final": 0.25}, lambda o: lrs.CosineAnnealingLR(o, 24, eta_min=0.1)),
        ({"name": "one_cycle"}, lambda o: lrs.OneCycleLR(o, BASE, total_steps=24)),
        (
            {"name": "one_cycle", "pct_start": 0.5, "div_factor": 10, "final_div_factor": 3},
            lambda o: lrs.OneCycleLR(o, BASE, total_steps=24, pct_start=0.5, div_factor=10, final_div_factor=3),
        ),
        ({"name": "one_cycle", "pct_start": 0}, lambda o: lrs.OneCycleLR(o, BASE, total_steps=24, pct_start=0.0)),
        ({"name": "polynomial", "power": 2}, lambda o: lrs.PolynomialLR(o, 24, power=2)),
        (
            {"name": "cosine", "warmup": 5, "warmup_start": 0.2},
            warm_up(0.2, 5, lambda o: lrs.CosineAnnealingLR(o, 19)),
        ),
    ],
)
def test_sequence_is_torchs(settings, make, by):
    """Failure: a recipe written for torch's schedule trains at other rates here."""
    assert ours({**settings, "by": by}, 1, 24) == pytest.approx(theirs(make, 24), rel=1e-6, abs=1e-12)


def test_steps_of_an_epoch_share_its_rate():
    """Failure: the rate moves within an epoch where the recipe says by epoch, or does not where it says by step."""
    by_epoch = ours({"name": "cosine", "by": "epoch"}, 6, 4)
    assert [len(set(by_epoch[i : i + 6])) for i in range(0, 24, 6)] == [1, 1, 1, 1]
    assert by_epoch[::6] == pytest.approx(theirs(lambda o: lrs.CosineAnnealingLR(o, 4), 4), rel=1e-6)
    by_step = ours("cosine", 6, 4)
    assert by_step == pytest.approx(theirs(lambda o: lrs.CosineAnnealingLR(o, 24), 24), rel=1e-6)
    # Half an epoch is 3 of 6 steps, and a tenth 10 of 100, where 0.3 / 0.1 is below 3.
    halves = ours({"name": "step", "size": 0.5, "gamma": 0.5, "by": "step"}, 6, 2)
    assert halves == [0.4] * 3 + [0.2] * 3 + [0.1] * 3 + [0.05] * 3
    tenths = ours({"name": "step", "size": 0.1, "gamma": 0.5, "by": "step"}, 100, 1, base=1.0)
    assert [math.log2(r) for r in tenths] == [-(i // 10) for i in range(100)]


def test_ends_and_middles_by_hand():
    """Failure: a schedule that starts or ends elsewhere than its settings say."""

    def at(settings, step, epochs=10):
        return rate(config.check(Schedule, settings, "test"), 1.0, step, 10, epochs)

    assert [at("cosine", i) for i in (0, 50, 100, 150)] == pytest.approx([1, 0.5, 0, 0])
    assert at({"name": "cosine", "final": 0.2}, 50) == pytest.approx(0.6)
    assert at({"name": "polynomial", "power": 2, "final": 0.1}, 50) == pytest.approx(0.1 + 0.9 * 0.25)
    # A rise of 30 steps tops at step 29; the last step is 99.
    assert [at("one_cycle", i) for i in (0, 29, 99)] == pytest.approx([1 / 25, 1, 1 / 25 / 1e4])
    # The warm-up's epochs count among a multi_step's, and take nothing of a cosine's range.
    warm = {"name": "multi_step", "milestones": [2], "gamma": 0.5, "warmup": 4, "warmup_start": 0.5, "by": "step"}
    assert [at(warm, i) for i in (0, 10, 20, 40)] == pytest.approx([0.5, 0.625, 0.375, 0.5])
    warm = {"name": "cosine", "warmup_steps": 20, "warmup_start": 0}
    assert [at(warm, i) for i in (0, 5, 20, 60)] == pytest.approx([0, 0.25, 1, 0.5])
    # As the CIFAR post's `if epoch < 81` has it, whatever the optimiser's own rate is.
    explicit = {"name": "values", "values": {0: 0.08, 81: 0.01, 122: 0.001}}
    for name in (explicit, "post_cifar10"):
        assert [at(name, 10 * e, 164) for e in (0, 80, 81, 121, 122, 163)] == [0.08, 0.08, 0.01, 0.01, 0.001, 0.001]


def test_the_posts_as_published():
    """Failure: a post's recipe is not the post's."""
    # The rates of the Tiny ImageNet post's log, epoch by epoch, are ten times what its code gives for its 0.01.
    log = [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6]
    assert ours("post_tiny_imagenet", 1, 10, base=0.1) == pytest.approx(log)
    transfer = theirs(lambda o: lrs.StepLR(o, step_size=7, gamma=0.1), 25)
    assert ours("post_transfer", 1, 25) == pytest.approx(transfer)
    bigballon = ours("bigballon_cifar10", 1, 200)
    assert [bigballon.count(r) for r in (0.1, 0.01, 0.001)] == [80, 80, 40]
    assert set(ours("post_mnist", 3, 2)) == {BASE}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau_is_torchs(mode, cooldown):
    """Failure: the rate falls in another epoch than torch's does, or a resumed training forgets its best epoch."""
    generator = torch.Generator().manual_seed(3)
    sign = 1 if mode == "min" else -1
    noise = torch.randn(60, generator=generator).tolist()
    history = [sign * (3 * 0.8**i + 0.05 * n) for i, n in enumerate(noise)]
    history[7] = math.nan
    history[20:24] = [sign * -1.0, sign * -1.00005, sign * -1.01, sign * -1.02]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = lrs.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.3, patience=2, cooldown=cooldown, min_lr=1e-3, threshold=1e-3
    )
    settings = {"name": "plateau", "factor": 0.3, "patience": 2, "cooldown": cooldown, "min_rate": 1e-3, "mode": mode}
    schedule = Schedule.model_validate({**settings, "threshold": 1e-3})
    plateau, expected, found = Plateau(schedule.arguments, BASE), [], []
    for value in history:
        scheduler.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
        plateau.update(value)
        found.append(rate(schedule, plateau.rate, 0, 1, 1))
        saved = json.loads(json.dumps(plateau.state_dict()))
        plateau = Plateau(schedule.arguments, 99)
        plateau.load_state_dict(saved)
    assert len(set(expected)) > 4
    assert found == pytest.approx(expected, rel=1e-6)


def test_plateau_knows_which_way_is_better():
    """Failure: a rising accuracy is taken for a plateau."""
    plateau = Plateau(Schedule(name="plateau", monitor="val_accuracy", patience=0).arguments, 1.0)
    assert [plateau.update(a) for a in (0.1, 0.2, 0.3, 0.3)] == pytest.approx([1, 1, 1, 0.1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("cosin", r"Unknown schedule 'cosin'\. Did you mean 'cosine'\?"),
        (
            {"name": "step", "size": 7, "gama": 0.1},
            r"argument of schedule step 'gama'\. Did you mean 'gamma'\?",
        ),
        ({"name": "cosine", "milestones": [3]}, r"argument of schedule cosine 'milestones'\. Known: final, by, warmup"),
        ({"name": "step", "size": 0}, r"'size': input should be greater than 0; got 0"),
        ({"name": "step"}, "'size': Field required"),
        ({"name": "multi_step", "milestones": [80, 20]}, r"'milestones': expected rising epochs; got \[80\.0, 20\.0\]"),
        ({"name": "values", "values": {5: 0.1}}, "no rate for epoch 0; got epochs 5"),
        ({"name": "cosine", "warmup": 2, "warmup_steps": 9}, "not both"),
        ({"name": "one_cycle", "warmup": 2}, "pct_start"),
        ({"name": "step", "size": 2, "warmup": 2, "warmup_start": 0}, "first epoch at rate 0"),
        ({"name": "constant", "by": "batch"}, "'schedule.by': input should be 'epoch' or 'step'; got 'batch'"),
    ],
)
def test_broken_settings_are_one_clear_line(settings, message):
    """Failure: a misspelt argument is ignored, or answered with a page of pydantic."""

    class Recipe(Closed):
        schedule: Schedule = Schedule()

    with pytest.raises(UsageError, match=message) as caught:
        config.check(Recipe, {"schedule": settings}, "recipe.yaml")
    assert "\n" not in str(caught.value)


def test_warm_up_longer_than_the_training():
    """Failure: `--set epochs=2` on a recipe with five epochs of warm-up never reaches its rate, and nobody is told."""
    with pytest.raises(UsageError, match="warm-up of 5 epochs leaves nothing of a training of 20 steps"):
        rate(Schedule(name="cosine", warmup=5), BASE, 0, 10, 2)
    # Told before data and model are loaded, as far as it can be known.
    for epochs in (2, 5):
        with pytest.raises(UsageError, match=rf"training of {epochs} epochs: lower schedule\.warmup, or raise epochs"):
            schedules.check(Schedule(name="step", size=1, warmup=5), epochs)
    schedules.check(Schedule(name="step", size=1, warmup=5), 6)
    by_steps = Schedule(name="cosine", warmup_steps=20)
    schedules.check(by_steps, 2)
    schedules.check(by_steps, 2, 11)
    with pytest.raises(UsageError, match=r"20 steps leaves nothing .* 20 steps: lower schedule\.warmup_steps"):
        schedules.check(by_steps, 2, 10)


def test_settings_survive_json():
    """Failure: a run's saved recipe cannot be read again."""
    schedule = Schedule(name="values", values={0: 0.1, 2.5: 0.01}, by="step")
    again = Schedule.model_validate(json.loads(schedule.model_dump_json()))
    assert [rate(again, 1, i, 2, 4) for i in range(8)] == [0.1] * 5 + [0.01] * 3


def test_every_schedule_runs():
    """Failure: a name that the help lists is an error."""
    needed = {"multi_step": {"milestones": [1]}, "values": {"values": {0: 1}}, "step": {"size": 1}}
    needed["exponential"] = {"gamma": 0.5}
    assert set(schedules.ARGUMENTS) < set(schedules.SCHEDULES)
    for name in schedules.SCHEDULES:
        assert all(0 <= r <= 1 for r in ours({"name": name, **needed.get(name, {})}, 2, 3, base=1.0)), name


def test_augmentation_strength():
    """Failure: the last, clean epochs are augmented, or the ramp never reaches full strength."""
    settings = AugmentSchedule(ramp=4, start=0.2, off_last=2, mix_off_last=3)
    expected = [(0.2, 1), (0.4, 1), (0.6, 1), (0.8, 1), (1, 1), (1, 1), (1, 1), (1, 0), (0, 0), (0, 0)]
    for epoch, pair in enumerate(expected):
        assert strength(settings, epoch, 10) == pytest.approx(pair), epoch
    assert strength(AugmentSchedule(), 0, 1) == (1.0, 1.0)
