"""L-BFGS against torch's own, carrying an optimiser to another size, and how an optimiser is asked for."""

import keras
import numpy as np
import pytest
from keras import ops

import kstyle
from kstyle import backend
from kstyle.errors import UsageError
from kstyle.nn import lbfgs, optimizers
from kstyle.pictures import images
from kstyle.style.jobs import sweep


def ours(function, start, steps, **options):
    """(losses before each step, positions after it, the optimiser); function: x -> loss, in keras.ops."""
    x = keras.Variable(np.asarray(start, "float32"), dtype="float32")
    optimizer = optimizers.make("lbfgs", **options)
    optimizer.build([x])
    gradient = backend.value_and_grad(lambda x: (function(x), {}))
    losses, positions = [], []
    for _ in range(steps):
        (loss, _), g = gradient(x.value)
        losses.append(float(ops.convert_to_numpy(loss)))
        optimizer.apply([g], [x])
        positions.append(ops.convert_to_numpy(x.value).copy())
    return losses, positions, optimizer


def carry(old, new, enlarge, ratio):
    optimizers.take_over(optimizers.leave(old, new), new, enlarge, ratio)


def torchs(function, start, steps, history):
    """(positions before each step and after the last, the gradient at each) of torch.optim.LBFGS, float64."""
    torch = pytest.importorskip("torch", reason="the reference is torch.optim.LBFGS")
    x = torch.tensor(np.asarray(start), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=history)
    positions, gradients = [np.array(start, "float64")], []

    def closure():
        optimizer.zero_grad()
        loss = function(x)
        loss.backward()
        gradients.append(x.grad.numpy().copy())
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        positions.append(x.detach().numpy().copy())
    return positions, gradients


def quadratic(x):
    return 0.5 * (x.new_tensor(np.geomspace(1, 100, 12)) * (x - 1) ** 2).sum()


