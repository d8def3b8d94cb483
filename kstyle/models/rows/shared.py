"""What rows of networks have in common: options, the size of ImageNet's pictures, names in PyTorch."""

from kstyle.models.rows.row import DTYPE, Network, Option
from kstyle.models.rows.sources import torchvision

CODE = "kstyle.models.networks."
IMAGENET = {"size": 224, "resize": 256, "preprocessing": "torch"}
SWITCH = (False, True)


def plain(dropout):
    return {
        "dtype": DTYPE, "l2": Option(0.0, low=0, high=1), "dropout": Option(dropout, low=0, high=1, below=True),
    }  # fmt: skip


def normalised(momentum, epsilon, unbiased):
    return {
        "bn_momentum": Option(momentum, low=0, high=1, below=True),
        "bn_epsilon": Option(epsilon, low=1e-8, high=1),
        "unbiased_variance": Option(unbiased, SWITCH),
    }


def head(*choices):
    return {"head": Option(choices[0], choices)}


def dense(stem, bottleneck=True):
    """The options of a DenseNet."""
    return {
        "stem": Option(stem, ("imagenet", "7x7", "small")), **plain(0.0), **normalised(0.9, 1e-5, True),
        "bottleneck": Option(bottleneck, SWITCH),
    }  # fmt: skip


def residual(stem):
    """The options of a ResNet."""
    added = {"zero_gamma": Option(False, SWITCH), "squeeze": Option(0, low=0, high=64)}
    return {"stem": Option(stem, ("imagenet", "7x7", "small")), **plain(0.0), **normalised(0.9, 1e-5, True), **added}


def by_stem(imagenet, single, small):
    """The smallest side for each stem."""
    return lambda options: {"imagenet": imagenet, "7x7": single, "small": small}[options["stem"]]


def dotted(layers):
    """PyTorch's names where ours have `_` for each dot."""
    return {layer: layer.replace("_", ".") for layer in layers}


def by_torchvision(name, file, code, **more):
    """A network whose layers and weights are torchvision's."""
    given = {**IMAGENET, "torch": dotted, **more}
    weights = {"torchvision": torchvision(name, file)}
    return Network(name, build=f"{CODE}{code}:{name}", weights=weights, **given)
