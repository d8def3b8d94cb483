"""Pretrained networks: what their weights were trained on, and which part of them a stage of fine-tuning trains."""

import fnmatch
from dataclasses import dataclass

from kstyle.errors import UsageError, unknown


@dataclass(frozen=True)
class Backbone:
    """How a network was trained on ImageNet.

    Attributes:
        size: side of its pictures, in pixels.
        resize: what the short side is brought to before the middle `size` × `size` is taken.
        preprocessing: of the weights that `kstyle.models.classifiers.load_imagenet` finds first, a key of
            `NORMALISATIONS`; `Loaded.preprocessing` tells what it did find.
        head: patterns (`fnmatch`) of the names of the layers that are new where the classes are others.
        parts: {name: patterns of layers}, from the pictures to the logits, the last one `"head"`.
    """

    size: int
    resize: int
    preprocessing: str
    head: tuple
    parts: dict


# (mean, deviation) of RGB in [0, 1] by which pictures are normalised for these weights.
NORMALISATIONS = {
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Bytes minus the mean.
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
    # From -1 to 1.
    "tf": ((0.5,) * 3, (0.5,) * 3),
    # Bytes.
    "raw": ((0.0,) * 3, (1 / 255,) * 3),
}


def _backbone(parts, head, preprocessing="torch", size=224, resize=256):
    return Backbone(size, resize, preprocessing, head, {**parts, "head": head})


_RESNET = _backbone({"stem": ("conv1", "bn1"), **{f"layer{i}": (f"layer{i}_*",) for i in range(1, 5)}}, ("fc",))
_DENSENET = _backbone(
    {
        "stem": ("features_conv0", "features_norm0"),
        # A transition belongs to the block that it prepares.
        "denseblock1": ("features_denseblock1_*",),
        **{f"denseblock{i}": (f"features_transition{i - 1}_*", f"features_denseblock{i}_*") for i in range(2, 5)},
    },
    ("classifier",),
)
_VGG = _backbone({**{f"block{i}": (f"block{i}_*",) for i in range(1, 6)}, "dense": ("fc?",)}, ("predictions",), "caffe")
_EFFICIENTNET = {
    "stem": ("stem_*",), **{f"block{i}": (f"block{i}[a-z]_*",) for i in range(1, 8)}, "top": ("top_conv", "top_bn"),
}  # fmt: skip