def rosenbrock(x):
    return (5 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def wells(x):
    """Concave where it starts: its first pairs have negative curvature."""
    return ((x**2 - 1) ** 2).sum()


@pytest.mark.parametrize("part", [2**24, 5])
@pytest.mark.parametrize(
    ("function", "start", "history"),
    [
        (quadratic, np.linspace(-1, 3, 12), 10),
        (rosenbrock, np.linspace(-0.5, 0.8, 12), 10),
        (wells, np.linspace(0.2, 0.5, 12), 4),
    ],
)
def test_lbfgs_takes_torchs_steps(function, start, history, part, monkeypatch):
    """Failure: pictures published with L-BFGS come out differently, or large ones, of which it takes a part at a time.
    25 steps wrap the ring of stored pairs.

    Each step begins where torch's does, with the gradient that torch has, in float64.
    """
    monkeypatch.setattr(lbfgs, "PART", part)
    places, gradients = torchs(function, start, 25, history)
    x = keras.Variable(places[0], dtype="float32")
    optimizer = optimizers.make("lbfgs", history=history)
    optimizer.build([x])
    for step, (before, after, gradient) in enumerate(zip(places, places[1:], gradients)):
        x.assign(before)
        optimizer.apply([ops.convert_to_tensor(gradient.astype("float32"))], [x])
        off = np.linalg.norm(ops.convert_to_numpy(x.value) - after)
        # 2e-7 of the position is two roundings of it; products of all but parallel pairs cost a digit or two more.
        assert off < 1e-4 * np.linalg.norm(after - before) + 1e-6 * np.linalg.norm(before), step
    stored = int(ops.convert_to_numpy(optimizer._state[0]["length"].value))
    if function is wells:
        assert history < stored < 24  # some pairs were refused
    else:
        assert stored > history


@pytest.mark.parametrize(
    ("name", "its_name", "arguments", "its_arguments"),
    [
        ("torch-adam", "Adam", {"beta_1": 0.8}, {"betas": (0.8, 0.999)}),
        ("torch-rmsprop", "RMSprop", {}, {}),
        ("torch-rmsprop", "RMSprop", {"rho": 0.9, "momentum": 0.5}, {"alpha": 0.9, "momentum": 0.5}),
    ],
)
def test_torchs_optimisers(name, its_name, arguments, its_arguments):
    """Failure: a recipe published for torch goes elsewhere, most of all where gradients are as small as epsilon."""
    torch = pytest.importorskip("torch", reason="the reference is torch's")
    scale = np.logspace(-9, 0, 10).astype("float32")  # of the gradients
    image = keras.Variable(np.ones(10, "float32"), dtype="float32")
    mine = optimizers.make(name, learning_rate=0.1, epsilon=1e-8, **arguments)
    mine.build([image])
    x = torch.ones(10, requires_grad=True)
    theirs = getattr(torch.optim, its_name)([x], lr=0.1, eps=1e-8, **its_arguments)
    for _ in range(7):
        mine.apply([ops.convert_to_tensor(scale) * image.value], [image])
        x.grad = torch.from_numpy(scale) * x.detach()
        theirs.step()
        np.testing.assert_allclose(ops.convert_to_numpy(image.value), x.detach().numpy(), rtol=1e-4, atol=1e-6)
    assert type(mine).from_config(mine.get_config()).get_config() == mine.get_config()


def test_pairs_without_positive_curvature_are_not_stored():
    """Failure: one step over a ridge turns the next ones uphill."""
    x = keras.Variable(np.array([1.0, 2.0], "float32"), dtype="float32")
    optimizer = optimizers.LBFGS(learning_rate=1.0, history=3)
    optimizer.build([x])

    def length():
        return int(ops.convert_to_numpy(optimizer._state[0]["length"].value))

    optimizer.apply([ops.convert_to_tensor(np.array([2.0, 0.0], "float32"))], [x])  # a step of 1 along -g
    assert np.allclose(ops.convert_to_numpy(x.value), [0, 2])
    optimizer.apply([ops.convert_to_tensor(np.array([4.0, 0.0], "float32"))], [x])  # y s = (4 - 2) (0 - 1) < 0
    assert length() == 0
    # With no pair the step is the gradient itself: torch's short first step is only for the very first.
    assert np.allclose(ops.convert_to_numpy(x.value), [-4, 2])
    optimizer.apply([ops.convert_to_tensor(np.array([2.0, 0.0], "float32"))], [x])  # y s = (2 - 4) (-4 - 0) = 8
    assert length() == 1
    # Curvature 8 / 16 along the first axis: the Newton step from -4 with gradient 2 is to -4 - 2 · 2.
    assert np.allclose(ops.convert_to_numpy(x.value), [-8, 2])


def test_steps_without_curvature_are_of_the_length_asked_for():
    """Failure: where the loss curves down at the start, the second step is the bare gradient and ruins the picture."""
    x = keras.Variable(np.array([3.0, 4.0], "float32"), dtype="float32")
    optimizer = optimizers.LBFGS(first_step=0.5)
    optimizer.build([x])
    for number in range(1, 4):  # downhill on -1000 |x|², whose every pair has negative curvature
        optimizer.apply([-2000 * x.value], [x])
        moved = ops.convert_to_numpy(x.value) - [3, 4]
        assert moved == pytest.approx(np.array([0.6, 0.8]) * 0.5 * np.sqrt(2) * number, rel=1e-5)


def smooth(shape, phase=0.0):
    """(H, W, 3): the same waves at any resolution."""
    y, x = (np.arange(n) + 0.5 for n in shape)
    field = np.cos(3 * y[:, None] / shape[0] + phase) * np.sin(4 * x[None] / shape[1] + 1 + phase)
    return (field[:, :, None] * [1, 0.5, -0.7] + 1).astype("float32")


@pytest.mark.parametrize(("old", "new"), [((8, 12), (16, 24)), ((16, 24), (8, 12)), ((10, 15), (15, 20))])
def test_adam_is_carried(old, new):
    """Failure: at the next size the first steps are too long or too short by the ratio of pixels."""
    ratio = (old[0] * old[1]) / (new[0] * new[1])
    built = []
    for size in (old, new):
        optimizer = optimizers.make("adam", learning_rate=0.1)
        optimizer.build([keras.Variable(np.zeros((*size, 3), "float32"))])
        built.append(optimizer)
    before, after = built
    before._momentums[0].assign(np.full((*old, 3), 0.3, "float32"))
    before._velocities[0].assign(np.full((*old, 3), 0.04, "float32"))
    before.iterations.assign(17)
    carry(before, after, lambda picture, kind: images.resize(picture, new, kind), ratio)
    assert np.allclose(ops.convert_to_numpy(after._momentums[0].value), 0.3 * ratio, rtol=1e-5)
    assert np.allclose(ops.convert_to_numpy(after._velocities[0].value), 0.04 * ratio**2, rtol=1e-5)
    assert int(ops.convert_to_numpy(after.iterations.value)) == 17


def valley(shape):
    """x -> a mean over positions of squares whose curvature varies 20-fold across a picture of that size."""
    stiffness, target = (
        ops.convert_to_tensor(10.5 + 9.5 * (smooth(shape, 0.4) - 1)),
        ops.convert_to_tensor(smooth(shape, 2)),
    )

    def loss(x):
        return 1e4 * ops.mean(stiffness * (x - target) * (x - target))

    return loss


@pytest.mark.parametrize("new", [(48, 64), (36, 48)])
def test_lbfgs_is_carried(new):
    """Failure: L-BFGS starts anew at every size, or takes a first step of the wrong length."""
    old = (24, 32)
    _, positions, before = ours(valley(old), np.zeros((*old, 3)), 5, learning_rate=1.0, history=6)
    start = images.resize(positions[-1], new, "bicubic")
    image = keras.Variable(start, dtype="float32")
    after = optimizers.make("lbfgs", learning_rate=1.0, history=6)
    after.build([image])
    ratio = (old[0] * old[1]) / (new[0] * new[1])
    carry(before, after, lambda picture, kind: images.resize(picture, new, kind), ratio)
    curvature = [np.diagonal(ops.convert_to_numpy(o._state[0]["sy"].value)) for o in (before, after)]
    assert (curvature[0] > 0).sum() > 2
    assert curvature[1] == pytest.approx(curvature[0], rel=0.05)

    gradient = backend.value_and_grad(lambda x: (valley(new)(x), {}))
    losses = []
    for _ in range(6):
        (loss, _), g = gradient(image.value)
        losses.append(float(ops.convert_to_numpy(loss)))
        after.apply([g], [image])
    fresh, *_ = ours(valley(new), start, 6, learning_rate=1.0, history=6)
    print(losses, fresh)
    assert (np.diff(losses) < 0).all()
    assert losses[1] < 0.7 * fresh[1]  # without the pairs the first step is a gradient of length 1


def test_lbfgs_is_carried_into_a_shorter_history():
    """Failure: a size that has memory for fewer pairs stops the painting, or keeps old ones, or takes them in another
    order. Nine steps wrap the ring of six."""
    shape = (24, 32)
    _, positions, before = ours(valley(shape), np.zeros((*shape, 3)), 9, learning_rate=1.0, history=6)
    after = optimizers.make("lbfgs", learning_rate=1.0, history=4)
    after.build([keras.Variable(positions[-1], dtype="float32")])
    carry(before, after, lambda picture, kind: picture, 1.0)
    old, new = (
        {name: ops.convert_to_numpy(o._state[0][name].value) for name in ["s", "y", "sy", "length"]}
        for o in (before, after)
    )
    newest = [(int(old["length"]) - back) % 6 for back in (4, 3, 2, 1)]
    for name in ("s", "y"):
        assert np.array_equal(new[name], old[name][newest])
    assert int(new["length"]) == 4 and np.allclose(new["sy"], old["sy"][newest][:, newest], rtol=1e-3)


def test_others_start_anew():
    """Failure: a state of the wrong shape is copied, or the run stops at the second size."""
    built = []
    for size in ((8, 12, 3), (16, 24, 3)):
        optimizer = optimizers.make("sgd", learning_rate=0.1, momentum=0.9)
        optimizer.build([keras.Variable(np.zeros(size, "float32"))])
        built.append(optimizer)
    built[0].iterations.assign(5)
    carry(*built, lambda picture, kind: images.resize(picture, (16, 24), kind), 0.25)
    assert int(ops.convert_to_numpy(built[1].iterations.value)) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("adm", {}, "Unknown optimizer 'adm'. Did you mean 'adam'?"),
        ("lbfg", {}, "Did you mean 'lbfgs'?"),
        ("adam", {"learning_rat": 1}, "optimizer 'adam' has no argument 'learning_rat'. Did you mean 'learning_rate'?"),
        ("lbfgs", {"histroy": 5}, "Did you mean 'history'?"),
        ("sgd", {"learning_rate": {"name": "exponential_deca"}}, "Did you mean 'exponential_decay'?"),
        ("sgd", {"learning_rate": 0.1, "momentum": 7}, "optimizer 'sgd': momentum is a number from 0 to 1; got 7."),
        ("adam", {"beta_1": "0.9"}, "optimizer 'adam': beta_1 is a number; got '0.9'."),
        ("adam", {"learning_rate": {"name": "exponential_decay", "rate": 2}}, "optimizer 'adam': "),
        ("adam", {"learning_rate": {"name": "exponential_decay"}}, "needs its argument 'initial_learning_rate'."),
    ],
)
def test_make_says_what_is_wrong(name, arguments, message):
    """Failure: a typing mistake ends in a traceback, or is ignored and the preset runs with other numbers."""
    with pytest.raises(UsageError) as error:
        optimizers.make(name, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_arguments_are_checked_without_an_optimiser():
    """Failure: to check a preset, or each combination of a sweep, an optimiser is made and thrown away."""
    made, style = [], np.random.default_rng(0).random((16, 16, 3))
    optimizers.register("counted", lambda learning_rate=0.1: made.append(learning_rate) or keras.optimizers.SGD())
    painter = kstyle.Painter(style, optimizer="counted", learning_rate=0.3)
    rates = [("optimizer.learning_rate", ["1", "2"])]
    cells = sweep.grid("a.png", ["b.png"], rates, overrides={"optimizer": "counted"})
    assert painter.settings.optimizer.name == "counted" and len(cells) == 2 and not made
    with pytest.raises(UsageError, match="optimizer 'counted' has no argument 'rate'"):
        kstyle.Painter(style, optimizer={"name": "counted", "rate": 1})


def test_make_with_a_schedule():
    """Failure: the rate does not fall as keras.io's recipe has it: 100 · 0.96^(t/100)."""
    keras_io = {"name": "exponential_decay", "initial_learning_rate": 100, "decay_steps": 100, "decay_rate": 0.96}
    cs231n = {"name": "piecewise_constant", "boundaries": [180], "values": [3, 0.1]}
    for schedule, rate in ((keras_io, 100 * 0.96**2.5), (cs231n, 0.1)):  # whole numbers, as people write them
        optimizer = optimizers.make("sgd", learning_rate=schedule)
        optimizer.build([keras.Variable(np.zeros(3, "float32"))])
        optimizer.iterations.assign(250)
        assert float(ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(rate, rel=1e-5)


def test_make_takes_whole_numbers():
    """Failure: `learning_rate: 1` in a preset stops the run; Keras wants 1.0."""
    for name in ("lbfgs", "adam"):
        assert float(ops.convert_to_numpy(optimizers.make(name, learning_rate=10).learning_rate)) == 10
