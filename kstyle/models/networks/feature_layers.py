"""The convolutions of VGG (Simonyan & Zisserman 2014, arXiv 1409.1556) and SqueezeNet 1.1 (Iandola et al. 2016, arXiv
1602.07360) by name: tables that need no framework."""

import typing

# Convolutions in each of the five blocks, and their filters.
DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def layer_names(network):
    """`["block1_conv1", "block1_conv2", "block1_pool", …]`, in the order they are applied."""
    names = []
    for block, depth in enumerate(DEPTHS[network], 1):
        names += [f"block{block}_conv{i}" for i in range(1, depth + 1)] + [f"block{block}_pool"]
    return names


def filters(name):
    """Of the convolution with this name."""
    return FILTERS[int(name[len("block")]) - 1]


class Layer(typing.NamedTuple):
    """Its kernel's shape, (kh, kw, in, out) or (in, out), and the names it goes by in PyTorch's files."""

    shape: tuple
    aliases: tuple


def _vgg(network):
    # Per block: convolution, ReLU, …, pool, each an entry of torchvision's `features`.
    layers, index, channels = {}, 0, 3
    for name in layer_names(network):
        if name.endswith("pool"):
            index += 1
            continue
        width = filters(name)
        caffe = name.replace("_conv", "_").replace("block", "conv")
        layers[name] = Layer((3, 3, channels, width), (f"features.{index}", caffe))
        channels, index = width, index + 2
    return layers


def _squeezenet():
    # torchvision's `features`: conv1, ReLU and pool are 0 to 2; the fire modules are interleaved with two more pools.
    layers = {"conv1": Layer((3, 3, 3, 64), ("features.0",))}
    channels = 64
    fires = zip((3, 4, 6, 7, 9, 10, 11, 12), (16, 16, 32, 32, 48, 48, 64, 64), (64, 64, 128, 128, 192, 192, 256, 256))
    for number, (index, squeeze, expand) in enumerate(fires, 2):
        parts = {
            "squeeze1x1": ("squeeze", (1, 1, channels, squeeze)),
            "expand1x1": ("expand1x1", (1, 1, squeeze, expand)),
            "expand3x3": ("expand3x3", (3, 3, squeeze, expand)),
        }
        for name, (part, shape) in parts.items():
            layers[f"fire{number}/{name}"] = Layer(shape, (f"features.{index}.{part}", f"fire{number}_{name}"))
        channels = 2 * expand
    return layers


# {network: {layer: Layer}} of those that style transfer uses; the dense layers are left out.
LAYERS = {"vgg19": _vgg("vgg19"), "vgg16": _vgg("vgg16"), "squeezenet1.1": _squeezenet()}


def vgg_aliases(network):
    """`{other name of a tap: the tap}`: `relu4_2` is `block4_conv2`, `conv4_2` (before the ReLU) `block4_conv2_pre`."""
    aliases = {}
    for name in layer_names(network):
        short = name[len("block") :].replace("conv", "")
        if name.endswith("pool"):
            aliases[f"pool{name[len('block')]}"] = name
        else:
            aliases |= {f"relu{short}": name, f"conv{short}": f"{name}_pre", f"{name}_pre": f"{name}_pre"}
    return aliases


def vgg_in_torch(network, layers):
    """`{layer: its name in PyTorch's files}`. `layers`: names of the model's; a lean head has another name there."""
    names = {name: layer.aliases[0] for name, layer in LAYERS[network].items()}
    head = "classifier.6" if "fc1" in layers else "classifier"
    return names | {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": head}


def squeezenet_in_torch(layers):
    """`{layer: its name in PyTorch's files}`."""
    names = {name.replace("/", "_"): layer.aliases[0] for name, layer in LAYERS["squeezenet1.1"].items()}
    return names | {"conv10": "classifier.1", "fc10": "classifier"}
