"""Networks for small pictures, a row each."""

from kstyle.models.rows.row import Network, Option
from kstyle.models.rows.shared import CODE, SWITCH, by_stem, dense, dotted, head, normalised, plain, residual


def _whole(layers):
    """PyTorch's names where they are ours."""
    return {layer: layer for layer in layers}


NETWORKS = (
    Network(
        "mnist_cnn",
        build=f"{CODE}small.mnist_cnn:mnist_cnn",
        options={"init": Option("keras", ("keras", "torch")), **plain(0.0)},
        smallest=4,
        torch={"conv1": "conv1.0", "conv2": "conv2.0", "out": "out"},  # the post's
    ),
    Network(
        "vgg19_cifar",
        build=f"{CODE}vgg_cifar:vgg19_cifar",
        options={
            **head("post", "gap"), "pool5": Option(False, SWITCH), "last_bn": Option(None, (None, False, True)),
            **plain(0.5), **normalised(0.99, 1e-3, False),
        },
        smallest=lambda options: 32 if options["pool5"] else 16,
        borrows="vgg19",
    ),
    Network(
        "lenet5",
        build=f"{CODE}small.lenet:lenet5",
        options={
            "activation": Option("relu", ("relu", "tanh")), "pool": Option("max", ("max", "average")), **plain(0.0),
        },
        smallest=16,
        torch=dotted,
    ),
    Network(
        "nin",
        build=f"{CODE}small.nin:nin",
        options={"batch_norm": Option(False, SWITCH), **plain(0.5)},
        smallest=4,
        torch=_whole,
    ),
    *(
        Network(
            name, build=f"{CODE}small.preact_resnet:{name}", options={**plain(0.0), **normalised(0.9, 1e-5, True)},
            smallest=4, torch=dotted,
        )
        for name in ("resnet20", "resnet32", "resnet56", "resnet110", "wrn_16_8", "wrn_28_10")
    ),
    Network(
        "resnext29_8x64d", build=f"{CODE}resnet:resnext29_8x64d", options=residual("small"), smallest=by_stem(16, 8, 4),
        torch=dotted,
    ),
    *(
        Network(
            name, build=f"{CODE}densenet:{name}", options=dense("small", bottleneck), smallest=by_stem(13, 7, 4),
            torch=dotted,
        )
        for name, bottleneck in (("densenet40", False), ("densenet100", True))
    ),
)  # fmt: skip
