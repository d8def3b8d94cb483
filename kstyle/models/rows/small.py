"""Networks for small pictures, a row each."""

from kstyle.models.rows.row import Network, Option
from kstyle.models.rows.shared import CODE, SWITCH, head, normalised, plain

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
)  # fmt: skip