# {network: Backbone}. Sizes of EfficientNet: Tan & Le 2019; 1.14 of the size, as 256 is of 224, before the crop.
BACKBONES = {
    **{f"resnet{depth}": _RESNET for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": _DENSENET for depth in (121, 161, 169, 201)},
    "vgg16": _VGG,
    "vgg19": _VGG,
    "alexnet": _backbone(
        {**{f"conv{n}": (f"features_{i}",) for n, i in enumerate((0, 3, 6, 8, 10), 1)}, "dense": ("classifier_[14]",)},
        ("classifier_6",),
    ),
    "caffenet": _backbone(
        {**{f"conv{i}": (f"conv{i}",) for i in range(1, 6)}, "dense": ("fc[67]",)}, ("fc8",), "caffe", 227
    ),
    "squeezenet1.1": _backbone(
        {"conv1": ("conv1",), **{f"fire{i}": (f"fire{i}_*",) for i in range(2, 10)}}, ("conv10", "fc10"), "caffe"
    ),
    "inception_v3": _backbone(
        {"stem": ("stem_*",), **{f"mixed{i}": (f"mixed{i}_*",) for i in range(11)}}, ("predictions",), "tf", 299, 342
    ),
    "mobilenet_v2": _backbone(
        {
            "stem": ("Conv1", "bn_Conv1"), "block0": ("expanded_conv_*",),
            **{f"block{i}": (f"block_{i}_*",) for i in range(1, 17)}, "top": ("Conv_1", "Conv_1_bn"),
        },
        ("predictions",), "tf",
    ),
    **{
        f"efficientnet_b{i}": _backbone(_EFFICIENTNET, ("predictions",), "torch", size, round(size * 256 / 224))
        for i, size in enumerate((224, 240, 260, 300))
    },
}  # fmt: skip


def normalisation(name, source=None):
    """(mean, deviation), three numbers each, for RGB pictures in [0, 1].

    Args:
        name: key of `BACKBONES`.
        source: key of `NORMALISATIONS`, as `Loaded.preprocessing` has it; or (mean, deviation), of a run; None: the
            backbone's own.

    Raises:
        UsageError: an unknown network or source.
    """
    if isinstance(source, tuple):
        return source
    source = source or _find(name).preprocessing
    if source not in NORMALISATIONS:
        raise unknown("preprocessing", source, NORMALISATIONS)
    return NORMALISATIONS[source]


def parts(name):
    """The names of a network's parts, from the pictures to the logits, and `"all"`; a network that is no backbone has
    its head alone."""
    return [*(BACKBONES[name].parts if name in BACKBONES else ("head",)), "all"]


def from_part(model, part):
    """The layers that are trained from a part up: its first one and all that come after it in the model's order.

    Args:
        model: a `keras.Model` from `kstyle.models.classifiers.build`.
        part: one of `parts(model.name)`. The head of a network that is no backbone is its last dense layer.

    Returns:
        A list of layers, in order; those without weights too.

    Raises:
        UsageError: an unknown part, or one that this model has not (VGG's dense layers with a lean head).
    """
    # Deeper layers come first, and of layers at one depth no one is before the other.
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    if part == "all":
        return layers
    if part not in parts(model.name):
        raise unknown(f"part of {model.name}", part, parts(model.name))
    patterns = _patterns(model.name, layers)
    for number, layer in enumerate(layers):
        if _matches(layer, patterns[part]):
            return layers[number:]
    there = [name for name, each in patterns.items() if any(_matches(layer, each) for layer in layers)]
    raise UsageError(f"This {model.name} has no part '{part}'. It has: {', '.join([*there, 'all'])}.")


def set_trainable(model, part):
    """Freezes all layers but those from a part up. To be called before an optimiser is built.

    A frozen normalisation keeps its moving statistics and normalises by them, in training too.

    Args:
        model, part: as in `from_part`.

    Returns:
        The layers that are trained.

    Raises:
        UsageError: as `from_part`.
    """
    chosen = from_part(model, part)
    for layer in model.layers:
        layer.trainable = any(layer is each for each in chosen)
    return chosen


def split(model, part):
    """A model as two, so that what the frozen layers make of a picture can be computed once.

    Dropout right before the part is in the tail.

    Args:
        model, part: as in `from_part`.

    Returns:
        `(body, tail)`, models of the same layers and variables: `model(x)` is `tail(body(x))`. None where there is no
        one tensor to cut at, or nothing before it.

    Raises:
        UsageError: as `from_part`.
    """
    import keras

    chosen = from_part(model, part)
    made = {id(layer.output): layer for layer in model.layers}
    tensor = chosen[0].input
    while isinstance(made[id(tensor)], keras.layers.Dropout):
        tensor = made[id(tensor)].input
    after, tensors = set(), [model.output]
    while tensors:
        each = tensors.pop()
        if each is tensor or made[id(each)] in after:
            continue
        if each is model.input:
            return None  # a way round the tensor
        after.add(made[id(each)])
        inputs = made[id(each)].input
        tensors += inputs if isinstance(inputs, list) else [inputs]
    if tensor is model.input or any(layer.weights and layer not in after for layer in chosen):
        return None
    return keras.Model(model.input, tensor), keras.Model(tensor, model.output)


def _find(name):
    if name not in BACKBONES:
        raise unknown("pretrained network", name, BACKBONES)
    return BACKBONES[name]


def _patterns(name, layers):
    if name in BACKBONES:
        return BACKBONES[name].parts
    return {"head": [layer.name for layer in layers if hasattr(layer, "kernel")][-1:]}


def _matches(layer, patterns):
    return any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns)
