"""What the classification networks may be told, and the smallest pictures they take: tables that need no framework."""

import numbers

from kstyle.errors import UsageError, unknown

_RESNET = {
    "stem": "imagenet", "dtype": "float32", "l2": 0.0, "dropout": 0.0, "bn_momentum": 0.9, "bn_epsilon": 1e-5,
    "unbiased_variance": True, "zero_gamma": False,
}  # fmt: skip
_DENSENET = {option: value for option, value in _RESNET.items() if option != "zero_gamma"}
_PLAIN = {"dtype": "float32", "l2": 0.0, "dropout": 0.5}
_VGG = {"head": "paper", **_PLAIN}
_APPLICATION = {**_PLAIN, "dropout": 0.2}
# Keras' own networks, which `kstyle.models.networks.applications` builds, and the smallest pictures they take.
APPLICATIONS = {"inception_v3": 75, "mobilenet_v2": 32, **{f"efficientnet_b{i}": 32 for i in range(4)}}

# {network: {option: default}}, as the functions in `kstyle.models.classifiers.CLASSIFIERS` have them.
OPTIONS = {
    "mnist_cnn": {"init": "keras", "dtype": "float32", "l2": 0.0, "dropout": 0.0},
    "vgg19_cifar": {
        "head": "post", "pool5": False, "last_bn": None, "dtype": "float32", "l2": 0.0, "dropout": 0.5,
        "bn_momentum": 0.99, "bn_epsilon": 1e-3, "unbiased_variance": False,
    },
    "vgg16": _VGG,
    "vgg19": _VGG,
    **{f"resnet{depth}": _RESNET for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": _DENSENET for depth in (121, 161, 169, 201)},
    "alexnet": _PLAIN,
    "caffenet": _PLAIN,
    "squeezenet1.1": {"head": "conv", **_PLAIN},
    **dict.fromkeys(APPLICATIONS, _APPLICATION),
}  # fmt: skip

# What an option may be: a tuple of values, of each network where they differ, or (lowest, highest, whether the highest
# itself may be).
ALLOWED = {
    "dtype": ("float32", "mixed_bfloat16", "mixed_float16"),
    "init": ("keras", "torch"),
    "head": {
        "vgg19_cifar": ("post", "gap"), "vgg16": ("paper", "gap"), "vgg19": ("paper", "gap"),
        "squeezenet1.1": ("conv", "gap"),
    },
    "stem": ("imagenet", "7x7", "small"),
    "pool5": (False, True),
    "last_bn": (None, False, True),
    "unbiased_variance": (False, True),
    "zero_gamma": (False, True),
}  # fmt: skip
RANGES = {
    "l2": (0, 1, True),
    "dropout": (0, 1, False),
    "bn_momentum": (0, 1, False),
    "bn_epsilon": (1e-8, 1, True),
}


def check(name, classes, size, channels, options):
    """Whether a network can be built, before a framework is loaded.

    Args:
        name: key of `OPTIONS`.
        classes: number of classes, at least 2.
        size: of the pictures, in pixels: a side or (height, width).
        channels: of the pictures, 1 to 4.
        options: {option: value}, keys as in `OPTIONS[name]`.

    Raises:
        UsageError: an unknown network or option (with the nearest match), an impossible value, or pictures that the
            network's pooling would leave nothing of (with the smallest size it takes).
    """
    if name not in OPTIONS:
        raise unknown("model", name, OPTIONS)
    for key, value in options.items():
        if key not in OPTIONS[name]:
            raise unknown(f"option of model {name}", key, OPTIONS[name])
        _check_value(name, key, value)
    if not _whole(classes) or classes < 2:
        raise UsageError(f"{name} needs 2 classes or more; got {classes!r}.")
    if not _whole(channels) or not 1 <= channels <= 4:
        raise UsageError(f"{name} takes pictures of 1 to 4 channels; got {channels!r}.")
    least, sides = smallest(name, options), size if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(map(_whole, sides)):
        raise UsageError(f"The size of {name}'s pictures is a number of pixels or (height, width); got {size!r}.")
    if min(sides) < least:
        raise UsageError(f"{name} takes pictures of {least} × {least} pixels or more; got {sides[0]} × {sides[1]}.")


def smallest(name, options=None):
    """Pixels a side below which a network's strides and pools leave nothing, with these `options`."""
    options = {**OPTIONS[name], **(options or {})}
    if name.startswith("resnet"):
        return {"imagenet": 32, "7x7": 16, "small": 8}[options["stem"]]
    if name.startswith("densenet"):
        return {"imagenet": 29, "7x7": 15, "small": 8}[options["stem"]]
    if name in APPLICATIONS:
        return APPLICATIONS[name]
    if name == "vgg19_cifar":
        return 32 if options["pool5"] else 16
    return {"mnist_cnn": 4, "vgg16": 32, "vgg19": 32, "alexnet": 63, "caffenet": 67, "squeezenet1.1": 17}[name]


def shape(size, channels):
    """`(height, width, channels)` of pictures of this size: a side or (height, width), in pixels."""
    return (*size, channels) if isinstance(size, (tuple, list)) else (size, size, channels)


def _check_value(name, key, value):
    if key in ALLOWED:
        allowed = ALLOWED[key][name] if isinstance(ALLOWED[key], dict) else ALLOWED[key]
        # 0 and 1 equal False and True, and mean something else to whoever wrote them.
        if not any(value is choice or (value == choice and isinstance(value, str)) for choice in allowed):
            known = ", ".join("null" if c is None else str(c).lower() for c in allowed)
            raise UsageError(f"Option '{key}' of model {name} is one of {known}; got {value!r}.")
        return
    low, high, closed = RANGES[key]
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not (low <= value <= high if closed else low <= value < high):
        until = "to" if closed else "to below"
        raise UsageError(f"Option '{key}' of model {name} is a number from {low} {until} {high}; got {value!r}.")


def _whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
